"""Conditioning images by kind: a literal table of small modules, each imported when it is used."""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

# A module of each name here holds `make(image, **options)`; those of models hold `load(model, token, device)`, which gives a
# function of a batch of pictures.
KINDS = ("canny", "edges", "gray", "blur", "palette", "scribble", "depth", "segmentation", "landmarks")
BY_MODEL = ("depth", "segmentation")


def module(kind: str) -> Any:
    """The module of a kind, imported now."""
    return importlib.import_module(f"tasks.controlnet.conditions.{kind}")


def make(kind: str, image: Image.Image, **options: Any) -> Image.Image:
    """The condition of one picture, of a kind that needs no model.

    Args:
        image: RGB.
        options: those of the kind's own `make`.

    Returns:
        RGB, of the picture's size.
    """
    made: Image.Image = module(kind).make(image, **options)
    return made


def resolved(kind: str, given: dict[str, Any]) -> dict[str, Any]:
    """What a kind is made with: what was given, and for the rest its own defaults."""
    if kind in BY_MODEL:
        return given
    parameters = inspect.signature(module(kind).make).parameters.values()
    defaults = {one.name: one.default for one in parameters if one.default is not inspect.Parameter.empty}
    return {**defaults, **given}
