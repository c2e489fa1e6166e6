"""`tool predict RECIPE INPUT...`."""

from __future__ import annotations

import json
from typing import Any

from cli.console import State
from cli.recipe import recipe_group


def build(name: str, help: str) -> Any:
    """One command a recipe."""
    return recipe_group(name, help, "predict", present, arguments=("inputs",))


def present(outcome: dict[str, Any]) -> None:
    """The predictions to read, or as JSON."""
    if State.json:
        print(json.dumps(outcome["predictions"], ensure_ascii=False))
    elif outcome["text"]:
        print(outcome["text"])
