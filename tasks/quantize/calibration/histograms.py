"""Histograms of activations, and the ranges that two methods read off them, as onnxruntime's calibrators do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

# Steps that a range is cut into when its divergence is measured, as TensorRT's and onnxruntime's calibrators do.
STEPS = 128
_PIECE = 2**20


@dataclass
class Histogram:
    """Counts of values in equal bins over [-top, top], where top is the largest absolute value.

    Args:
        low: the smallest value.
        high: the largest value.
        bins: how many.
    """

    low: np.float32
    high: np.float32
    bins: int
    counts: np.ndarray = field(init=False)
    edges: np.ndarray = field(init=False)
    span: Any = field(init=False)  # in float32, so that the edges are too

    def __post_init__(self) -> None:
        top = np.float32(max(abs(self.low), abs(self.high)))
        self.counts = np.zeros(self.bins, np.int64)
        self.span = (-top, top)
        self.edges = np.histogram_bin_edges(np.zeros(1, np.float32), self.bins, self.span)

    def add(self, values: np.ndarray) -> None:
        """Counts flat values, in pieces, so that the counting takes little memory of its own."""
        for start in range(0, len(values), _PIECE):
            piece = values[start : start + _PIECE]
            self.counts += np.histogram(piece, self.bins, range=self.span)[0]


def percentile_range(histogram: Histogram, percentile: float) -> tuple[float, float]:
    """The range that leaves (100 - percentile) percent of the values outside, half of them on each side."""
    share = np.cumsum(histogram.counts / histogram.counts.sum())
    outside = (100.0 - percentile) / 200.0
    right = int(np.searchsorted(share, 1.0 - outside))
    left = int(np.searchsorted(share, outside))
    return _within(histogram, histogram.edges[left], histogram.edges[min(right, histogram.bins)])


def entropy_range(histogram: Histogram, steps: int = STEPS) -> tuple[float, float]:
    """The range, symmetric in bins about 0, whose values in `steps` steps diverge least from the values as they are.

    Follows Migacz, "8-bit inference with TensorRT" (GTC 2017), in the form of onnxruntime's calibrator.
    """
    counts = histogram.counts
    middle, half = counts.size // 2, steps // 2
    best, chosen = np.inf, half
    for reach in range(half, middle + 1):
        divergence = _divergence(counts, middle - reach, min(middle + reach + 1, counts.size), steps)
        if divergence < best:
            best, chosen = divergence, reach
    return _within(histogram, histogram.edges[middle - chosen], histogram.edges[min(middle + chosen + 1, counts.size)])


def _divergence(counts: np.ndarray, start: int, end: int, steps: int) -> float:
    """Kullback-Leibler divergence between bins [start, end), with the rest counted to the outermost, and their steps."""
    inside = counts[start:end]
    real = inside.copy()
    real[0] += counts[:start].sum()
    real[-1] += counts[end:].sum()
    width = inside.size // steps
    covered = width * steps
    sums = inside[:covered].reshape(steps, width).sum(axis=1)
    sums[-1] += inside[covered:].sum()
    filled = (real[:covered] != 0).reshape(steps, width).sum(axis=1)
    level = np.where(filled > 0, sums / np.maximum(filled, 1), 0).astype(np.int64)
    stepped = np.zeros(real.size, np.int64)
    stepped[:covered] = np.repeat(level, width)
    first, second = _smooth(real), _smooth(stepped)
    if first is None or second is None:
        return float("inf")
    first, second = (part / np.sum(part) for part in (first, second))
    return float(np.sum(first * np.log(first / second)))


def _smooth(counts: np.ndarray, least: float = 0.0001) -> np.ndarray | None:
    """Moves a little from the filled bins to the empty ones, so that no quotient is undefined; None where it can't."""
    empty = counts == 0
    filled = counts.size - int(empty.sum())
    if not filled:
        return None
    taken = least * float(empty.sum()) / filled
    if taken >= 1.0:
        return None
    return (counts.astype(np.float32) + np.where(empty, np.float32(least), np.float32(-taken))).astype(np.float32)


def _within(histogram: Histogram, low: float, high: float) -> tuple[float, float]:
    return float(max(np.float32(low), histogram.low)), float(min(np.float32(high), histogram.high))
