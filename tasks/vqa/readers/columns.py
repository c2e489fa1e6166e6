"""From named columns (of a CSV file, JSON lines, a dataset) to `Questions`: which column is what, and in which form."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tasks.errors import ConfigError, DataError
from tasks.images import ImageStore
from tasks.readers.paths import first_of
from tasks.readers.problems import Problems
from tasks.vqa import score
from tasks.vqa.questions import Questions
from tasks.vqa.readers.source import Options

QUESTION = ("question", "question_text", "query")
IMAGE = (
    "image",
    "image_path",
    "img",
    "img_path",
    "file_name",
    "filename",
    "file",
    "path",
    "image_file",
    "image_name",
    "picture",
)
ANSWERS = ("answers", "answer", "multiple_choice_answer")
LABEL_IDS = ("label.ids", "labels.ids", "label_ids")
LABEL_WEIGHTS = ("label.weights", "labels.weights", "label_weights")


@dataclass(frozen=True)
class Layout:
    """The column that holds each field; None where there is none."""

    image: str
    question: str
    answers: str | None
    label: str | None
    ids: str | None
    weights: str | None


def looks_like(names: Collection[str]) -> bool:
    """Whether columns of these names can be questions on images."""
    return not {*QUESTION}.isdisjoint(names) and not {*IMAGE, "image_id"}.isdisjoint(names)


def layout(names: Iterable[str], options: Options, source: str) -> Layout:
    """Finds the columns.

    Raises:
        ConfigError: an override names a column that is not there.
        DataError: no question or image column is found.
    """
    names = list(names)
    named = {"image": options.image_column, "question": options.question_column, "answer": options.answer_column}
    for role, name in named.items():
        if name is not None and name not in names:
            raise ConfigError(f"--{role}-column {name}: {source} has no such column, only {', '.join(names)}")
    image = options.image_column or first_of(names, (*IMAGE, "image_id"))
    question = options.question_column or first_of(names, QUESTION)
    for what, found in (("question", question), ("image", image)):
        if found is None:
            raise DataError(f"{source}: no {what} column among {', '.join(names)}; name it with --{what}-column")
    assert image is not None
    assert question is not None
    if options.answer_column is not None:
        return Layout(image, question, options.answer_column, None, None, None)
    answers, ids, weights = (first_of(names, usual) for usual in (ANSWERS, LABEL_IDS, LABEL_WEIGHTS))
    label = first_of(names, ("label", "labels")) if ids is None and answers is None else None
    return Layout(image, question, answers, label, ids, weights)


def as_answers(value: Any) -> list[str]:
    """The answers in one cell: a string, a number, a list of either, of {"answer": ...}, or {"answer": [...]}.

    A list may be written out as text, as A-OKVQA does.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return []
    if isinstance(value, dict):
        return as_answers(value.get("answer"))
    if isinstance(value, (list, tuple)):
        return [answer for part in value for answer in as_answers(part)]
    text = value if isinstance(value, str) else str(value)
    if text[:1] == "[" and text[-1:] == "]":
        parsed = parse_cell(text)
        return as_answers(parsed) if isinstance(parsed, list) else [text]
    return [text] if text.strip() else []


def parse_cell(text: str) -> Any:
    """A cell of a CSV file: a JSON (or Python) list or object where it is one, several answers parted by '|', or the
    text.
    """
    stripped = text.strip()
    if stripped[:1] in ("[", "{") and stripped[-1:] in ("]", "}"):
        for parse in (json.loads, ast.literal_eval):
            try:
                return parse(stripped)
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                continue
    return [part.strip() for part in text.split("|")] if "|" in text else text


def soft_label(ids: Any, weights: Any) -> tuple[dict[str, float], str | None]:
    """One row of the guide's layout: {answer: weight}, and what is wrong with it or None."""
    ids = as_answers(ids)
    weights = [1.0] * len(ids) if weights is None else weights
    weights = list(weights) if isinstance(weights, (list, tuple, np.ndarray)) else [weights]
    if len(ids) != len(weights):
        return {}, f"has {len(ids)} answers and {len(weights)} weights"
    label: dict[str, float] = {}
    for answer, weight in zip(ids, weights, strict=True):
        if isinstance(weight, bool) or not isinstance(weight, (int, float)):
            return {}, f"the weight of {answer!r} is {weight!r}, not a number"
        if not 0.0 <= float(weight) <= 1.0:  # NaN too
            return {}, f"the weight of {answer!r} is {weight}; weights go from 0 to 1"
        label[answer] = max(float(weight), label.get(answer, 0.0))
    return label, None


def question_types(questions: list[str]) -> list[str]:
    """Question types by the rules of `tasks.vqa.score`, for data that give none."""
    return [score.question_type(text) for text in questions]


def answer_types(answers: list[list[str]]) -> list[str]:
    """The type of each question's most frequent answer; "" where it has none."""
    tops = (given[0] if len(given) == 1 else max(given, key=given.count, default="") for given in answers)
    return [score.answer_type(top) if top else "" for top in tops]


def assemble(
    *,
    columns: dict[str, list[Any]],
    roles: Layout,
    image: np.ndarray,
    images: ImageStore,
    source: str,
    rows: list[int],
    problems: Problems,
    notes: tuple[str, ...] = (),
) -> Questions:
    """Joins read columns and images into `Questions`; rows whose label can't be used are reported and dropped.

    Args:
        columns: name -> values, all of one length n; answers already as lists of strings or as `as_answers` takes them.
        image: int64 [n], index into `images`, -1 where the row has none.
        rows: row number of each in `source`, from 1.
    """
    n = len(rows)
    weights: list[dict[str, float]] | None = None
    keep = np.ones(n, bool)
    if roles.label is not None and not any(isinstance(cell, dict) for cell in columns[roles.label]):
        roles = replace(roles, answers=roles.label, label=None)
    if roles.ids is not None or roles.label is not None:
        weights, keep = _labels(columns, roles, source, rows, problems)
        answers = [list(label) for label in weights]
    elif roles.answers is not None:
        answers = [as_answers(value) for value in columns[roles.answers]]
    else:
        answers = [[] for _ in range(n)]
    texts = ["" if value is None else str(value).strip() for value in columns[roles.question]]
    result = Questions(
        question_id=_ids(columns.get("question_id"), rows),
        question=texts,
        image=np.asarray(image, np.int64),
        answers=answers,
        weights=weights,
        question_type=given(columns.get("question_type")) or question_types(texts),
        answer_type=given(columns.get("answer_type")) or answer_types(answers),
        images=images,
        source=source,
        rows=rows,
        notes=notes,
    )
    return result if keep.all() else result.take(np.flatnonzero(keep))


def _labels(
    columns: dict[str, list[Any]], roles: Layout, source: str, rows: list[int], problems: Problems
) -> tuple[list[dict[str, float]], np.ndarray]:
    if roles.ids is not None:
        ids = columns[roles.ids]
        scores = columns[roles.weights] if roles.weights is not None else [None] * len(ids)
    else:
        assert roles.label is not None
        cells = [cell if isinstance(cell, dict) else {} for cell in columns[roles.label]]
        ids, scores = [cell.get("ids") for cell in cells], [cell.get("weights") for cell in cells]
    labels, keep = [], np.ones(len(rows), bool)
    for i, (answers, values) in enumerate(zip(ids, scores, strict=True)):
        label, wrong = soft_label(answers, values)
        labels.append(label)
        if wrong is not None:
            keep[i] = False
            problems.add(f"{source}, row {rows[i]}", wrong, "label that can't be used")
    return labels, keep


def _ids(values: list[Any] | None, rows: list[int]) -> list[int | str]:
    """Question ids as given, else the row numbers."""
    if values is None:
        return list(rows)
    return [
        rows[i] if value is None or value == "" else value if isinstance(value, (int, str)) else str(value)
        for i, value in enumerate(values)
    ]


def given(values: list[Any] | None) -> list[str] | None:
    """A column of strings, or None where it is missing or wholly empty."""
    if values is None or not any(values):
        return None
    return ["" if value is None else str(value) for value in values]
