"""What a reader gives: a recognised format and its splits, each read when asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tasks.controlnet.pairs import CONDITION_GROUND, Pairs
from tasks.controlnet.readers.columns import Overrides
from tasks.images import ImageStore
from tasks.readers import source as base
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

    def where(self, i: int) -> str:
        """How to name pair `i` to the user."""
        entry = int(self.pairs.rows[i])
        if self.numbers is None:
            return self.pairs.images.where(entry)
        return f"{self.pairs.source}, row {int(self.numbers[entry])}"


Load = Callable[[Problems], Read]

Source = base.Source[Read]


@dataclass(frozen=True)
class Options:
    """What the user said about how to read the data."""

    image_root: str | None = None
    conditioning_dir: str | None = None
    columns: Overrides = field(default_factory=Overrides)
    revision: str | None = None
    token: str | None = None
    cache_dir: str | None = None
    resolution: int | None = None
    seed: int = 0


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
