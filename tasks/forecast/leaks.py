"""Test windows whose values are in the training data too: a test file that repeats the training's end, a series that is there twice."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tasks.forecast.panel import Entries, Panel
from tasks.forecast.score.anchors import mixed

# Windows of fewer different values than this, or than half their steps, may be alike by chance.
LEAST_DIFFERENT = 4
# Rows that are hashed at once.
BLOCK = 1 << 18
_BASE = np.uint64(0x9E3779B97F4A7C15)


def leaked(panel: Panel, train_ends: np.ndarray, test: Entries, horizon: int) -> np.ndarray:
    """bool [entries]: the window's values are, step for step, the end of its own series' training part, or a part of another's.

    A series that repeats itself is none of these: a window that its own history has elsewhere counts only where that history's
    end is no repetition.

    Args:
        train_ends: int64 [series]; training sees so many steps of each.
    """
    if not len(test) or horizon < LEAST_DIFFERENT:
        return np.zeros(len(test), bool)
    first, rows = panel.offsets[:-1], panel.offsets[:-1][test.series] + test.origin
    tail = first + train_ends - horizon
    wanted, ends, before = (_hashes_at(panel.values, at, horizon) for at in (rows, tail, tail - horizon))
    names = np.unique(wanted)
    alike = np.unique(np.concatenate([*_alike(panel, train_ends, names, horizon)]), axis=0)
    number = np.searchsorted(names, wanted)
    own = np.isin(number * len(panel) + test.series, alike[:, 0] * len(panel) + alike[:, 1])
    elsewhere = np.bincount(alike[:, 0], minlength=len(names))[number] - own > 0
    repeats = (tail >= horizon + first) & (before == ends)
    ended = ((tail >= first) & ~repeats)[test.series] & (ends[test.series] == wanted)
    found = (elsewhere & ~own) | ended
    found[found] = [_telling(panel, int(row), horizon) for row in rows[found]]
    return found


def _hashes_at(values: np.ndarray, rows: np.ndarray, steps: int) -> np.ndarray:
    """uint64 [k]: of the windows that begin at these rows."""
    hashes = np.zeros(len(rows), np.uint64)
    for step in range(steps):
        hashes = hashes * _BASE + _row_hashes(values[np.clip(rows + step, 0, len(values) - 1)])
    return hashes


def _alike(panel: Panel, train_ends: np.ndarray, names: np.ndarray, horizon: int) -> Iterator[np.ndarray]:
    """Pairs int64 [k, 2] of (place of a hash in `names`, series whose training part has a window of it), each once a block."""
    may_be = np.zeros(1 << 22, bool)
    may_be[names >> np.uint64(42)] = True
    bounds, last = panel.offsets[1:], panel.offsets[:-1] + train_ends - horizon
    for begin in range(0, len(panel.values), BLOCK):
        hashes = _rolling(_row_hashes(panel.values[begin : begin + BLOCK + horizon - 1]), horizon)[:BLOCK]
        row = np.flatnonzero(may_be[hashes >> np.uint64(42)])
        place = np.searchsorted(names, hashes[row]).clip(max=len(names) - 1)
        series = np.searchsorted(bounds, row + begin, side="right")
        hit = (names[place] == hashes[row]) & (row + begin <= last[series])
        yield np.unique(np.stack([place[hit], series[hit]], axis=1), axis=0)


def _row_hashes(values: np.ndarray) -> np.ndarray:
    """uint64 [steps]: of the values [steps, dims] of each step, well mixed."""
    hashes = np.zeros(len(values), np.uint64)
    for column in (values + 0.0).T:  # -0.0 is 0.0
        hashes = mixed((hashes * _BASE) ^ np.ascontiguousarray(column).view(np.uint64))
    return hashes


def _rolling(rows: np.ndarray, steps: int) -> np.ndarray:
    """uint64 [rows]: a hash of the `steps` rows from each on; of the last ones, of what there is."""
    hashes = np.zeros(len(rows), np.uint64)
    length, covered = 1, 0
    piece = rows.copy()  # of `length` rows from each on
    while True:
        if steps & length:
            hashes = hashes * _power(length) + _shifted(piece, covered)
            covered += length
        if covered == steps:
            return hashes
        piece = piece * _power(length) + _shifted(piece, length)
        length *= 2


def _power(exponent: int) -> np.uint64:
    return np.uint64(pow(int(_BASE), exponent, 1 << 64))


def _shifted(values: np.ndarray, by: int) -> np.ndarray:
    moved = np.zeros_like(values)
    moved[: max(0, len(values) - by)] = values[by:]
    return moved


def _telling(panel: Panel, row: int, horizon: int) -> bool:
    """Whether a window has so many different values that it is not like another by chance."""
    window = panel.values[row : row + horizon]
    return not np.isnan(window).any() and len(np.unique(window, axis=0)) >= max(LEAST_DIFFERENT, horizon // 2)
