"""Length bucketing: batches of alike sizes from a seeded order, so that padding is little and the order random."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

import numpy as np

# Batches are cut from pieces of this many batches, sorted by size within each.
BUCKET_BATCHES = 32

T = TypeVar("T")


def epoch_plan(keys: Sequence[np.ndarray], batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """An epoch's batches: each example once; alike in the keys within a batch; order by seed and epoch.

    Args:
        keys: numbers of each example [n], the most important last, as `np.lexsort` takes them.

    Returns:
        int64 arrays of example numbers.
    """
    order = np.random.default_rng([seed, epoch]).permutation(len(keys[0]))
    piece = batch_size * BUCKET_BATCHES
    batches: list[np.ndarray] = []
    for start in range(0, len(order), piece):
        batches += cut(keys, order[start : start + piece], batch_size)
    shuffled = np.random.default_rng([seed, epoch, 1]).permutation(len(batches))
    return [batches[number] for number in shuffled]


def heaviest_first(keys: Sequence[np.ndarray], batch_size: int) -> list[np.ndarray]:
    """Batches for evaluation, least padding; the heaviest come first: what doesn't fit is known at once."""
    return cut(keys, np.arange(len(keys[0])), batch_size)[::-1]


def cut(keys: Sequence[np.ndarray], numbers: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """The examples `numbers`, sorted by their keys, in batches."""
    ordered = numbers[np.lexsort([key[numbers] for key in keys])]
    return [ordered[start : start + batch_size] for start in range(0, len(ordered), batch_size)]


def alike(items: Iterable[T], key: Callable[[T], Hashable], batch_size: int | None = None) -> list[list[T]]:
    """Items of one key together, in batches where a size is given; the keys in order of their first appearance."""
    groups: dict[Hashable, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    if batch_size is None:
        return list(groups.values())
    return [
        group[start : start + batch_size] for group in groups.values() for start in range(0, len(group), batch_size)
    ]
