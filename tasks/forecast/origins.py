"""Which windows a model is trained on and chosen by: every origin of every series, numbered through."""

from __future__ import annotations

import numpy as np

from tasks.forecast.panel import Entries


class Origins:
    """The origins that leave a whole context before them and a whole horizon behind, over all series.

    Drawn evenly, they follow the law of GluonTS's ExpectedNumInstanceSampler: a long series is drawn more often.

    Args:
        ends: int64 [series]; training sees so many steps of each series.
    """

    def __init__(self, ends: np.ndarray, *, context_length: int, prediction_length: int) -> None:
        counts = np.maximum(0, ends - prediction_length - context_length + 1)
        self.context_length, self.prediction_length = context_length, prediction_length
        self.first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def __len__(self) -> int:
        return int(self.first[-1])

    def locate(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Series and origin of each number, int64 [b] both."""
        series = np.searchsorted(self.first, numbers, side="right") - 1
        return series, numbers - self.first[series] + self.context_length

    def seen(self) -> np.ndarray:
        """How many steps of each series the windows reach over, int64 [series]; 0 for one that has none."""
        counts = np.diff(self.first)
        return np.where(counts > 0, counts - 1 + self.context_length + self.prediction_length, 0)

    def batches(self, *, seed: int, epoch: int, batch_size: int, count: int) -> list[np.ndarray]:
        """`count` batches of an epoch, drawn with replacement; a function of its arguments alone."""
        generator = np.random.default_rng([seed, epoch])
        return list(generator.integers(0, len(self), size=(count, batch_size)))


def validation_entries(ends: np.ndarray, *, prediction_length: int, windows: int, most: int) -> Entries:
    """The last `windows` windows before `ends`, of at most `most` of the series that have them, evenly spread."""
    known = np.flatnonzero(ends > windows * prediction_length)
    chosen = known[np.unique(np.linspace(0, len(known) - 1, min(most, len(known))).round().astype(np.int64))]
    back = np.arange(windows, 0, -1) * prediction_length
    origin = (ends[chosen][None, :] - back[:, None]).reshape(-1)
    return Entries(np.tile(chosen, windows), origin, np.repeat(np.arange(windows), len(chosen)))
