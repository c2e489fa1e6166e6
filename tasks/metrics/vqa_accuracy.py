"""The official VQA accuracy as an `evaluate.Metric`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import Features, List, Value

from tasks.metrics.base import Metric
from tasks.vqa.score import official_accuracy, summary


class VqaAccuracy(Metric):
    """The official VQA accuracy: min(1, matches / 3) averaged over leaving each human answer out; also by the types given."""

    takes = Features({"predictions": Value("string"), "references": List(Value("string"))})
    source = "Antol et al., VQA: Visual Question Answering, ICCV 2015; Goyal et al., CVPR 2017."
    urls = ("https://visualqa.org/evaluation.html",)
    usage = """
Args:
    predictions: [n] answers.
    references: [n] lists of human answers, usually ten.
    question_types, answer_types: [n] names, optional, to `compute` only.
Returns:
    vqa_accuracy: in 0..1.
    n: the number of questions.
    per_question_type, per_answer_type: name -> {accuracy, n}, where types are given.
"""

    def _compute(
        self,
        predictions: Sequence[str],
        references: Sequence[Sequence[str]],
        question_types: Sequence[str] | None = None,
        answer_types: Sequence[str] | None = None,
    ) -> dict[str, Any]:
        scores = summary(self.per_row(predictions, references), question_types, answer_types)
        return {"vqa_accuracy": scores.pop("overall"), **scores}

    def per_row(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
        """The accuracy of each question, float64 [n] in 0..1."""
        return official_accuracy(predictions, references)
