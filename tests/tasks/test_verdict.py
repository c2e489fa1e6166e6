"""Verdicts: when a figure clears its baseline, how few examples are too few, and when a model is said to give one answer."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from tasks import verdict
from tasks.verdict import Baseline, Evidence

MAJORITY = Baseline("majority", 0.5, "always answering 'no'")


def judged(evidence: Evidence, **more: object) -> verdict.Verdict:
    return verdict.judge("accuracy", 0.55, MAJORITY, evidence, examples="312 texts", **more)  # type: ignore[arg-type]


def test_a_figure_that_is_not_above_is_told_with_the_baseline_and_what_to_do() -> None:
    found = judged(Evidence(-0.05, -0.1, 0.0, 40, "paired bootstrap"))
    assert found.line == "no better than always answering 'no' (50.0 %); train longer or look at the data"
    assert (found.clears, found.baseline, found.value) == (False, "majority", 0.5)


def test_a_figure_above_within_chance_is_told_as_far_as_the_examples_say() -> None:
    found = judged(Evidence(0.05, -0.01, 0.1, 40, "paired bootstrap"), more="evaluate on more")
    assert found.line == (
        "no better than always answering 'no' (50.0 %), as far as 312 texts can tell; train longer or evaluate on more"
    )


def test_a_figure_that_clears_has_no_line() -> None:
    found = judged(Evidence(0.05, 0.01, 0.1, 40, "paired bootstrap"))
    assert (found.clears, found.line) == (True, None)
    assert found.as_dict()["difference"] == 0.05


def test_the_least_number_of_groups_is_that_of_a_sign_test() -> None:
    least = verdict.LEAST_DIFFERING
    assert binomtest(least, least).pvalue < 0.05 <= binomtest(least - 1, least - 1).pvalue
    assert judged(Evidence(0.5, 0.5, 0.5, least, "")).clears
    assert not judged(Evidence(0.5, 0.5, 0.5, least - 1, "")).clears


def test_without_an_interval_nothing_is_cleared_by_a_pair() -> None:
    assert not judged(Evidence(0.5, math.nan, math.nan, 1, "")).clears


def test_rows_of_one_image_are_one_group() -> None:
    scores, none = np.ones(60), np.zeros(60)
    assert judged(verdict.paired_means(scores, none, np.arange(60) // 10)).clears
    few = verdict.paired_means(scores, none, np.arange(60) // 15)
    assert (few.differing, judged(few).clears) == (4, False)


@pytest.mark.parametrize(
    ("low", "high", "greater", "clears"),
    [(0.51, 0.6, True, True), (0.49, 0.6, True, False), (0.4, 0.49, False, True), (0.4, 0.51, False, False)],
)
def test_a_headline_is_judged_by_its_own_interval(low: float, high: float, greater: bool, clears: bool) -> None:
    assert judged(verdict.against_point((low + high) / 2, low, high, 0.5, greater)).clears is clears


def test_a_headline_without_an_interval_is_judged_by_the_figure_alone_which_is_said() -> None:
    evidence = verdict.against_point(0.6, None, None, 0.5)
    assert judged(evidence).clears
    assert "no interval" in evidence.test
    assert not judged(verdict.against_point(0.5, None, None, 0.5)).clears


def test_the_best_of_errors_is_the_lowest() -> None:
    both = [Baseline("naive", 2.9), Baseline("seasonal", 0.5)]
    assert verdict.best_of(both, greater_is_better=False).name == "seasonal"
    assert verdict.best_of(both).name == "naive"


@pytest.mark.parametrize(
    ("answers", "truths", "share"),
    [
        ("n" * 20, "n" * 11 + "p" * 9, 1.0),
        ("n" * 100, "n" * 97 + "p" * 3, 1.0),  # however many labels have it
        ("n" * 96 + "p" * 4, "n" * 55 + "p" * 45, 0.96),
        ("n" * 94 + "p" * 6, "n" * 55 + "p" * 45, None),  # varied enough
        ("n" * 96 + "p" * 4, "n" * 93 + "p" * 7, None),  # as the labels are
        ("n" * 20, "n" * 20, None),
        ("", "", None),
    ],
)
def test_one_answer_to_nearly_everything(answers: str, truths: str, share: float | None) -> None:
    found = verdict.repeated(list(answers), list(truths))
    assert (None if found is None else found.count / found.n) == share


def test_the_line_says_the_answer_and_its_share() -> None:
    found = judged(
        Evidence(0.0, 0.0, 0.0, 0, ""), repeated=verdict.repeated(["no"] * 312, ["no"] * 172 + ["yes"] * 140)
    )
    assert found.line is not None
    assert found.line.startswith("answers 'no' to 312 of 312 texts (100.0 %); no better than always answering 'no'")
    assert found.repeated == {"answer": "no", "count": 312, "n": 312, "share": 1.0}


def test_control_characters_of_an_answer_are_escaped() -> None:
    found = judged(Evidence(0.0, 0.0, 0.0, 0, ""), repeated=verdict.repeated(["\x1b[31m"] * 9, ["a"] * 9))
    assert "\x1b" not in str(found.line)
