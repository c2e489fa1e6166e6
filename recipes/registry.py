"""The recipe registry: a literal table of ours, and the entry point `modeltool.recipes` for other packages."""

from __future__ import annotations

import functools
import importlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from recipes.config import nearest, options_of
from recipes.process.worker import is_worker
from recipes.terminal.progress import print_line
from tasks.errors import ConfigError, Preempted, ToolError, is_out_of_disk, is_out_of_memory, one_line, printable

# name -> (module, one-line help). The module's table PARTS holds what VERBS names, each part imported only when used.
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
# command -> (config dataclass, function of one) among a recipe's PARTS. `tool backtest` is the recipe forecast's alone.
VERBS = {
    "train": ("Train", "train"),
    "eval": ("Eval", "evaluate"),
    "predict": ("Predict", "predict"),
    "backtest": ("Backtest", "backtest"),
    "data inspect": ("Data", "inspect"),
    "data sample": ("Sample", "sample"),
    "data build": ("Build", "build"),
}


@dataclass(frozen=True)
class RecipeEntry:
    """One recipe: `module` is imported when its table is needed; `package` is the distribution that registers it, None for ours."""

    name: str
    module: str
    help: str
    package: str | None = None

    def parts(self) -> Mapping[str, str]:
        """The module's table PARTS, part -> "module:attribute".

        Raises:
            ToolError: another package's module can't be imported or has no such table.
        """
        with self._blaming_package(self.module):
            parts = importlib.import_module(self.module).PARTS
            if not isinstance(parts, Mapping) or not all(":" in str(target) for target in parts.values()):
                raise TypeError(f'{self.module}.PARTS must be a dict of name: "module:attribute"')
            return parts

    def part(self, name: str) -> Any:
        """A config class or a verb's function.

        Raises:
            ConfigError: the recipe has no such verb.
            ToolError: another package's module can't be imported.
        """
        parts = self.parts()
        if name not in parts:
            raise ConfigError(self._missing(name))
        module, _, attribute = parts[name].partition(":")
        with self._blaming_package(parts[name]):
            value = getattr(importlib.import_module(module), attribute)
            if self.package is not None and name in (config for config, _ in VERBS.values()):
                options_of(value)  # raises where an option is declared in a way that can't be a flag
            return value

    def has(self, name: str) -> bool:
        """Whether the recipe has a part."""
        return name in self.parts()

    def offers(self, verb: str) -> bool:
        """Whether the recipe has all that a verb needs."""
        return all(self.has(part) for part in VERBS[verb])

    def _missing(self, name: str) -> str:
        verb = next((verb for verb, needed in VERBS.items() if name in needed), None)
        lacks = f"`tool {verb}`" if verb else f"part {name}"
        if verb and any(self.has(part) for part in VERBS[verb]):
            lacks += f" (its PARTS lacks {name!r})"
        offered = ", ".join(f"`tool {verb}`" for verb in VERBS if self.offers(verb))
        return f"the recipe {self.name} has no {lacks}; it has {offered or 'none of the commands'}"

    @contextmanager
    def _blaming_package(self, target: str) -> Iterator[None]:
        """Around an import: its failure becomes one line where another package is at fault."""
        try:
            with _nothing_compiled():
                yield
        except (Exception, SystemExit) as error:
            if self.package is None or isinstance(error, Preempted) or is_out_of_memory(error) or is_out_of_disk(error):
                raise
            raise ToolError(
                f"the recipe {self.name} of the package {self.package} can't load {printable(target)}: "
                f"{one_line(f'{type(error).__name__}: {error}').rstrip(': ')}; upgrade, mend or uninstall that package "
                f"(`tool train {self.name} --debug` shows the traceback)"
            ) from error


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


OURS = {name: RecipeEntry(name, *row) for name, row in RECIPES.items()}


def recipes() -> dict[str, RecipeEntry]:
    """All recipes by name, none of them imported: ours first, then those of other packages in the order of their names."""
    return OURS | _installed()[0]


def get(name: str) -> RecipeEntry:
    """The recipe of that name; other packages are looked for where it is none of ours.

    Raises:
        ConfigError: naming the nearest recipe.
    """
    entry = OURS.get(name) or recipes().get(name)
    if entry is None:
        raise ConfigError(f"there is no recipe {name!r}{nearest(name, list(recipes()))}")
    return entry


def offering(verb: str) -> dict[str, RecipeEntry]:
    """The recipes that have a verb; those of other packages that can't be used are named on stderr and skipped."""
    say_skipped()
    entries = {}
    for name, entry in recipes().items():
        try:
            if entry.offers(verb):
                entries[name] = entry
        except ToolError as error:
            _say(str(error))
    return entries


def say_skipped(name: str | None = None) -> None:
    """Names the packages whose recipe, of that name or any, is skipped for its name."""
    for taken, line in _installed()[1]:
        if name in (None, taken):
            _say(line)


@functools.cache
def _installed() -> tuple[dict[str, RecipeEntry], list[tuple[str, str]]]:
    """The recipes that other packages register; name and reason of those that are skipped."""
    from importlib.metadata import entry_points

    points = entry_points(group=ENTRY_POINTS)
    named = [(point.name, one_line((point.dist and point.dist.name) or point.value), point.value) for point in points]
    entries: dict[str, RecipeEntry] = {}
    skipped = []
    for name, package, module in sorted(named):
        why = _refusal(name, entries)
        if why:
            skipped.append((name, f"the recipe {one_line(name)} of the package {package}: {why}"))
        else:
            entries[name] = RecipeEntry(name, module, f"From the package {package}.", package)
    return entries, skipped


def _refusal(name: str, entries: Mapping[str, RecipeEntry]) -> str:
    if not re.fullmatch(r"\w[\w.-]*", name):
        return "a name is letters, digits, dots, hyphens and underscores; register it under another one"
    if name in OURS:
        return "the name is one of tool's own; register it under another one, or uninstall that package"
    if name in entries:
        return f"the package {entries[name].package} has that name already; uninstall one of the two"
    return ""


@functools.cache  # each line once
def _say(line: str) -> None:
    if not is_worker():  # whose launcher has said it
        print_line(f"skipped   {line}")
