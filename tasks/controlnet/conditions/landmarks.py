"""The 68 points of faces, as annotations give them, drawn as contours on black.

The points are numbered as in 300-W (Sagonas et al., 300 faces in-the-wild challenge, 2016). Left and right have the
same colours, so that a mirrored condition fits its mirrored picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

# (first point, last point, closed, colour)
CONTOURS = (
    (0, 16, False, (255, 255, 255)),  # jaw
    (17, 21, False, (255, 255, 0)),  # brows
    (22, 26, False, (255, 255, 0)),
    (27, 30, False, (0, 255, 0)),  # nose
    (31, 35, False, (0, 255, 0)),
    (36, 41, True, (0, 255, 255)),  # eyes
    (42, 47, True, (0, 255, 255)),
    (48, 59, True, (255, 0, 0)),  # lips
    (60, 67, True, (255, 0, 255)),
)
POINTS = 68
_SHIFT = 4  # OpenCV draws to a sixteenth of a pixel


def make(image: Image.Image, faces: Sequence[np.ndarray], thickness: int | None = None) -> Image.Image:
    """Contours on black.

    Args:
        image: only its size counts.
        faces: float [68, 2] each, x and y in pixels of `image`; points of a pupil behind the 68 are drawn as dots.
        thickness: of the lines in pixels; None: a 256th of the shorter side.
    """
    canvas = np.zeros((image.height, image.width, 3), np.uint8)
    width = thickness or max(1, min(image.size) // 256)
    for face in faces:
        points = np.rint(np.asarray(face, np.float64) * 2**_SHIFT).astype(np.int32)
        for first, last, closed, colour in CONTOURS:
            line = points[first : last + 1].reshape(-1, 1, 2)
            cv2.polylines(canvas, [line], closed, colour, width, cv2.LINE_AA, _SHIFT)
        for x, y in points[POINTS:]:
            cv2.circle(canvas, (int(x), int(y)), width << _SHIFT, (255, 255, 255), cv2.FILLED, cv2.LINE_AA, _SHIFT)
    return Image.fromarray(canvas)
