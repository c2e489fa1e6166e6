"""The recipes: a literal table, and whatever installed packages add by the entry point `modeltool.recipes`."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from recipes.config import nearest
from tasks.errors import ConfigError

# name -> (module, one-line help). The module holds, each imported only when used:
#   Train (config dataclass), train(config), Eval, evaluate(config), Predict, predict(config), Inspect, inspect(config).
RECIPES: dict[str, tuple[str, str]] = {
    "vqa": ("recipes.vqa", "Visual question answering: fine-tune ViLT, or ask a generative model."),
    "glue": ("recipes.glue", "Text classification and regression: GLUE's tasks and your own files."),
    "controlnet": (
        "recipes.controlnet",
        "Stable Diffusion ControlNets: train one, measure that it obeys its condition, draw with it.",
    ),
    "forecast": (
        "recipes.forecast",
        "Time series: Transformer, Informer, Autoformer, DLinear, N-BEATS and PatchTST, back-tested.",
    ),
}
ENTRY_POINTS = "modeltool.recipes"


@dataclass(frozen=True)
class Recipe:
    """One recipe: `module` is imported when a verb of it is used."""

    name: str
    module: str
    help: str

    def part(self, name: str) -> Any:
        """A config class or a verb's function.

        Raises:
            ConfigError: the recipe has no such verb.
        """
        parts = getattr(importlib.import_module(self.module), "PARTS", {})
        if name not in parts:
            raise ConfigError(f"the recipe {self.name} has no `{name}`; it has {', '.join(sorted(parts))}")
        module, _, attribute = parts[name].partition(":")
        with _nothing_compiled():
            return getattr(importlib.import_module(module), attribute)

    def has(self, name: str) -> bool:
        """Whether the recipe offers a verb."""
        return name in getattr(importlib.import_module(self.module), "PARTS", {})


@contextmanager
def _nothing_compiled() -> Iterator[None]:
    """Keeps the `torch.compile` on functions of imported libraries (bitsandbytes', which diffusers imports) from loading the
    compiler: 45 MB and a second for every run. What is compiled later is not touched."""
    name = "TORCHDYNAMO_DISABLE"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def recipes() -> dict[str, Recipe]:
    """All recipes by name: ours first, then those of other packages in the order of their names."""
    from importlib.metadata import entry_points

    found = {name: Recipe(name, module, text) for name, (module, text) in RECIPES.items()}
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        found.setdefault(
            entry.name, Recipe(entry.name, entry.value, f"From the package {entry.dist and entry.dist.name}.")
        )
    return found


def get(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        ConfigError: naming the nearest recipe.
    """
    known = recipes()
    if name not in known:
        raise ConfigError(f"there is no recipe {name!r}{nearest(name, list(known))}")
    return known[name]
