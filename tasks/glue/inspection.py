"""Statistics and problems of a data set, for `tool data inspect glue`."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from tasks.glue.batches import TextBatches
from tasks.glue.checks import checked
from tasks.glue.choice import named
from tasks.glue.cuts import Cuts, cut_by_words, cuts
from tasks.glue.data import understood
from tasks.glue.holdout import keys_of
from tasks.glue.labels import Scheme, names_of, without_held_back
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
# Label sets that are listed.
SETS = 8


def inspect(options: Options, tokenizer: Any = None, max_length: int = 128) -> dict[str, Any]:
    """Reads every split (or those named) and describes it; what is wrong is listed, not raised.

    Args:
        tokenizer: of the model that counts what is cut at `max_length` tokens; None: texts with more words than that are counted.

    Returns:
        format, name, task, classes (None: a regression, or no labels), metrics of the task, splits {name: rows, labels,
        words, ...}, overlap {"dev in train": rows of dev whose text is in train too}, notes on how labels and texts were read,
        problems (up to ten, with file and row) and problem_count.

    Raises:
        DataError: the data can't be read at all.
    """
    source = recognise(options)
    problems = Problems()
    wanted = [name for flag, word in flags(options) if word for name in named(source, word, flag)]
    raws = {name: without_held_back(source.splits[name](problems)) for name in dict.fromkeys(wanted or source.splits)}
    order = sorted(raws, key=lambda name: canonical(name) != "train")
    read, scheme, notes = understood({name: raws[name] for name in order}, source, options, ("calibration",))
    splits = {name: _sound(read[name], scheme, problems, source.task is not None) for name in raws}
    splits = {name: subset(part, options.max_samples, options.seed) for name, part in splits.items()}
    names = None if scheme is None else scheme.labels
    return {
        "format": source.format,
        "name": source.name,
        "task": source.task,
        "classes": names,
        "multi_label": scheme is not None and scheme.multi_label,
        "metrics": None if source.task is None else list(TASKS[source.task].metrics),
        "splits": {
            name: {**describe(part, names), "cut": _cut(part, tokenizer, max_length)} for name, part in splits.items()
        },
        "overlap": overlap(splits),
        "notes": notes,
        "problems": problems.first_messages(),
        "problem_count": problems.total,
    }


def _sound(raw: Raw, scheme: Scheme | None, problems: Problems, empty_allowed: bool) -> Texts:
    """The rows that can be used; none is no error here."""
    if len(raw):
        return checked(raw, scheme, problems, empty_allowed)
    return Texts([], None if raw.second is None else [], None)


def _cut(texts: Texts, tokenizer: Any, max_length: int) -> dict[str, Any]:
    """Texts that lose words to --max-length, and those that become equal by it; without a tokenizer how many do at least."""
    if tokenizer is None:
        return {
            "max_length": max_length,
            "texts_at_least": cut_by_words(texts, max_length),
            "counted_by": "words, of which each is a token at least; --model counts exactly",
        }
    found = Cuts(0, 0, 0)
    if len(texts):
        found = cuts(TextBatches(texts, tokenizer, max_length=max_length), texts, tokenizer, max_length)
    return {
        "max_length": max_length,
        "texts": found.cut,
        "become_equal": found.equal,
        "counted_by": "the model's tokenizer",
    }


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
        **_sets(texts, labels),
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
    several = texts.label.ndim == 2
    counts = texts.label.sum(axis=0, dtype=np.int64) if several else np.bincount(texts.label, minlength=len(labels))
    order = np.argsort(-counts, kind="stable") if len(labels) > LISTED else range(len(labels))
    return {labels[number]: int(counts[number]) for number in order[:LISTED]}


def _sets(texts: Texts, labels: list[str] | None) -> dict[str, Any]:
    """Where a text may have several labels: how many texts have none, one, ..., and the most frequent sets."""
    if texts.label is None or texts.label.ndim != 2 or labels is None or not len(texts):
        return {}
    numbers = texts.label.sum(axis=1, dtype=np.int64)
    sets, counts = np.unique(texts.label, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:SETS]
    shown = {
        ", ".join(labels[at] for at in np.flatnonzero(sets[number])) or "none": int(counts[number]) for number in order
    }
    return {
        "labels_a_text": {"mean": round(float(numbers.mean()), 3), **_counted(numbers)},
        "label_sets": {"different": len(sets), "most_frequent": shown},
    }


def _counted(numbers: np.ndarray) -> dict[str, int]:
    return {str(number): int(count) for number, count in zip(*np.unique(numbers, return_counts=True), strict=True)}


def _contradictions(texts: Texts) -> int:
    """Rows whose text came before with another label."""
    if texts.label is None:
        return 0
    first: dict[str, Any] = {}
    labels = texts.label.tolist()
    return sum(first.setdefault(key, label) != label for key, label in zip(keys_of(texts), labels, strict=True))


def _example(texts: Texts, i: int, labels: list[str] | None) -> dict[str, Any]:
    example: dict[str, Any] = {"text": _short(texts.first[i])}
    if texts.second is not None:
        example["text_pair"] = _short(texts.second[i])
    if texts.label is not None:
        example["label"] = names_of(texts.label[i], labels)
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
