"""What `tool data inspect` and `tool data sample` of every recipe give alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def described(found: dict[str, Any]) -> dict[str, Any]:
    """What an inspection found, with the text of it for people."""
    import yaml

    return {**found, "text": yaml.safe_dump(found, sort_keys=False, allow_unicode=True).rstrip()}


def written(recipe: str, write: Callable[..., Any], output: str, seed: int) -> dict[str, Any]:
    """Writes a recipe's sample data into a folder, and says how to train on them.

    Args:
        write: takes the folder and `seed`.
    """
    folder = Path(output)
    write(folder, seed=seed)
    return {"folder": str(folder), "text": f"{folder}\nnext      tool train {recipe} --model tiny --data {folder}"}
