"""The probability from which on a text is given a label: chosen for each label on texts that are neither trained on nor scored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tasks.errors import DataError

DEFAULT = 0.5
# A label with fewer texts than this takes the threshold that is best for all labels together; where all have fewer, the default.
LEAST = 20


def choose(probabilities: np.ndarray, labels: np.ndarray) -> list[float]:
    """The thresholds with the best F1: each label's own where enough texts have it, else the one of the best micro F1.

    Args:
        probabilities, labels: [n, labels], the labels 0 and 1.
    """
    positives = labels.sum(axis=0, dtype=np.int64)
    if positives.sum() < LEAST:
        return [DEFAULT] * labels.shape[1]
    together = best(probabilities.reshape(-1), labels.reshape(-1))
    return [
        best(probabilities[:, at], labels[:, at]) if count >= LEAST else together for at, count in enumerate(positives)
    ]


def best(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The threshold with the best F1 of [n]: halfway between two probabilities; of equals the one nearest to a half."""
    order = np.argsort(-probabilities, kind="stable")
    scores = probabilities[order].astype(np.float64)
    hits = np.cumsum(labels[order], dtype=np.int64)
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + hits[-1])
    below = np.append(scores[1:], 0.0)
    between = (scores + below) / 2
    # Equal probabilities can't be told apart.
    usable = (scores > below) & (between > 0) & (between < 1)
    if not usable.any():
        return DEFAULT
    top = f1[usable].max()
    candidates = between[usable & (f1 >= top - 1e-12)]
    return float(candidates[np.argmin(np.abs(candidates - DEFAULT))])


def of_config(config: Any, labels: Sequence[str], name: str) -> list[float]:
    """The thresholds that a model's config holds by label; the default for labels that it doesn't name.

    Args:
        name: of the model, for messages.

    Raises:
        DataError: one isn't a number between 0 and 1.
    """
    given = getattr(config, "thresholds", None) or {}
    values = [given.get(label, DEFAULT) for label in labels] if isinstance(given, dict) else [given]
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise DataError(
                f"{name}: config.json has {str(value)[:40]!r} among its thresholds; they are numbers from 0 to 1"
            )
    return [float(value) for value in values]


def text_of(thresholds: Sequence[float]) -> str:
    """ "0.5", or "0.12 to 0.61"."""
    low, high = min(thresholds), max(thresholds)
    return f"{low:.3g}" if low == high else f"{low:.2g} to {high:.2g}"
