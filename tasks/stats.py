"""Confidence intervals by the percentile bootstrap over groups: rows that share an image or a series stay together.

Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 13 and 16. An interval says nothing
where there is a single group or where all groups agree: it is then the point itself. Shares of rows have Wilson's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from tasks.errors import ConfigError, DataError

# Index matrices are drawn in pieces of at most this many entries (8 bytes each).
_CHUNK_ENTRIES = 1 << 21
# Beyond this many groups the counts of all draws at once leave the processor's cache.
_CACHED_GROUPS = 1 << 12
# A draw of a category's count costs about as much as this many draws of a group.
_COUNT_COST = 8


class Interval(NamedTuple):
    """A confidence interval in the unit of its values."""

    low: float
    high: float


class Estimate(NamedTuple):
    """A mean with its confidence interval, in the unit of the values."""

    mean: float
    low: float
    high: float

    @property
    def interval(self) -> Interval:
        return Interval(self.low, self.high)


class Difference(NamedTuple):
    """A difference of two means over the same rows, its interval, and the two-sided p of no difference."""

    difference: float
    low: float
    high: float
    p: float


def bootstrap_mean(
    values: Sequence[float] | np.ndarray,
    groups: Sequence[Any] | np.ndarray | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """The mean over rows, and its percentile bootstrap interval over groups.

    Args:
        values: [n] finite numbers.
        groups: [n] group of each row (an image id, say), all of one kind; None: each row is its own group.
        confidence: the share of the interval, in (0, 1).
        resamples: how many times the groups are drawn anew.

    Raises:
        DataError: no rows, values that aren't finite, lengths that differ.
        ConfigError: a confidence or a number of resamples out of range.
    """
    rows = _finite(values)
    means = _resampled_means(rows, groups, confidence, resamples, seed)
    return Estimate(float(rows.mean()), *percentile_intervals(means[:, None], confidence)[:, 0].tolist())


def paired_bootstrap(
    a: Sequence[float] | np.ndarray,
    b: Sequence[float] | np.ndarray,
    groups: Sequence[Any] | np.ndarray | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Difference:
    """mean(a) - mean(b) over the same rows, with its interval and a two-sided p.

    p is twice the smaller share of resampled differences on either side of zero, with one added to both counts, so
    that it is never 0: its smallest value is 2 / (resamples + 1).

    Args:
        a, b: [n] finite numbers, the same row the same question.
        groups, confidence, resamples, seed: as in `bootstrap_mean`.

    Raises:
        DataError, ConfigError: as `bootstrap_mean`.
    """
    first, second = _finite(a), _finite(b)
    if len(first) != len(second):
        raise DataError(f"paired scores must be of the same rows, found {len(first)} and {len(second)}")
    rows = first - second
    means = _resampled_means(rows, groups, confidence, resamples, seed)
    low, high = percentile_intervals(means[:, None], confidence)[:, 0].tolist()
    return Difference(float(rows.mean()), low, high, two_sided_p(means))


def two_sided_p(differences: np.ndarray) -> float:
    """The p of no difference from resampled differences [resamples], as `paired_bootstrap` has it."""
    beyond = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return min(1.0, 2 * (beyond + 1) / (len(differences) + 1))


def wilson(successes: int, total: int, confidence: float = 0.95) -> Interval:
    """The score interval of a share, which holds its confidence near 0 and 1 too, where a bootstrap is a point.

    Source: Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927).

    Raises:
        DataError: no rows, or more successes than rows.
        ConfigError: a confidence out of range.
    """
    if not 0 <= successes <= total or not total:
        raise DataError(f"a share needs at least one row and no more successes than rows, got {successes} of {total}")
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence must lie in (0, 1), got {confidence}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, shrunk = successes / total, 1 + z * z / total
    middle = (share + z * z / (2 * total)) / shrunk
    half = z * math.sqrt(share * (1 - share) / total + (z / (2 * total)) ** 2) / shrunk
    # At the ends the bound is the end itself, whatever rounding makes of it.
    return Interval(
        0.0 if successes == 0 else max(0.0, middle - half), 1.0 if successes == total else min(1.0, middle + half)
    )


def _finite(values: Sequence[float] | np.ndarray) -> np.ndarray:
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim != 1 or not len(rows):
        raise DataError(f"a mean needs a list of at least one number, found an array of shape {rows.shape}")
    bad = np.flatnonzero(~np.isfinite(rows))
    if len(bad):
        raise DataError(f"{len(bad)} of {len(rows)} values aren't finite, the first is row {bad[0] + 1}")
    return rows


def _resampled_means(
    rows: np.ndarray, groups: Sequence[Any] | np.ndarray | None, confidence: float, resamples: int, seed: int
) -> np.ndarray:
    """[resamples] means over rows, each of as many groups as there are, drawn with replacement."""
    if not 0 < confidence < 1 or resamples < 1:
        raise ConfigError(f"confidence must lie in (0, 1) and resamples be >= 1, got {confidence} and {resamples}")
    sums, counts = _group_totals(rows, groups)
    generator = np.random.default_rng(seed)
    # Groups of the same sum and size are interchangeable: how often each kind is drawn is multinomial, the same law
    # with far fewer draws where scores take few values, as accuracies do.
    kinds, sizes = np.unique(np.stack([sums, counts], axis=1), axis=0, return_counts=True)
    total = len(sums)
    if len(kinds) * _COUNT_COST <= total:
        drawn = generator.multinomial(total, sizes / total, size=resamples) @ kinds
        return drawn[:, 0] / drawn[:, 1]
    means = []
    for draws in _pieces(resamples, total):
        index = generator.integers(0, total, size=(draws, total))
        means.append(sums[index].sum(axis=1) / counts[index].sum(axis=1))
    return np.concatenate(means)


def _pieces(resamples: int, entries: int) -> Iterator[int]:
    """Cuts the draws, each of so many entries, into pieces of at most `_CHUNK_ENTRIES` in all."""
    step = max(1, _CHUNK_ENTRIES // entries)
    return (min(step, resamples - start) for start in range(0, resamples, step))


def _group_totals(rows: np.ndarray, groups: Sequence[Any] | np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of the rows of each group, both float64 [groups]."""
    if groups is None:
        return rows, np.ones(len(rows))
    if len(groups) != len(rows):
        raise DataError(f"every value needs a group, found {len(rows)} values and {len(groups)} groups")
    inverse = np.unique(np.asarray(groups), return_inverse=True)[1]
    return np.bincount(inverse, weights=rows), np.bincount(inverse).astype(np.float64)


def resampled_ratios(
    numerators: np.ndarray, denominators: np.ndarray, resamples: int = 2000, seed: int = 0
) -> np.ndarray:
    """Ratios of sums over groups, each of as many groups as there are, drawn with replacement.

    Scores such as a sum of errors over a sum of values have no rows whose mean they are. All columns share the draws, so that
    the difference or the ratio of two of them is that of the same groups.

    Args:
        numerators, denominators: [groups, k] sums of each group.

    Returns:
        float64 [resamples, k]; NaN where a draw's denominator is 0.

    Raises:
        DataError: no groups, or shapes that differ.
        ConfigError: resamples below 1.
    """
    if numerators.ndim != 2 or not len(numerators) or numerators.shape != denominators.shape:
        raise DataError(f"ratios need sums of the same groups, found {numerators.shape} and {denominators.shape}")
    if resamples < 1:
        raise ConfigError(f"resamples must be >= 1, got {resamples}")
    # Columns that are alike, counts of rows above all, are added up once.
    distinct: dict[bytes, int] = {}
    sums = np.concatenate([numerators, denominators], axis=1).T
    place = np.array([distinct.setdefault(column.tobytes(), len(distinct)) for column in sums], dtype=np.int64)
    totals = np.ascontiguousarray(sums[np.unique(place, return_index=True)[1]].T)
    above, below = np.split(place, 2)
    generator = np.random.default_rng(seed)
    ratios = []
    for draws in _pieces(resamples, len(numerators)):
        drawn = _drawn_times(generator, draws, len(numerators)) @ totals
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = drawn[:, above] / drawn[:, below]
        ratios.append(np.where(drawn[:, below] != 0, ratio, np.nan))
    return np.concatenate(ratios)


def resampled_counts(sizes: np.ndarray, resamples: int = 2000, seed: int = 0) -> Iterator[np.ndarray]:
    """How often each kind of row is drawn where as many rows as there are are drawn with replacement.

    A score that depends on rows only through their kinds (a prediction and its label, say) follows from these counts.

    Args:
        sizes: int64 [kinds] rows of each kind.

    Returns:
        pieces of all draws, float64 [draws, kinds], each row adding up to the number of rows.

    Raises:
        DataError: no rows.
        ConfigError: resamples below 1.
    """
    total, kinds = int(sizes.sum()), len(sizes)
    if not total:
        raise DataError("there is no row to draw")
    if resamples < 1:
        raise ConfigError(f"resamples must be >= 1, got {resamples}")
    generator = np.random.default_rng(seed)
    if kinds * _COUNT_COST <= total:
        for draws in _pieces(resamples, kinds):
            yield generator.multinomial(total, sizes / total, size=draws).astype(np.float64)
        return
    firsts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    for draws in _pieces(resamples, total):
        rows = _drawn_times(generator, draws, total)
        yield rows if kinds == total else np.add.reduceat(rows, firsts, axis=1)


def _drawn_times(generator: np.random.Generator, draws: int, groups: int) -> np.ndarray:
    """How often each group is drawn, float64 [draws, groups]."""
    index = generator.integers(0, groups, size=(draws, groups))
    if groups > _CACHED_GROUPS:
        return np.stack([np.bincount(row, minlength=groups) for row in index]).astype(np.float64)
    index += groups * np.arange(draws)[:, None]
    return np.bincount(index.reshape(-1), minlength=draws * groups).reshape(draws, groups).astype(np.float64)


def percentile_intervals(draws: np.ndarray, confidence: float = 0.95) -> np.ndarray:
    """The percentile interval of each column of draws, [resamples, k] to [2, k]; NaN draws are left out, none gives NaN.

    Raises:
        ConfigError: a confidence out of range.
    """
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence must lie in (0, 1), got {confidence}")
    found = np.full((2, draws.shape[1]), np.nan)
    known = ~np.isnan(draws)
    whole = known.all(axis=0)
    bounds = [(1 - confidence) / 2, (1 + confidence) / 2]
    found[:, whole] = np.quantile(draws[:, whole], bounds, axis=0)
    for column in np.flatnonzero(~whole & known.any(axis=0)):
        found[:, column] = np.quantile(draws[known[:, column], column], bounds)
    return found
