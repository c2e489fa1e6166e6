"""Blurred picture: a net conditioned on it learns to sharpen."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image


def make(image: Image.Image, sigma: float = 8.0) -> Image.Image:
    """Gaussian blur; `sigma` in pixels of the written picture."""
    return Image.fromarray(cv2.GaussianBlur(np.asarray(image.convert("RGB")), (0, 0), sigma))
