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
        label: int64 [n], class numbers, or float64 [n], scores of a regression; None: unlabelled.
        index: the rows' own ids, where the file has them (GLUE's test sets).
    """

    first: list[str]
    second: list[str] | None
    label: np.ndarray | None
    index: list[str] | None = None

    def __len__(self) -> int:
        return len(self.first)

    def take(self, rows: np.ndarray) -> Texts:
        """The rows at `rows` (int [k]), in that order."""
        chosen = [int(row) for row in rows]
        return Texts(
            [self.first[i] for i in chosen],
            None if self.second is None else [self.second[i] for i in chosen],
            None if self.label is None else self.label[np.asarray(chosen, np.int64)],
            None if self.index is None else [self.index[i] for i in chosen],
        )
