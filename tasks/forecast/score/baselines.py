"""Baseline forecasts: the last value, and the value one season ago."""

from __future__ import annotations

import numpy as np

from tasks.errors import ConfigError, DataError
from tasks.forecast.panel import Entries, Panel
from tasks.forecast.score.summary import Forecasts, from_points


def last_value(panel: Panel, entries: Entries, horizon: int) -> Forecasts:
    """The last observed value of each history, for every step ahead."""
    return seasonal_naive(panel, entries, horizon, 1)


def seasonal_naive(panel: Panel, entries: Entries, horizon: int, m: int) -> Forecasts:
    """The value m steps before, the last season repeated where the horizon is longer.

    As GluonTS's SeasonalNaivePredictor: a missing value is the last observed one before it (the first observed one where there
    is none before, 0 where there is none at all), and a history shorter than m is forecast by its mean.

    Returns:
        point forecasts, [entries * dims, horizon].

    Raises:
        DataError: an entry without history.
        ConfigError: m below 1.
    """
    if m < 1:
        raise ConfigError(f"the season's length must be >= 1, got {m}")
    if (entries.origin < 1).any():
        series = int(entries.series[np.flatnonzero(entries.origin < 1)[0]])
        raise DataError(f"series {panel.item_ids[series]} has no value before its first forecast")
    points = np.empty((len(entries), horizon, panel.dims))
    short = entries.origin < m
    steps = np.arange(horizon) % m - m
    long = entries.part(~short)
    points[~short] = _history(panel, long, long.origin[:, None] + steps)
    if short.any():
        points[short] = _means(panel, entries.part(short))[:, None]
    return from_points(points)


def _means(panel: Panel, entries: Entries) -> np.ndarray:
    """The mean of each history, missing values filled in, [entries, dims]."""
    step = np.arange(int(entries.origin.max()))
    inside = step < entries.origin[:, None]
    values = _history(panel, entries, np.minimum(step, entries.origin[:, None] - 1))
    return np.where(inside[..., None], values, 0.0).sum(axis=1) / entries.origin[:, None]


def _history(panel: Panel, entries: Entries, steps: np.ndarray) -> np.ndarray:
    """The values at some steps of each entry's history, missing ones filled in: [entries, k] to float64 [entries, k, dims]."""
    first = panel.offsets[entries.series]
    rows = first[:, None] + steps
    values = panel.values[rows].astype(np.float64)
    for dim in range(panel.dims):
        holes = np.isnan(values[..., dim])
        if not holes.any():
            continue
        entry = np.nonzero(holes)[0]
        seen = np.flatnonzero(~np.isnan(panel.values[:, dim]))
        after = np.searchsorted(seen, rows[holes], side="right")
        bounded = np.append(seen, len(panel.values))
        # One before the first is the last row's number here, which lies in no history of that step.
        before, after = np.append(-1, seen)[after], bounded[after]
        found = np.where(before >= first[entry], before, after)
        there = found < first[entry] + entries.origin[entry]
        values[..., dim][holes] = np.where(there, panel.values[np.where(there, found, 0), dim], 0.0)
    return values
