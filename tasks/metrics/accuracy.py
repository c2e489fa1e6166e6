"""Plain accuracy as an `evaluate.Metric`, so that it needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tasks.errors import DataError
from tasks.metrics.base import Metric, pairs


class Accuracy(Metric):
    """Share of predictions equal to their reference; numbers are compared as numbers, text letter by letter."""

    takes = pairs("string", "float64")  # whole labels are exact as floats
    usage = """
Args:
    predictions: [n] labels, numbers or text.
    references: [n] labels of the same kind.
Returns:
    accuracy: in 0..1.
    n: the number of rows.
"""

    def _compute(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, Any]:
        rows = self.per_row(predictions, references)
        return {"accuracy": float(rows.mean()), "n": len(rows)}

    def per_row(self, predictions: Sequence[Any], references: Sequence[Any]) -> np.ndarray:
        """1.0 where a prediction equals its reference, else 0.0; float64 [n].

        Raises:
            DataError: no rows.
        """
        if not len(predictions):
            raise DataError("there is no row to score")
        rows = zip(predictions, references, strict=True)
        return np.array([float(one == other) for one, other in rows], dtype=np.float64)
