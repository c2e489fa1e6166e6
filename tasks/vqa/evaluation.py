"""Figures of an evaluation: the score that fits the data, its interval, and the priors beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from tasks import stats
from tasks.vqa import score
from tasks.vqa.questions import Questions

T = TypeVar("T", bound=Any)
# From this many answers a question on, several annotators were asked and the official accuracy is meant.
ANNOTATORS = 3


def kind_of(questions: Questions) -> str:
    """`official` where several annotators answered, `weighted` where soft labels are given, else `plain`."""
    if questions.weights is not None:
        return "weighted"
    most = max((len(answers) for answers in questions.answers), default=0)
    return "official" if most >= ANNOTATORS else "plain"


# `plain` compares after the official normalisation, so that "Two" and "2" are one answer.
NAMES = {
    "official": "official VQA accuracy",
    "weighted": "accuracy by the given weights",
    "plain": "accuracy (exact match)",
}


def accuracy(predictions: list[str], questions: Questions, kind: str | None = None) -> np.ndarray:
    """The score of each question, float64 [n], each in 0..1."""
    kind = kind or kind_of(questions)
    if kind == "weighted":
        assert questions.weights is not None
        return np.asarray(score.weighted_accuracy(predictions, questions.weights))
    if kind == "official":
        return np.asarray(score.official_accuracy(predictions, questions.answers))
    return np.asarray(
        [
            float(any(score.normalize(answer) == score.normalize(prediction) for answer in answers))
            for prediction, answers in zip(predictions, questions.answers, strict=True)
        ]
    )


def summarise(scores: np.ndarray, questions: Questions) -> dict[str, Any]:
    """Overall and by type, each a mean with n and a 95 % interval by bootstrap over images."""
    overall = stats.bootstrap_mean(scores, questions.image)
    return {
        "accuracy": overall.mean,
        "accuracy_low": overall.low,
        "accuracy_high": overall.high,
        "n": len(questions),
        "images": len(np.unique(questions.image)),
        "by_answer_type": _by(scores, questions, questions.answer_type),
        "by_question_type": _by(scores, questions, questions.question_type),
    }


def _by(scores: np.ndarray, questions: Questions, types: list[str]) -> dict[str, dict[str, float]]:
    names = np.asarray(types, dtype=object)
    by_type = {}
    for name in sorted(set(types)):
        chosen = np.flatnonzero(names == name)
        part = stats.bootstrap_mean(scores[chosen], questions.image[chosen])
        by_type[str(name)] = {"accuracy": part.mean, "low": part.low, "high": part.high, "n": len(chosen)}
    return dict(sorted(by_type.items(), key=lambda item: (-item[1]["n"], item[0])))


def ranked(counts: Mapping[T, int]) -> list[tuple[T, int]]:
    """(name, count) from the highest count down; of equals, the alphabetically first."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def given_answers(questions: Questions) -> list[list[str]]:
    """Each question's answers; of given weights, the answers that weigh most."""
    if questions.weights is None:
        return questions.answers
    return [
        [answer for answer, weight in given.items() if weight == max(given.values())] for given in questions.weights
    ]


def consensus(answers: list[str]) -> str:
    """The answer most annotators gave, normalised; of equals, the alphabetically first."""
    return score.most_frequent(Counter(map(score.normalize, answers)))
