"""`tool train RECIPE`."""

from __future__ import annotations

from typing import Any

from cli.console import result
from cli.lazy import group
from cli.recipe import recipe_commands
from recipes.interrupts import Interrupts


def build(name: str, help: str) -> Any:
    """One command a recipe."""
    return group(name, help, recipe_commands("Train", "train", present, around=Interrupts))


def present(outcome: dict[str, Any]) -> None:
    """The run, its model and its score, on stdout."""
    if outcome:  # several processes: the first of them has printed it
        result(outcome, str(outcome.get("text", "")))
