"""Scores of classifiers and regressions, with intervals, against a baseline and against each other.

Every metric is computed from how often each kind of row occurs, a kind being a prediction and its label: the counts of all
rows give the score, those of resampled rows its interval.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tasks.errors import ConfigError, DataError
from tasks.paired import Paired, Scorer, paired_difference
from tasks.stats import percentile_intervals, resampled_counts, wilson

# A spread below this share of the squares is what rounding leaves of a constant.
_CONSTANT = 1e-14


def _accuracy(predictions: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return counts @ (predictions == labels) / counts.sum(axis=1)


def _f1(predictions: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Of class 1; 0 where it neither occurs nor is predicted, as scikit-learn has it."""
    return _ratio(*_f1_parts(predictions == 1, labels == 1, counts))


def _macro_f1(predictions: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The mean over the classes that occur or are predicted."""
    terms = [_f1_parts(predictions == k, labels == k, counts) for k in _classes(predictions, labels)]
    present = np.stack([below > 0 for _, below in terms]).sum(axis=0)
    return np.stack([_ratio(above, below) for above, below in terms]).sum(axis=0) / present


def _matthews(predictions: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The correlation of two classifications, of any number of classes; 0 where one of them is constant.

    Source: Gorodkin, Comparing two K-category assignments by a K-category correlation coefficient (2004).
    """
    total = counts.sum(axis=1)
    predicted = np.stack([counts @ (predictions == k) for k in _classes(predictions, labels)])
    true = np.stack([counts @ (labels == k) for k in _classes(predictions, labels)])
    joint = counts @ (predictions == labels) * total - (predicted * true).sum(axis=0)
    own = [total**2 - (one**2).sum(axis=0) for one in (predicted, true)]
    return _ratio(joint, np.sqrt(own[0]) * np.sqrt(own[1]))


def _pearson(predictions: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    x, y = _scaled(predictions), _scaled(labels)
    columns = np.stack([np.ones(len(x)), x, y, x * x, y * y, x * y], axis=1)
    total, sx, sy, xx, yy, xy = (counts @ columns).T
    mx, my, xx, yy, xy = sx / total, sy / total, xx / total, yy / total, xy / total
    vx, vy = xx - mx * mx, yy - my * my
    defined = (vx > _CONSTANT * xx) & (vy > _CONSTANT * yy)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(defined, np.clip((xy - mx * my) / np.sqrt(vx * vy), -1, 1), np.nan)


def _spearman(predictions: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Pearson's of the ranks, ties having the mean of theirs."""
    x, y = _ranks(predictions, counts), _ranks(labels, counts)
    vx, vy, xy = ((counts * one * other).sum(axis=1) for one, other in ((x, x), (y, y), (x, y)))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((vx > 0) & (vy > 0), np.clip(xy / np.sqrt(vx * vy), -1, 1), np.nan)


def _mse(predictions: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return counts @ (predictions - labels) ** 2 / counts.sum(axis=1)


def _mae(predictions: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return counts @ np.abs(predictions - labels) / counts.sum(axis=1)


class Metric(NamedTuple):
    """What is known of a metric. `classes`: it is of class numbers, else of numbers."""

    scorer: Scorer
    classes: bool
    greater_is_better: bool = True


METRICS: dict[str, Metric] = {
    "accuracy": Metric(_accuracy, classes=True),
    "f1": Metric(_f1, classes=True),
    "macro_f1": Metric(_macro_f1, classes=True),
    "matthews_correlation": Metric(_matthews, classes=True),
    "pearson": Metric(_pearson, classes=False),
    "spearman": Metric(_spearman, classes=False),
    "mse": Metric(_mse, classes=False, greater_is_better=False),
    "mae": Metric(_mae, classes=False, greater_is_better=False),
}


def score(
    names: tuple[str, ...],
    predictions: np.ndarray,
    labels: np.ndarray,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """The named metrics with their intervals: Wilson's for the accuracy, the percentile bootstrap over rows for the rest.

    Args:
        names: of METRICS, all of classes or all of numbers.
        predictions, labels: [n] class numbers (integers), or numbers.

    Returns:
        {"n": rows, name: value, ..., "intervals": {name: [low, high]}}. A correlation with a constant is NaN; "undefined"
        then says of which name and why.

    Raises:
        DataError: no rows, lengths that differ, values that aren't finite.
        ConfigError: no such metric, one for other values, or a confidence or number of resamples out of range.
    """
    predictions, labels = _checked(names, predictions, labels)
    kinds, sizes = np.unique(np.stack([predictions, labels], axis=1), axis=0, return_counts=True)
    answers, true = kinds.T
    whole = sizes[None, :].astype(np.float64)
    values = {name: float(METRICS[name].scorer(answers, true, whole)[0]) for name in names}
    intervals: dict[str, list[float]] = {}
    drawn = [name for name in names if name != "accuracy"]
    if drawn:
        pieces = [
            np.stack([METRICS[name].scorer(answers, true, counts) for name in drawn], axis=1)
            for counts in resampled_counts(sizes, resamples, seed)
        ]
        bounds = percentile_intervals(np.concatenate(pieces), confidence)
        intervals = dict(zip(drawn, bounds.T.tolist(), strict=True))
    if "accuracy" in names:
        intervals["accuracy"] = list(wilson(int((predictions == labels).sum()), len(labels), confidence))
    result = {"n": len(labels), **values, "intervals": {name: intervals[name] for name in names}}
    constant = [what for what, one in (("predictions", predictions), ("labels", labels)) if (one == one[0]).all()]
    reasons = {name: f"the {' and the '.join(constant)} are constant" for name in names if np.isnan(values[name])}
    return {**result, "undefined": reasons} if reasons else result


def paired(
    name: str,
    reference: np.ndarray,
    other: np.ndarray,
    labels: np.ndarray,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Paired:
    """What a metric gains or loses from `reference` to `other` on the same rows.

    The interval is a bootstrap over rows with both answers; p is McNemar's exact one for the accuracy, the bootstrap's for
    the rest.

    Args:
        reference, other, labels: [n] class numbers (integers), or numbers.

    Raises:
        DataError, ConfigError: as `score`.
    """
    first, true = _checked((name,), reference, labels)
    second, _ = _checked((name,), other, labels)
    return paired_difference(
        name, METRICS[name].scorer, first, second, true,
        exact=name == "accuracy", confidence=confidence, resamples=resamples, seed=seed,
    )  # fmt: skip


def _checked(names: tuple[str, ...], predictions: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as int64 or both as float64."""
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise ConfigError(f"there is no metric {', '.join(unknown)}; there are {', '.join(METRICS)}")
    if len(predictions) != len(labels) or not len(labels):
        raise DataError(f"a score needs a prediction for each label, found {len(predictions)} and {len(labels)}")
    classes = {METRICS[name].classes for name in names} or {labels.dtype.kind != "f"}
    if len(classes) > 1 or (True in classes and {predictions.dtype.kind, labels.dtype.kind} - set("iub")):
        raise ConfigError(f"{', '.join(names)}: metrics of classes need class numbers, those of numbers stand alone")
    if True in classes:
        whole = predictions.astype(np.int64), labels.astype(np.int64)
        if "f1" in names and max(one.max() for one in whole) > 1:
            raise ConfigError("f1 is of the classes 0 and 1, and there are more: take macro_f1")
        return whole
    numbers = predictions.astype(np.float64), labels.astype(np.float64)
    for what, values in zip(("predictions", "labels"), numbers, strict=True):
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise DataError(f"{len(bad)} of {len(values)} {what} aren't finite, the first is row {bad[0] + 1}")
    return numbers


def _classes(predictions: np.ndarray, labels: np.ndarray) -> list[int]:
    return [int(one) for one in np.union1d(predictions, labels)]


def _f1_parts(predicted: np.ndarray, true: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return 2 * (counts @ (predicted & true)), counts @ (1.0 * predicted + true)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """0 where there is nothing below."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _scaled(values: np.ndarray) -> np.ndarray:
    """Around 0 and at most 1, which changes no correlation and loses fewer digits."""
    around = values - values.mean()
    return around / (np.abs(around).max() or 1.0)


def _ranks(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Of each kind among the rows drawn, less the mean of all ranks; float64 [draws, kinds]."""
    order = np.argsort(values, kind="stable")
    distinct, inverse = np.unique(values, return_inverse=True)
    held = np.add.reduceat(counts[:, order], np.searchsorted(values[order], distinct), axis=1)
    up_to = np.cumsum(held, axis=1)
    # Ranks begin at 1, and the mean of all is (n + 1) / 2: halves, which are exact.
    return (up_to - held / 2 - up_to[:, -1:] / 2)[:, inverse]
