"""One split of questions, column by column, and what was found wrong in it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from tasks.errors import DataError, data_errors
from tasks.vqa.images import ImageStore

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

    def __len__(self) -> int:
        return len(self.question)

    def where(self, i: int) -> str:
        """How to name question `i` to the user: file and row."""
        return f"{self.source}, row {self.rows[i] if self.rows is not None else i + 1}"

    def select(self, index: Sequence[int] | np.ndarray) -> Questions:
        """The questions at `index`, in that order, on the same images."""
        chosen = [int(i) for i in index]

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
        )


# The first ten by file and row are shown; they may be found in another order.
MOST_KEPT = 10_000


def _by_number(text: str) -> list[tuple[int, str]]:
    """Sorts row 9 before row 10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", text)]


@dataclass
class Problems:
    """Collects what is wrong with the input, to be told at once or, with `skip`, left out and counted."""

    skip: bool = False
    messages: list[str] = field(default_factory=list)
    total: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)
    lost: Counter[str] = field(default_factory=Counter)

    def add(self, where: str, what: str, kind: str, questions: int = 1) -> None:
        """Notes one problem. `kind` names its sort in the summary; `questions` is how many it spoils."""
        if len(self.messages) < MOST_KEPT:
            self.messages.append(f"{where}: {what}")
        self.total += 1
        self.kinds[kind] += 1
        self.lost[kind] += questions
        self.first.setdefault(kind, where)

    def error(self) -> DataError:
        return data_errors(
            sorted(self.messages, key=_by_number), self.total, "Mend them, or leave them out with --skip-bad"
        )

    def raise_if_any(self) -> None:
        """Ends with all problems in one error, unless they may be skipped."""
        if self.total and not self.skip:
            raise self.error()

    def summary(self) -> list[str]:
        """One line a kind: how many questions are left out, why, and where the first is."""
        return [
            f"{self.lost[kind]:,} question{'s' if self.lost[kind] != 1 else ''} left out: {kind}"
            f"{f' ({count:,})' if count != self.lost[kind] else ''}, first {self.first[kind]}"
            for kind, count in self.kinds.items()
        ]
