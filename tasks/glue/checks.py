"""Data checks before training: rows that can't be used, each named with file and row."""

from __future__ import annotations

from typing import Any

import numpy as np

from tasks.errors import DataError
from tasks.glue.labels import Scheme, encode
from tasks.glue.readers.source import Raw
from tasks.glue.texts import Texts
from tasks.readers.problems import Problems


def checked(raw: Raw, scheme: Scheme | None, problems: Problems, empty_allowed: bool = False) -> Texts:
    """A split whose rows are sound: each with its texts and, where there is a scheme, its label.

    Args:
        scheme: what the labels mean; None: they are not wanted, or not there.
        empty_allowed: keep rows with an empty text, as the published file has them.

    Raises:
        DataError: there is no row at all.
    """
    if not len(raw):
        problems.raise_if_any()
        raise DataError(f"{raw.source}: no rows")
    keep = np.ones(len(raw), bool)
    single, second, label = raw.second is None, None, None
    first = _texts(raw, raw.first, "the text" if single else "the first text", keep, problems, empty_allowed)
    if raw.second is not None:
        second = _texts(raw, raw.second, "the second text", keep, problems, empty_allowed)
    if scheme is not None and raw.label is not None:
        label, sound = encode(raw, scheme, problems)
        keep &= sound
    index = None if raw.index is None else [str(cell) for cell in raw.index]
    texts = Texts(first, second, label, index)
    return texts if keep.all() else texts.take(np.flatnonzero(keep))


def _texts(
    raw: Raw, cells: list[Any], what: str, keep: np.ndarray, problems: Problems, empty_allowed: bool
) -> list[str]:
    """The cells as texts; `keep` becomes False where one can't be used."""
    texts = []
    for i, cell in enumerate(cells):
        text = cell if isinstance(cell, str) else _as_text(cell)
        texts.append(text)
        wrong = None
        if text == "" or text.isspace():
            if empty_allowed or not keep[i]:
                continue
            wrong = f"{what} is empty", "empty text"
        elif "\0" in text:
            wrong = f"{what} holds a NUL character", "NUL character"
        elif cell is not text and isinstance(cell, (list, dict)):
            wrong = f"{what} is {'a list' if isinstance(cell, list) else 'an object'}, not a string", "not a text"
        if wrong is not None:
            keep[i] = False
            problems.add(raw.where(i), *wrong)
    return texts


def _as_text(cell: Any) -> str:
    """A number as it is written; "" for none."""
    if cell is None or (isinstance(cell, float) and cell != cell):
        return ""
    return str(cell)


def check_classes(train: Texts, labels: list[str] | None, source: str) -> None:
    """Training needs two different labels at least.

    Raises:
        DataError: there is one.
    """
    if train.label is None or not len(train):
        raise DataError(f"{source}: no rows are left to train on")
    if (train.label != train.label[0]).any():
        return
    if train.label.ndim == 2 and labels is not None:
        names = ", ".join(labels[at] for at in np.flatnonzero(train.label[0])) or "none"
        raise DataError(
            f"{source}: every text has the same labels ({names}); training needs texts that differ in theirs"
        )
    what = f"label is {labels[int(train.label[0])]!r}" if labels is not None else f"score is {train.label[0]:g}"
    raise DataError(f"{source}: every {what}; training needs two different ones at least")
