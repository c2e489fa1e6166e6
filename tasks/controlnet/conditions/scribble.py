"""Scribbles: the main edges as strokes of one thickness."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

from tasks.controlnet.conditions.edges import strength

# A stroke begins where an edge is this strong, of the strongest; shorter ones than this share of the longer side go.
LEAST, SHORTEST = 0.15, 0.05


def make(image: Image.Image, thickness: int = 3, sigma: float = 2.0) -> Image.Image:
    """White strokes on black.

    Args:
        image: RGB.
        thickness: of the strokes, in pixels.
        sigma: how much is smoothed away first, in pixels.
    """
    soft = cv2.GaussianBlur(strength(image, sigma), (0, 0), sigma)
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (thickness, thickness))
    # Thick strokes close the small gaps of the thin lines; only then it shows which are long.
    strokes = cv2.dilate((ridges(soft) & (soft > LEAST)).astype(np.uint8), brush)
    kept = long_enough(strokes, SHORTEST * max(image.size))
    return Image.fromarray(kept.astype(np.uint8) * 255).convert("RGB")


def ridges(soft: np.ndarray) -> np.ndarray:
    """Where a pixel is no less than its neighbours on both sides of it, in at least two of four directions.

    Across a line it is in three of them; in one alone where a spur leaves the line.
    """
    height, width = soft.shape
    padded = np.pad(soft, 1, mode="edge")
    found = np.zeros(soft.shape, np.int32)
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        ahead = padded[1 + down : 1 + down + height, 1 + right : 1 + right + width]
        behind = padded[1 - down : 1 - down + height, 1 - right : 1 - right + width]
        found += (soft >= ahead) & (soft > behind)
    return np.asarray(found >= 2)


def long_enough(strokes: np.ndarray, least: float) -> np.ndarray:
    """Without the connected pieces whose box's longer side is below `least` pixels."""
    _, labels, facts, _ = cv2.connectedComponentsWithStats(strokes, connectivity=8)
    kept = facts[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(axis=1) >= least
    kept[0] = False
    return np.asarray(kept[labels])
