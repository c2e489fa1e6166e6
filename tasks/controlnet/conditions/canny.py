"""Canny's edges. Source: Canny, A computational approach to edge detection, IEEE PAMI 8 (1986)."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

# Around the median grey value, where a threshold is chosen by the picture itself.
SPREAD = 0.33


def make(image: Image.Image, low: int | str = 100, high: int | str = 200) -> Image.Image:
    """Edges white on black, one pixel wide.

    Args:
        image: RGB.
        low, high: thresholds of the gradient (Sobel 3x3, sum of both directions, 0 to 2040); "auto": a third below
            and above the picture's median grey value.
    """
    return Image.fromarray(edges(image, low, high)).convert("RGB")


def edges(image: Image.Image, low: int | str = 100, high: int | str = 200) -> np.ndarray:
    """The same as uint8 [height, width], 0 or 255."""
    grey = cv2.cvtColor(np.asarray(image.convert("RGB")), cv2.COLOR_RGB2GRAY)
    middle = float(np.median(grey))
    bottom = (1 - SPREAD) * middle if low == "auto" else float(low)
    top = (1 + SPREAD) * middle if high == "auto" else float(high)
    return np.asarray(cv2.Canny(grey, min(bottom, top), max(bottom, top)))
