"""Forecast metrics as `evaluate.Metric`s: one call for one series, or for several as columns.

The figures are those of `tasks.forecast.score.scores`; a missing reference (NaN) is left out. Where the `evaluate` library has a metric
of the same name, the arguments are its own: rows are steps, columns are outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import Features, List, Value

from tasks.errors import ConfigError, DataError
from tasks.forecast.panel import Entries
from tasks.forecast.score.scale import bare_panel, seasonal_error
from tasks.forecast.score.scores import QUANTILES, interval_score, quantile_loss
from tasks.forecast.score.summary import sample_crps
from tasks.metrics.base import Metric

_NUMBER = Value("float64")
_POINTS = [
    Features({"predictions": _NUMBER, "references": _NUMBER}),
    Features({"predictions": List(_NUMBER), "references": List(_NUMBER)}),
]
_SPREAD = Features({"predictions": List(_NUMBER), "references": _NUMBER})
_POINT_USAGE = """
Args:
    predictions, references: [steps], or [steps][outputs] for several series.
    sample_weight: [steps], optional, to `compute` only.
    multioutput: "uniform_average", "raw_values" (one figure an output) or a weight for each output.
"""
_SCALE_USAGE = """
    training: [points] (or [points][outputs]) before the forecast.
    periodicity: the season m of the scale, the mean of |y_t - y_{t-m}| over `training`.
"""


class _Pointwise(Metric):
    """The weighted mean over steps of an error of each step, by output, then over outputs."""

    takes, usage = _POINTS, _POINT_USAGE

    def _compute(
        self,
        predictions: Sequence[Any],
        references: Sequence[Any],
        sample_weight: Sequence[float] | None = None,
        multioutput: str | Sequence[float] = "uniform_average",
    ) -> dict[str, Any]:
        found, count = self._outputs(predictions, references, sample_weight)
        return {self.name: _combined(found, multioutput), "n": count}

    def _outputs(
        self, predictions: Sequence[Any], references: Sequence[Any], sample_weight: Sequence[float] | None
    ) -> tuple[np.ndarray, int]:
        """The figure of each output, [outputs], and how many references there were."""
        predicted, actual = _alike(predictions, references)
        _complete(predicted)
        with np.errstate(divide="ignore", invalid="ignore"):
            errors = self.errors(predicted, actual)
        weights = np.ones(len(actual)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        if weights.shape != (len(actual),):
            raise DataError(f"{len(actual)} steps need a weight each, found the shape {weights.shape}")
        there = ~np.isnan(errors)
        below = (weights[:, None] * there).sum(axis=0)
        above = (weights[:, None] * np.where(there, errors, 0.0)).sum(axis=0)
        found = np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)
        return self.finish(found), int((~np.isnan(actual)).sum())

    def errors(self, predicted: np.ndarray, actual: np.ndarray) -> np.ndarray:
        """Of each step and output, [steps, outputs]; NaN is left out. By default the absolute error."""
        return np.abs(actual - predicted)

    def finish(self, means: np.ndarray) -> np.ndarray:
        return means


class Mape(_Pointwise):
    """Mean absolute percentage error in parts of 1: the mean of |y - p| / |y|, references of 0 left out."""

    def errors(self, predicted: np.ndarray, actual: np.ndarray) -> np.ndarray:
        return np.where(actual != 0, np.abs(actual - predicted) / np.abs(actual), np.nan)


class Smape(_Pointwise):
    """Symmetric mean absolute percentage error, 0 to 2: the mean of 2 |y - p| / (|y| + |p|), steps where both are 0 left out."""

    source = "Makridakis, Accuracy measures, International Journal of Forecasting 9 (1993)."

    def errors(self, predicted: np.ndarray, actual: np.ndarray) -> np.ndarray:
        both = np.abs(actual) + np.abs(predicted)
        return np.where(both != 0, 2 * np.abs(actual - predicted) / both, np.nan)


class Rmse(_Pointwise):
    """Root of the mean squared error of each output."""

    def errors(self, predicted: np.ndarray, actual: np.ndarray) -> np.ndarray:
        return (actual - predicted) ** 2

    def finish(self, means: np.ndarray) -> np.ndarray:
        return np.sqrt(means)


class Mase(_Pointwise):
    """Mean absolute scaled error: the mean of |y - p| over the mean of |y_t - y_{t-m}| on the training values."""

    source = "Hyndman and Koehler, Another look at measures of forecast accuracy, IJF 22 (2006)."
    usage = _POINT_USAGE + _SCALE_USAGE

    def _compute(  # type: ignore[override]
        self,
        predictions: Sequence[Any],
        references: Sequence[Any],
        training: Sequence[Any],
        periodicity: int = 1,
        sample_weight: Sequence[float] | None = None,
        multioutput: str | Sequence[float] = "uniform_average",
    ) -> dict[str, Any]:
        errors, count = self._outputs(predictions, references, sample_weight)
        scale = _scale(training, periodicity, len(errors))
        # Several outputs are the ratio of the averages, as in `evaluate`; "raw_values" gives each its own.
        value = _combined(errors, multioutput) / _nonzero(_combined(scale, multioutput))
        return {self.name: value, "n": count}


class Nd(_Pointwise):
    """Normalized deviation: the sum of |y - p| over the sum of |y|, over all steps and outputs."""

    usage = "\nArgs:\n    predictions, references: [steps], or [steps][outputs] for several series.\n"

    def _compute(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, Any]:  # type: ignore[override]
        predicted, actual = _alike(predictions, references)
        means, count = self._outputs(predicted.reshape(-1).tolist(), actual.reshape(-1).tolist(), None)
        return {self.name: float(means[0] / _nonzero(np.nanmean(np.abs(actual)))), "n": count}


class Wql(Metric):
    """Weighted quantile loss: 2 |(y - q) (1[y <= q] - level)|, meaned over levels and steps, over the mean of |y|."""

    takes = _SPREAD
    usage = "\nArgs:\n    predictions: [steps][levels].\n    references: [steps].\n    quantile_levels: 0.1 to 0.9.\n"

    def _compute(
        self,
        predictions: Sequence[Sequence[float]],
        references: Sequence[float],
        quantile_levels: Sequence[float] = QUANTILES,
    ) -> dict[str, Any]:
        quantiles, actual = _spread(predictions, references, len(quantile_levels))
        losses = [quantile_loss(quantiles[:, i], actual, level) for i, level in enumerate(quantile_levels)]
        return {self.name: float(np.mean(losses) / _nonzero(np.abs(actual).mean())), "n": len(actual)}


class Crps(Metric):
    """Continuous ranked probability score: E|X - y| - E|X - X'| / 2 of the samples' own distribution, meaned over steps."""

    takes = _SPREAD
    source = "Gneiting and Raftery, Strictly proper scoring rules, JASA 102 (2007)."
    usage = "\nArgs:\n    predictions: [steps][samples].\n    references: [steps].\n"

    def _compute(self, predictions: Sequence[Sequence[float]], references: Sequence[float]) -> dict[str, Any]:
        samples, actual = _spread(predictions, references)
        return {self.name: float(sample_crps(np.sort(samples, axis=1), actual).mean()), "n": len(actual)}


class Msis(Metric):
    """Mean scaled interval score: the interval's width and 2 / alpha times the distance of values outside, over MASE's scale."""

    takes = _SPREAD
    source = "Gneiting and Raftery, JASA 102 (2007); Makridakis et al., The M4 Competition, IJF 36 (2020)."
    usage = (
        "\nArgs:\n    predictions: [steps][2], the interval's bounds.\n    references: [steps].\n"
        "    alpha: 1 - the interval's share, 0.05.\n" + _SCALE_USAGE
    )

    def _compute(
        self,
        predictions: Sequence[Sequence[float]],
        references: Sequence[float],
        training: Sequence[float],
        periodicity: int = 1,
        alpha: float = 0.05,
    ) -> dict[str, Any]:
        if not 0 < alpha < 1:
            raise ConfigError(f"alpha must lie in (0, 1), got {alpha}")
        bounds, actual = _spread(predictions, references, 2)
        scale = _nonzero(_scale(training, periodicity, 1)[0])
        score = interval_score(bounds[:, 0], bounds[:, 1], actual, alpha).mean()
        return {self.name: float(score / scale), "n": len(actual)}


class Coverage(Metric):
    """Share of references within their interval, bounds included, and the interval's mean width."""

    takes = _SPREAD
    usage = "\nArgs:\n    predictions: [steps][2], the interval's bounds.\n    references: [steps].\n"

    def _compute(self, predictions: Sequence[Sequence[float]], references: Sequence[float]) -> dict[str, Any]:
        bounds, actual = _spread(predictions, references, 2)
        inside = (bounds[:, 0] <= actual) & (actual <= bounds[:, 1])
        width = float((bounds[:, 1] - bounds[:, 0]).mean())
        return {self.name: float(inside.mean()), "width": width, "n": len(actual)}


def _columns(values: Sequence[Any] | np.ndarray, what: str) -> np.ndarray:
    """float64 [steps, outputs]."""
    try:
        found = np.asarray(values, dtype=np.float64)
    except ValueError:
        raise DataError(f"{what}: rows are of unequal length") from None
    if found.ndim not in (1, 2) or not found.size:
        raise DataError(f"{what} must be [steps] or [steps][outputs], found the shape {found.shape}")
    return found[:, None] if found.ndim == 1 else found


def _alike(predictions: Sequence[Any], references: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Both as [steps, outputs]."""
    predicted, actual = _columns(predictions, "predictions"), _columns(references, "references")
    if predicted.shape != actual.shape:
        raise DataError(f"predictions and references differ in shape: {predicted.shape} and {actual.shape}")
    return predicted, actual


def _spread(
    predictions: Sequence[Any], references: Sequence[float], width: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """[steps, width] and [steps], steps without a reference left out."""
    predicted, actual = _columns(predictions, "predictions"), np.asarray(references, dtype=np.float64)
    if width is not None and predicted.shape[1] != width:
        raise DataError(f"each step needs {width} predictions, found {predicted.shape[1]}")
    _complete(predicted)
    there = ~np.isnan(actual)
    if not there.any():
        raise DataError("there is no reference to score")
    return predicted[there], actual[there]


def _complete(predicted: np.ndarray) -> None:
    bad = np.isnan(predicted).any(axis=1)
    if bad.any():
        raise DataError(f"predictions, row {int(np.flatnonzero(bad)[0]) + 1}: no number")


def _scale(training: Sequence[Any], periodicity: int, outputs: int) -> np.ndarray:
    """[outputs]"""
    values = _columns(training, "training")
    if values.shape[1] != outputs:
        raise DataError(f"training has {values.shape[1]} outputs and the predictions have {outputs}")
    whole = Entries(np.zeros(1, np.int64), np.array([len(values)]), np.zeros(1, np.int64))
    return seasonal_error(bare_panel(values, np.array([len(values)])), whole, periodicity)[0]


def _combined(values: np.ndarray, multioutput: str | Sequence[float]) -> Any:
    if isinstance(multioutput, str):
        if multioutput not in ("uniform_average", "raw_values"):
            raise ConfigError(f"multioutput is uniform_average, raw_values or weights, got {multioutput!r}")
        return float(values.mean()) if multioutput == "uniform_average" else values
    if len(multioutput) != len(values):
        raise ConfigError(f"{len(values)} outputs need as many weights, got {len(multioutput)}")
    return float(np.average(values, weights=np.asarray(multioutput, dtype=np.float64)))


def _nonzero(divisor: Any) -> Any:
    """Raises where there is nothing to divide by: a constant or too short training, references of 0 only."""
    if not np.all(np.asarray(divisor) > 0):
        raise DataError(
            "the score is not defined: what it is divided by is 0 or missing "
            "(training values that never change or are too few, or references that are all 0)"
        )
    return divisor
