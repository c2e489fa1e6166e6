"""The draws that part a data set, each from a seed: what is held out, and a random subset.

They decide what a run trains on and what it is measured on: another draw, and no run can be resumed or compared.
"""

from __future__ import annotations

import numpy as np

from tasks.errors import ConfigError, DataError


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


def drawn(n: int, count: int | None, seed: int, flag: str) -> np.ndarray | None:
    """At most `count` of the numbers below `n`, drawn at random from the seed, in order; None: all of them.

    Raises:
        ConfigError: `count` is below 1.
    """
    if count is not None and count < 1:
        raise ConfigError(f"{flag} {count}: give 1 or more, or leave it out")
    if count is None or count >= n:
        return None
    return np.sort(np.random.default_rng([seed, 2]).permutation(n)[:count])
