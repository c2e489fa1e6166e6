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
    if config.model in (None, "tiny"):  # whose vocabulary is made in training
        return inspected(look(options, max_length=config.max_length), lambda: load_splits(options), width=120)
    from tasks.glue.pretrained import load_tokenizer

    tokenizer = load_tokenizer(str(config.model), config.revision, config.token)
    return inspected(look(options, tokenizer, config.max_length), lambda: load_splits(options), width=120)


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
    thresholds: list[float] | None = None,
) -> Splits:
    """The splits of the data given, else the very ones that the run was trained and measured on.

    Args:
        labels: the model's classes, which the data's labels must be among.
        regression: whether the model gives a number.
        thresholds: where it gives any number of labels, the probability from which on a text has each.

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
    labelling: dict[str, Any] = {"labels": labels, "regression": False, "multi_label": thresholds is not None}
    if regression:
        labelling = {"regression": True}
    elif thresholds is not None and was and not options.label_columns:
        labelling["label_separator"] = options.label_separator or was.get("label_separator")
    splits = load_splits(dataclasses.replace(options, data=data, **labelling), need)
    return splits if thresholds is None else dataclasses.replace(splits, thresholds=thresholds)


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
