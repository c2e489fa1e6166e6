"""The size that a picture has for ViLT."""

from __future__ import annotations

import math


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
