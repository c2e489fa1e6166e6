"""Conditions made from pictures, a small module a kind: a literal table, each imported only when it is used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

# kind -> (module, what it makes). A module holds `make(image, **options)`; those of models hold
# `load(model, token, device)` too, which gives a function of a batch of pictures.
KINDS: dict[str, tuple[str, str]] = {
    "canny": ("tasks.controlnet.conditions.canny", "Canny's edges, white on black"),
    "edges": ("tasks.controlnet.conditions.edges", "soft edges at several scales, by image processing (no network)"),
    "gray": ("tasks.controlnet.conditions.gray", "the picture without its colours"),
    "blur": ("tasks.controlnet.conditions.blur", "the picture out of focus"),
    "palette": ("tasks.controlnet.conditions.palette", "few colours in large blocks"),
    "scribble": ("tasks.controlnet.conditions.scribble", "the main edges as thick strokes"),
    "depth": ("tasks.controlnet.conditions.depth", "how near things are, by a model; near is bright"),
    "segmentation": ("tasks.controlnet.conditions.segmentation", "what things are, a colour a class, by a model"),
    "landmarks": ("tasks.controlnet.conditions.landmarks", "the 68 points of faces from annotation files, on black"),
}
BY_MODEL = ("depth", "segmentation")


def module(kind: str) -> Any:
    """The module of a kind, imported now."""
    return importlib.import_module(KINDS[kind][0])


def make(kind: str, image: Image.Image, **options: Any) -> Image.Image:
    """The condition of one picture.

    Args:
        image: RGB.
        options: those of the kind's own `make`; a model's kind takes `network`, which its `load` gives.

    Returns:
        RGB, of the picture's size.
    """
    made: Image.Image = module(kind).make(image, **options)
    return made


def resolved(kind: str, given: dict[str, Any]) -> dict[str, Any]:
    """What a kind is made with: what was given, and for the rest its own defaults."""
    import inspect

    parameters = inspect.signature(module(kind).make).parameters.values()
    defaults = {one.name: one.default for one in parameters if one.default is not inspect.Parameter.empty}
    return {**defaults, **given}
