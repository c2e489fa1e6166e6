"""Statistics and problems of a data set, for `tool data inspect glue`."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from tasks.glue.checks import checked
from tasks.glue.choice import named
from tasks.glue.holdout import keys_of
from tasks.glue.labels import Scheme, decide, without_held_back
from tasks.glue.named import TASKS
from tasks.glue.readers import recognise
from tasks.glue.readers.source import Options, Raw
from tasks.glue.texts import Texts
from tasks.readers.choice import flags
from tasks.readers.holdout import subset
from tasks.readers.paths import canonical
from tasks.readers.problems import Problems

# Labels and example rows that are listed, and letters of an example.
LISTED, EXAMPLES, LETTERS = 20, 3, 120


def inspect(options: Options) -> dict[str, Any]:
    """Reads every split (or those named) and describes it; what is wrong is listed, not raised.

    Returns:
        format, name, task, classes (None: a regression, or no labels), metrics of the task, splits {name: rows, labels,
        words, ...}, overlap {"dev in train": rows of dev whose text is in train too}, problems (up to ten, with file
        and row) and problem_count.

    Raises:
        DataError: the data can't be read at all.
    """
    source = recognise(options)
    problems = Problems()
    wanted = [name for flag, word in flags(options) if word for name in named(source, word, flag)]
    raws = {name: without_held_back(source.splits[name](problems)) for name in dict.fromkeys(wanted or source.splits)}
    order = sorted(raws, key=lambda name: canonical(name) != "train")
    labelled = [raws[name] for name in order if raws[name].label is not None]
    scheme = decide(labelled, options.labels, options.regression, source.task)
    splits = {name: _sound(raw, scheme, problems, source.task is not None) for name, raw in raws.items()}
    splits = {name: subset(part, options.max_samples, options.seed) for name, part in splits.items()}
    names = None if scheme is None else scheme.labels
    return {
        "format": source.format,
        "name": source.name,
        "task": source.task,
        "classes": names,
        "metrics": None if source.task is None else list(TASKS[source.task].metrics),
        "splits": {name: describe(part, names) for name, part in splits.items()},
        "overlap": overlap(splits),
        "problems": problems.first_messages(),
        "problem_count": problems.total,
    }


def _sound(raw: Raw, scheme: Scheme | None, problems: Problems, empty_allowed: bool) -> Texts:
    """The rows that can be used; none is no error here."""
    if len(raw):
        return checked(raw, scheme, problems, empty_allowed)
    return Texts([], None if raw.second is None else [], None)


def describe(texts: Texts, labels: list[str] | None) -> dict[str, Any]:
    """Counts of one split; lengths in words, both texts of a pair together."""
    second = texts.second or [""] * len(texts)
    words = [len(one.split()) + len(other.split()) for one, other in zip(texts.first, second, strict=True)]
    shares = {"median": 50, "95th": 95, "longest": 100}
    keys = Counter(keys_of(texts))
    return {
        "rows": len(texts),
        "pairs": texts.second is not None,
        "labels": _labels(texts, labels),
        "words": {name: int(np.percentile(words, share)) for name, share in shares.items()} if words else {},
        "repeated_rows": len(texts) - len(keys),
        "repeated_with_another_label": _contradictions(texts),
        "examples": [_example(texts, i, labels) for i in range(min(EXAMPLES, len(texts)))],
    }


def _labels(texts: Texts, labels: list[str] | None) -> dict[str, Any] | None:
    """Rows of each class, or the spread of the scores."""
    if texts.label is None or not len(texts):
        return None
    if labels is None:
        low, middle, high = (float(value) for value in np.percentile(texts.label, (0, 50, 100)))
        return {"lowest": low, "median": middle, "highest": high, "mean": round(float(texts.label.mean()), 4)}
    counts = np.bincount(texts.label, minlength=len(labels))
    order = np.argsort(-counts, kind="stable") if len(labels) > LISTED else range(len(labels))
    return {labels[number]: int(counts[number]) for number in order[:LISTED]}


def _contradictions(texts: Texts) -> int:
    """Rows whose text came before with another label."""
    if texts.label is None:
        return 0
    first: dict[str, float] = {}
    labels = texts.label.tolist()
    return sum(first.setdefault(key, label) != label for key, label in zip(keys_of(texts), labels, strict=True))


def _example(texts: Texts, i: int, labels: list[str] | None) -> dict[str, Any]:
    example: dict[str, Any] = {"text": _short(texts.first[i])}
    if texts.second is not None:
        example["text_pair"] = _short(texts.second[i])
    if texts.label is not None:
        example["label"] = float(texts.label[i]) if labels is None else labels[int(texts.label[i])]
    return example


def _short(text: str) -> str:
    return text if len(text) <= LETTERS else text[: LETTERS - 3] + "..."


def overlap(splits: dict[str, Texts]) -> dict[str, int]:
    """{"dev in train": rows of dev whose text, case and spaces apart, is in train too}, for all splits but training's."""
    train = next((name for name in splits if canonical(name) == "train"), None)
    if train is None:
        return {}
    known = set(keys_of(splits[train]))
    return {
        f"{name} in {train}": sum(key in known for key in keys_of(part))
        for name, part in splits.items()
        if name != train
    }
