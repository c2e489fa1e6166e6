"""Resizing, cropping and mirroring of a picture together with its condition."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

# Frames of --aspect-buckets are at most so long for their width, or the other way round.
LONGEST = 2.5


@dataclass(frozen=True)
class Frame:
    """What a batch's pictures are cut to, in pixels."""

    width: int
    height: int


@dataclass(frozen=True)
class View:
    """One way from a picture to pixels.

    Attributes:
        resized: (width, height) that the picture is resized to; it covers the frame.
        left, top: where the frame is cut from that.
        flip: mirrored left to right, last.
    """

    frame: Frame
    resized: tuple[int, int]
    left: int
    top: int
    flip: bool = False


def view(size: tuple[int, int], frame: Frame, place: tuple[float, float] | None = None, flip: bool = False) -> View:
    """The view of a picture of `size` = (width, height).

    The shorter side is resized and the rest cut off at both ends, by torchvision's rule for `Resize` and `CenterCrop`.

    Args:
        place: where to cut instead of in the middle, each from 0 (left, top) to 1.
    """
    width, height = size
    scale = max(frame.width / width, frame.height / height)
    resized = (max(frame.width, int(width * scale)), max(frame.height, int(height * scale)))
    if frame.width == frame.height:  # in whole numbers, as the rule has it
        shorter = min(width, height)
        resized = (frame.width * width // shorter, frame.height * height // shorter)
    spare = (resized[0] - frame.width, resized[1] - frame.height)
    if place is None:
        left, top = round(spare[0] / 2.0), round(spare[1] / 2.0)
    else:
        left, top = round(place[0] * spare[0]), round(place[1] * spare[1])
    return View(frame, resized, left, top, flip)


def pixels(image: Image.Image, seen: View) -> np.ndarray:
    """An RGB picture through a view: uint8 [height, width, 3].

    A condition goes through its picture's view, whatever its own size.
    """
    if image.size != seen.resized:
        image = image.resize(seen.resized, Image.Resampling.BILINEAR)
    right, bottom = seen.left + seen.frame.width, seen.top + seen.frame.height
    found = np.asarray(image)[seen.top : bottom, seen.left : right]
    return np.ascontiguousarray(found[:, ::-1] if seen.flip else found)


@lru_cache(maxsize=32)
def frames(resolution: int) -> tuple[Frame, ...]:
    """Frames of many shapes and about resolution² pixels, none more; sides in steps of an eighth of it, as multiples of 8."""
    step = max(8, resolution // 8 // 8 * 8)
    found = set()
    for width in range(step, int(resolution * LONGEST) + 1, step):
        height = min(resolution * resolution // width, int(resolution * LONGEST)) // step * step
        if height and max(width, height) / min(width, height) <= LONGEST:
            found.add(Frame(width, height))
    found.add(Frame(resolution, resolution))
    return tuple(sorted(found, key=lambda frame: (frame.width / frame.height, frame.width)))


def nearest_frame(size: tuple[int, int], resolution: int) -> Frame:
    """The frame whose shape is nearest to the picture's; of two alike the larger."""
    shape = math.log(size[0] / size[1])
    return min(
        frames(resolution),
        key=lambda frame: (abs(math.log(frame.width / frame.height) - shape), -frame.width * frame.height),
    )
