"""The official VQA accuracy and ANLS as `evaluate.Metric`s."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from datasets import Features, List, Value

from tasks.cells import as_list, as_text
from tasks.errors import DataError
from tasks.metrics.base import Metric
from tasks.vqa.anls import anls
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


class Anls(Metric):
    """ANLS of DocVQA: similarity by edit distance to the nearest of the accepted answers, 0 where it is below one half."""

    takes: ClassVar = [
        Features({"predictions": Value("string"), "references": List(Value("string"))}),
        Features({"predictions": Value("string"), "references": Value("string")}),
    ]
    source = "Biten et al., Scene Text Visual Question Answering, ICCV 2019; Mathew et al., DocVQA, WACV 2021."
    urls = ("https://rrc.cvc.uab.es/?ch=17",)
    usage = """
Args:
    predictions: [n] answers.
    references: [n] lists of accepted answers, or single ones; a list may be written out as text.
Returns:
    anls: in 0..1.
    n: the number of questions.
"""

    def _compute(self, predictions: Sequence[str], references: Sequence[str | Sequence[str]]) -> dict[str, Any]:
        scores = summary(self.per_row(predictions, references))
        return {"anls": scores.pop("overall"), **scores}

    def per_row(self, predictions: Sequence[str], references: Sequence[str | Sequence[str]]) -> np.ndarray:
        """The similarity of each question, float64 [n] in 0..1."""
        return anls([_text(each) for each in predictions], [_accepted(*row) for row in enumerate(references, start=1)])


def _accepted(row: int, reference: str | Sequence[str]) -> list[str]:
    try:
        listed = as_list(reference) if isinstance(reference, str) else reference
    except ValueError as error:
        raise DataError(f"reference {row}: {error}") from None
    return [_text(each) for each in ([reference] if listed is None else listed)]


def _text(value: Any) -> str:
    """As the readers of questions have it: 1, "1" and 1.0 are one answer."""
    return as_text(value) or ""
