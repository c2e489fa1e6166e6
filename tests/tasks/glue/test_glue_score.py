"""Scores of classifications and regressions: values, intervals, differences, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats
from sklearn import metrics as sk

from tasks import metrics, stats
from tasks.errors import ConfigError, DataError
from tasks.glue.baselines import constants
from tasks.glue.score import METRICS, paired, score
from tasks.paired import mcnemar

CLASSES = ("accuracy", "macro_f1", "matthews_correlation")
NUMBERS = ("pearson", "spearman", "mse", "mae")


def _classes(seed: int, rows: int, kinds: int, right: float) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, kinds, rows)
    return np.where(generator.random(rows) < right, labels, generator.integers(0, kinds, rows)), labels


def _numbers(seed: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels with ties, as STS-B's are, and predictions without."""
    generator = np.random.default_rng(seed)
    labels = np.round(generator.uniform(0, 5, rows), 1)
    return labels + generator.normal(0, 1.5, rows), labels


@pytest.mark.parametrize(("rows", "kinds", "right"), [(200, 2, 0.7), (77, 3, 0.5), (9, 5, 0.0), (40, 2, 1.0)])
def test_scores_of_classes_are_scikit_learns(rows: int, kinds: int, right: float) -> None:
    predictions, labels = _classes(rows, rows, kinds, right)
    found = score(CLASSES + (("f1",) if kinds == 2 else ()), predictions, labels, resamples=2)
    assert found["n"] == rows
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(labels, predictions), abs=1e-15)
    assert found["macro_f1"] == pytest.approx(sk.f1_score(labels, predictions, average="macro"), abs=1e-14)
    assert found["matthews_correlation"] == pytest.approx(sk.matthews_corrcoef(labels, predictions), abs=1e-14)
    if kinds == 2:
        assert found["f1"] == pytest.approx(sk.f1_score(labels, predictions), abs=1e-14)


def test_scores_of_numbers_are_scipys() -> None:
    predictions, labels = _numbers(0, 300)
    found = score(NUMBERS, predictions, labels, resamples=2)
    assert found["pearson"] == pytest.approx(scipy_stats.pearsonr(predictions, labels).statistic, abs=1e-13)
    assert found["spearman"] == pytest.approx(scipy_stats.spearmanr(predictions, labels).statistic, abs=1e-13)
    assert found["mse"] == pytest.approx(sk.mean_squared_error(labels, predictions))
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(labels, predictions))
    far = score(("pearson",), 1e9 + 1e-3 * predictions, 1e200 * labels, resamples=2)
    assert far["pearson"] == pytest.approx(found["pearson"], abs=1e-4)  # what float64 keeps of 1e9 + 1e-3


def test_ties_have_the_mean_of_their_ranks() -> None:
    # Ranks 1.5 1.5 3 4 and 1 3 3 3: less 2.5, their products add up to 2, their squares to 4.5 and 3.
    found = score(("spearman",), np.array([1.0, 1.0, 2.0, 7.0]), np.array([0.0, 5.0, 5.0, 5.0]), resamples=2)
    assert found["spearman"] == pytest.approx(2 / math.sqrt(4.5 * 3), abs=1e-15)


def test_spearman_of_drawn_rows_is_that_of_the_rows_written_out() -> None:
    values, labels = np.array([3.0, 1.0, 1.0, 2.0]), np.array([1.0, 2.0, 0.0, 2.0])
    times = np.array([2, 1, 3, 2])
    drawn = METRICS["spearman"].scorer(values, labels, times[None].astype(float))
    expected = scipy_stats.spearmanr(np.repeat(values, times), np.repeat(labels, times)).statistic
    assert drawn == pytest.approx([expected], abs=1e-14)


def test_a_correlation_with_a_constant_is_undefined_and_said() -> None:
    labels = np.array([1.0, 2.0, 4.0])
    found = score(("pearson", "spearman", "mse"), np.full(3, 0.1), labels, resamples=5)
    assert math.isnan(found["pearson"])
    assert math.isnan(found["spearman"])
    assert found["mse"] == pytest.approx((0.9**2 + 1.9**2 + 3.9**2) / 3)
    assert all(math.isnan(bound) for bound in found["intervals"]["pearson"])
    reason = "the predictions are constant"
    assert found["undefined"] == {"pearson": reason, "spearman": reason}
    assert "undefined" not in score(("pearson",), labels, labels, resamples=5)
    same = np.ones(4, dtype=np.int64)
    assert score(("matthews_correlation", "f1"), 0 * same, same, resamples=5)["matthews_correlation"] == 0.0


@pytest.mark.parametrize(("right", "rows"), [(0, 10), (9, 10), (10, 10), (812, 872)])
def test_the_interval_of_an_accuracy_is_wilsons(right: int, rows: int) -> None:
    labels = np.ones(rows, dtype=np.int64)
    found = score(("accuracy",), (np.arange(rows) < right).astype(np.int64), labels)["intervals"]["accuracy"]
    expected = scipy_stats.binomtest(right, rows).proportion_ci(0.95, method="wilson")
    assert found == pytest.approx([expected.low, expected.high], abs=1e-12)


@pytest.mark.parametrize("name", ["macro_f1", "pearson", "spearman"])
def test_intervals_are_those_of_a_bootstrap_over_rows(name: str) -> None:
    predictions, labels = _classes(3, 400, 3, 0.6) if METRICS[name].classes else _numbers(3, 150)
    low, high = score((name,), predictions, labels, resamples=4000)["intervals"][name]
    generator = np.random.default_rng(9)
    drawn = []
    for _ in range(700):
        rows = generator.integers(0, len(labels), len(labels))
        drawn.append(score((name,), predictions[rows], labels[rows], resamples=1)[name])
    expected = np.quantile(drawn, [0.025, 0.975])
    # An end of an interval from 700 draws varies by some hundredths of the interval's width.
    assert np.abs(expected - [low, high]).max() < 0.1 * (high - low)


def test_a_score_follows_its_options() -> None:
    predictions, labels = _classes(1, 100, 2, 0.7)
    wide = score(("f1", "accuracy"), predictions, labels, confidence=0.99)["intervals"]
    narrow = score(("f1", "accuracy"), predictions, labels, confidence=0.5)["intervals"]
    for name in ("f1", "accuracy"):
        assert wide[name][0] < narrow[name][0] < narrow[name][1] < wide[name][1]
    assert score(("f1",), predictions, labels, seed=4) == score(("f1",), predictions, labels, seed=4)


@pytest.mark.parametrize(
    ("names", "predictions", "labels", "error", "message"),
    [
        (("bleu",), [1], [1], ConfigError, "no metric bleu; there are accuracy, f1"),
        (("accuracy",), [], [], DataError, "found 0 and 0"),
        (("accuracy",), [1, 0], [1], DataError, "found 2 and 1"),
        (("accuracy",), [0.5], [1], ConfigError, "class numbers"),
        (("accuracy", "pearson"), [1], [1], ConfigError, "class numbers"),
        (("f1",), [2, 0], [1, 0], ConfigError, "take macro_f1"),
        (("pearson",), [1.0, math.nan], [1.0, 2.0], DataError, "1 of 2 predictions aren't finite, the first is row 2"),
    ],
)
def test_what_can_not_be_scored_is_said(
    names: tuple[str, ...], predictions: list[float], labels: list[float], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        score(names, np.array(predictions), np.array(labels))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (1, 0), (3, 3), (2, 9), (14, 5), (900, 1100)])
def test_mcnemar_is_the_exact_binomial(better: int, worse: int) -> None:
    expected = scipy_stats.binomtest(better, better + worse).pvalue if better + worse else 1.0
    assert mcnemar(better, worse) == pytest.approx(expected, rel=1e-9)


def test_a_pair_of_classifiers() -> None:
    labels = np.array([0, 1, 1, 0, 1, 0, 1, 1] * 5)
    reference, other = labels.copy(), labels.copy()
    reference[:3] = 1 - labels[:3]  # three that only the other has right
    other[10:19] = 1 - labels[10:19]  # nine that only the reference has right
    reference[30] = other[30] = 1 - labels[30]
    found = paired("accuracy", reference, other, labels)
    assert (found.n, found.better, found.worse, found.changed) == (40, 3, 9, 12)
    assert found.difference == pytest.approx(-6 / 40)
    assert found.p == pytest.approx(scipy_stats.binomtest(3, 12).pvalue)
    rows = (other == labels).astype(float) - (reference == labels)
    expected = stats.paired_bootstrap((other == labels), (reference == labels), resamples=4000)
    assert found.low == pytest.approx(expected.low, abs=0.03)
    assert found.high == pytest.approx(expected.high, abs=0.03)
    assert found.low < rows.mean() < found.high
    f1 = paired("f1", reference, other, labels)
    assert f1.difference == pytest.approx(sk.f1_score(labels, other) - sk.f1_score(labels, reference))
    assert f1.low < f1.difference < f1.high


def test_a_pair_that_is_one_model_twice() -> None:
    predictions, labels = _numbers(5, 50)
    same = paired("spearman", predictions, predictions, labels)
    assert (same.difference, same.low, same.high, same.p, same.changed) == (0.0, 0.0, 0.0, 1.0, 0)


def test_a_difference_of_correlations_is_found_where_there_is_one() -> None:
    predictions, labels = _numbers(6, 300)
    noise = np.random.default_rng(7).normal(0, 1, 300)
    worse = paired("pearson", predictions, predictions + 2 * noise, labels)
    assert worse.difference == pytest.approx(
        scipy_stats.pearsonr(predictions + 2 * noise, labels).statistic
        - scipy_stats.pearsonr(predictions, labels).statistic,
        abs=1e-13,
    )
    assert worse.high < 0
    assert worse.p == pytest.approx(2 / 2001)
    alike = paired("pearson", predictions, 3 * predictions + 1, labels)
    assert alike.difference == pytest.approx(0.0, abs=1e-13)
    assert math.isnan(paired("pearson", predictions, np.zeros(300), labels).p)


def test_the_baseline_is_the_majority_of_the_training_labels() -> None:
    train, labels = np.array([1, 1, 0, 2, 1]), np.array([1, 0, 1, 2])
    names = ["a", "b", "c"]
    found = {name: constants(name, labels, train, names)[0][0].value for name in ("accuracy", "matthews_correlation")}
    assert found == {"accuracy": 0.5, "matthews_correlation": 0.0}
    binary = constants("f1", np.array([1, 0, 1, 1]), np.array([1, 1, 0]), names[:2])
    assert binary[0][0].value == pytest.approx(2 * 3 / (2 * 3 + 1))
    mean = np.full(2, np.array([1.0, 3.0]).mean())
    numbers = score(("mse", "pearson"), mean, np.array([2.0, 4.0]))
    assert numbers["mse"] == 2.0
    assert math.isnan(numbers["pearson"])


# The metrics by the names and arguments that the `evaluate` library has for them.


@pytest.mark.parametrize(
    ("name", "config", "predictions", "references", "options", "expected"),
    [
        ("f1", None, [1, 0, 1, 1], [1, 1, 0, 1], {}, {"f1": 2 / 3}),
        ("macro_f1", None, [2, 0, 1, 1], [2, 1, 0, 1], {}, {"macro_f1": (1 + 0 + 0.5) / 3}),
        ("macro_f1", None, ["b", "a"], ["b", "b"], {}, {"macro_f1": (2 / 3) / 2}),
        ("matthews_correlation", None, [1, 0, 1, 1], [1, 0, 0, 1], {}, {"matthews_correlation": 2 / math.sqrt(12)}),
        ("matthews_correlation", None, ["x", "y"], ["x", "y"], {}, {"matthews_correlation": 1.0}),
        ("pearsonr", None, [1.0, 2.0, 4.0], [2.0, 4.0, 8.0], {}, {"pearsonr": 1.0}),
        ("spearmanr", None, [1.0, 2.0, 9.0], [2.0, 4.0, 3.0], {}, {"spearmanr": 0.5}),
        ("glue", "cola", [1, 0, 1, 1], [1, 0, 0, 1], {}, {"matthews_correlation": 2 / math.sqrt(12)}),
        ("glue", "mrpc", [1, 0, 1, 1], [1, 1, 0, 1], {}, {"accuracy": 0.5, "f1": 2 / 3}),
        ("glue", "stsb", [1.0, 2.0, 9.0], [2.0, 4.0, 3.0], {}, {"pearson": 0.11470786693528097, "spearmanr": 0.5}),
        ("glue", "mnli_mismatched", [2, 0, 1, 1], [2, 1, 0, 1], {}, {"accuracy": 0.5}),
        ("glue", "mnli", [2, 0, 1, 1], [2, 1, 1, 1], {}, {"accuracy": 0.75}),
    ],
)
def test_metrics_by_the_names_of_the_library(
    name: str,
    config: str | None,
    predictions: Any,
    references: Any,
    options: dict[str, Any],
    expected: dict[str, float],
) -> None:
    found = metrics.load(name, config).compute(predictions=predictions, references=references, **options)
    assert found == {key: pytest.approx(value, abs=1e-12) for key, value in expected.items()} | {"n": len(references)}


@pytest.mark.parametrize(
    ("name", "config", "values", "error", "message"),
    [
        ("glue", None, [1, 0], ConfigError, "glue needs the name of a task .* cola, .*stsb"),
        ("glue", "mrcp", [1, 0], ConfigError, "no task 'mrcp'; did you mean 'mrpc'"),
        ("f1", None, [1, 2], ConfigError, "take macro_f1"),
        ("f1", None, [1, 0.5], DataError, "row 2: .*class number, found 0.5"),
        ("glue", "cola", [1, 0.5], DataError, "row 2: .*class number, found 0.5"),
    ],
)
def test_metrics_refuse_what_they_do_not_take(
    name: str, config: str | None, values: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        metrics.load(name, config).compute(predictions=values, references=values)


def test_only_glue_has_variants() -> None:
    with pytest.raises(ConfigError, match="f1 has no variants, got 'macro'"):
        metrics.load("f1", "macro")
