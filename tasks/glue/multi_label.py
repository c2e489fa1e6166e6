"""Scores of texts that may have several labels each, with intervals, against constants and against another model.

Answers and labels are 0 and 1, [n, labels]. F1 and exact match follow from how often each pair of label sets occurs, average
precision from the probabilities.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tasks.errors import DataError
from tasks.paired import Paired, paired_difference
from tasks.stats import percentile_intervals, resampled_counts, wilson

METRICS = ("micro_f1", "macro_f1", "exact_match", "micro_average_precision", "macro_average_precision")
# Average precision sorts all answers anew: fewer draws where there are many, and none of them beyond a minute.
_RANKED, _DRAWS = 200_000_000, (100, 2000)
# (answers [kinds, labels], labels [kinds, labels], counts [draws, kinds]) -> the score of each draw, [draws]
SetScorer = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def _counts(answers: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(twice the true positives, given and true together), each [draws, labels]."""
    both, either = (answers & labels).astype(np.float64), answers.astype(np.float64) + labels
    return 2 * (counts @ both), counts @ either


def _micro_f1(answers: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Over all pairs of a text and a label; 0 where none is given and none true."""
    above, below = (part.sum(axis=1) for part in _counts(answers, labels, counts))
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _macro_f1(answers: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The mean over the labels that occur or are given, as with one label a text."""
    above, below = _counts(answers, labels, counts)
    each = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
    return each.sum(axis=1) / np.maximum(1, (below > 0).sum(axis=1))


def _exact_match(answers: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The share of texts all of whose labels are right, none too many."""
    return np.asarray(counts @ (answers == labels).all(axis=1) / counts.sum(axis=1))


SET_SCORERS: dict[str, SetScorer] = {"micro_f1": _micro_f1, "macro_f1": _macro_f1, "exact_match": _exact_match}


def score(
    names: tuple[str, ...],
    probabilities: np.ndarray,
    answers: np.ndarray,
    labels: np.ndarray,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """The named metrics with their intervals: Wilson's for the exact match, the percentile bootstrap over texts for the rest.

    Args:
        names: of METRICS.
        probabilities: [n, labels], which average precision ranks; not looked at without it.

    Returns:
        {"n": texts, name: value, ..., "intervals": {name: [low, high]}}; average precision is NaN where no label occurs.

    Raises:
        DataError: no texts, or shapes that differ.
    """
    _check(answers, labels)
    first, true, sizes = _kinds(answers, labels)
    whole = sizes[None, :].astype(np.float64)
    values = {name: float(SET_SCORERS[name](first, true, whole)[0]) for name in names if name in SET_SCORERS}
    intervals: dict[str, list[float]] = {}
    drawn = [name for name in values if name != "exact_match"]
    if drawn:
        pieces = [
            np.stack([SET_SCORERS[name](first, true, counts) for name in drawn], axis=1)
            for counts in resampled_counts(sizes, resamples, seed)
        ]
        bounds = percentile_intervals(np.concatenate(pieces), confidence)
        intervals = dict(zip(drawn, bounds.T.tolist(), strict=True))
    if "exact_match" in names:
        right = int((answers == labels).all(axis=1).sum())
        intervals["exact_match"] = list(wilson(right, len(labels), confidence))
    for name in names:
        if name not in SET_SCORERS:
            values[name], intervals[name] = _ranked(name, probabilities, labels, confidence, resamples, seed)
    return {"n": len(labels), **{name: values[name] for name in names}, "intervals": {n: intervals[n] for n in names}}


def average_precision(scores: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Of one label's scores [n]: precision at each step of recall, equal scores as one step; NaN in draws without a positive.

    Source: scikit-learn's average_precision_score.

    Args:
        labels: 0 and 1, [n].
        counts: float64 [draws, n], how often each text counts.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=np.nan) != 0)
    hits = np.cumsum(counts[:, order] * labels[order], axis=1)[:, ends]
    taken = np.cumsum(counts[:, order], axis=1)[:, ends]
    precision = np.divide(hits, taken, out=np.zeros_like(hits), where=taken > 0)
    positives = hits[:, -1]
    gained = np.diff(hits, axis=1, prepend=0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(positives > 0, (gained * precision).sum(axis=1) / positives, np.nan))


def _ranked(
    name: str, scores: np.ndarray, labels: np.ndarray, confidence: float, resamples: int, seed: int
) -> tuple[float, list[float]]:
    """Average precision over all pairs of a text and a label, or its mean over the labels that occur, with its interval."""
    n, width = labels.shape
    value = float(_average_precision(name, scores, labels, np.ones((1, n)))[0])
    draws = min(resamples, max(_DRAWS[0], min(_DRAWS[1], _RANKED // max(1, n * width))))
    pieces = []
    for counts in resampled_counts(np.ones(n, np.int64), draws, seed):
        step = max(1, (1 << 21) // (n * width))
        pieces += [
            _average_precision(name, scores, labels, counts[at : at + step]) for at in range(0, len(counts), step)
        ]
    low, high = percentile_intervals(np.concatenate(pieces)[:, None], confidence)[:, 0].tolist()
    return value, [low, high]


def _average_precision(name: str, scores: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    if name == "micro_average_precision":
        return average_precision(scores.reshape(-1), labels.reshape(-1), np.repeat(counts, labels.shape[1], axis=1))
    occurring = np.flatnonzero(labels.any(axis=0))
    if not len(occurring):
        return np.full(len(counts), np.nan)
    each = np.stack([average_precision(scores[:, at], labels[:, at], counts) for at in occurring])
    known = ~np.isnan(each)
    return np.asarray(np.where(known, each, 0).sum(axis=0) / np.maximum(1, known.sum(axis=0)))


def paired(
    name: str,
    reference: np.ndarray,
    other: np.ndarray,
    labels: np.ndarray,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Paired:
    """What a metric of label sets gains or loses from `reference` to `other` on the same texts, as `tasks.glue.score.paired`.

    Args:
        name: of SET_SCORERS.

    Raises:
        DataError: no texts, or shapes that differ.
    """
    _check(reference, labels)
    _check(other, labels)
    sets, numbers = np.unique(np.concatenate([reference, other, labels]), axis=0, return_inverse=True)
    one, two, true = np.split(numbers.reshape(-1), 3)

    def scorer(answers: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
        return SET_SCORERS[name](sets[answers], sets[labels], counts)

    return paired_difference(
        name, scorer, one, two, true,
        exact=name == "exact_match", confidence=confidence, resamples=resamples, seed=seed,
    )  # fmt: skip


def best_constant(name: str, labels: np.ndarray) -> np.ndarray:
    """The label set uint8 [labels] that scores best when given to every text: the k most frequent labels, or for the exact match
    the most frequent set.

    For micro F1 no set is better: of k labels the most frequent ones hit most often. For macro F1 it is every label that occurs.
    """
    if name == "exact_match":
        sets, counts = np.unique(labels, axis=0, return_counts=True)
        return np.array(sets[int(counts.argmax())], np.uint8)
    if name == "macro_f1":
        return np.asarray(labels.any(axis=0), np.uint8)
    order = np.argsort(-labels.sum(axis=0, dtype=np.int64), kind="stable")
    hits = np.cumsum(labels.sum(axis=0, dtype=np.int64)[order])
    scores = 2 * hits / (np.arange(1, len(order) + 1) * len(labels) + hits[-1]) if len(labels) else hits
    chosen = np.zeros(labels.shape[1], np.uint8)
    chosen[order[: int(np.argmax(scores)) + 1]] = 1
    return chosen


def constant_score(name: str, answer: np.ndarray, labels: np.ndarray) -> float:
    """What one label set uint8 [labels] given to every text scores, by a metric of SET_SCORERS."""
    return float(SET_SCORERS[name](np.tile(answer, (len(labels), 1)), labels, np.ones((1, len(labels))))[0])


def constant_precision(name: str, labels: np.ndarray) -> float:
    """Average precision where every text has the same scores: the share of labels that are true, or its mean over the labels."""
    return float(_average_precision(name, np.zeros(labels.shape), labels, np.ones((1, len(labels))))[0])


def per_label(probabilities: np.ndarray, answers: np.ndarray, labels: np.ndarray) -> list[dict[str, Any]]:
    """Of each label: true and false positives and negatives, precision, recall, F1 and average precision, NaN where undefined."""
    rows = []
    whole = np.ones((1, len(labels)))
    for at in range(labels.shape[1]):
        given, true = answers[:, at].astype(bool), labels[:, at].astype(bool)
        tp, fp, fn = int((given & true).sum()), int((given & ~true).sum()), int((~given & true).sum())
        shares = {"precision": (tp, tp + fp), "recall": (tp, tp + fn), "f1": (2 * tp, 2 * tp + fp + fn)}
        rows.append(
            {
                "tp": tp,
                "fp": fp,
                "fn": fn,
                "tn": len(labels) - tp - fp - fn,
                **{name: part / of if of else float("nan") for name, (part, of) in shares.items()},
                "average_precision": float(average_precision(probabilities[:, at], labels[:, at], whole)[0]),
            }
        )
    return rows


def _kinds(answers: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(answers, labels, rows) of each different pair of label sets."""
    kinds, sizes = np.unique(np.concatenate([answers, labels], axis=1), axis=0, return_counts=True)
    first, true = np.split(kinds, 2, axis=1)
    return first, true, sizes


def _check(answers: np.ndarray, labels: np.ndarray) -> None:
    if answers.shape != labels.shape or not len(labels):
        raise DataError(f"a score needs answers for each text, found {list(answers.shape)} and {list(labels.shape)}")
