"""Examples' images as small data URIs for one self-contained page."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_SIDE = 224
"""Longest side of a thumbnail, in pixels."""

PIXEL_ART_SIDE = 112
"""Up to this size an image is stored as it is and enlarged by the page with hard pixel edges."""


@dataclass
class Thumbnail:
    """An inlined image: its data URI, and whether it is so small that the page enlarges it pixel by pixel."""

    uri: str
    width: int
    height: int
    pixelated: bool


def thumbnail(image: Image) -> Thumbnail:
    """An RGB copy no larger than `MAX_SIDE` a side: PNG for small images, else JPEG. The image itself is left alone."""
    picture = _rgb(image)
    if max(picture.size) > MAX_SIDE:
        factor = MAX_SIDE / max(picture.size)
        # thumbnail() can round a very long image's short side to nothing.
        width, height = (max(1, round(side * factor)) for side in picture.size)
        picture = picture.resize((width, height), resample=1)
    small = max(image.size) <= PIXEL_ART_SIDE
    kind, settings = ("png", {"optimize": True}) if small else ("jpeg", {"quality": 85})
    data = BytesIO()
    picture.save(data, kind, **settings)
    uri = f"data:image/{kind};base64,{base64.b64encode(data.getvalue()).decode()}"
    return Thumbnail(uri, *picture.size, small)


def _rgb(image: Image) -> Image:
    """Any mode as RGB: turned by its EXIF orientation, transparency on white, 16-bit and float scaled to 8."""
    import numpy as np
    from PIL import Image as pillow
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        span = values.max() - values.min()
        image = pillow.fromarray(((values - values.min()) * (255 / span if span else 0)).astype(np.uint8))
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        ground = pillow.new("RGBA", image.size, "white")
        return pillow.alpha_composite(ground, image).convert("RGB")
    return image.convert("RGB")
