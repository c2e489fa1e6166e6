"""Plain accuracy as an `evaluate.Metric`, so that it needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import evaluate
import numpy as np
from datasets import Features, Value

from tasks.errors import DataError

_DESCRIPTION = "The share of predictions that are equal to their reference."
_USAGE = """
Args:
    predictions: [n] labels, numbers or text.
    references: [n] labels of the same kind.
Returns:
    accuracy: in 0..1.
    n: the number of rows.
"""


class Accuracy(evaluate.Metric):
    """Share of predictions equal to their reference; numbers are compared as numbers, text letter by letter."""

    def _info(self) -> evaluate.MetricInfo:
        # Text first: `evaluate` would read a text that looks like a number as one. Whole labels are exact as floats.
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_USAGE,
            features=[
                Features({"predictions": Value(kind), "references": Value(kind)}) for kind in ("string", "float64")
            ],
        )

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
        pairs = zip(predictions, references, strict=True)
        return np.array([float(one == other) for one, other in pairs], dtype=np.float64)
