"""`tool data inspect glue`, `tool data sample glue`, and the data that a run was measured on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recipes import runs
from recipes.device import silence
from recipes.glue.config import LOADING, Data, DataOptions, Sample
from tasks.glue.data import Splits, load_splits


def inspect(config: Data) -> dict[str, Any]:
    """What a data set holds, and what is wrong with it."""
    from tasks.glue.data import inspect as look

    silence()
    found = look(config.source(), **config.load_arguments())
    return {**found, "text": found.get("text", "")}


def sample(config: Sample) -> dict[str, Any]:
    """Writes the sample data as CSV files."""
    from tasks.glue.sample import write_sample

    folder = Path(config.output)
    write_sample(folder, seed=config.seed)
    return {"folder": str(folder), "text": f"{folder}\nnext      tool train glue --model tiny --data {folder}"}


def run_data(
    config: DataOptions, run: runs.Run | None, need: tuple[str, ...], labels: list[str] | None, *, regression: bool
) -> Splits:
    """The splits of the data given, else the very ones that the run was trained and measured on.

    Args:
        labels: the model's classes, which the data's labels must be among.
        regression: whether the model gives a number.
    """
    arguments = config.load_arguments()
    was = run.config() if run is not None and run.config().get("recipe") == "glue" else {}
    if was and config.data in (None, was.get("data")) and config.task in (None, was.get("task")):
        # The run's own splits, hold-out and columns, but for what a flag says otherwise.
        then = {**{name: was.get(name) for name in LOADING}, "revision": was.get("data_revision")}
        arguments = {**then, **{name: value for name, value in arguments.items() if value not in (None, False, [])}}
        if need == ("evaluation",) and not arguments.get("eval_split"):
            need = ("train", "evaluation")
    arguments = {name: value for name, value in arguments.items() if value not in (None, [])}
    arguments |= {"regression": True} if regression else {"labels": labels, "regression": False}
    data = config.data or (config.source() if config.task and not was else was.get("data")) or "sample"
    return load_splits(data, need=need, **arguments)
