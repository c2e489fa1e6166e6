"""Pictures of more than eight bits a value: which of their values are black and white, and pictures in NumPy's files."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

NUMPY = ".npy"
# (black, white); with the greater first, large values are dark.
Range = tuple[float, float]
# What a picture's greatest value is out of, where it lies in the upper half of one of these.
SCALES = (1, 255, 65535)


def is_deep(mode: str) -> bool:
    """Whether PIL's mode holds more than eight bits a value: 16-bit grey, 32-bit whole numbers, floats."""
    return mode in ("I", "F") or mode.startswith("I;")


def extremes(image: Image.Image) -> Range:
    """The least and the greatest value that is a number; (inf, -inf) where there is none."""
    values = np.asarray(image)
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    return (float(values.min()), float(values.max())) if values.size else (np.inf, -np.inf)


def own_range(low: float, high: float) -> Range:
    """Black and white for values from `low` to `high`: 0 and the scale that they are of, where they reach into its upper half, so
    that true 16-bit grey is not stretched; else the values' own range, as for 12 bits in a 16-bit file, or depth in millimetres.
    """
    scale = next((scale for scale in SCALES if low >= 0 and scale / 2 < high <= scale), None)
    return (low, high) if scale is None else (0.0, float(scale))


def as_grey(image: Image.Image, value_range: Range | None = None) -> Image.Image:
    """A deep picture as mode L; what is no number is black.

    Args:
        value_range: what is black and white; values beyond are cut. None: the picture's own range.
    """
    low, high = value_range or own_range(*extremes(image))
    values = np.asarray(image).astype(np.float64)
    if low == high or not np.isfinite([low, high]).all():
        return Image.new("L", image.size)
    grey = np.clip((values - low) * (255.0 / (high - low)), 0.0, 255.0)
    return Image.fromarray(np.rint(np.where(np.isfinite(values), grey, 0.0)).astype(np.uint8))


def open_array(file: str | Path | BinaryIO) -> Image.Image:
    """A picture saved by `numpy.save`: [height, width], with an axis of one channel or without, or [height, width, 3 or 4] of 8 bits.

    Raises:
        ValueError, OSError: it is no picture; no pickle is read.
    """
    values = np.load(file, allow_pickle=False)
    if values.ndim == 3 and 1 in (values.shape[0], values.shape[-1]):
        values = values[0] if values.shape[0] == 1 else values[..., 0]
    if values.ndim == 3 and values.shape[-1] in (3, 4) and values.dtype == np.uint8:
        return Image.fromarray(values)
    if values.ndim != 2 or not values.size or values.dtype.kind not in "uif":
        raise ValueError(f"an array of {values.dtype}, {' x '.join(map(str, values.shape))}, is no picture")
    if values.dtype in (np.uint8, np.uint16):
        return Image.fromarray(values)
    return Image.fromarray(values.astype(np.float32))
