"""From named columns (of a CSV file, JSON lines, a dataset) to `Questions`: which column is what, and in which form."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tasks.cells import as_text, without_missing
from tasks.errors import ConfigError, DataError
from tasks.images import ImageStore
from tasks.readers.paths import first_of
from tasks.readers.problems import Problems
from tasks.vqa import score
from tasks.vqa.questions import Questions
from tasks.vqa.readers.answers import UNREADABLE, Answers, is_object, soft_label, written_out
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
        columns: name -> values, all of one length n; answers as `Answers` takes them.
        image: int64 [n], index into `images`, -1 where the row has none.
        rows: row number of each in `source`, from 1.
    """
    n, reader = len(rows), Answers()
    weights: list[dict[str, float]] | None = None
    keep = np.ones(n, bool)
    if roles.label is not None and not any(map(is_object, columns[roles.label])):
        roles = replace(roles, answers=roles.label, label=None)
    if roles.ids is not None or roles.label is not None:
        weights, keep = _labels(columns, roles, reader, source, rows, problems)
        answers = [list(label) for label in weights]
    elif roles.answers is not None:
        answers, keep = _answers(columns[roles.answers], roles.answers, reader, source, rows, problems)
    else:
        answers = [[] for _ in range(n)]
    texts = ["" if value is None or value != value else str(value).strip() for value in columns[roles.question]]
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
        notes=(*notes, *reader.notes()),
    )
    return result if keep.all() else result.take(np.flatnonzero(keep))


_WHOLE = re.compile(r"-?\d+")


def _answers(
    cells: list[Any], column: str, reader: Answers, source: str, rows: list[int], problems: Problems
) -> tuple[list[list[str]], np.ndarray]:
    """Each row's answers, and which rows can be used."""
    if not any(isinstance(cell, (list, dict)) for cell in cells):
        # `NA` among numbers is no answer, among words one.
        empty = [text is None for text in without_missing(cells)]
        cells = [None if none else cell for none, cell in zip(empty, cells, strict=True)]
    answers, keep = [], np.ones(len(rows), bool)
    for i, cell in enumerate(cells):
        try:
            answers.append(reader.of(cell))
        except ValueError as error:
            answers.append([])
            keep[i] = False
            problems.add(f"{source}, row {rows[i]}", f"{column}: {error}", UNREADABLE)
    return answers, keep


def _labels(
    columns: dict[str, list[Any]], roles: Layout, reader: Answers, source: str, rows: list[int], problems: Problems
) -> tuple[list[dict[str, float]], np.ndarray]:
    if roles.ids is not None:
        ids = columns[roles.ids]
        scores = columns[roles.weights] if roles.weights is not None else [None] * len(ids)
    else:
        assert roles.label is not None
        ids = scores = columns[roles.label]
    labels, keep = [], np.ones(len(rows), bool)
    for i, (cell, values) in enumerate(zip(ids, scores, strict=True)):
        label: dict[str, float] = {}
        try:
            kind = "label that can't be used"
            if roles.ids is None:
                both = written_out(cell) if isinstance(cell, str) and cell.strip() else cell
                cell, values = (both.get("ids"), both.get("weights")) if isinstance(both, dict) else (both, None)
            label, wrong = soft_label(reader.of(cell), values)
        except ValueError as error:
            wrong, kind = f"label: {error}", UNREADABLE
        labels.append(label)
        if wrong is not None:
            keep[i] = False
            problems.add(f"{source}, row {rows[i]}", wrong, kind)
    return labels, keep


def _ids(values: list[Any] | None, rows: list[int]) -> list[int | str]:
    """Question ids as given, whole numbers as such in whatever form; else the row numbers."""
    if values is None:
        return list(rows)
    ids = [
        int(text) if text is not None and isinstance(value, (int, float)) and _WHOLE.fullmatch(text) else text
        for value, text in (
            (value, as_text(value) if not isinstance(value, str) else value.strip() or None) for value in values
        )
    ]
    taken = set(ids)
    return [
        (row if row not in taken else f"row {row}") if key is None else key for key, row in zip(ids, rows, strict=True)
    ]


def given(values: list[Any] | None) -> list[str] | None:
    """A column of strings, or None where it is missing or wholly empty."""
    if values is None or not any(values):
        return None
    return ["" if value is None else str(value) for value in values]
