"""Parts of a split, drawn from a seed: a hold-out that shares no text with the rest, and a random subset."""

from __future__ import annotations

import numpy as np

from tasks.errors import ConfigError, DataError
from tasks.glue.texts import Texts


def hold_out(texts: Texts, fraction: float, seed: int, source: str) -> tuple[Texts, Texts]:
    """(rest, held out), class by class; rows of the same text, or of the same two in any order, stay together.

    Args:
        fraction: share of each class to hold out, above 0 and below 1; at least one text goes and one stays.

    Raises:
        ConfigError: the fraction is out of range.
        DataError: there is one text alone.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"--eval-fraction {fraction}: give a share of the rows above 0 and below 1")
    group = same_texts(texts)
    leaders, at = np.unique(group, return_index=True)
    if len(leaders) < 2:
        raise DataError(f"{source}: too few different texts to hold some out; give an --eval-split")
    classes = np.zeros(len(leaders), np.int64)
    if texts.label is not None and texts.label.dtype.kind == "i":
        classes = texts.label[at]
    random = np.random.default_rng([seed, 1])
    chosen = np.concatenate([_some(random, leaders[classes == number], fraction) for number in np.unique(classes)])
    if not len(chosen):
        chosen = random.permutation(leaders)[:1]
    held = np.isin(group, chosen)
    return texts.take(np.flatnonzero(~held)), texts.take(np.flatnonzero(held))


def _some(random: np.random.Generator, leaders: np.ndarray, fraction: float) -> np.ndarray:
    """A share of one class's texts; one at least where it has two, and never all."""
    count = min(len(leaders) - 1, max(1, round(fraction * len(leaders))))
    return random.permutation(leaders)[:count]


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


def subset(texts: Texts, count: int | None, seed: int, flag: str = "--max-samples") -> Texts:
    """At most `count` of the rows, drawn at random from the seed, in their old order.

    Raises:
        ConfigError: `count` is below 1.
    """
    if count is not None and count < 1:
        raise ConfigError(f"{flag} {count}: give 1 or more, or leave it out")
    if count is None or count >= len(texts):
        return texts
    chosen = np.random.default_rng([seed, 2]).permutation(len(texts))[:count]
    return texts.take(np.sort(chosen))
