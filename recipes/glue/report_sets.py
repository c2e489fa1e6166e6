"""Report section of a classifier of texts that may have several labels: a table, the mistakes and a bar for each label."""

from __future__ import annotations

import math

import numpy as np

from recipes.report.content import BarChart, Cell, Section, Table
from tasks.glue import evaluation, multi_label
from tasks.glue.data import Splits
from tasks.glue.texts import Texts

LABELS_SHOWN = 50


def by_label(splits: Splits, texts: Texts, logits: np.ndarray) -> Section:
    """Scores, threshold and confusions of each label, the most frequent first, and how many labels texts have and are given."""
    assert splits.labels is not None
    assert splits.thresholds is not None
    assert texts.label is not None
    answers, each, order = _each(splits, texts, logits)
    scores, confusions = scores_table(splits, each, order), _confusions(splits, each, order)
    shown = [at for at in order if each[at]["tp"] + each[at]["fn"]]
    chart = BarChart("F1 by label", [splits.labels[at] for at in shown], [each[at]["f1"] for at in shown])
    return Section("By label", charts=[chart], tables=[scores, confusions, _numbers(texts.label, answers)])


def tables(splits: Splits, logits: dict[str, np.ndarray]) -> list[Table]:
    """The scores of each label on the first evaluation split, for the model card; [] where a text has one answer."""
    if splits.thresholds is None:
        return []
    name, texts = next(iter(splits.evaluation.items()))
    _, each, order = _each(splits, texts, logits[name])
    return [scores_table(splits, each, order)]


def _each(splits: Splits, texts: Texts, logits: np.ndarray) -> tuple[np.ndarray, list[dict[str, float]], np.ndarray]:
    """(answers, figures of each label, the labels to show, the most frequent first)."""
    assert texts.label is not None
    answers = evaluation.answers_of(logits, splits.labels, splits.thresholds)
    each = multi_label.per_label(evaluation.sigmoid(logits), answers, texts.label)
    return answers, each, np.argsort([-(one["tp"] + one["fn"]) for one in each], kind="stable")[:LABELS_SHOWN]


def scores_table(splits: Splits, each: list[dict[str, float]], order: np.ndarray) -> Table:
    """A row a label: how many texts have it and are given it, its scores, and the threshold they are given it from."""
    assert splits.labels is not None
    assert splits.thresholds is not None
    rows: list[list[Cell]] = []
    for at in order:
        one = each[at]
        shares = [_percent(one[name]) for name in ("precision", "recall", "f1", "average_precision")]
        counts = [int(one["tp"] + one["fn"]), int(one["tp"] + one["fp"])]
        rows.append([splits.labels[at], *counts, *shares, round(splits.thresholds[at], 3)])
    columns = ["label", "n", "given", "precision", "recall", "F1", "average precision", "threshold"]
    more = len(each) - len(order)
    return Table("Labels, %", columns, rows, f"The {len(order)} most frequent; {more} more." if more > 0 else "")


def _confusions(splits: Splits, each: list[dict[str, float]], order: np.ndarray) -> Table:
    assert splits.labels is not None
    rows = [[splits.labels[at], *(int(each[at][key]) for key in ("tp", "fn", "fp", "tn"))] for at in order]
    return Table("Confusions", ["label", "rightly given", "missed", "wrongly given", "rightly not given"], rows)


def _numbers(labels: np.ndarray, answers: np.ndarray) -> Table:
    """How many texts have, and are given, no label, one, two, ..."""
    have, given = labels.sum(axis=1, dtype=np.int64), answers.sum(axis=1, dtype=np.int64)
    most = int(max(have.max(), given.max()))
    counts = np.bincount(have, minlength=most + 1), np.bincount(given, minlength=most + 1)
    rows = [[number, int(counts[0][number]), int(counts[1][number])] for number in range(most + 1)]
    note = f"On average {have.mean():.2f} labels a text, and {given.mean():.2f} given."
    return Table("Labels a text", ["labels", "texts that have so many", "texts that are given so many"], rows, note)


def _percent(share: float) -> float | None:
    return None if math.isnan(share) else round(100 * share, 1)
