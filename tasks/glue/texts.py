"""One split of texts or pairs of texts, column by column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class Texts:
    """One split, rows in the order of the file: entry `i` of each column is row `i`.

    Attributes:
        first: the texts, or the first of each pair.
        second: the second of each pair; None where the data have single texts.
        label: int64 [n], class numbers; uint8 [n, labels], 1 for each label that a text has, where it may have several; or
            float64 [n], scores of a regression; None: unlabelled.
        index: the rows' own ids, where the file has them (GLUE's test sets).
    """

    first: list[str]
    second: list[str] | None
    label: np.ndarray | None
    index: list[str] | None = None

    def __len__(self) -> int:
        return len(self.first)

    def line(self, i: int) -> str:
        """Row `i` to read: its text, or both of the pair."""
        return self.first[i] if self.second is None else f"{self.first[i]} | {self.second[i]}"

    def take(self, rows: np.ndarray) -> Texts:
        """The rows at `rows` (int [k]), in that order."""
        rows = np.asarray(rows, np.int64)
        first, second, index = (
            None if column is None else [column[i] for i in rows] for column in (self.first, self.second, self.index)
        )
        return Texts(first or [], second, None if self.label is None else self.label[rows], index)
