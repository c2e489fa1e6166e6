"""One split of questions, column by column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from tasks.images import ImageStore

T = TypeVar("T")


@dataclass
class Questions:
    """One split, columnar: entry `i` of each list is question `i`.

    Attributes:
        image: int64 [n], index into `images`.
        answers: raw ground-truth answers, ten, one, or none where unlabelled.
        weights: soft label of each answer where the data give them (the guide's label.ids and label.weights), else
            None.
        source: the file or dataset, as named in messages.
        rows: row of each question in `source`, from 1; None where the order is all there is.
        notes: how cells were read where that may not be what one expects, a line each.
    """

    question_id: list[int | str]
    question: list[str]
    image: np.ndarray
    answers: list[list[str]]
    weights: list[dict[str, float]] | None
    question_type: list[str]
    answer_type: list[str]
    images: ImageStore
    source: str
    rows: list[int] | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.question)

    def where(self, i: int) -> str:
        """How to name question `i` to the user: file and row."""
        return f"{self.source}, row {self.rows[i] if self.rows is not None else i + 1}"

    def take(self, rows: Sequence[int] | np.ndarray) -> Questions:
        """The questions at `rows`, in that order, on the same images."""
        chosen = [int(i) for i in rows]

        def pick(values: list[T]) -> list[T]:
            return [values[i] for i in chosen]

        return Questions(
            question_id=pick(self.question_id),
            question=pick(self.question),
            image=self.image[chosen] if chosen else np.zeros(0, np.int64),
            answers=pick(self.answers),
            weights=None if self.weights is None else pick(self.weights),
            question_type=pick(self.question_type),
            answer_type=pick(self.answer_type),
            images=self.images,
            source=self.source,
            rows=[i + 1 for i in chosen] if self.rows is None else pick(self.rows),
            notes=self.notes,
        )
