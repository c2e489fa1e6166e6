"""Summaries of sampled forecasts: median, mean and quantiles of each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.errors import DataError

# Quantile levels that are kept. 0.1 to 0.9 serve the weighted quantile loss, the others the intervals.
LEVELS = (0.025, 0.05, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95, 0.975)
# Samples are summarized in pieces of about this many, 8 bytes each.
_PIECE = 1 << 21


@dataclass(frozen=True)
class Forecasts:
    """Forecasts of `rows` = entries * dims, a row for each dimension of each entry, in that order.

    Attributes:
        median, mean: float64 [rows, steps].
        quantiles: float64 [rows, steps, len(LEVELS)]; NaN at a level that isn't known.
        crps: float64 [rows, steps] where samples were scored against what came true, else None.
        points: whether these are single values without a spread; each quantile is then that value.
    """

    median: np.ndarray
    mean: np.ndarray
    quantiles: np.ndarray
    crps: np.ndarray | None = None
    points: bool = False

    def __len__(self) -> int:
        return len(self.median)

    @property
    def horizon(self) -> int:
        return self.median.shape[1]

    def at(self, level: float) -> np.ndarray:
        """The quantile of one of LEVELS, [rows, steps]."""
        return np.ascontiguousarray(self.quantiles[..., LEVELS.index(level)])

    def part(self, rows: np.ndarray | slice) -> Forecasts:
        crps = None if self.crps is None else self.crps[rows]
        return Forecasts(self.median[rows], self.mean[rows], self.quantiles[rows], crps, self.points)

    def columns(self) -> dict[str, np.ndarray]:
        """Columns of a long table, [rows * steps] each: median, mean, and each level under its own name, "0.1" say."""
        found = {"median": self.median.reshape(-1), "mean": self.mean.reshape(-1)}
        return found | {str(level): self.at(level).reshape(-1) for level in LEVELS}


def from_samples(samples: np.ndarray, actual: np.ndarray | None = None) -> Forecasts:
    """Summarizes samples.

    A quantile is the order statistic number round(level * (samples - 1)), counted from 0, halves to the even one: the rule of
    GluonTS's SampleForecast, so that scores are the same as its scores. The CRPS is that of the samples' own distribution,
    E|X - y| - E|X - X'| / 2 (Gneiting and Raftery 2007), over the sorted samples.

    Args:
        samples: [entries, samples, steps] or [entries, samples, steps, dims], float32 or float64.
        actual: [entries * dims, steps], NaN where missing; without it there is no CRPS.

    Raises:
        DataError: a sample is NaN, or the shapes don't fit.
    """
    if samples.ndim not in (3, 4) or not samples.shape[1]:
        raise DataError(f"samples need the axes entries, samples, steps (and dims), found shape {samples.shape}")
    if samples.ndim == 3:
        samples = samples[..., None]
    entries, count, horizon, dims = samples.shape
    if actual is not None:
        _same_shape(actual, (entries * dims, horizon))
        actual = actual.reshape(entries, dims, horizon)
    step = max(1, _PIECE // max(1, count * horizon * dims))
    pieces = [
        _summary(samples[start : start + step], None if actual is None else actual[start : start + step])
        for start in range(0, max(1, entries), step)
    ]
    return concatenate(pieces)


def from_quantiles(quantiles: np.ndarray, levels: Sequence[float], mean: np.ndarray | None = None) -> Forecasts:
    """Forecasts from quantiles at other levels: those between two given ones are interpolated, those outside are NaN.

    Args:
        quantiles: [entries, len(levels), steps] or [entries, len(levels), steps, dims].
        levels: rising, 0.5 within them.
        mean: [entries, steps] or [entries, steps, dims]; left out, the median takes its place.

    Raises:
        DataError: the levels don't rise, don't hold the median or don't fit the shape; the median or the mean is NaN.
    """
    given = np.asarray(levels, dtype=np.float64)
    if len(given) != quantiles.shape[1] or (np.diff(given) <= 0).any() or not given[0] <= 0.5 <= given[-1]:
        raise DataError(f"{quantiles.shape[1]} quantiles need as many rising levels around 0.5, found {list(levels)}")
    rows = _rows(np.moveaxis(quantiles, 1, -1))  # [rows, steps, levels]
    wanted = np.asarray(LEVELS)
    above = np.clip(np.searchsorted(given, wanted), 1 if len(given) > 1 else 0, len(given) - 1)
    below = np.maximum(above - 1, 0)
    width = np.where(above > below, given[above] - given[below], 1.0)
    share = (wanted - given[below]) / width
    # Where a level is one of the given ones its own value is taken, whatever its neighbour is.
    found = np.where(share == 1.0, rows[..., above], rows[..., below] * (1 - share) + rows[..., above] * share)
    found = np.where(share == 0.0, rows[..., below], found)
    found[..., (wanted < given[0]) | (wanted > given[-1])] = np.nan
    median = np.ascontiguousarray(found[..., LEVELS.index(0.5)])
    means = median if mean is None else _rows(mean[..., None])[..., 0]
    _same_shape(means, median.shape)
    return Forecasts(_complete(median), _complete(means), found)


def from_points(points: np.ndarray) -> Forecasts:
    """Forecasts from single values, [entries, steps] or [entries, steps, dims].

    Raises:
        DataError: a value is NaN.
    """
    rows = _complete(_rows(points[..., None])[..., 0])
    return Forecasts(rows, rows, np.broadcast_to(rows[..., None], (*rows.shape, len(LEVELS))), points=True)


def concatenate(parts: Sequence[Forecasts]) -> Forecasts:
    """Forecasts one after the other, at least one, all of the same kind."""
    crps = [part.crps for part in parts if part.crps is not None]
    return Forecasts(
        np.concatenate([part.median for part in parts]),
        np.concatenate([part.mean for part in parts]),
        np.concatenate([part.quantiles for part in parts]),
        np.concatenate(crps) if len(crps) == len(parts) else None,
        all(part.points for part in parts),
    )


def sample_crps(ordered: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """The CRPS of samples, [...], from samples in rising order, [..., samples], and what came true, [...]."""
    count = ordered.shape[-1]
    weights = (2.0 * np.arange(count) - count + 1) / count**2
    return np.abs(ordered - actual[..., None]).mean(axis=-1) - ordered @ weights


def _summary(samples: np.ndarray, actual: np.ndarray | None) -> Forecasts:
    """Of [entries, samples, steps, dims] and [entries, dims, steps]."""
    ordered = np.ascontiguousarray(samples.transpose(0, 3, 2, 1))
    mean = ordered.mean(axis=-1, dtype=np.float64)
    if np.isnan(mean).any():
        raise DataError(f"a forecast holds NaN: entry {int(np.flatnonzero(np.isnan(mean).any(axis=(1, 2)))[0])}")
    ordered.sort(axis=-1)
    count, horizon = ordered.shape[-1], ordered.shape[-2]
    places = [round((count - 1) * level) for level in LEVELS]
    quantiles = ordered[..., places].astype(np.float64).reshape(-1, horizon, len(LEVELS))
    crps = None
    if actual is not None:
        crps = sample_crps(ordered.astype(np.float64, copy=False), actual).reshape(-1, horizon)
    median = np.ascontiguousarray(quantiles[..., LEVELS.index(0.5)])
    return Forecasts(median, mean.reshape(-1, horizon), quantiles, crps)


def _rows(values: np.ndarray) -> np.ndarray:
    """[entries, steps, k] as it is, [entries, steps, dims, k] as [entries * dims, steps, k]; float64."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim == 4:
        values = values.transpose(0, 2, 1, 3).reshape(-1, values.shape[1], values.shape[3])
    if values.ndim != 3:
        raise DataError(f"forecasts need the axes entries and steps (and dims), found shape {values.shape[:-1]}")
    return values


def _complete(values: np.ndarray) -> np.ndarray:
    bad = np.isnan(values).any(axis=1)
    if bad.any():
        raise DataError(f"a forecast holds NaN: entry {int(np.flatnonzero(bad)[0])}")
    return values


def _same_shape(values: np.ndarray, shape: tuple[int, ...]) -> None:
    if values.shape != shape:
        raise DataError(f"forecasts and what they are scored against differ in shape: {shape} and {values.shape}")
