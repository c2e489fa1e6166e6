"""Pairs of picture and conditioning image with captions: what readers return."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from tasks.deep_images import Range
from tasks.images import FileImages, ImageStore
from tasks.readers import source as base

# What lies under the transparent parts of a condition: lines and maps stand on black.
CONDITION_GROUND = (0, 0, 0)


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
class Splits(base.Splits[Pairs]):
    """What a run trains on and what it is measured on.

    Attributes:
        notes: one line for each thing that is done to pairs without asking.
        blank: lines on conditions that are blank or nearly so.
        condition_range: black and white of conditions of more than eight bits; None: there are none, or each has its own.
        shared: how many evaluation pairs have a picture or a condition that the training split has too.
    """

    notes: list[str] = field(default_factory=list)
    blank: list[str] = field(default_factory=list)
    condition_range: Range | None = None
    shared: int = 0


def condition_files(paths: list[str], value_range: Range | None = None) -> FileImages:
    """Conditions in files of their own, as training reads them.

    Args:
        value_range: black and white of those of more than eight bits; None: each has its own.
    """
    found = FileImages(paths)
    found.ground, found.value_range = CONDITION_GROUND, value_range
    return found
