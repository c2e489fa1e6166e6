"""A hold-out that shares no text with the rest, drawn from a seed."""

from __future__ import annotations

import numpy as np

from tasks.errors import DataError
from tasks.glue.texts import Texts
from tasks.readers.holdout import check_fraction, share, taken_apart


def hold_out(texts: Texts, fraction: float, seed: int, source: str) -> tuple[Texts, Texts]:
    """(rest, held out), class by class; rows of the same text, or of the same two in any order, stay together.

    Args:
        fraction: share of each class to hold out, above 0 and below 1; at least one text goes and one stays.

    Raises:
        ConfigError: the fraction is out of range.
        DataError: there is one text alone.
    """
    check_fraction(fraction, "rows")
    group = same_texts(texts)
    leaders, at = np.unique(group, return_index=True)
    if len(leaders) < 2:
        raise DataError(f"{source}: too few different texts to hold some out; give an --eval-split")
    classes = np.zeros(len(leaders), np.int64)
    if texts.label is not None and texts.label.ndim == 2:
        classes = _rarest(texts.label)[at]
    elif texts.label is not None and texts.label.dtype.kind == "i":
        classes = texts.label[at]
    random = np.random.default_rng([seed, 1])
    chosen = np.concatenate([share(random, leaders[classes == number], fraction) for number in np.unique(classes)])
    if not len(chosen):
        chosen = random.permutation(leaders)[:1]
    held = np.isin(group, chosen)
    return taken_apart(texts, held)


def _rarest(labels: np.ndarray) -> np.ndarray:
    """int64 [n]: of each text's labels [n, labels] the one that fewest texts have, so that it is on both sides; -1 for none."""
    frequency = np.where(labels > 0, labels.sum(axis=0, dtype=np.int64), len(labels) + 1)
    return np.where(labels.any(axis=1), frequency.argmin(axis=1), -1)


def shared_texts(train: Texts, evaluation: Texts) -> np.ndarray:
    """bool [n]: which evaluation rows have a text that is also in the training split, by `keys_of`."""
    known = set(keys_of(train))
    return np.array([key in known for key in keys_of(evaluation)], bool)


def same_texts(texts: Texts) -> np.ndarray:
    """int64 [n]: for each row the number of the first with the same text, case and spaces apart."""
    keys = keys_of(texts)
    first: dict[str, int] = {}
    return np.array([first.setdefault(key, i) for i, key in enumerate(keys)], np.int64)


def keys_of(texts: Texts) -> list[str]:
    """One text a row that is equal for equal rows: case, spaces and the order of a pair apart."""
    first = [" ".join(text.casefold().split()) for text in texts.first]
    if texts.second is None:
        return first
    second = [" ".join(text.casefold().split()) for text in texts.second]
    return ["\n".join(sorted(pair)) for pair in zip(first, second, strict=True)]
