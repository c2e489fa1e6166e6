"""From a verb's options to those of a task's data; what `tool data inspect` and `tool data sample` give alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from tasks.errors import DataError

Options = TypeVar("Options")


def data_options(kind: type[Options], config: Any, was: Mapping[str, Any] | None = None) -> Options:
    """What a verb's options say about the data, as the task that reads them takes it.

    Args:
        was: the options of the run on whose own data, splits, hold-out and columns a model is measured; what a flag says
            otherwise goes before them.
    """
    names = [field.name for field in dataclasses.fields(cast(Any, kind)) if field.name not in ("revision", "cache_dir")]
    given = {name: getattr(config, name, None) for name in names} | {"revision": config.data_revision}
    if was is not None:
        then = {name: was.get(name) for name in names} | {"revision": was.get("data_revision")}
        given = then | {name: value for name, value in given.items() if value not in (None, False, [])}
    return kind(**{name: value for name, value in given.items() if value not in (None, [])})


def inspected(facts: dict[str, Any], prepare: Callable[[], Any], width: int = 80) -> dict[str, Any]:
    """What an inspection found, with the text of it for people, its long lines broken at `width`.

    Args:
        prepare: reads and checks the data as training does by default, and decodes pictures that training would come to later;
            why it would refuse them is told as `refused`, None where it would not.
    """
    import yaml

    facts["refused"] = None
    try:
        prepare()
    except DataError as error:
        facts["refused"] = str(error)
    return {**facts, "text": yaml.safe_dump(facts, sort_keys=False, allow_unicode=True, width=width).rstrip()}


def written(recipe: str, write: Callable[..., Any], output: str, seed: int) -> dict[str, Any]:
    """Writes a recipe's sample data into a folder, and says how to train on them.

    Args:
        write: takes the folder and `seed`.
    """
    folder = Path(output)
    write(folder, seed=seed)
    return {"folder": str(folder), "text": f"{folder}\nnext      tool train {recipe} --model tiny --data {folder}"}
