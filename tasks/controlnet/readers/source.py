"""What a reader gives: a recognised format and its splits, each read when asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from tasks.controlnet.pairs import CONDITION_GROUND, Pairs
from tasks.images import ImageStore
from tasks.readers import source as base
from tasks.readers.options import DataOptions
from tasks.readers.problems import Problems
from tasks.readers.source import WHOLE

__all__ = ["WHOLE", "Load", "Options", "Read", "Source", "read_of"]


@dataclass(frozen=True)
class Read:
    """A split as read, before it is checked.

    Attributes:
        numbers: int64 [entries of the stores], the row of each entry in the source, from 1; None for files that no
            list names, which are called by their own names.
        captioned: whether the data have captions at all.
    """

    pairs: Pairs
    numbers: np.ndarray | None
    captioned: bool = True

    def __len__(self) -> int:
        return len(self.pairs)

    def take(self, rows: np.ndarray) -> Read:
        """The pairs of these numbers, in their order."""
        return self if len(rows) == len(self) else replace(self, pairs=self.pairs.take(rows))

    def where(self, i: int) -> str:
        """How to name pair `i` to the user."""
        entry = int(self.pairs.rows[i])
        if self.numbers is None:
            return self.pairs.images.where(entry)
        return f"{self.pairs.source}, row {int(self.numbers[entry])}"


Load = Callable[[Problems], Read]

Source = base.Source[Read]


@dataclass(frozen=True)
class Options(DataOptions):
    """What a user says about pairs of pictures: beside the rest, where the conditions and captions are.

    Attributes:
        conditioning_dir: a folder of conditions named as the pictures.
        caption_column: "none" trains without captions.
        resolution: what each picture's shorter side must have; None: any. A sample is drawn at it.
        condition_range: as `condition_pixels.parse_range` reads it.
        skip_blank: leave out pairs whose condition is blank or nearly so.
    """

    image_root: str | None = None
    conditioning_dir: str | None = None
    image_column: str | None = None
    conditioning_image_column: str | None = None
    caption_column: str | None = None
    resolution: int | None = None
    condition_range: str = "auto"
    skip_blank: bool = False


def read_of(
    images: ImageStore,
    conditions: ImageStore,
    captions: list[list[str]],
    source: str,
    numbers: list[int] | None,
    captioned: bool = True,
) -> Read:
    """Stores whose entries belong together, one by one, as a split."""
    conditions.ground = CONDITION_GROUND
    pairs = Pairs(images, conditions, captions, np.arange(len(captions), dtype=np.int64), source)
    return Read(pairs, None if numbers is None else np.array(numbers, np.int64), captioned)
