"""The metrics of GLUE as `evaluate.Metric`s, by the names that the `evaluate` library has for them, without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from datasets import Features, List, Value

from tasks.errors import ConfigError, DataError
from tasks.glue import multi_label, score
from tasks.metrics.base import Metric, pairs
from tasks.words import did_you_mean

_ACCURACY = {"accuracy": "accuracy"}
# The library's name of a task -> its name for each figure -> ours
TASKS: dict[str, dict[str, str]] = {
    "cola": {"matthews_correlation": "matthews_correlation"},
    "sst2": _ACCURACY,
    "mrpc": {"accuracy": "accuracy", "f1": "f1"},
    "qqp": {"accuracy": "accuracy", "f1": "f1"},
    "stsb": {"pearson": "pearson", "spearmanr": "spearman"},
    **dict.fromkeys(("mnli", "mnli_matched", "mnli_mismatched", "qnli", "rte", "wnli", "hans"), _ACCURACY),
}


class _Scored(Metric):
    """A metric of `tasks.glue.score`, with intervals.

    Attributes:
        figures: the name of each figure -> that of its metric in `tasks.glue.score`.
    """

    figures: Mapping[str, str] = MappingProxyType({})
    takes = pairs("float64")
    usage = """
Args:
    predictions, references: [n] class numbers, or numbers where the metric is a correlation.
Returns:
    each figure by its name, and n, the number of rows.
"""

    def _compute(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, Any]:
        found = self._scored(predictions, references, resamples=1)
        return {**{name: found[ours] for name, ours in self.figures.items()}, "n": found["n"]}

    def intervals(
        self, predictions: Sequence[Any], references: Sequence[Any], **bootstrap: Any
    ) -> dict[str, list[float]]:
        """[low, high] of each figure; `bootstrap`: confidence, resamples and seed of `tasks.glue.score.score`."""
        found = self._scored(predictions, references, **bootstrap)["intervals"]
        return {name: found[ours] for name, ours in self.figures.items()}

    def _scored(self, predictions: Sequence[Any], references: Sequence[Any], **bootstrap: Any) -> dict[str, Any]:
        names = tuple(self.figures.values())
        if score.METRICS[names[0]].classes:
            pair = _class_numbers(predictions, references)
        else:
            pair = np.asarray(predictions, dtype=np.float64), np.asarray(references, dtype=np.float64)
        return score.score(names, *pair, **bootstrap)


class F1(_Scored):
    """The harmonic mean of precision and recall of class 1, of the classes 0 and 1."""

    figures = MappingProxyType({"f1": "f1"})


class MacroF1(_Scored):
    """The mean over classes, numbers or text, of the F1 of each."""

    figures = MappingProxyType({"macro_f1": "macro_f1"})
    takes = pairs("string", "float64")


class MatthewsCorrelation(_Scored):
    """The correlation of predicted and true classes, numbers or text, -1 to 1."""

    figures = MappingProxyType({"matthews_correlation": "matthews_correlation"})
    takes = pairs("string", "float64")


class Pearsonr(_Scored):
    """Pearson's correlation, -1 to 1."""

    figures = MappingProxyType({"pearsonr": "pearson"})


class Spearmanr(_Scored):
    """Spearman's correlation of ranks, -1 to 1; ties have the mean of their ranks."""

    figures = MappingProxyType({"spearmanr": "spearman"})


class Glue(_Scored):
    """The official metrics of a GLUE task, which is named by `config_name`."""

    @property
    def figures(self) -> Mapping[str, str]:  # type: ignore[override]
        if self.config_name in TASKS:
            return TASKS[self.config_name]
        if self.config_name in (None, "default"):
            raise ConfigError(f"glue needs the name of a task (--config-name): {', '.join(TASKS)}")
        hint = did_you_mean(self.config_name, TASKS) or f"; there are {', '.join(TASKS)}"
        raise ConfigError(f"glue has no task {self.config_name!r}{hint}")


class Multilabel(Metric):
    """Micro F1, macro F1 (over the labels that occur or are predicted) and exact match of sets of labels, numbers or text."""

    of_sets = True
    takes = Features({"predictions": List(Value("string")), "references": List(Value("string"))})
    usage = """
Args:
    predictions, references: [n] lists of labels, of any length; no label is the empty list.
Returns:
    micro_f1, macro_f1, exact_match: in 0..1.
    n: the number of rows.
"""

    def _compute(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, Any]:
        found = self._scored(predictions, references, resamples=1)
        return {name: found[name] for name in (*multi_label.SET_SCORERS, "n")}

    def intervals(
        self, predictions: Sequence[Any], references: Sequence[Any], **bootstrap: Any
    ) -> dict[str, list[float]]:
        """[low, high] of each figure; `bootstrap`: confidence, resamples and seed of `tasks.glue.multi_label.score`."""
        found: dict[str, list[float]] = self._scored(predictions, references, **bootstrap)["intervals"]
        return found

    def _scored(self, predictions: Sequence[Any], references: Sequence[Any], **bootstrap: Any) -> dict[str, Any]:
        labels = sorted({label for row in (*predictions, *references) for label in row})
        if not labels:
            raise DataError("no row has a label")
        place = {label: number for number, label in enumerate(labels)}
        sides = []
        for rows in (predictions, references):
            chosen = np.zeros((len(rows), len(labels)), np.uint8)
            for number, row in enumerate(rows):
                chosen[number, [place[label] for label in row]] = 1
            sides.append(chosen)
        return multi_label.score(tuple(multi_label.SET_SCORERS), sides[0], *sides, **bootstrap)


def _class_numbers(predictions: Sequence[Any], references: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Class numbers as they are, int64; text numbered in alphabetical order."""
    pair = np.asarray(predictions), np.asarray(references)
    if any(values.dtype.kind == "U" for values in pair):
        numbers = np.unique(np.concatenate(pair), return_inverse=True)[1]
        return numbers[: len(pair[0])], numbers[len(pair[0]) :]
    for what, values in zip(("prediction", "reference"), pair, strict=True):
        odd = np.flatnonzero(values != np.floor(values))
        if len(odd):
            raise DataError(f"row {odd[0] + 1}: a {what} must be a class number, found {values[odd[0]]:g}")
    return pair[0].astype(np.int64), pair[1].astype(np.int64)
