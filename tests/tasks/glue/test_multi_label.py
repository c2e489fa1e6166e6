"""Tests of the scores of texts with several labels: scikit-learn's values, intervals, differences, constants, thresholds."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn import metrics as sk

from tasks.errors import DataError
from tasks.glue import multi_label, thresholds
from tasks.stats import wilson


def drawn(seed: int, rows: int, width: int, decimals: int = 9) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(probabilities, answers, labels) of a model that is right more often than not; few decimals make ties."""
    generator = np.random.default_rng(seed)
    labels = (generator.random((rows, width)) < np.linspace(0.1, 0.6, width)).astype(np.uint8)
    scores = np.round(1 / (1 + np.exp(-(2.0 * labels - 1 + generator.normal(0, 1.2, (rows, width))))), decimals)
    return scores, (scores >= 0.5).astype(np.uint8), labels


@pytest.mark.parametrize(("rows", "width", "decimals"), [(120, 5, 9), (120, 5, 1), (40, 1, 2), (31, 12, 2)])
def test_scores_are_scikit_learns(rows: int, width: int, decimals: int) -> None:
    scores, answers, labels = drawn(rows, rows, width, decimals)
    labels[0] = 1  # every label occurs
    found = multi_label.score(multi_label.METRICS, scores, answers, labels, resamples=2)
    assert found["n"] == rows
    assert found["micro_f1"] == pytest.approx(sk.f1_score(labels.ravel(), answers.ravel()), abs=1e-14)
    each = [sk.f1_score(labels[:, at], answers[:, at]) for at in range(width)]
    assert found["macro_f1"] == pytest.approx(np.mean(each), abs=1e-14)
    assert found["exact_match"] == pytest.approx((labels == answers).all(1).mean(), abs=1e-15)
    precision = [sk.average_precision_score(labels[:, at], scores[:, at]) for at in range(width)]
    assert found["macro_average_precision"] == pytest.approx(np.mean(precision), abs=1e-12)
    micro = sk.average_precision_score(labels.ravel(), scores.ravel())
    assert found["micro_average_precision"] == pytest.approx(micro, abs=1e-12)
    if width > 1:
        assert found["micro_f1"] == pytest.approx(sk.f1_score(labels, answers, average="micro"), abs=1e-14)
        assert found["macro_f1"] == pytest.approx(sk.f1_score(labels, answers, average="macro"), abs=1e-14)
        assert found["exact_match"] == pytest.approx(sk.accuracy_score(labels, answers), abs=1e-15)


def test_labels_that_never_occur_are_left_out_of_the_means() -> None:
    labels = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0]], np.uint8)
    answers = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 0]], np.uint8)
    found = multi_label.score(multi_label.METRICS, answers.astype(float), answers, labels, resamples=2)
    assert found["macro_f1"] == pytest.approx((0.8 + 1) / 2)
    assert found["macro_average_precision"] == pytest.approx((2 / 3 + 1) / 2)


def test_intervals_are_those_of_a_bootstrap_over_texts() -> None:
    scores, answers, labels = drawn(3, 150, 4)
    found = multi_label.score(multi_label.METRICS, scores, answers, labels)["intervals"]
    generator = np.random.default_rng(9)
    drawn_scores = []
    for _ in range(1000):
        rows = generator.integers(0, 150, 150)
        one = sk.f1_score(labels[rows], answers[rows], average="micro")
        drawn_scores.append((one, sk.average_precision_score(labels[rows], scores[rows], average="micro")))
    wanted = np.quantile(drawn_scores, [0.025, 0.975], axis=0)
    assert found["micro_f1"] == pytest.approx(wanted[:, 0], abs=0.01)
    assert found["micro_average_precision"] == pytest.approx(wanted[:, 1], abs=0.01)
    assert found["exact_match"] == list(wilson(int((answers == labels).all(1).sum()), 150))


def test_a_pair_of_models() -> None:
    _, first, labels = drawn(5, 200, 3)
    second = first.copy()
    second[:40] = labels[:40]
    found = multi_label.paired("micro_f1", first, second, labels)
    difference = sk.f1_score(labels, second, average="micro") - sk.f1_score(labels, first, average="micro")
    assert found.difference == pytest.approx(difference, abs=1e-14)
    assert 0 < found.low < found.difference < found.high
    changed = int((first != second).any(axis=1).sum())
    assert (found.better, found.worse, found.changed) == (changed, 0, changed)
    same = multi_label.paired("micro_f1", first, first, labels)
    assert (same.difference, same.low, same.high, same.changed) == (0, 0, 0, 0)


@pytest.mark.parametrize("name", ["micro_f1", "exact_match", "macro_f1"])
def test_the_best_constant_is_the_best_of_all_sets(name: str) -> None:
    _, _, labels = drawn(8, 60, 5)
    every = [np.array(answer, np.uint8) for answer in itertools.product([0, 1], repeat=5)]
    best = max(multi_label.constant_score(name, answer, labels) for answer in every)
    chosen = multi_label.best_constant(name, labels)
    assert multi_label.constant_score(name, chosen, labels) == pytest.approx(best)


def test_confusions_of_each_label() -> None:
    scores, answers, labels = drawn(4, 80, 3)
    for at, row in enumerate(multi_label.per_label(scores, answers, labels)):
        tn, fp, fn, tp = sk.confusion_matrix(labels[:, at], answers[:, at]).ravel()
        assert (row["tn"], row["fp"], row["fn"], row["tp"]) == (tn, fp, fn, tp)
        assert row["f1"] == pytest.approx(sk.f1_score(labels[:, at], answers[:, at]))
        assert row["average_precision"] == pytest.approx(sk.average_precision_score(labels[:, at], scores[:, at]))


def test_no_text_has_no_score() -> None:
    none = np.zeros((0, 2), np.uint8)
    with pytest.raises(DataError):
        multi_label.score(("micro_f1",), none, none, none)


@pytest.mark.parametrize("decimals", [1, 9])
def test_a_threshold_has_the_best_f1(decimals: int) -> None:
    scores, _, labels = drawn(6, 90, 1, decimals)
    found = thresholds.best(scores[:, 0], labels[:, 0])
    levels = [0, *np.unique(scores)]
    best = max(sk.f1_score(labels[:, 0], scores[:, 0] >= level) for level in levels)
    assert sk.f1_score(labels[:, 0], scores[:, 0] >= found) == pytest.approx(best)
    assert found not in scores


def test_rare_labels_share_a_threshold_and_few_texts_keep_a_half() -> None:
    scores, _, labels = drawn(7, 200, 3)
    labels[:, 2] = 0
    labels[:5, 2] = 1
    found = thresholds.choose(scores, labels)
    assert found[1] == thresholds.best(scores[:, 1], labels[:, 1])
    assert found[2] == thresholds.best(scores.ravel(), labels.ravel())
    assert thresholds.choose(scores[:6], labels[:6]) == [0.5, 0.5, 0.5]


def test_thresholds_of_a_config() -> None:
    known = SimpleNamespace(thresholds={"b": 0.3})
    assert thresholds.of_config(known, ["a", "b"], "m") == [0.5, 0.3]
    assert thresholds.of_config(SimpleNamespace(), ["a"], "m") == [0.5]
    for wrong in ({"a": 2}, {"a": "x"}, [0.5], {"a": True}):
        with pytest.raises(DataError, match="among its thresholds"):
            thresholds.of_config(SimpleNamespace(thresholds=wrong), ["a"], "m")
