"""Figures of an evaluation: each split by its official metrics, beside the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tasks.errors import DataError
from tasks.files import defined
from tasks.glue import baselines as constants
from tasks.glue import multi_label, score
from tasks.glue.data import Splits
from tasks.glue.texts import Texts


def answers_of(logits: np.ndarray, labels: list[str] | None, thresholds: Sequence[float] | None = None) -> np.ndarray:
    """Class numbers int64 [n], or scores float64 [n] of a regression, from logits [n, labels].

    Args:
        thresholds: where a text may have several labels, the probability from which on it has each; the answers are then
            uint8 [n, labels].
    """
    if thresholds is not None:
        return (sigmoid(logits) >= np.asarray(thresholds)).astype(np.uint8)
    return logits[:, 0].astype(np.float64) if labels is None else logits.argmax(1)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """The probability of each label by itself, float64 [n, labels]."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -700, 700))))


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax over the classes, float64 [n, labels]."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return np.asarray(shifted / shifted.sum(1, keepdims=True))


def summarise(splits: Splits, logits: dict[str, np.ndarray], loss: dict[str, float]) -> dict[str, Any]:
    """The figures of every evaluation split; those of the first stand on top, the others carry their split's name before them.

    Returns:
        "n", "loss", each metric with "_low" and "_high", and "splits": the same of each by name.
    """
    by_split = {
        name: {**figures(splits, texts, logits[name]), "loss": loss[name]} for name, texts in splits.evaluation.items()
    }
    first, *others = by_split
    further = {f"{name}_{key}": value for name in others for key, value in by_split[name].items()}
    return {**by_split[first], **further, "splits": by_split}


def figures(splits: Splits, texts: Texts, logits: np.ndarray) -> dict[str, Any]:
    """The metrics of one split with their intervals, flat.

    Raises:
        DataError: logits that aren't numbers.
    """
    assert texts.label is not None
    if not np.isfinite(logits).all():
        row = int(np.flatnonzero(~np.isfinite(logits).all(1))[0])
        raise DataError(
            f"the model's answer to text {row + 1} is not a number; its weights are damaged, or training diverged"
        )
    answers = answers_of(logits, splits.labels, splits.thresholds)
    if splits.thresholds is not None:
        scored = multi_label.score(splits.metrics, sigmoid(logits), answers, texts.label)
    else:
        scored = score.score(splits.metrics, answers, texts.label)
    flat: dict[str, Any] = {"n": int(scored["n"])}
    for name in splits.metrics:
        low, high = scored["intervals"][name]
        flat |= {name: float(scored[name]), f"{name}_low": float(low), f"{name}_high": float(high)}
    return flat


def by_label(splits: Splits, logits: dict[str, np.ndarray]) -> dict[str, dict[str, Any]] | None:
    """The figures of each label on the first evaluation split, with its threshold; None where a text has one answer."""
    if splits.thresholds is None:
        return None
    name, texts = first_of(splits)
    answers = answers_of(logits[name], splits.labels, splits.thresholds)
    each = multi_label.per_label(sigmoid(logits[name]), answers, texts.label)
    rows = zip(splits.labels or [], each, splits.thresholds, strict=True)
    found: dict[str, dict[str, Any]] = defined({label: {**one, "threshold": level} for label, one, level in rows})
    return found


def baselines(splits: Splits) -> dict[str, float]:
    """What constant answers score by the headline metric: the one that the training labels suggest, and the best for these texts."""
    _, texts = first_of(splits)
    train = None if splits.train is None else splits.train.label
    if splits.thresholds is not None:
        return {
            one.name: one.value
            for one, _ in constants.constant_sets(splits.metrics[0], texts.label, train, splits.labels or [])
        }
    known = constants.constants(splits.metrics[0], texts.label, train, splits.labels)
    return {one.name: one.value for one, _ in known}


def verdict(splits: Splits, logits: dict[str, np.ndarray], figures: dict[str, Any]) -> dict[str, Any]:
    """Whether the headline metric clears its best baseline, on the first evaluation split; "metrics": the same of each metric."""
    name, texts = first_of(splits)
    train = None if splits.train is None else splits.train.label
    answers = answers_of(logits[name], splits.labels, splits.thresholds)
    judge: Any = constants.judge if splits.thresholds is None else constants.judge_sets
    found = {
        metric: judge(
            metric,
            answers,
            texts.label,
            train,
            splits.labels,
            tuple(figures[key] for key in (metric, f"{metric}_low", f"{metric}_high")),
        ).as_dict()
        for metric in splits.metrics
    }
    return {**found[splits.metrics[0]], "metrics": {metric: _short(one) for metric, one in found.items()}}


def _short(one: dict[str, Any]) -> dict[str, Any]:
    return {key: one[key] for key in ("clears", "baseline", "value", "difference", "low", "high")}


def first_of(splits: Splits) -> tuple[str, Any]:
    """Name and texts of the evaluation split that the headline is of."""
    return next(iter(splits.evaluation.items()))


PLAIN = {"matthews_correlation", "pearson", "spearman"}


def unit(metric: str) -> str:
    """How a report shows the metric: fractions as per cent, correlations as they are."""
    return "" if metric in PLAIN else "percent"


def text_of(metric: str, value: float) -> str:
    """The figure to read, in its unit."""
    return f"{value:.3f}" if metric in PLAIN else f"{100 * value:.1f}"


def describe(splits: Splits, metrics: dict[str, Any], beside: dict[str, float]) -> str:
    """The headline with its interval, n and baselines, then the other metrics and the other splits."""
    first = splits.metrics[0]
    sign = "" if first in PLAIN else " %"
    phrases = [
        f"{title(first)} {text_of(first, metrics[first])}{sign} (n {metrics['n']:,}, 95 % "
        f"{text_of(first, metrics[f'{first}_low'])} to {text_of(first, metrics[f'{first}_high'])})"
    ]
    phrases += [f"{title(name)} {text_of(name, metrics[name])}" for name in splits.metrics[1:]]
    for split in list(splits.evaluation)[1:]:
        phrases += [f"{split} {text_of(first, metrics[f'{split}_{first}'])}"]
    phrases += [f"{name} {text_of(first, value)}" for name, value in beside.items()]
    return " · ".join(phrases)


def title(metric: str) -> str:
    """The metric's name to read."""
    known = {"f1": "F1", "micro_f1": "micro F1", "macro_f1": "macro F1", "matthews_correlation": "Matthews correlation"}
    return known.get(metric, metric.replace("_", " "))
