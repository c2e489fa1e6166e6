"""Constant answers of classifiers and regressions, against scikit-learn's dummies, and the verdict beside them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.dummy import DummyClassifier

from tasks.glue import score
from tasks.glue.baselines import constants, judge

NAMES = ["negative", "positive"]
THEIRS = {"accuracy": sk.accuracy_score, "f1": sk.f1_score, "matthews_correlation": sk.matthews_corrcoef}


def verdict(metric: str, answers: np.ndarray, labels: np.ndarray, train: np.ndarray | None, names=NAMES):
    found = score.score((metric,), answers, labels)
    return judge(metric, answers, labels, train, names, (found[metric], *found["intervals"][metric]))


def of(*counts: int) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts)


@pytest.mark.parametrize("metric", THEIRS)
@pytest.mark.parametrize("counts", [(55, 45), (45, 55), (97, 3), (0, 9), (9, 0)])
def test_the_best_constant_is_the_best_of_scikit_learns_dummies(metric: str, counts: tuple[int, int]) -> None:
    labels = of(*counts)
    dummies = [
        DummyClassifier(strategy="constant", constant=answer).fit(np.zeros((2, 1)), [0, 1]).predict(np.zeros((len(labels), 1)))
        for answer in (0, 1)
    ]  # fmt: skip
    expected = max(THEIRS[metric](labels, dummy) for dummy in dummies)
    for train in (None, of(3, 1), of(1, 3)):
        best = max(one.value for one, _ in constants(metric, labels, train, NAMES))
        assert best == pytest.approx(expected, abs=1e-12)


def test_macro_f1_of_several_classes() -> None:
    labels = of(5, 3, 2)
    expected = max(sk.f1_score(labels, np.full(10, answer), average="macro") for answer in range(3))
    assert constants("macro_f1", labels, None, list("abc"))[0][0].value == pytest.approx(expected)


def test_the_baseline_is_named_as_the_one_it_is() -> None:
    """The issue's case: training has more positives, the evaluation more negatives."""
    labels, train = of(11, 9), of(4, 6)
    known = {one.name: one.value for one, _ in constants("accuracy", labels, train, NAMES)}
    assert known == {"majority": 0.45, "best constant": 0.55}
    found = verdict("accuracy", of(20, 0), labels, train)
    assert (found.figure, found.baseline, found.value, found.clears) == (0.55, "best constant", 0.55, False)
    assert found.line == (
        "answers 'negative' to 20 of 20 texts (100.0 %); no better than always answering 'negative' (55.0 %); "
        "train longer or look at the data"
    )
    same = {one.name: one.value for one, _ in constants("accuracy", labels, of(6, 4), NAMES)}
    assert same == {"majority": 0.55}


@pytest.mark.parametrize(("each", "clears"), [(5, False), (6, True)])
def test_few_texts_clear_nothing_however_right(each: int, clears: bool) -> None:
    """All right, half of them unlike the constant: McNemar's exact p is 2^(1-n) of those n texts."""
    labels = of(each, each)
    found = verdict("accuracy", labels, labels, None)
    assert found.clears is clears
    if not clears:
        assert found.line is not None
        assert "as far as 10 texts can tell" in found.line


def test_accuracy_is_judged_with_the_constant_on_the_same_texts() -> None:
    labels = of(550, 450)
    answers = labels.copy()
    answers[:100] = 1  # 100 of the majority lost, 430 of the others right
    answers[550:570] = 0
    found = verdict("accuracy", answers, labels, None)
    assert found.clears
    assert found.difference == pytest.approx(0.88 - 0.55)


def test_a_correlation_is_held_against_nothing_at_all() -> None:
    generator = np.random.default_rng(0)
    labels = generator.normal(size=200)
    related, noise = labels + generator.normal(size=200), generator.normal(size=200)
    assert verdict("pearson", related, labels, None, None).clears
    found = verdict("pearson", noise, labels, None, None)
    assert (found.clears, found.value, found.baseline) == (False, 0.0, "any constant")
    assert found.line is not None
    assert "no better than any constant (pearson 0)" in found.line
    flat = verdict("pearson", np.full(200, 2.61), labels, None, None)
    assert math.isnan(flat.figure)
    assert flat.line is not None
    assert flat.line.startswith("answers 'about 2.61' to 200 of 200 texts (100.0 %); no better than any constant")
    assert not verdict("pearson", labels[:3] + 0.01 * related[:3], labels[:3], None, None).clears


def test_matthews_correlation_of_a_constant_is_0() -> None:
    labels = of(70, 30)
    answers = labels.copy()
    answers[60:75] = 1 - answers[60:75]
    assert verdict("matthews_correlation", answers, labels, of(7, 3)).clears
    assert not verdict("matthews_correlation", of(100, 0), labels, of(7, 3)).clears


def test_f1_of_always_the_second_class_is_hard_to_beat() -> None:
    labels = of(32, 68)
    found = verdict("f1", of(0, 100), labels, of(30, 70))
    assert found.value == pytest.approx(2 * 0.68 / 1.68)
    assert not found.clears
