"""Digests of short runs of a series' values, by which it is found again in other data."""

from __future__ import annotations

import numpy as np

# Values in a row that make one digest.
ANCHOR = 8


def anchor_rows(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The digests of ANCHOR rows from each place on, uint64 [places, ANCHOR]."""
    found = row_digests(values[(first[:, None] + np.arange(ANCHOR)).reshape(-1)])
    return found.reshape(len(first), ANCHOR)


def anchor_digests(rows: np.ndarray) -> np.ndarray:
    """One digest of each [n, ANCHOR]."""
    return (rows * _POWERS).sum(axis=1, dtype=np.uint64)


def rolling_digests(rows: np.ndarray) -> np.ndarray:
    """`anchor_digests` at every place of [n]; those that reach past the end wrap around."""
    total = np.zeros(len(rows), np.uint64)
    for number, power in enumerate(_POWERS):
        total += np.roll(rows, -number) * power
    return total


def row_digests(values: np.ndarray) -> np.ndarray:
    """A digest of each row of [n, dims]: of its values in float32, so that it is the same whatever file they came in."""
    with np.errstate(over="ignore", invalid="ignore"):
        single = values.astype(np.float32) + np.float32(0)  # no negative zero
    single[np.isnan(single)] = np.nan  # one NaN of the many
    bits = mixed(np.ascontiguousarray(single).view(np.uint32).astype(np.uint64))
    return (bits * (2 * np.arange(values.shape[1], dtype=np.uint64) + np.uint64(1))).sum(axis=1, dtype=np.uint64)


def mixed(numbers: np.ndarray) -> np.ndarray:
    """Numbers spread over 64 bits (the finalizer of SplitMix64)."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


_POWERS = mixed(np.arange(1, ANCHOR + 1, dtype=np.uint64)) | np.uint64(1)
