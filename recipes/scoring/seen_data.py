"""What an evaluation says of the data that its model was trained on: how much of them it scores, and a mark on the figure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks import seen
from tasks.errors import DataError


def record_of(model: str) -> seen.Seen | None:
    """The record beside a model, in its run, or in the run whose folder it stands in; None: not known, as of a Hub id."""
    folder = Path(model)
    run = folder.parent / "model" if (folder.parent / "status.json").is_file() else None
    return seen.read(folder, folder / "model", run)


def after(model: str, record: seen.Seen) -> seen.Seen:
    """The record of a training that began with `model`: what that one had seen, as far as is known, and these."""
    return record.joined(record_of(model))


@dataclass(frozen=True)
class SeenData:
    """Which of the evaluation's examples training saw.

    Attributes:
        mask: bool [n]; None: not known.
        unit: noun of the examples, in the plural.
    """

    mask: np.ndarray | None
    unit: str

    @property
    def count(self) -> int:
        """How many it saw, as far as is known."""
        return 0 if self.mask is None else int(self.mask.sum())

    @property
    def unseen(self) -> np.ndarray | None:
        """int64 [k]: the examples that it didn't see, where it saw some and not all."""
        return np.flatnonzero(~self.mask) if self.mask is not None and 0 < self.count < len(self.mask) else None

    def line(self) -> str:
        """For the console; empty where nothing was seen."""
        if self.mask is None:
            return f"seen      not known: the model has no record of its training data ({seen.FILE})"
        return f"seen      {self.text()}: the figure is not one of unseen data" if self.count else ""

    def text(self) -> str:
        """How much was seen, in words."""
        return f"{self.count:,} of {0 if self.mask is None else len(self.mask):,} {self.unit} were in the training data"

    def mark(self) -> str:
        """Behind the figure; empty where nothing was seen."""
        return "" if self.mask is None else seen.mark(self.count, len(self.mask))

    def facts(self) -> dict[str, Any] | None:
        """For the result as JSON; None: not known."""
        return None if self.mask is None else {"count": self.count, "of": len(self.mask), "unit": self.unit}

    def left(self, flag: str = "--drop-leaks") -> np.ndarray:
        """int64 [k]: the examples to score where the seen ones are left out.

        Raises:
            DataError: none would be left.
        """
        if self.mask is None:
            raise DataError(f"{flag}: it is not known which {self.unit} the model was trained on; leave {flag} out")
        if self.mask.all():
            raise DataError(f"{flag}: all {self.text()}; give other data")
        return np.flatnonzero(~self.mask)
