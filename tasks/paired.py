"""Paired comparison of two models on the same rows: difference, interval and p-value."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tasks.errors import DataError
from tasks.stats import percentile_intervals, resampled_counts, two_sided_p

# (predictions [kinds], labels [kinds], counts [draws, kinds]) -> the score of each draw, [draws]; NaN where undefined
Scorer = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


class Paired(NamedTuple):
    """A model against a reference over the same rows.

    Attributes:
        metric: its name.
        n: rows.
        difference: other minus reference, in the unit of the metric; `low` and `high` bound its interval.
        p: two-sided, of no difference.
        better, worse: rows that the other model answers rightly (or nearer) and the reference wrongly, and the reverse.
        changed: rows whose answers differ, right or wrong.
    """

    metric: str
    n: int
    difference: float
    low: float
    high: float
    p: float
    better: int
    worse: int
    changed: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values by name."""
        return self._asdict()


def paired_difference(
    name: str,
    scorer: Scorer,
    reference: np.ndarray,
    other: np.ndarray,
    labels: np.ndarray,
    *,
    exact: bool = False,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Paired:
    """The difference of a score, bootstrapped over rows that keep both answers and their label together.

    Args:
        reference, other, labels: [n], class numbers or numbers.
        exact: take McNemar's p in place of the bootstrap's, where the score is the share of right answers.

    Raises:
        DataError: no rows, or lengths that differ.
        ConfigError: a confidence or a number of resamples out of range.
    """
    if not len(labels) == len(reference) == len(other):
        raise DataError(f"paired answers must be of the same rows: {len(reference)}, {len(other)}, {len(labels)}")
    kinds, sizes = np.unique(np.stack([reference, other, labels], axis=1), axis=0, return_counts=True)
    one, two, true = kinds.T
    whole = sizes[None, :].astype(np.float64)
    difference = float((scorer(two, true, whole) - scorer(one, true, whole))[0])
    pieces = [
        scorer(two, true, counts) - scorer(one, true, counts) for counts in resampled_counts(sizes, resamples, seed)
    ]
    draws = np.concatenate(pieces)
    low, high = percentile_intervals(draws[:, None], confidence)[:, 0].tolist()
    nearer = np.abs(two - true) - np.abs(one - true) if labels.dtype.kind == "f" else 1 * (two != true) - (one != true)
    better, worse, changed = (int(sizes[rows].sum()) for rows in (nearer < 0, nearer > 0, one != two))
    known = draws[~np.isnan(draws)]
    p = two_sided_p(known) if len(known) and not math.isnan(difference) else math.nan
    if exact:
        p = mcnemar(better, worse)
    return Paired(name, len(labels), difference, low, high, p, better, worse, changed)


def mcnemar(better: int, worse: int) -> float:
    """The exact two-sided p that rows which only one of two models answers rightly fall to either alike.

    Source: McNemar, Note on the sampling error of the difference between correlated proportions, Psychometrika 12 (1947);
    the binomial in place of its approximation.
    """
    total, least = better + worse, min(better, worse)
    if better == worse:
        return 1.0
    logs = [math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1) for k in range(least + 1)]
    return min(1.0, 2 * math.fsum(math.exp(log - total * math.log(2)) for log in logs))
