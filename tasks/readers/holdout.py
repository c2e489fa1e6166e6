"""The draws that part a data set, each from a seed: what is held out, and a random subset.

They decide what a run trains on and what it is measured on: another draw, and no run can be resumed or compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, Self, TypeVar

import numpy as np

from tasks.errors import ConfigError, DataError
from tasks.readers.options import DataOptions
from tasks.readers.problems import Problems


class Rows(Protocol):
    """A split of any task."""

    def __len__(self) -> int: ...

    def take(self, rows: np.ndarray) -> Self:
        """The rows of these numbers (int64 [k]), in that order."""
        ...


R = TypeVar("R", bound=Rows)
E = TypeVar("E")


def check_fraction(fraction: float, units: str) -> None:
    """
    Args:
        units: what is held out, for the message.

    Raises:
        ConfigError: the fraction is not above 0 and below 1.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"--eval-fraction {fraction}: give a share of the {units} above 0 and below 1")


def held_out(group: np.ndarray, fraction: float, seed: int, alone: str) -> np.ndarray:
    """bool [n]: which entries are held out, whole groups of them.

    Args:
        group: int64 [n], the same number for entries that must stay together.
        alone: what to say where there is one group only.

    Raises:
        DataError: there is one group only.
    """
    names = np.unique(group)
    if len(names) < 2:
        raise DataError(alone)
    return np.isin(group, share(np.random.default_rng([seed, 1]), names, fraction))


def share(random: np.random.Generator, names: np.ndarray, fraction: float) -> np.ndarray:
    """A share of the names; one at least where there are two, and never all."""
    count = min(len(names) - 1, max(1, round(fraction * len(names))))
    return random.permutation(names)[:count]


def taken_apart(rows: R, held: np.ndarray) -> tuple[R, R]:
    """(rest, held out), by bool [n]."""
    return rows.take(np.flatnonzero(~held)), rows.take(np.flatnonzero(held))


def parted(
    train: R | None, evaluation: E | None, need: tuple[str, ...], problems: Problems, part: Callable[[R], tuple[R, E]]
) -> tuple[R | None, E | None, bool]:
    """(training split, evaluation split, whether the second was held out of the first): where it is needed and not there.

    Args:
        part: gives (rest, held out) of the training split.
    """
    if train is None or evaluation is not None or "evaluation" not in need:
        return train, evaluation, False
    try:
        return (*part(train), True)
    except DataError:
        problems.raise_if_any()  # then they are why too little is left
        raise


def subset(rows: R, count: int | None, seed: int, flag: str = "--max-samples") -> R:
    """At most `count` of a split's rows, drawn at random from the seed, in their old order.

    Raises:
        ConfigError: `count` is below 1.
    """
    if count is not None and count < 1:
        raise ConfigError(f"{flag} {count}: give 1 or more, or leave it out")
    if count is None or count >= len(rows):
        return rows
    return rows.take(np.sort(np.random.default_rng([seed, 2]).permutation(len(rows))[:count]))


def subsets(train: R | None, evaluation: R | None, options: DataOptions) -> tuple[R | None, R | None]:
    """Both splits, each with as many of its rows as were asked for."""
    seed, flag = options.seed, "--max-eval-samples"
    return (
        None if train is None else subset(train, options.max_samples, seed),
        None if evaluation is None else subset(evaluation, options.max_eval_samples, seed, flag),
    )
