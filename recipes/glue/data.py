"""`tool data inspect glue`, `tool data sample glue`, and the data that a run was measured on."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import numpy as np

from recipes.data_sets import data_options, inspected, written
from recipes.distributed.device import silence
from recipes.glue.config import Data, DataOptions, Sample
from recipes.runs import folder as run_folder
from tasks.errors import ConfigError
from tasks.glue.data import Options, Splits, load_splits
from tasks.glue.texts import Texts


def inspect(config: Data) -> dict[str, Any]:
    """What a data set holds, and what is wrong with it."""
    from tasks.glue.inspection import inspect as look

    silence()
    options = data_options(Options, config)
    return inspected(look(options), lambda: load_splits(options), width=120)


def sample(config: Sample) -> dict[str, Any]:
    """Writes the sample data as CSV files."""
    from tasks.glue.sample import write_sample

    return written("glue", write_sample, config.output, config.seed)


def run_data(
    config: DataOptions,
    run: run_folder.Run | None,
    need: tuple[str, ...],
    labels: list[str] | None,
    *,
    regression: bool,
) -> Splits:
    """The splits of the data given, else the very ones that the run was trained and measured on.

    Args:
        labels: the model's classes, which the data's labels must be among.
        regression: whether the model gives a number.

    Raises:
        ConfigError: other labels than the model's were given.
    """
    if config.labels and config.labels != labels:
        raise ConfigError(f"--labels: the model has its own: {', '.join(labels or ['a number'])}")
    was = run.config() if run is not None and run.config().get("recipe") == "glue" else {}
    same = bool(was) and config.data in (None, was.get("data")) and config.task in (None, was.get("task"))
    options = data_options(Options, config, was if same else None)
    if same and need == ("evaluation",) and not options.eval_split:
        need = ("train", "evaluation")
    data = config.data or (config.source() if config.task and not was else was.get("data")) or "sample"
    labelling = {"regression": True} if regression else {"labels": labels, "regression": False}
    return load_splits(dataclasses.replace(options, data=data, **labelling), need)


def digest(labels: list[str] | None, *splits: Texts) -> str:
    """Of the texts and labels of some splits, in order."""
    hasher = hashlib.sha256(repr(labels).encode())
    for texts in splits:
        for part in (texts.first, texts.second or []):
            hasher.update(f"{len(part)}\n".encode())
            for text in part:
                hasher.update(f"{text}\0".encode("utf-8", "surrogatepass"))
        if texts.label is not None:
            hasher.update(np.ascontiguousarray(texts.label).tobytes())
    return hasher.hexdigest()
