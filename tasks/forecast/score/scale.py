"""Actual values and scaling errors: the seasonal naive's error on each entry's own history."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.errors import ConfigError
from tasks.forecast.calendar import Calendar
from tasks.forecast.panel import Entries, Panel

# Differences are held for about this many points at once, 8 bytes each.
_BLOCK = 1 << 21


def seasonal_error(panel: Panel, entries: Entries, m: int) -> np.ndarray:
    """The mean of |y_t - y_{t-m}| over each entry's history, `values[:origin]` of its series.

    Pairs with a missing value are left out. As in GluonTS, a history shorter than m is taken with m = 1. Each point is read
    once, however many entries its series has, and no sum runs over more than one series: a large one takes no digits from
    its neighbours.

    Returns:
        float64 [entries, dims]; 0 for a constant history, NaN where it has no pair.

    Raises:
        ConfigError: m below 1.
    """
    if m < 1:
        raise ConfigError(f"the season's length must be >= 1, got {m}")
    lags = np.where(entries.origin < m, 1, m)
    scale = np.full((len(entries), panel.dims), np.nan)
    order = np.lexsort((entries.origin, entries.series))
    for lag in sorted({1, m}):
        chosen = order[lags[order] == lag]
        block = panel.offsets[entries.series[chosen]] // _BLOCK
        for part in np.split(chosen, np.flatnonzero(np.diff(block)) + 1):
            if len(part):
                scale[part] = _mean_differences(panel, entries.series[part], entries.origin[part], lag)
    return scale


def bare_panel(values: np.ndarray, lengths: np.ndarray) -> Panel:
    """A panel of histories alone, [points, dims] one after the other, for `seasonal_error`."""
    offsets = np.append(0, np.cumsum(lengths))
    calendar = Calendar("D", pd.Timestamp(0), int(lengths.max()))
    names = [str(number) for number in range(len(lengths))]
    return Panel(values, offsets, np.zeros(len(names), np.int64), calendar, names, has_timestamps=False)


def actual_rows(panel: Panel, entries: Entries, horizon: int) -> np.ndarray:
    """What came true, float64 [entries * dims, horizon], a row for each dimension of each entry; NaN beyond a series' end."""
    step = entries.origin[:, None] + np.arange(horizon)
    last = panel.lengths[entries.series][:, None] - 1
    values = panel.values[panel.offsets[entries.series][:, None] + np.minimum(step, last)].astype(np.float64)
    values[step > last] = np.nan
    return values.transpose(0, 2, 1).reshape(-1, horizon)


def row_keys(panel: Panel, entries: Entries) -> tuple[np.ndarray, np.ndarray]:
    """The series (numbered series * dims + dimension) and the window of each row of `actual_rows`, int64 [entries * dims]."""
    series = entries.series[:, None] * panel.dims + np.arange(panel.dims)
    return series.reshape(-1), np.repeat(entries.window, panel.dims)


def _mean_differences(panel: Panel, series: np.ndarray, origin: np.ndarray, lag: int) -> np.ndarray:
    """[n, dims]; sorted by series, then origin. Sums lie between one origin of a series and the next, then add up."""
    first = panel.offsets[series]
    base, stop = int(first[0]), int((first + origin).max())
    differences, seen = _differences(panel.values[base:stop], lag)
    new = np.append(True, series[1:] != series[:-1])
    end = np.maximum(first + origin - base - lag, 0)
    begin = np.where(new, np.minimum(first - base, end), np.append(0, end[:-1]))
    sums = _segment_sums(differences, begin, end)
    counts = _segment_sums(seen, begin, end)
    starts = np.flatnonzero(new)
    sizes = np.diff(np.append(starts, len(series)))
    for size in np.unique(sizes):
        rows = starts[sizes == size][:, None] + np.arange(size)
        sums[rows], counts[rows] = sums[rows].cumsum(axis=1), counts[rows].cumsum(axis=1)
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)


def _differences(values: np.ndarray, lag: int) -> tuple[np.ndarray, np.ndarray]:
    """|y_t - y_{t-lag}| and whether both are there, [points - lag + 1, dims]; row i is of point i + lag, the last one is 0."""
    differences = np.zeros((max(len(values) - lag, 0) + 1, values.shape[1]))
    with np.errstate(over="ignore", invalid="ignore"):
        np.subtract(values[lag:], values[:-lag], out=differences[:-1])
    np.abs(differences, out=differences)
    seen = ~np.isnan(differences)
    differences[~seen] = 0.0
    seen[-1] = False
    return differences, seen


def _segment_sums(values: np.ndarray, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The sums of `values[begin:end]` along the first axis, float64 [n, dims]; begin and end rise together."""
    sums = np.add.reduceat(values, np.stack([begin, end], axis=1).reshape(-1), axis=0, dtype=np.float64)[::2]
    sums[begin == end] = 0.0
    return sums
