"""Answers that don't look at the image: the best constant under each score, and the verdict beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tasks.vqa import baselines, evaluation
from tasks.vqa.questions import Questions


def questions(
    answers: list[list[str]], text: list[str] | None = None, weights: Any = None, image: Any = None
) -> Questions:
    count = len(answers)
    return Questions(
        question_id=list(range(count)),
        question=text or ["what is it?"] * count,
        image=np.arange(count) if image is None else np.asarray(image),
        answers=answers,
        weights=weights,
        question_type=["what"] * count,
        answer_type=["other"] * count,
        images=None,  # type: ignore[arg-type]
        source="here",
    )


def test_the_best_constant_is_that_of_the_official_score() -> None:
    """`cat` is what most annotators say of the most questions; `dog`, said by three of ten in each, scores more."""
    pet = [["cat"] * 7 + ["dog"] * 3] * 2 + [["bird"] * 7 + ["dog"] * 3, ["fish"] * 7 + ["dog"] * 3]
    found = questions(pet)
    assert baselines.best_constant(found, "official") == "dog"
    known = baselines.priors(questions([["cat"]] * 3), found, "official")
    assert known == pytest.approx({"majority": 0.5, "best constant": 0.9, "question prior": 0.5})


def test_a_constant_may_be_best_by_the_letter() -> None:
    """Answers that all agree are compared as they stand, so that `yes` scores nothing where all wrote `Yes`."""
    found = questions([["Yes"] * 10] * 3 + [["no"] * 10] * 2)
    assert baselines.best_constant(found, "official") == "Yes"


def test_the_best_constant_of_given_weights_and_of_single_answers() -> None:
    weights = [{"a": 1.0, "b": 0.9}, {"c": 1.0, "b": 0.9}, {"d": 1.0, "b": 0.9}]
    assert baselines.best_constant(questions([[] for _ in weights], weights=weights), "weighted") == "b"
    assert baselines.best_constant(questions([["2"], ["two"], ["red"]]), "plain") == "2"


def test_a_model_that_gives_one_answer_is_told_so() -> None:
    given = questions([["no"]] * 11 + [["yes"]] * 9)
    train = questions([["yes"]] * 6 + [["no"]] * 4)
    answers = ["no"] * 20
    scores = evaluation.accuracy(answers, given, "plain")
    found = baselines.judge(scores, answers, train, given, "plain")
    assert (found.clears, found.baseline, found.value) == (False, "best constant", 0.55)
    assert found.line == (
        "answers 'no' to 20 of 20 questions (100.0 %); no better than always answering 'no' (55.0 %); "
        "train longer or look at the data"
    )


def test_the_question_prior_is_the_one_to_beat_where_it_is_better() -> None:
    words = ["what colour is it?", "how many are there?"] * 20
    given = questions([["red"], ["2"]] * 20, words)
    answers = ["red", "2"] * 18 + ["2", "red"] * 2
    scores = evaluation.accuracy(answers, given, "plain")
    found = baselines.judge(scores, answers, questions([["red"], ["2"]] * 20, words), given, "plain")
    assert (found.clears, found.baseline, found.value) == (False, "question prior", 1.0)
    assert found.line == (
        "no better than answering by the question's first words alone (100.0 %); train longer or look at the data"
    )
    alone = baselines.judge(scores, answers, None, given, "plain")
    assert (alone.clears, alone.baseline) == (True, "best constant")


def test_questions_of_one_image_count_once() -> None:
    given = questions([["red"], ["2"]] * 20, image=np.arange(40) // 10)
    answers = ["red", "2"] * 20
    found = baselines.judge(evaluation.accuracy(answers, given, "plain"), answers, None, given, "plain")
    assert not found.clears
    assert found.line is not None
    assert "as far as 40 questions can tell" in found.line
