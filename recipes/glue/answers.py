"""Output formats of a classifier's answers: transformers' pipeline, CSV, and GLUE's own."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from tasks.errors import ConfigError
from tasks.files import writing
from tasks.glue import evaluation
from tasks.glue.texts import Texts

SUFFIXES = (".jsonl", ".csv", ".tsv")


def as_pipeline(logits: np.ndarray, labels: list[str] | None, top_k: int = 1) -> list[list[dict[str, Any]]]:
    """`[{"label", "score"}]` for each text, best first, as transformers' text-classification pipeline gives it.

    The score of a class is its softmax share; that of a regression the number itself, under the label LABEL_0.
    """
    if labels is None:
        return [[{"label": "LABEL_0", "score": float(value)}] for value in logits[:, 0]]
    shares = evaluation.probabilities(logits)
    order = np.argsort(-shares, axis=1, kind="stable")[:, :top_k]
    return [
        [{"label": labels[at], "score": float(row[at])} for at in best] for row, best in zip(shares, order, strict=True)
    ]


def check_output(output: str | None) -> None:
    """Refuses a file whose kind isn't known, before any work.

    Raises:
        ConfigError: naming the kinds.
    """
    if output is not None and Path(output).suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--output: {output} must end in {', '.join(SUFFIXES)}")


def write_answers(path: Path, texts: Texts, logits: np.ndarray, labels: list[str] | None, top_k: int = 1) -> None:
    """Writes a line a text, in the form that the file's suffix names.

    .jsonl: the text, the best labels with their scores, and the given label where there is one; .csv: the same with the best
    label alone; .tsv: `index` and `prediction`, as GLUE's server takes it.

    Raises:
        OutOfDisk: no room for it.
    """
    kind = path.suffix.lower()
    with writing(path) as file:
        if kind == ".tsv":
            _write_glue(file, texts, logits, labels)
        elif kind == ".csv":
            _write_csv(file, texts, logits, labels)
        else:
            for row, answers in zip(_rows(texts, labels), as_pipeline(logits, labels, top_k), strict=True):
                file.write(json.dumps({**row, "answers": answers}, ensure_ascii=False) + "\n")


def _rows(texts: Texts, labels: list[str] | None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for number in range(len(texts)):
        row: dict[str, Any] = {"index": texts.index[number]} if texts.index is not None else {}
        row["text"] = texts.first[number]
        if texts.second is not None:
            row["text_pair"] = texts.second[number]
        if texts.label is not None:
            value = texts.label[number]
            row["given"] = float(value) if labels is None else labels[int(value)]
        rows.append(row)
    return rows


def _write_csv(file: Any, texts: Texts, logits: np.ndarray, labels: list[str] | None) -> None:
    rows = _rows(texts, labels)
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*(rows[0] if rows else ["text"]), "label", "score"])
    for row, answers in zip(rows, as_pipeline(logits, labels), strict=True):
        writer.writerow([*row.values(), answers[0]["label"], repr(answers[0]["score"])])


def _write_glue(file: Any, texts: Texts, logits: np.ndarray, labels: list[str] | None) -> None:
    answers = evaluation.answers_of(logits, labels)
    file.write("index\tprediction\n")
    for number, value in enumerate(answers):
        name = texts.index[number] if texts.index is not None else number
        file.write(f"{name}\t{f'{value:.3f}' if labels is None else labels[int(value)]}\n")
