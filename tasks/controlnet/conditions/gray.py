"""Greyscale picture: a net conditioned on it learns to colour."""

from __future__ import annotations

from PIL import Image


def make(image: Image.Image) -> Image.Image:
    """Luminance (ITU-R 601-2), three equal channels."""
    return image.convert("L").convert("RGB")
