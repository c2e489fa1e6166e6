"""Soft edges without a network: gradients at several scales, strong where an edge shows at all of them.

They look like those of HED (Xie and Tu, Holistically-nested edge detection, 2015), whose trained weights this doesn't
need; HED knows objects' outlines from textures, and this doesn't.
"""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

SCALES = (1.0, 2.0, 4.0)
# The gradient that this share of the picture stays below is drawn white.
WHITE = 0.98


def make(image: Image.Image, sigma: float = 1.5) -> Image.Image:
    """White on black, as bright as the edge is strong.

    Args:
        image: RGB.
        sigma: width of the finest of three Gaussians, in pixels; the others are twice and four times as wide.
    """
    return Image.fromarray(np.rint(255 * strength(image, sigma)).astype(np.uint8)).convert("RGB")


def strength(image: Image.Image, sigma: float = 1.5) -> np.ndarray:
    """The same as float32 [height, width], 0 to 1."""
    pixels = np.asarray(image.convert("RGB"), np.float32) / 255
    total = np.zeros(pixels.shape[:2], np.float32)
    for scale in SCALES:
        smooth = cv2.GaussianBlur(pixels, (0, 0), sigma * scale)
        across, down = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
        # Of the three colours' gradients the greatest; a wider Gaussian makes slopes as much gentler.
        total += scale * np.hypot(across, down).max(axis=2)
    white = float(np.quantile(total, WHITE))
    return np.clip(total / white, 0, 1) if white > 1e-6 else np.zeros_like(total)
