"""Labels of a data set: classes and their numbers, or scores of a regression."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np

from tasks.cells import MISSING_WORDS, as_text, is_number, without_missing
from tasks.errors import ConfigError, DataError
from tasks.glue.named import TASKS
from tasks.glue.readers.source import Raw
from tasks.glue.spellings import cells_of
from tasks.readers.problems import Problems

# Whole numbers that don't count from 0 or 1 are classes up to so many different ones; beyond, scores.
MOST_NUMBERS = 20
# More different labels than this, on average given to fewer than two rows each, are not classes.
MANY = 100
SHOWN = 12


@dataclass
class Scheme:
    """How a label's cell becomes a number.

    Attributes:
        labels: names of the classes in the order of their numbers; None: a regression.
        known: every spelling of a class -> its number.
        multi_label: whether a text may have several of them, or none.
    """

    labels: list[str] | None
    known: dict[str, int] = field(default_factory=dict)
    multi_label: bool = False

    def number(self, text: str) -> float | None:
        """The class number or the score that a label means; None: it means none."""
        return _number(text) if self.labels is None else self.known.get(text, self.known.get(text.lower()))


def decide(
    raws: Sequence[Raw], labels: Sequence[str] | None, regression: bool | None, task: str | None
) -> Scheme | None:
    """The meaning of labels: as the user or the model has them, else as the task has, else as the data show.

    Args:
        raws: splits with labels as `read_label_sets` gives them, the training split first; classes are those of the first.

    Returns:
        None where there is no label at all.

    Raises:
        ConfigError: labels for a regression.
        DataError: so many different labels that they can't be classes.
    """
    multi_label = any(raw.sets for raw in raws)
    if labels is not None:
        if regression:
            raise ConfigError("--regression and --labels: a regression has no classes; give one of the two")
        theirs = TASKS[task].labels if task is not None else raws[0].names if raws else None
        return replace(_given(list(labels), theirs), multi_label=multi_label)
    if task is not None and regression is None:
        official = TASKS[task].labels
        return Scheme(None) if official is None else _classes(list(official))
    if regression:
        return Scheme(None)
    if not raws:
        return None
    return _sets_from_data(raws[0]) if multi_label else _from_data(raws[0], regression)


def _classes(labels: list[str]) -> Scheme:
    """Classes known by their names, in any case where that is clear, and by their numbers."""
    known = {name: number for number, name in enumerate(labels)}
    if len(known) < len(labels):
        raise ConfigError(f"--labels {','.join(labels)}: a name is there twice")
    for number, name in enumerate(labels):
        known.setdefault(name.lower(), number)
    if all(_number(name) is None for name in labels):
        for number in range(len(labels)):
            known.setdefault(str(number), number)
    return Scheme(labels, known)


def _given(labels: list[str], theirs: Sequence[str] | None) -> Scheme:
    """Classes in the order given, for data that may have them in another one.

    Args:
        theirs: the data's names of their numbers, where they have such. A model that never learnt names (LABEL_0, ...)
            is taken to have them in the data's order.
    """
    scheme = _classes(labels)
    if theirs is None:
        return scheme
    same = all(name.lower() in scheme.known for name in theirs)
    if same or all(re.fullmatch(r"LABEL_\d+", name) for name in labels):
        for number, name in enumerate(theirs[: len(labels)]):
            place = scheme.known[name.lower()] if same else number
            scheme.known[name] = scheme.known[name.lower()] = scheme.known[str(number)] = place
    return scheme


def _sets_from_data(raw: Raw) -> Scheme | None:
    """The labels that lists hold, in the order of the columns or of the alphabet."""
    if raw.names is not None:
        return replace(_classes(raw.names), multi_label=True)
    values = sorted({text for cell in raw.label or () for text in cell or ()})
    if not values:
        raise DataError(f"{raw.source}: no text has a label in the column {raw.label_column}")
    if len(values) > max(MANY, len(raw) // 2):
        raise _too_many(raw, len(values))
    return replace(_classes(sorted(values, key=float) if all(map(is_number, values)) else values), multi_label=True)


def _too_many(raw: Raw, count: int) -> DataError:
    return DataError(
        f"{raw.source}: the column {raw.label_column} has {count:,} different values in {len(raw):,} rows, "
        "too many for classes; give another --label-column"
    )


def _from_data(raw: Raw, regression: bool | None) -> Scheme | None:
    if raw.names is not None:
        return _classes(raw.names)
    values = distinct(raw)
    if not values:
        return None
    numeric = all(map(is_number, values))
    numbers = [number for number in map(_number, values) if number is not None]
    if regression is None and numeric and not (numbers and _are_classes(numbers)):
        return Scheme(None)
    if len(values) > max(MANY, len(raw) // 2):
        raise _too_many(raw, len(values))
    if numeric:
        values = sorted(values, key=float)
    return _classes(values)


def _are_classes(numbers: list[float]) -> bool:
    """Whether numbers are those of classes: whole, and counting up from 0 or 1, or few."""
    if not all(number.is_integer() for number in numbers):
        return False
    span = max(numbers) - min(numbers) + 1
    return len(numbers) <= MOST_NUMBERS or (span == len(numbers) and min(numbers) in (0, 1))


def distinct(raw: Raw) -> list[str]:
    """The different labels of a split as text, sorted. `NA` and its like are no labels among numbers."""
    return sorted({text for text in without_missing([cell for cell, _ in cells_of(raw)]) if text is not None})


def _number(text: str) -> float | None:
    """The finite number that a text is, or None."""
    return float(text) if is_number(text) and math.isfinite(float(text)) else None


def without_held_back(raw: Raw) -> Raw:
    """A split without its labels where it has none; -1 throughout means that they are held back."""
    rows = ([cell] if not raw.indicators else cell for cell in raw.label or ())
    held_back = raw.label is None or all(as_text(cell) in (None, "-1") for cells in rows for cell in cells)
    return replace(raw, label=None) if held_back else raw


def encode(raw: Raw, scheme: Scheme, problems: Problems) -> tuple[np.ndarray, np.ndarray]:
    """(int64 or float64 [n], or of several labels uint8 [n, labels]; bool [n]: which rows have a label that is known).

    The others are noted as problems.
    """
    assert raw.label is not None
    if scheme.multi_label:
        return _encode_sets(raw, scheme, problems)
    named = raw.names is not None and scheme.labels is not None
    # Labels are few and rows many.
    texts = _named(raw) if named else map(lru_cache(None, typed=True)(as_text), raw.label)
    out, keep = np.zeros(len(raw), np.float64 if scheme.labels is None else np.int64), np.ones(len(raw), bool)
    for i, text in enumerate(texts):
        number = None if text is None else scheme.number(text)
        keep[i] = number is not None
        if number is not None:
            out[i] = number
        else:
            problems.add(raw.where(i), *(raw.unreadable.get(i) or _wrong(scheme, text, raw.label[i])))
    return out, keep


def _encode_sets(raw: Raw, scheme: Scheme, problems: Problems) -> tuple[np.ndarray, np.ndarray]:
    assert raw.label is not None
    assert scheme.labels is not None
    out, keep = np.zeros((len(raw), len(scheme.labels)), np.uint8), np.ones(len(raw), bool)
    for i, texts in enumerate(raw.label):
        numbers = [] if texts is None else [scheme.number(text) for text in texts]
        if texts is None or None in numbers:
            keep[i] = False
            unknown = None if texts is None else texts[numbers.index(None)]
            problems.add(raw.where(i), *(raw.unreadable.get(i) or _wrong(scheme, unknown, unknown)))
        else:
            out[i, np.array(numbers, np.int64)] = 1
    return out, keep


def _wrong(scheme: Scheme, text: str | None, cell: Any) -> tuple[str, str]:
    """What is wrong with a label that means no number, and its sort."""
    missing = text is not None and text.lower() in MISSING_WORDS and all(map(is_number, scheme.labels or ["words"]))
    if scheme.labels is None:
        if text is None and not isinstance(cell, float):
            return "has no score", "no score"
        return f"the score {str(cell).strip()[:40]!r} is not a finite number", "unusable score"
    if text is None or missing:
        return "has no label", "no label"
    return f"unknown label {text[:40]!r}; known are {known_labels(scheme.labels)}", "unknown label"


def known_labels(labels: Sequence[str]) -> str:
    """The classes for a message, cut short where they are many."""
    more = f" and {len(labels) - SHOWN} more" if len(labels) > SHOWN else ""
    return ", ".join(labels[:SHOWN]) + more


def names_of(value: Any, labels: list[str] | None) -> str | float | list[str]:
    """An answer or a label as its reader knows it: a number, a class, or the list of several labels (0 and 1 each)."""
    if labels is None:
        return float(value)
    return [labels[at] for at in np.flatnonzero(value)] if np.ndim(value) else labels[int(value)]


def _named(raw: Raw) -> Iterable[str | None]:
    """Class numbers of a file as the names that it gives them; -1 is none."""
    names = raw.names or []
    for cell in raw.label or ():
        if isinstance(cell, int) and not isinstance(cell, bool):
            yield names[cell] if 0 <= cell < len(names) else None if cell < 0 else str(cell)
        else:
            yield as_text(cell)
