"""Scores of forecasts: overall with intervals over series, and per series, window and step ahead.

Definitions are those of `gluonts.ev`: means and sums run over all points that were observed, whatever their series. Each score
is a ratio of two sums, so that every view of it, and the bootstrap, is a matter of which sums are added up.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tasks.errors import DataError
from tasks.files import defined
from tasks.forecast.panel import Entries, Panel
from tasks.forecast.score.scale import actual_rows, row_keys, seasonal_error
from tasks.forecast.score.summary import LEVELS, Forecasts
from tasks.stats import percentile_intervals, resampled_ratios

__all__ = ["INTERVALS", "LEVELS", "METRICS", "QUANTILES", "Forecasts", "Score", "score", "score_entries"]

# Levels of the weighted quantile loss, and of the intervals by their per cent.
QUANTILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
INTERVALS = {50: (0.25, 0.75), 80: (0.1, 0.9), 95: (0.025, 0.975)}
# Lower is better in these.
METRICS = ("mase", "smape", "mape", "rmse", "nd", "wql", "crps", "msis")
NAMES = (*METRICS, *(f"{kind}_{share}" for share in INTERVALS for kind in ("coverage", "width")))

Figures = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Score:
    """What `score` found. A figure that isn't defined is NaN, and None in `as_dict`.

    Attributes:
        m: the season's length of MASE's and MSIS's scale.
        counts: entries, series, windows, points; missing points; entries whose scale is zero, and those without any, both left
            out of MASE and MSIS; zero points, left out of MAPE.
        overall: name -> value, low, high. The interval is NaN for a single series, which says nothing of others.
        series, windows: the keys of `per_series` and `per_window`, in rising order.
        per_series, per_window, per_step: name -> float64 [series], [windows], [steps].
        skill: baseline -> name -> 1 - score / baseline's score: value, low, high.
        win_rate: baseline -> share of series with a lower MASE than the baseline, ties half.
    """

    m: int | None
    counts: dict[str, int]
    overall: Figures
    series: np.ndarray
    windows: np.ndarray
    per_series: dict[str, np.ndarray]
    per_window: dict[str, np.ndarray]
    per_step: dict[str, np.ndarray]
    skill: dict[str, Figures] = field(default_factory=dict)
    win_rate: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, ready for JSON."""
        return {name: defined(getattr(self, name)) for name in self.__dataclass_fields__}


def score(
    forecasts: Forecasts,
    actual: np.ndarray,
    scale: np.ndarray,
    series: np.ndarray,
    window: np.ndarray,
    *,
    m: int | None,
    baselines: Mapping[str, Forecasts] | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Score:
    """Scores forecasts against what came true.

    mase: |y - median| over the row's scale. smape: 2 |y - median| / (|y| + |median|). mape: |y - median| / |y|. rmse: of the
    mean. nd: sum of |y - median| over the sum of |y|. wql: the quantile loss 2 |(y - q) (1[y <= q] - level)|, meaned over 0.1 to
    0.9, over the sum of |y|. crps: from samples, |y - point| for points. msis: the scaled score of the 95 % interval. coverage_50,
    width_50: share of values within the interval, bounds included, and its mean width in the data's unit.
    smape is in 0 to 2 and mape in parts of 1, as GluonTS has them; a point with y = 0 is left out of mape, and of smape where the
    forecast is 0 too.

    Args:
        actual: [rows, steps], NaN where missing.
        scale: [rows], see `seasonal_error`.
        series, window: [rows] keys.
        m: the season that `scale` is of, to be stated.
        baselines: name -> forecasts of the same rows.
        confidence, resamples, seed: of the bootstrap over series.

    Raises:
        DataError: shapes that differ, or not one observed point.
    """
    everything = {"": forecasts, **(baselines or {})}
    for name, one in everything.items():
        if one.median.shape != actual.shape:
            raise DataError(f"forecasts {name} and actual values differ in shape: {one.median.shape}, {actual.shape}")
    if not (len(scale) == len(series) == len(window) == len(actual)) or np.isnan(actual).all():
        raise DataError(f"there is no actual value to score {len(forecasts)} forecasts against")
    keys, group = np.unique(series, return_inverse=True)
    windows, place = np.unique(window, return_inverse=True)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        sums = {name: _sums(one, actual, scale) for name, one in everything.items()}
        rows, steps = sums[""]
        by_series = {name: _grouped(of_rows, group, len(keys)) for name, (of_rows, _) in sums.items()}
        draws = _draws(by_series, resamples, seed) if len(keys) > 1 else None
        values = {name: _ratios(one.sum(axis=1)) for name, one in by_series.items()}
        per_series = {name: _ratios(one) for name, one in by_series.items()}
        skill = {name: _skill(values, draws, name, confidence) for name in everything if name}
        mase = NAMES.index("mase")
        return Score(
            m=m,
            counts=_counts(actual, scale, len(keys), len(windows)),
            overall=_figures(NAMES, values[""], None if draws is None else draws[""], confidence),
            series=keys,
            windows=windows,
            per_series=_named(per_series[""]),
            per_window=_named(_ratios(_grouped(rows, place, len(windows)))),
            per_step=_named(_ratios(steps)),
            skill=skill,
            win_rate={name: _win_rate(per_series[""][:, mase], per_series[name][:, mase]) for name in skill},
        )


def score_entries(
    forecasts: Forecasts,
    panel: Panel,
    entries: Entries,
    *,
    m: int,
    baselines: Mapping[str, Forecasts] | None = None,
    **bootstrap: Any,
) -> Score:
    """`score` of forecasts of a panel's entries: actual values, scales and keys are taken from it."""
    series, window = row_keys(panel, entries)
    actual = actual_rows(panel, entries, forecasts.horizon)
    scale = seasonal_error(panel, entries, m).reshape(-1)
    return score(forecasts, actual, scale, series, window, m=m, baselines=baselines, **bootstrap)


def _terms(
    forecasts: Forecasts, actual: np.ndarray, scale: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """For each of NAMES, in order, what is added up above and below for each point, [rows, steps]; None is 1 for each."""
    error = np.abs(actual - forecasts.median)
    size = np.abs(actual)
    usable = np.where(np.isfinite(scale) & (scale > 0), scale, np.nan)[:, None]
    yield error / usable, None
    both = size + np.abs(forecasts.median)
    yield np.where(both > 0, 2 * error / both, np.nan), None
    yield np.where(size > 0, error / size, np.nan), None
    yield (actual - forecasts.mean) ** 2, None
    yield error, size
    yield _mean_quantile_loss(forecasts, actual, error), size
    crps = error if forecasts.points else np.full(error.shape, np.nan)
    yield crps if forecasts.crps is None else forecasts.crps, None
    low, high = (forecasts.at(level) for level in INTERVALS[95])
    yield interval_score(low, high, actual, 0.05) / usable, None
    for bounds in INTERVALS.values():
        low, high = (forecasts.at(level) for level in bounds)
        width = np.where(np.isnan(actual), np.nan, high - low)
        yield np.where(np.isnan(width), np.nan, (low <= actual) & (actual <= high)), None
        yield width, None


def _mean_quantile_loss(forecasts: Forecasts, actual: np.ndarray, error: np.ndarray) -> np.ndarray:
    """The mean over QUANTILES; of a point, whose levels mean 0.5, the absolute error."""
    if forecasts.points:
        return error
    total = np.zeros(actual.shape)
    for level in QUANTILES:
        total += quantile_loss(forecasts.at(level), actual, level)
    return total / len(QUANTILES)


def quantile_loss(quantile: np.ndarray, actual: np.ndarray, level: float) -> np.ndarray:
    """2 |(y - q) (1[y <= q] - level)| of each point (Koenker and Bassett 1978, twice)."""
    return 2 * np.abs((actual - quantile) * ((quantile >= actual) - level))


def interval_score(low: np.ndarray, high: np.ndarray, actual: np.ndarray, alpha: float) -> np.ndarray:
    """The interval's width and, for a value outside, 2 / alpha times its distance (Gneiting and Raftery 2007)."""
    return high - low + 2 / alpha * (np.maximum(low - actual, 0) + np.maximum(actual - high, 0))


def _sums(forecasts: Forecasts, actual: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numerators and denominators of each row, float64 [2, rows, len(NAMES)], and of each step, [2, steps, len(NAMES)].

    What isn't defined at a point (no actual value, no scale, no such quantile) counts neither above nor below.
    """
    count, horizon = actual.shape
    rows = np.empty((2, count, len(NAMES)))
    steps = np.empty((2, horizon, len(NAMES)))
    for column, (above, below) in enumerate(_terms(forecasts, actual, scale)):
        there = ~np.isnan(above)
        counted = there if below is None else np.where(there, below, 0.0)
        for part, values in enumerate((np.where(there, above, 0.0), counted)):
            rows[part, :, column] = values.sum(axis=1)
            steps[part, :, column] = values.sum(axis=0)
    return rows, steps


def _grouped(rows: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    """The rows' numerators and denominators added up by group, [2, groups, len(NAMES)]."""
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(groups))
    return np.stack([np.add.reduceat(part[order], starts, axis=0) for part in rows])


def _ratios(sums: np.ndarray) -> np.ndarray:
    """Scores from sums [2, ..., len(NAMES)]; NaN where nothing lies below."""
    above, below = sums
    ratios = np.where(below > 0, above / below, np.nan)
    ratios[..., NAMES.index("rmse")] = np.sqrt(ratios[..., NAMES.index("rmse")])
    return ratios


def _draws(by_series: Mapping[str, np.ndarray], resamples: int, seed: int) -> dict[str, np.ndarray]:
    """name -> [resamples, len(NAMES)]; the model and the baselines on the same draws of series."""
    above, below = np.concatenate(list(by_series.values()), axis=2)
    drawn = np.split(resampled_ratios(above, below, resamples, seed), len(by_series), axis=1)
    for one in drawn:
        one[:, NAMES.index("rmse")] = np.sqrt(one[:, NAMES.index("rmse")])
    return dict(zip(by_series, drawn, strict=True))


def _skill(
    values: Mapping[str, np.ndarray], draws: Mapping[str, np.ndarray] | None, name: str, confidence: float
) -> Figures:
    kept = slice(0, len(METRICS))
    resampled = None if draws is None else 1 - draws[""][:, kept] / draws[name][:, kept]
    return _figures(METRICS, 1 - values[""][kept] / values[name][kept], resampled, confidence)


def _figures(names: tuple[str, ...], values: np.ndarray, draws: np.ndarray | None, confidence: float) -> Figures:
    if draws is None:
        low = high = np.full(len(names), np.nan)
    else:
        low, high = percentile_intervals(draws, confidence)
    return {
        name: {"value": float(values[i]), "low": float(low[i]), "high": float(high[i])} for i, name in enumerate(names)
    }


def _named(columns: np.ndarray) -> dict[str, np.ndarray]:
    return {name: np.ascontiguousarray(columns[..., i]) for i, name in enumerate(NAMES)}


def _win_rate(own: np.ndarray, other: np.ndarray) -> float:
    """The share of wins among the series where both are defined; NaN without any."""
    both = ~np.isnan(own) & ~np.isnan(other)
    return float(((own < other) + 0.5 * (own == other))[both].mean()) if both.any() else math.nan


def _counts(actual: np.ndarray, scale: np.ndarray, series: int, windows: int) -> dict[str, int]:
    missing = int(np.isnan(actual).sum())
    zero = int((scale == 0).sum())
    return {
        "entries": len(actual),
        "series": series,
        "windows": windows,
        "points": actual.size - missing,
        "missing_points": missing,
        "zero_scale": zero,
        "no_scale": int((~np.isfinite(scale)).sum()),
        "zero_points": int((actual == 0).sum()),
    }
