"""Pictures with their conditions and captions: what every reader gives and everything else takes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from tasks.images import ImageStore


@dataclass
class Pairs:
    """A split, one entry a pair.

    Attributes:
        images, conditions: the stores that hold the files; pair `i` is entry `rows[i]` of both.
        captions: the captions of pair `i`, any number of them; none trains as the empty prompt.
        rows: int64 [n].
        source: how to call the data.
    """

    images: ImageStore
    conditions: ImageStore
    captions: list[list[str]]
    rows: np.ndarray
    source: str

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, numbers: np.ndarray) -> Pairs:
        """The pairs of these numbers, in their order."""
        return replace(self, rows=self.rows[numbers], captions=[self.captions[int(number)] for number in numbers])


@dataclass
class Splits:
    """What a run trains on and what it is measured on.

    Attributes:
        description: one line for the run header.
        held_out: whether the evaluation pairs were held out of the training pairs.
        skipped: one line for each sort of pair left out (with `skip_bad`).
    """

    train: Pairs | None
    evaluation: Pairs | None
    description: str
    held_out: bool = False
    skipped: list[str] = field(default_factory=list)
