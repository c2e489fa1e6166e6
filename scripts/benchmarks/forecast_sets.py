"""What the forecasting benchmark runs on: the data sets, which windows are forecast, and the models. Light: no torch, no gluonts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

KINDS = ("transformer", "informer", "autoformer")
BATCH = 128
TEST_BATCH = 64
SAMPLES = 100
ITEM, TIME, VALUE = "item_id", "timestamp", "target"


@dataclass(frozen=True)
class Set:
    """A data set.

    Attributes:
        file: below the folder of real data; the columns of a long one are `columns`.
        freq: pandas' alias; start: of files without time stamps.
        windows: rolling windows of `horizon` steps that are the test.
        share: where training ends without further windows' data, as a share of the series (GluonTS's rule); None: before the windows.
        season: the m of MASE.
        entries: at most so many windows are forecast, evenly spread; all are scored.
    """

    name: str
    file: str
    freq: str
    horizon: int
    windows: int
    season: int
    entries: int
    start: str = ""
    share: float | None = None
    columns: tuple[str, str, str] = (ITEM, TIME, VALUE)

    @property
    def context(self) -> int:
        """Steps that the models look at."""
        return 2 * self.horizon


SETS = (
    Set("exchange_rate", "forecast/exchange_rate.txt.gz", "B", 30, 5, season=5, entries=40, start="1990-01-01", share=0.8),
    Set(
        "m4_hourly", "forecast/m4_hourly.parquet", "h", 48, 1, season=24, entries=48, columns=("series_id", "timestamp", "value"),
    ),
    Set("sample", "sample.csv", "h", 24, 1, season=24, entries=24),
)  # fmt: skip


@dataclass(frozen=True)
class ForecastRequest:
    """What is run.

    Attributes:
        entries: at most so many windows are forecast, of those that the set allows.
    """

    sets: tuple[Set, ...]
    kinds: tuple[str, ...]
    parts: tuple[str, ...]
    steps: int
    pairs: int
    entries: int
    quick: bool


def by_name(name: str) -> Set:
    """The set of that name."""
    (found,) = (one for one in SETS if one.name == name)
    return found


def spread_over(count: int, most: int) -> np.ndarray:
    """At most `most` of the numbers below `count`, evenly spread, int64."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def long_sample(source: Path, target: Path) -> None:
    """The tool's sample, its gaps filled with the last value before: the peer's metric takes no missing values."""
    import pandas as pd

    table = pd.read_csv(source, parse_dates=[TIME])[[ITEM, TIME, VALUE]]
    table[VALUE] = table.groupby(ITEM, sort=False)[VALUE].ffill()
    table.to_csv(target, index=False)
