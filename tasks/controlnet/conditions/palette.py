"""Colour palette: the picture in few colours and large blocks."""

from __future__ import annotations

from PIL import Image


def make(image: Image.Image, colours: int = 16, block: int = 32) -> Image.Image:
    """Blocks of `block` pixels, each in the one of `colours` colours that is nearest to its mean.

    The colours start as far from each other as can be and are moved by k-means: cut by medians, small things such as a
    yellow duck on blue lost their colour.

    Args:
        image: RGB; where its sides are no multiples of `block`, blocks are as many as fit, and as much larger.
    """
    size = (max(1, image.width // block), max(1, image.height // block))
    means = image.convert("RGB").resize(size, Image.Resampling.BOX)
    few = means.quantize(colours, method=Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
    return few.convert("RGB").resize(image.size, Image.Resampling.NEAREST)
