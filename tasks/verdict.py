"""Verdict on a figure: whether it clears the best score that needs no model, and the line that says so where it doesn't.

A figure clears its baseline where the 95 % interval of their difference, over the same examples, lies above 0. Groups of
examples that stay together (an image, a series) count as one; where fewer than six of them tell the two apart, nothing is
cleared: a model that is better in each of five is so by chance once in sixteen times, two-sided (a sign test's p of 0.0625).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from tasks.files import defined
from tasks.stats import paired_bootstrap

LEAST_DIFFERING = 6
SIGNIFICANT = 0.05
# From this share on an answer is told as the only one, unless nearly as many examples (to `EXCUSED`) have it as their label.
ONE_ANSWER, EXCUSED = 0.95, 0.05
MAX_ANSWER = 60
ADVICE = "train longer or look at the data"


class Baseline(NamedTuple):
    """What a figure is held against: its name in tables, its value, and what it does in words for a sentence."""

    name: str
    value: float
    words: str = ""


class Evidence(NamedTuple):
    """How far a figure is from its baseline over the same examples; positive is better.

    Attributes:
        low, high: its 95 % interval; NaN where there is none.
        differing: groups of examples in which the two don't score alike; None where that isn't known.
        p: two-sided, of an exact test where there is one.
        test: what was done, in words.
    """

    difference: float
    low: float
    high: float
    differing: int | None
    test: str
    p: float | None = None

    @property
    def significant(self) -> bool:
        enough = self.differing is None or self.differing >= LEAST_DIFFERING
        return self.low > 0 and enough and (self.p is None or self.p < SIGNIFICANT)


@dataclass(frozen=True)
class Repeated:
    """The answer that a model gives to (nearly) everything."""

    answer: str
    count: int
    n: int


@dataclass(frozen=True)
class Verdict:
    """What `judge` found.

    Attributes:
        figure: of the model; `value`: of the best baseline, in the same unit.
        difference, low, high: between them, positive is better; None where unknown.
        repeated: the one answer, its count, n and share; None where there is no such.
        line: what is wrong, in words; None where nothing is.
    """

    clears: bool
    metric: str
    figure: float
    baseline: str
    value: float
    difference: float | None
    low: float | None
    high: float | None
    test: str
    repeated: dict[str, Any] | None
    line: str | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values by name, None for what isn't a number."""
        plain: dict[str, Any] = defined(asdict(self))
        return plain


def best_of(baselines: Sequence[Baseline], greater_is_better: bool = True) -> Baseline:
    """The one to beat; of equals the first."""
    known = [one for one in baselines if not math.isnan(one.value)] or list(baselines)
    return max(known, key=lambda one: one.value if greater_is_better else -one.value)


def judge(
    metric: str,
    figure: float,
    baseline: Baseline,
    evidence: Evidence,
    *,
    examples: str,
    unit: str = "percent",
    repeated: Repeated | None = None,
    more: str = "",
) -> Verdict:
    """The verdict on a figure.

    Args:
        baseline: the best there is (`best_of`).
        examples: what was measured on, as "312 texts".
        unit: `percent` for fractions; else the metric's name stands beside the value.
        more: what else to do where the examples are too few to tell.
    """
    clears = evidence.significant
    phrases = [] if repeated is None else [_repeated_text(repeated, examples.rpartition(" ")[2])]
    if not clears:
        value = (
            f"{100 * baseline.value:.1f} %" if unit == "percent" else f"{metric.replace('_', ' ')} {baseline.value:.4g}"
        )
        phrase = f"no better than {baseline.words or baseline.name} ({value})"
        above = evidence.difference > 0
        advice = ADVICE if not above else f"train longer{f' or {more}' if more else ''}"
        phrases += [f"{phrase}, as far as {examples} can tell" if above else phrase, advice]
    said = None if repeated is None else {**asdict(repeated), "share": repeated.count / repeated.n}
    difference, low, high = (
        None if math.isnan(one) else one for one in (evidence.difference, evidence.low, evidence.high)
    )
    return Verdict(
        clears,
        metric,
        figure,
        baseline.name,
        baseline.value,
        difference,
        low,
        high,
        evidence.test,
        said,
        "; ".join(phrases) or None,
    )


def against_point(
    figure: float, low: float | None, high: float | None, value: float, greater_is_better: bool = True
) -> Evidence:
    """A figure's own interval against a value that has none; without an interval the figure alone decides."""
    sign = 1 if greater_is_better else -1
    difference = sign * (figure - value)
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return Evidence(difference, difference, math.nan, None, "the figure alone, which has no interval")
    least, most = sorted(sign * (end - value) for end in (low, high))
    return Evidence(difference, least, most, None, "the figure's 95 % interval")


def paired_means(scores: np.ndarray, baseline: np.ndarray, groups: Sequence[Any] | np.ndarray | None) -> Evidence:
    """Of scores [n] whose mean is the figure, greater is better, by a paired bootstrap over groups."""
    found = paired_bootstrap(scores, baseline, groups)
    apart: np.ndarray = np.asarray(scores, dtype=np.float64) - np.asarray(baseline, dtype=np.float64)
    if groups is not None:
        apart = np.bincount(np.unique(np.asarray(groups), return_inverse=True)[1], weights=apart)
    differing = int((np.abs(apart) > 1e-12).sum())
    return Evidence(found.difference, found.low, found.high, differing, "paired bootstrap")


def repeated(
    answers: Sequence[Hashable], truths: Sequence[Hashable], shown: Sequence[str] | None = None
) -> Repeated | None:
    """The answer given to everything, or to at least 95 % where the labels have it at least 5 points less often.

    Args:
        answers, truths: [n], in one form.
        shown: [n] the answers to read, where that is another.
    """
    if not len(answers):
        return None
    answer, count = Counter(answers).most_common(1)[0]
    share = count / len(answers)
    of_truths = sum(truth == answer for truth in truths) / len(answers)
    alone = count == len(answers) and of_truths < 1
    if not alone and (share < ONE_ANSWER or of_truths > share - EXCUSED):
        return None
    text = str(answer if shown is None else shown[list(answers).index(answer)])
    return Repeated(text if len(text) <= MAX_ANSWER else f"{text[:MAX_ANSWER]} ...", count, len(answers))


def _repeated_text(found: Repeated, noun: str) -> str:
    return f"answers {found.answer!r} to {found.count:,} of {found.n:,} {noun} ({100 * found.count / found.n:.1f} %)"
