"""The way from a picture to ViLT's pixel array."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image


def target_size(width: int, height: int, *, shortest: int, longest: int, divisor: int) -> tuple[int, int]:
    """(width, height) that an image is resized to before it goes into ViLT.

    The rule of `ViltImageProcessor`: the shorter side to `shortest`, but the longer to at most `longest`
    (its own `longest` is int(1333 / 800 * shortest)), both floored to a multiple of `divisor`. Here a side is never
    less than one `divisor`, where the library's rule gives 0 for extreme shapes.
    """
    scale = shortest / min(width, height)
    if height < width:
        new_height, new_width = float(shortest), scale * width
    else:
        new_height, new_width = scale * height, float(shortest)
    if max(new_height, new_width) > longest:
        scale = longest / max(new_height, new_width)
        new_height, new_width = scale * new_height, scale * new_width
    sides = (math.floor(side + 0.5) // divisor * divisor for side in (new_width, new_height))
    new_width, new_height = (max(divisor, side) for side in sides)
    return int(new_width), int(new_height)


def pixels(
    image: Image.Image,
    size: tuple[int, int],
    *,
    mean: Sequence[float],
    std: Sequence[float],
    resample: int = Image.Resampling.BICUBIC,
) -> np.ndarray:
    """An RGB image resized to `size` = (width, height), scaled to 0..1 and normalised: float32 [3, height, width]."""
    if image.size != tuple(size):
        image = image.resize((size[0], size[1]), resample)
    values = np.asarray(image)
    table = _table(tuple(mean), tuple(std))
    out = np.empty((3, values.shape[0], values.shape[1]), np.float32)
    for channel in range(3):
        np.take(table[channel], values[:, :, channel], out=out[channel], mode="clip")
    return out


@lru_cache(maxsize=16)
def _table(mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """Float of each byte in each channel [3, 256], by the operations and in the precision of the library's processor."""
    grey = (np.arange(256, dtype=np.float64) * (1 / 255)).astype(np.float32)
    return (grey[None, :] - np.asarray(mean, np.float32)[:, None]) / np.asarray(std, np.float32)[:, None]
