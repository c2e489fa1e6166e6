"""Texts with labels, from whatever form they come in to checked training and evaluation splits."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from tasks.errors import ConfigError, DataError, ToolError
from tasks.glue import multi_label, thresholds
from tasks.glue.checks import check_classes, checked
from tasks.glue.choice import called, choose
from tasks.glue.holdout import hold_out, shared_texts
from tasks.glue.label_sets import read_label_sets
from tasks.glue.labels import Scheme, decide, without_held_back
from tasks.glue.named import TASKS
from tasks.glue.readers import recognise
from tasks.glue.readers.columns import listed
from tasks.glue.readers.source import Options, Raw, Source
from tasks.glue.spellings import spelling_notes
from tasks.glue.text_lists import join_tokens
from tasks.glue.texts import Texts
from tasks.readers.holdout import parted, subset
from tasks.readers.leaks import without_leaks
from tasks.readers.problems import Problems

__all__ = ["Options", "Splits", "Texts", "load_splits"]

HELD_OUT = "held out"
# The key of the training split among others that are to be read alike; no file is called so.
TRAIN = "\0train"


@dataclass
class Splits:
    """What a run trains on and what it is measured on.

    Attributes:
        evaluation: split name -> rows; MNLI has "matched" and "mismatched", others have one, named as the data call it.
        labels: names of the classes in the order of their numbers; None: a regression.
        task: the GLUE task, where the data are one.
        name: for headers and folder names.
        metrics: names of `tasks.glue.score`, the headline first.
        description: one line for the run header.
        held_out: whether the evaluation split was held out of the training split.
        skipped: one line for each sort of row left out.
        leaks: lines on what the evaluation splits share with the training split.
        notes: lines on how labels and texts were read.
        thresholds: where a text may have several labels, the probability from which on it has each, by number; else None.
    """

    train: Texts | None
    evaluation: dict[str, Texts]
    labels: list[str] | None
    task: str | None
    name: str
    metrics: tuple[str, ...]
    description: str
    held_out: bool = False
    skipped: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    thresholds: list[float] | None = None


def load_splits(options: Options, need: tuple[str, ...] = ("train", "evaluation")) -> Splits:
    """Reads, parts and checks the data.

    The evaluation split is the one named, else validation (dev), else test where it has labels, else a hold-out of
    `eval_fraction` of each class. With `need` = ("evaluation",) data of a single split are taken whole; so a run's own
    hold-out comes back only with both needed and the run's seed and fraction.

    Args:
        need: "train", "evaluation" (both with labels), "prediction": the texts of test, else of validation, else of
            what there is, without their labels; "calibration": the training split without what is held out of it,
            labels or not.

    Raises:
        ConfigError: a task, a split, a column or a number that can't be.
        DataError: unusable data; up to ten problems with file and row.
        ToolError: a Hub id without a network.
    """
    source = recognise(options)
    problems = Problems(skip=options.skip_bad)
    train, evaluation, scheme, held_out, notes = _read(source, options, need, problems)
    problems.raise_if_any()
    if train is not None:
        train = subset(train, options.max_samples, options.seed)
    evaluation = {
        name: subset(part, options.max_eval_samples, options.seed, "--max-eval-samples")
        for name, part in evaluation.items()
    }
    evaluation, leaks = _without_leaks(train, evaluation, options, source.name)
    names = None if scheme is None else scheme.labels
    if train is not None and "train" in need:
        check_classes(train, names, source.name)
    for name, part in evaluation.items():
        if not len(part):
            raise DataError(f"{source.name} ({name}): no rows are left")
    if "calibration" in need:
        evaluation = {}
    return Splits(
        train,
        evaluation,
        names,
        source.task,
        _plain(source.name),
        _metrics(source.task, scheme),
        _describe(source, train, evaluation, scheme, held_out),
        held_out,
        problems.summary(),
        leaks,
        notes,
        [thresholds.DEFAULT] * len(names) if names is not None and scheme is not None and scheme.multi_label else None,
    )


def _without_leaks(
    train: Texts | None, evaluation: dict[str, Texts], options: Options, name: str
) -> tuple[dict[str, Texts], list[str]]:
    """The evaluation splits, and what of them training has too."""
    if train is None:
        return evaluation, []
    told = {
        split: without_leaks(
            part,
            shared_texts(train, part),
            drop=options.drop_leaks,
            units="rows" if len(evaluation) == 1 else f"rows ({split})",
            what="texts",
            name=name,
        )
        for split, part in evaluation.items()
    }
    return {split: part for split, (part, _) in told.items()}, [line for _, line in told.values() if line]


def _read(
    source: Source, options: Options, need: tuple[str, ...], problems: Problems
) -> tuple[Texts | None, dict[str, Texts], Scheme | None, bool, list[str]]:
    """(training split, evaluation splits, what their labels mean, whether the second were held out of the first)."""
    train_name, eval_names = choose(source, options, need)
    if train_name is not None and source.task == "ax":
        raise DataError("ax has no rows to train on; train on mnli, and evaluate that model on ax")
    raw = None if train_name is None else without_held_back(source.splits[train_name](problems))
    raws = {name: without_held_back(source.splits[name](problems)) for name in eval_names}
    if raw is not None and options.eval_split is None and any(one.label is None for one in raws.values()):
        raws = {}  # a test split published without its labels
    for name, one in raws.items():
        if one.label is None and name in source.unlabelled and "prediction" not in need:
            raise DataError(f"{one.source}: GLUE keeps the labels of its test sets back; leave --eval-split out")
    given = {name: one for name, one in {TRAIN: raw, **raws}.items() if one is not None}
    given, scheme, notes = understood(given, source, options, need)
    raw, raws = given.pop(TRAIN, None), given

    def sound(one: Raw) -> Texts:
        return checked(one, scheme, problems, empty_allowed=source.task is not None)

    evaluation = {called(name): sound(one) for name, one in raws.items()}
    if raw is None:
        return None, evaluation, scheme, False, notes

    def part(whole: Texts) -> tuple[Texts, dict[str, Texts]]:
        rest, held = hold_out(whole, options.eval_fraction, options.seed, raw.source)
        return rest, {HELD_OUT: held}

    whole = sound(raw)
    holds_out = "evaluation" in need or ("calibration" in need and whole.label is not None and len(whole) > 1)
    train, held, held_out = parted(whole, evaluation or None, ("evaluation",) if holds_out else (), problems, part)
    return train, held or {}, scheme, held_out, notes


def understood(
    raws: dict[str, Raw], source: Source, options: Options, need: tuple[str, ...]
) -> tuple[dict[str, Raw], Scheme | None, list[str]]:
    """The splits with texts and labels in one form each, what the labels mean, and lines on how they were read.

    Args:
        raws: the training split first.

    Raises:
        ConfigError, DataError: labels are needed, and a split has none.
    """
    joined = {name: join_tokens(raw) for name, raw in raws.items()}
    raws = {name: raw for name, (raw, _) in joined.items()}
    notes = list(dict.fromkeys(line for _, lines in joined.values() for line in lines))
    if "prediction" in need:
        return raws, None, notes
    for raw in raws.values() if "calibration" not in need else ():
        if raw.label is None and len(raw):
            raise _unlabelled(raw, options)
    read, lines = read_label_sets(list(raws.values()), options, source.task)
    labelled = [raw for raw in read if raw.label is not None]
    scheme = decide(labelled, options.labels, options.regression, source.task)
    if scheme is not None and scheme.labels is not None:
        own = None if options.labels or source.task else scheme.labels
        before = read if scheme.multi_label and not _typed(raws.values()) else raws.values()
        lines += spelling_notes(list(before), own)
    return dict(zip(raws, read, strict=True)), scheme, [*notes, *lines]


def _typed(raws: Iterable[Raw]) -> bool:
    """Whether labels are lists as they stand, not columns of 0 and 1."""
    return any(
        isinstance(cell, (list, tuple)) for raw in raws if not raw.indicators for cell in (raw.label or ())[:100]
    )


def _unlabelled(raw: Raw, options: Options) -> ToolError:
    """The error for a split without the labels that are needed."""
    columns, wanted = listed(raw.columns), options.label_column
    if raw.label_column is None and options.label_columns:
        return ConfigError(f"--label-columns {','.join(options.label_columns)}: {raw.source} has the columns {columns}")
    if raw.label_column is None and wanted is not None:
        return ConfigError(f"--label-column {wanted}: {raw.source} has the columns {columns}")
    if raw.label_column is None:
        return DataError(
            f"{raw.source}: no label column; found columns {columns}; give --label-column, or --label-columns of 0 and 1"
        )
    return DataError(
        f"{raw.source}: the labels are held back (column {raw.label_column} is empty or -1); give a split with labels"
    )


def _metrics(task: str | None, scheme: Scheme | None) -> tuple[str, ...]:
    """The task's official ones; else those that suit the labels."""
    if task is not None:
        return TASKS[task].metrics
    if scheme is None:
        return ()
    if scheme.labels is None:
        return ("pearson", "spearman")
    if scheme.multi_label:
        return multi_label.METRICS
    return ("accuracy", "f1" if len(scheme.labels) == 2 else "macro_f1")


def _plain(name: str) -> str:
    """A name that is fit for a folder."""
    return re.sub(r"[^\w.\-]+", "-", name).strip("-.") or "data"


def _describe(
    source: Source, train: Texts | None, evaluation: dict[str, Texts], scheme: Scheme | None, held_out: bool
) -> str:
    """One line: 'sst2: 67,349 + 872 sentences, 2 classes'."""
    splits = [part for part in (train, *evaluation.values()) if part is not None]
    sizes = " + ".join(f"{len(part):,}" for part in splits)
    pairs = bool(splits) and splits[0].second is not None
    noun = "pairs" if pairs else "sentences" if source.task is not None else "texts"
    note = ", the second held out" if held_out and len(splits) > 1 else ""
    return f"{source.name}: {sizes} {noun}{_kind(scheme, splits)}{note}"


def _kind(scheme: Scheme | None, splits: list[Texts]) -> str:
    if scheme is None:
        return ""
    if scheme.multi_label and scheme.labels is not None:
        rows = [part.label for part in splits if part.label is not None]
        mean = sum(int(part.sum()) for part in rows) / max(1, sum(map(len, rows)))
        return f", {len(scheme.labels)} labels, {mean:.2g} a text"
    if scheme.labels is not None:
        return f", {len(scheme.labels)} classes"
    scores = [part.label for part in splits if part.label is not None and len(part)]
    if not scores:
        return ", a score each"
    low, high = (float(pick([pick(part) for part in scores])) for pick in (np.min, np.max))
    return f", scores {low:g} to {high:g}"
