"""Figures of an evaluation: the score that fits the data, its interval, and the priors beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from tasks import stats
from tasks.errors import ConfigError
from tasks.vqa import score
from tasks.vqa.anls import similarity
from tasks.vqa.questions import Questions

T = TypeVar("T", bound=Any)
# All but ANLS and the weights compare after the official normalisation, so that "Two" and "2" are one answer.
NAMES = {
    "official": "official VQA accuracy",
    "exact": "accuracy (exact match)",
    "any": "accuracy (equal to one of the answers)",
    "anls": "ANLS",
    "weights": "accuracy by the given weights",
}


def label(kind: str) -> str:
    """What the figure is called beside its value."""
    return "ANLS" if kind == "anls" else "accuracy"


# From this many answers a question on, several annotators were asked and the official accuracy is meant.
ANNOTATORS = 3
# It is the default where at least so many of the questions have them: by it a single answer scores 0, right or wrong.
MOSTLY = 0.95


@dataclass(frozen=True)
class Choice:
    """The score in use: one of NAMES, why it is that one, and a line where it doesn't fit all the questions, else ""."""

    kind: str
    why: str
    mixed: str = ""


def kind_of(questions: Questions) -> str:
    """The score that fits the data."""
    return choose_score(questions).kind


def choose_score(questions: Questions, score: str | None = None) -> Choice:
    """The score asked for, or that which fits the data: the weights where they are given; the official accuracy where nearly
    all questions have several answers; else whether the answer is one of those given.

    Raises:
        ConfigError: the data have not what the score asked for needs.
    """
    if score == "weights" and questions.weights is None:
        raise ConfigError(f"--score weights: {questions.source} gives no weights; {', '.join([*NAMES][:-1])} need none")
    if questions.weights is not None:
        if score == "official":
            raise ConfigError(
                f"--score official: {questions.source} gives weights and not each annotator's answer; give weights, exact or any"
            )
        return Choice(score or "weights", "by --score" if score else "weights are given")
    counts = Counter(min(len(given), ANNOTATORS) for given in questions.answers if given)
    total, several = sum(counts.values()), counts[ANNOTATORS]
    if score == "official" and not several:
        raise ConfigError(
            f"--score official: no question of {questions.source} has {ANNOTATORS} answers or more, and a single one scores 0 "
            "by it; give exact or any"
        )
    fitting = "official" if several and several >= MOSTLY * total else "exact" if counts[1] == total else "any"
    kind = score or fitting
    few = total - several
    shares = f"{few:,} of {total:,} questions have fewer than {ANNOTATORS} answers"
    if several == total:
        why = f"{ANNOTATORS} answers a question or more"
    elif not several:
        why = "one answer a question" if counts[1] == total else "one or two answers a question"
    else:
        why = shares
    mixed = ""
    if several and few:
        lost = f"by the official accuracy {'they can' if few > 1 else 'it can'} score little or nothing"
        other = (
            "--score any counts them in full" if kind == "official" else f"so they are measured by {kind!r} (--score)"
        )
        mixed = f"{shares}, {several:,} {'have' if several > 1 else 'has'} {ANNOTATORS} or more; {lost}, {other}"
    return Choice(kind, "by --score" if score else why, mixed)


def accuracy(predictions: list[str], questions: Questions, kind: str | None = None) -> np.ndarray:
    """The score of each question, float64 [n], each in 0..1."""
    kind = kind or kind_of(questions)
    if kind == "weights":
        assert questions.weights is not None
        return np.asarray(score.weighted_accuracy(predictions, questions.weights))
    if kind == "official":
        return np.asarray(score.official_accuracy(predictions, questions.answers))
    truths = accepted(questions, kind)
    if kind == "anls":
        pairs = zip(predictions, truths, strict=True)
        return np.asarray([max((similarity(each, one) for one in given), default=0.0) for each, given in pairs])
    forms = [{score.form(truth) for truth in given} for given in truths]
    return np.asarray([float(score.form(each) in given) for each, given in zip(predictions, forms, strict=True)])


def accepted(questions: Questions, kind: str) -> list[list[str]]:
    """The answers that a score other than the official one takes as right: all of a question, or by `exact` its most frequent
    one (of equals each).
    """
    if kind == "exact":
        return [_heaviest(given) for given in given_answers(questions)]
    if questions.weights is None:
        return questions.answers
    return [[answer for answer, weight in given.items() if weight > 0] for given in questions.weights]


def _heaviest(given: list[str]) -> list[str]:
    if len(given) < 2:
        return given
    counts = Counter(map(score.form, given))
    most = max(counts.values())
    return [answer for answer, count in counts.items() if count == most]


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
