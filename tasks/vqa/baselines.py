"""Answers that don't look at the image, and the verdict on a model's figures beside what they score."""

from __future__ import annotations

from collections import Counter

import numpy as np

from tasks import verdict
from tasks.verdict import Baseline, Verdict
from tasks.vqa import evaluation, score
from tasks.vqa.questions import Questions
from tasks.words import counted

MAJORITY, BEST, QUESTION = "majority", "best constant", "question prior"
# Answers at most that are tried as the best constant, the most frequent ones first.
TRIED = 10


def answers(train: Questions | None, questions: Questions, kind: str) -> dict[str, list[str]]:
    """What each baseline answers: where there are training questions always their most frequent answer, and the most frequent one
    after the question's first words; and the answer that alone scores most on these questions, where that is another."""
    known: dict[str, list[str]] = {}
    if train is not None:
        given = [evaluation.consensus(each) for each in evaluation.given_answers(train)]
        known[MAJORITY] = score.majority_prior(given, questions.question)
        known[QUESTION] = score.question_prior(train.question, given, questions.question)
    best = best_constant(questions, kind)
    most = _mean([best] * len(questions), questions, kind)
    if MAJORITY not in known or most > _mean(known[MAJORITY], questions, kind):
        known[BEST] = [best] * len(questions)
    return {name: known[name] for name in (MAJORITY, BEST, QUESTION) if name in known}


def priors(train: Questions | None, questions: Questions, kind: str) -> dict[str, float]:
    """What each of `answers` scores."""
    return {name: _mean(given, questions, kind) for name, given in answers(train, questions, kind).items()}


def best_constant(questions: Questions, kind: str) -> str:
    """The answer that scores most as the answer to every question, by the score in use; of equals the more frequent one."""
    forms, often = _frequencies(questions)
    best, most = "", -1.0
    for answer in sorted(forms, key=lambda form: (-often[score.normalize(form)], -forms[form], form))[:TRIED]:
        # But for ANLS, which takes similar words too, an answer scores only where somebody gave it.
        if kind != "anls" and often[score.normalize(answer)] <= most * len(questions):
            break
        mean = _mean([answer] * len(questions), questions, kind)
        if mean > most:
            best, most = answer, mean
    return best


def _frequencies(questions: Questions) -> tuple[Counter[str], Counter[str]]:
    """In how many questions each answer was given: as it stands or normalised, and by its normalised form. The official rule
    compares answers that all agree by the letter, so that both forms can be the best."""
    forms: Counter[str] = Counter()
    often: Counter[str] = Counter()
    for given in questions.answers if questions.weights is None else questions.weights:
        normal = {score.normalize(answer) for answer in given}
        often.update(normal)
        forms.update({*given, *normal})
    return forms, often


def _mean(given: list[str], questions: Questions, kind: str) -> float:
    return float(evaluation.accuracy(given, questions, kind).mean())


def judge(
    scores: np.ndarray, predictions: list[str], train: Questions | None, questions: Questions, kind: str
) -> Verdict:
    """The verdict on an accuracy, paired with its best baseline's over images.

    Args:
        scores: [n] of each question. predictions: [n] answers.
    """
    known = answers(train, questions, kind)
    rows = {name: evaluation.accuracy(given, questions, kind) for name, given in known.items()}
    best = verdict.best_of([Baseline(name, float(each.mean())) for name, each in rows.items()])
    always = f"always answering {known[best.name][0]!r}"
    words = "answering by the question's first words alone" if best.name == QUESTION else always
    truths = [evaluation.consensus(given) for given in evaluation.given_answers(questions)]
    return verdict.judge(
        "accuracy",
        float(scores.mean()),
        best._replace(words=words),
        verdict.paired_means(scores, rows[best.name], questions.image),
        examples=counted(len(questions), "question"),
        repeated=verdict.repeated([score.normalize(answer) for answer in predictions], truths, predictions),
        more="evaluate on more images",
    )
