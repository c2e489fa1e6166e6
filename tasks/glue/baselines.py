"""What answers that need no model score, and the verdict on a classifier's or a regression's figures beside them."""

from __future__ import annotations

import math

import numpy as np

from tasks import verdict
from tasks.glue import multi_label, score
from tasks.verdict import Baseline, Evidence, Repeated, Verdict
from tasks.words import counted

MAJORITY, BEST = "majority", "best constant"
# A regression whose answers spread less than this share of the labels' spread gives one answer.
FLAT = 0.01


def constants(
    metric: str, labels: np.ndarray, train: np.ndarray | None, names: list[str] | None
) -> list[tuple[Baseline, int | None]]:
    """What constant answers score by a metric, each with its class: the most frequent one of the training labels, and the best
    one for `labels` where that is another. A correlation has no other constant than any: 0.

    Args:
        labels, train: [n] class numbers, or numbers.
        names: of the classes; None: a regression.
    """
    if names is None:
        return [(Baseline("any constant", 0.0), None)]
    found: list[tuple[Baseline, int | None]] = []
    majority = None if train is None or not len(train) else int(np.bincount(train).argmax())
    if majority is not None:
        found.append((_constant(MAJORITY, metric, labels, majority, names), majority))
    # Of an answer of its own only class 1 has an F1, and else the most frequent class the best score.
    best = 1 if metric == "f1" else int(np.bincount(labels).argmax())
    other = (_constant(BEST, metric, labels, best, names), best)
    if not found or other[0].value > found[0][0].value:
        found.append(other)
    return found


def _constant(name: str, metric: str, labels: np.ndarray, answer: int, names: list[str]) -> Baseline:
    true, sizes = np.unique(labels, return_counts=True)
    value = score.METRICS[metric].scorer(np.full(len(true), answer), true, sizes[None, :].astype(np.float64))
    return Baseline(name, float(value[0]), f"always answering {names[answer]!r}")


def judge(
    metric: str,
    answers: np.ndarray,
    labels: np.ndarray,
    train: np.ndarray | None,
    names: list[str] | None,
    figure: tuple[float, float, float],
) -> Verdict:
    """The verdict on a metric of answers [n].

    Args:
        figure: its value and 95 % interval.
    """
    known = constants(metric, labels, train, names)
    best = verdict.best_of([one for one, _ in known])
    answer = next(answer for one, answer in known if one == best)
    return verdict.judge(
        metric, figure[0], best, _evidence(metric, answers, labels, answer, best, figure),
        examples=counted(len(labels), "text"),
        unit="percent" if score.METRICS[metric].classes and metric != "matthews_correlation" else "",
        repeated=_repeated(answers, labels, names),
        more="evaluate on more",
    )  # fmt: skip


def _evidence(
    metric: str,
    answers: np.ndarray,
    labels: np.ndarray,
    answer: int | None,
    best: Baseline,
    figure: tuple[float, float, float],
) -> Evidence:
    """Paired with the constant; a correlation, of which a constant has none, by its own interval and Fisher's test of 0."""
    if answer is None or metric == "matthews_correlation":
        value, low, high = figure
        p = _fisher_p(value, len(labels))
        return Evidence(value, low, high, len(labels), "the figure's bootstrap interval and Fisher's test", p)
    constant = np.full(len(labels), answer, dtype=labels.dtype)
    found = score.paired(metric, constant, answers, labels)
    exact = metric == "accuracy"
    return Evidence(
        found.difference,
        found.low,
        found.high,
        found.better + found.worse if exact else found.changed,
        "paired bootstrap and McNemar's test" if exact else "paired bootstrap",
        found.p if exact else None,
    )


def _fisher_p(correlation: float, n: int) -> float:
    """Two-sided p of no correlation, by Fisher's transformation (Fisher 1921)."""
    if math.isnan(correlation) or n < 4:
        return 1.0
    bounded = max(-1 + 1e-12, min(1 - 1e-12, correlation))
    return math.erfc(abs(math.atanh(bounded)) * math.sqrt(n - 3) / math.sqrt(2))


def _repeated(answers: np.ndarray, labels: np.ndarray, names: list[str] | None) -> Repeated | None:
    if names is not None:
        return verdict.repeated(answers.tolist(), labels.tolist(), [names[int(at)] for at in answers])
    if answers.std() < FLAT * labels.std():
        return Repeated(f"about {answers.mean():.2f}", len(answers), len(answers))
    return None


def constant_sets(
    metric: str, labels: np.ndarray, train: np.ndarray | None, names: list[str]
) -> list[tuple[Baseline, np.ndarray | None]]:
    """As `constants`, of texts with several labels each: label sets given to every text. Average precision has no other constant
    than any: it is the share of labels that are true.

    Args:
        labels, train: 0 and 1, [n, labels].
    """
    if metric not in multi_label.SET_SCORERS:
        return [
            (
                Baseline(
                    "any constant", multi_label.constant_precision(metric, labels), "the same scores for every text"
                ),
                None,
            )
        ]
    found: list[tuple[Baseline, np.ndarray | None]] = []
    for name, given in (("majority labels", train), (BEST, labels)):
        if given is None or not len(given):
            continue
        answer = multi_label.best_constant(metric, given)
        chosen = ", ".join(name for name, one in zip(names, answer, strict=True) if one)
        words = f"always answering {chosen!r}" if chosen else "always answering no label"
        found.append((Baseline(name, multi_label.constant_score(metric, answer, labels), words), answer))
    return found if len(found) < 2 or found[1][0].value > found[0][0].value else found[:1]


def judge_sets(
    metric: str,
    answers: np.ndarray,
    labels: np.ndarray,
    train: np.ndarray | None,
    names: list[str],
    figure: tuple[float, float, float],
) -> Verdict:
    """As `judge`, of texts with several labels each: answers and labels 0 and 1, [n, labels]."""
    known = constant_sets(metric, labels, train, names)
    best = verdict.best_of([one for one, _ in known])
    answer = next(answer for one, answer in known if one == best)
    if answer is None:
        evidence = verdict.against_point(*figure, best.value)
    else:
        found = multi_label.paired(metric, np.tile(answer, (len(labels), 1)), answers, labels)
        evidence = Evidence(found.difference, found.low, found.high, found.changed, "paired bootstrap")
    shown = [", ".join(name for name, one in zip(names, row, strict=True) if one) or "no label" for row in answers]
    return verdict.judge(
        metric, figure[0], best, evidence,
        examples=counted(len(labels), "text"),
        repeated=_repeated_set(answers, labels, shown),
        more="evaluate on more",
    )  # fmt: skip


def _repeated_set(answers: np.ndarray, labels: np.ndarray, shown: list[str]) -> Repeated | None:
    given, true = ([tuple(row) for row in sets.tolist()] for sets in (answers, labels))
    return verdict.repeated(given, true, shown)
