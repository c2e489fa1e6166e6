"""Report sections of a text classifier: scores by class, confusion matrix, scores by length, and examples."""

from __future__ import annotations

import dataclasses

import numpy as np

from recipes.glue.answers import shown
from recipes.glue.report_sets import by_label
from recipes.report.content import (
    EXAMPLES,
    BarChart,
    Example,
    Line,
    LineChart,
    Section,
    Table,
    Verdict,
    evenly,
    half_wrong,
)
from tasks.glue import evaluation
from tasks.glue.data import Splits
from tasks.glue.texts import Texts
from tasks.stats import wilson

MISTAKES = 15
CLASSES_SHOWN = 20
MAX_TEXT = 300
BINS = 5


def sections(splits: Splits, lengths: dict[str, np.ndarray], logits: dict[str, np.ndarray]) -> list[Section]:
    """The report's parts, for the first evaluation split; the figures of all of them where there are several."""
    name = next(iter(splits.evaluation))
    texts = splits.evaluation[name]
    if splits.thresholds is not None:
        content = [by_label(splits, texts, logits[name])]
    else:
        content = [_of_classes(splits, texts, logits[name])] if splits.labels else [_of_scores(texts, logits[name])]
    content.append(_by_length(splits, texts, lengths[name], logits[name]))
    if len(splits.evaluation) > 1:
        content.insert(0, Section("Evaluation splits", tables=[_splits(splits, logits)]))
    text = f"Drawn from {name} by the same rule each time: half of them right where there are as many."
    return [*content, Section("Examples", text=text, examples=examples(splits, texts, logits[name]))]


def _splits(splits: Splits, logits: dict[str, np.ndarray]) -> Table:
    rows = []
    for name, texts in splits.evaluation.items():
        figures = evaluation.figures(splits, texts, logits[name])
        rows.append([name, figures["n"], *(evaluation.text_of(metric, figures[metric]) for metric in splits.metrics)])
    return Table("Figures", ["split", "n", *(evaluation.title(metric) for metric in splits.metrics)], rows)


def _of_classes(splits: Splits, texts: Texts, logits: np.ndarray) -> Section:
    assert splits.labels is not None
    assert texts.label is not None
    labels, answers = splits.labels, evaluation.answers_of(logits, splits.labels)
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(counts, (texts.label, answers), 1)
    right, of, said = counts.diagonal(), counts.sum(1), counts.sum(0)
    order = np.argsort(-of, kind="stable")[:CLASSES_SHOWN]
    shares = (said, right), (of, right), (of + said, 2 * right)
    rows = [[labels[at], int(of[at]), *(_percent(above[at], whole[at]) for whole, above in shares)] for at in order]
    shown = [int(at) for at in order if of[at]]
    bounds = [wilson(int(right[at]), int(of[at])) for at in shown]
    chart = BarChart(
        "Recall by class",
        [f"{labels[at]} (n {of[at]:,})" for at in shown],
        [right[at] / of[at] for at in shown],
        [bound.low for bound in bounds],
        [bound.high for bound in bounds],
    )
    tables = [Table("Classes, %", ["class", "n", "precision", "recall", "F1"], rows), _confusions(labels, counts)]
    return Section("By class", charts=[chart], tables=tables)


def _confusions(labels: list[str], counts: np.ndarray) -> Table:
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MISTAKES]
    rows = [
        [labels[at // len(labels)], labels[at % len(labels)], int(wrong.flat[at])] for at in order if wrong.flat[at]
    ]
    return Table("Most frequent mistakes", ["label", "answered", "texts"], rows, "" if rows else "There is none.")


def _percent(part: int, whole: int) -> float | None:
    return round(100 * float(part / whole), 1) if whole else None


def _of_scores(texts: Texts, logits: np.ndarray) -> Section:
    """Predicted against labelled: the mean and the spread of the answers at each level of the label."""
    assert texts.label is not None
    answers = logits[:, 0]
    edges = np.unique(np.quantile(texts.label, np.linspace(0, 1, 11)))
    place = np.clip(np.searchsorted(edges, texts.label, side="right") - 1, 0, max(0, len(edges) - 2))
    groups = [place == level for level in np.unique(place)]
    x = [float(texts.label[inside].mean()) for inside in groups]
    y = [float(answers[inside].mean()) for inside in groups]
    low, high = ([float(np.quantile(answers[inside], share)) for inside in groups] for share in (0.1, 0.9))
    chart = LineChart(
        "Answer by label",
        [Line("mean answer", x, y, low, high), Line("label", x, x, look="dashed")],
        x_label="label",
        note="The band holds 80 % of the answers.",
    )
    return Section("Answers against labels", charts=[chart])


def _by_length(splits: Splits, texts: Texts, lengths: np.ndarray, logits: np.ndarray) -> Section:
    """The headline metric in five groups of about as many texts, by length in tokens."""
    assert texts.label is not None
    first = splits.metrics[0]
    one = dataclasses.replace(splits, metrics=(first,))
    labels, bars = [], []
    for rows in np.array_split(np.argsort(lengths, kind="stable"), min(BINS, len(lengths))):
        figures = evaluation.figures(one, texts.take(rows), logits[rows])
        labels.append(f"{lengths[rows[0]]} to {lengths[rows[-1]]} tokens (n {len(rows):,})")
        bars.append([finite(figures[key]) for key in (first, f"{first}_low", f"{first}_high")])
    values, low, high = zip(*bars, strict=True)
    chart = BarChart(f"{evaluation.title(first)} by length", labels, values, low, high, unit=evaluation.unit(first))
    return Section("By length", charts=[chart])


def finite(value: float) -> float | None:
    """The number, None where it is NaN or infinite."""
    return float(value) if np.isfinite(value) else None


def examples(splits: Splits, texts: Texts, logits: np.ndarray) -> list[Example]:
    """Half right, half wrong where there are as many, spread evenly over the split; of a regression the nearest and the farthest."""
    assert texts.label is not None
    answers = evaluation.answers_of(logits, splits.labels, splits.thresholds)
    if splits.labels is None:
        order = np.argsort(np.abs(answers - texts.label), kind="stable")
        near, far = order[: len(order) // 2], order[::-1][: EXAMPLES // 2]
        chosen = [*evenly(near, EXAMPLES // 2), *(int(at) for at in far if at not in near)]
    else:
        chosen = half_wrong((answers != texts.label).reshape(len(texts), -1).any(axis=1))
    return [_example(splits, texts, logits, answers, number) for number in chosen]


def _example(splits: Splits, texts: Texts, logits: np.ndarray, answers: np.ndarray, number: int) -> Example:
    assert texts.label is not None
    answer, label = (shown(value, splits.labels, decimals=3) for value in (answers[number], texts.label[number]))
    verdict: Verdict | None = None
    right = None
    if splits.thresholds is not None:
        right, verdict = _overlap(answers[number], texts.label[number])
    elif splits.labels is not None:
        share = float(evaluation.probabilities(logits[number : number + 1])[0].max())
        answer = f"{answer} ({share:.2f})"
        right = float(answers[number] == texts.label[number])
        verdict = "right" if right else "wrong"
    second = [] if texts.second is None else [("second", _short(texts.second[number]))]
    lines = [*second, ("answer", answer), ("label", label)]
    return Example(None, _short(texts.first[number]), lines, verdict, right)


def _overlap(answer: np.ndarray, label: np.ndarray) -> tuple[float, Verdict]:
    """The F1 of one text's labels, and what it is worth; no label where there is none is right."""
    both, either = int((answer & label).sum()), int(answer.sum()) + int(label.sum())
    share = 2 * both / either if either else 1.0
    return share, "right" if share == 1 else "partly" if share else "wrong"


def _short(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]} ..."
