"""The picture in few colours and large blocks: where which colour is, and nothing of the shapes."""

from __future__ import annotations

from PIL import Image


def make(image: Image.Image, colours: int = 16, block: int = 32) -> Image.Image:
    """Blocks of `block` pixels, each in the one of `colours` colours (by median cut) that is nearest to its mean.

    Args:
        image: RGB; where its sides are no multiples of `block`, blocks are as many as fit, and as much larger.
    """
    size = (max(1, image.width // block), max(1, image.height // block))
    means = image.convert("RGB").resize(size, Image.Resampling.BOX)
    few = means.quantize(colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    return few.convert("RGB").resize(image.size, Image.Resampling.NEAREST)
