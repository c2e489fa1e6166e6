"""Output formats of a classifier's answers: transformers' pipeline, CSV, and GLUE's own."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks.errors import ConfigError
from tasks.files import writing
from tasks.glue import evaluation
from tasks.glue.labels import names_of
from tasks.glue.texts import Texts

SUFFIXES = (".jsonl", ".csv", ".tsv")
# Of several labels, those whose scores a line has at most.
SCORES_SHOWN = 20


def as_pipeline(
    logits: np.ndarray,
    labels: list[str] | None,
    top_k: int | None = None,
    thresholds: Sequence[float] | None = None,
) -> list[list[dict[str, Any]]]:
    """`[{"label", "score"}]` for each text, best first, as transformers' text-classification pipeline gives it.

    The score of a class is its softmax share; that of a regression the number itself, under the label LABEL_0. Of several labels
    each has the sigmoid of its logit.

    Args:
        top_k: how many of the best; None: one, or of several labels those from their thresholds on, be it none.
        thresholds: where a text may have several labels, the probability from which on it has each.
    """
    if labels is None:
        return [[{"label": "LABEL_0", "score": float(value)}] for value in logits[:, 0]]
    shares = evaluation.probabilities(logits) if thresholds is None else evaluation.sigmoid(logits)
    order = np.argsort(-shares, axis=1, kind="stable")[:, : (top_k or (1 if thresholds is None else None))]
    answers = [
        [{"label": labels[at], "score": float(row[at])} for at in best] for row, best in zip(shares, order, strict=True)
    ]
    if thresholds is None or top_k is not None:
        return answers
    level = dict(zip(labels, thresholds, strict=True))
    return [[one for one in row if one["score"] >= level[one["label"]]] for row in answers]


def check_output(output: str | None) -> None:
    """Refuses a file whose kind isn't known, before any work.

    Raises:
        ConfigError: naming the kinds.
    """
    if output is not None and Path(output).suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--output: {output} must end in {', '.join(SUFFIXES)}")


def write_answers(
    path: Path,
    texts: Texts,
    logits: np.ndarray,
    labels: list[str] | None,
    top_k: int | None = None,
    thresholds: Sequence[float] | None = None,
) -> None:
    """Writes a line a text, in the form that the file's suffix names.

    .jsonl: the text, the best labels with their scores, and the given label where there is one; .csv: the same with the best
    label alone; .tsv: `index` and `prediction`, as GLUE's server takes it. Of several labels .jsonl has those that the text has,
    and the scores of the best others too; .csv and .tsv have JSON lists.

    Raises:
        OutOfDisk: no room for it.
    """
    kind = path.suffix.lower()
    with writing(path) as file:
        answers = as_pipeline(logits, labels, top_k, thresholds)
        if kind == ".tsv":
            _write_glue(file, texts, logits, labels, None if thresholds is None else answers)
        elif kind == ".csv":
            _write_csv(file, _rows(texts, labels), answers, several=thresholds is not None)
        else:
            scores = None if thresholds is None else as_pipeline(logits, labels, SCORES_SHOWN, thresholds)
            for number, (row, answer) in enumerate(zip(_rows(texts, labels), answers, strict=True)):
                line = {**row, "answers": answer}
                if scores is not None:
                    line["scores"] = {one["label"]: one["score"] for one in scores[number]}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _rows(texts: Texts, labels: list[str] | None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for number in range(len(texts)):
        row: dict[str, Any] = {"index": texts.index[number]} if texts.index is not None else {}
        row["text"] = texts.first[number]
        if texts.second is not None:
            row["text_pair"] = texts.second[number]
        if texts.label is not None:
            value = texts.label[number]
            row["given"] = names_of(value, labels)
        rows.append(row)
    return rows


def shown(value: Any, labels: list[str] | None, decimals: int = 2) -> str:
    """The same to read."""
    name = names_of(value, labels)
    if isinstance(name, float):
        return f"{name:.{decimals}f}"
    return name if isinstance(name, str) else ", ".join(name) or "no label"


def _write_csv(file: Any, rows: list[dict[str, Any]], answers: list[list[dict[str, Any]]], *, several: bool) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*(rows[0] if rows else ["text"]), "label", "score"])
    for row, answer in zip(rows, answers, strict=True):
        names, scores = ([one[key] for one in answer] for key in ("label", "score"))
        cells = [*(_json(cell) if isinstance(cell, list) else cell for cell in row.values())]
        writer.writerow([*cells, *((_json(names), _json(scores)) if several else (names[0], repr(scores[0])))])


def _json(values: list[Any]) -> str:
    return json.dumps(values, ensure_ascii=False)


def _write_glue(
    file: Any, texts: Texts, logits: np.ndarray, labels: list[str] | None, several: list[list[dict[str, Any]]] | None
) -> None:
    file.write("index\tprediction\n")
    if several is not None:
        for number, answer in enumerate(several):
            name = texts.index[number] if texts.index is not None else number
            file.write(f"{name}\t{_json([one['label'] for one in answer])}\n")
        return
    answers = evaluation.answers_of(logits, labels)
    for number, value in enumerate(answers):
        name = texts.index[number] if texts.index is not None else number
        file.write(f"{name}\t{f'{value:.3f}' if labels is None else labels[int(value)]}\n")
