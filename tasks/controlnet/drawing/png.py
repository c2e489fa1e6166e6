"""PNG files that record their generation parameters in text chunks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from tasks.files import writing

SOFTWARE = "modeltool"


def write_png(path: Path, image: Image.Image, facts: dict[str, Any]) -> None:
    """Writes a picture with a text chunk a fact, whole or not at all; facts that are None are left out.

    Raises:
        OutOfDisk: no room for it.
    """
    chunks = PngImagePlugin.PngInfo()
    for name, value in {"Software": SOFTWARE, **facts}.items():
        if value is not None:
            chunks.add_itxt(name, str(value))
    with writing(path, "wb") as file:
        image.save(file, "PNG", pnginfo=chunks)


def read_facts(path: Path) -> dict[str, str]:
    """The text chunks of a PNG; none where it can't be read."""
    try:
        with Image.open(path) as image:
            image.load()
            return {name: str(value) for name, value in getattr(image, "text", {}).items()}
    except (OSError, SyntaxError, ValueError):
        return {}
