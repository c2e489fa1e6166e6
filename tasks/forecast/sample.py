"""The `sample` data: hourly series with a daily and a weekly season, made from a seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tasks.files import write_folder
from tasks.forecast.calendar import Calendar
from tasks.forecast.panel import Panel
from tasks.forecast.readers.source import Read

SERIES = 18
_SHORTEST, _LONGEST = 800, 1400
_KINDS = ("office", "school", "shop")
_START = "2025-01-06"  # a Monday
_FILE = "series.csv"


def read(seed: int = 0) -> Read:
    """The sample in memory, with the series' kind as a static category."""
    panel = make(seed)
    return Read(panel, "sample", "sample")


def make(seed: int = 0, series: int = SERIES) -> Panel:
    """Series of unequal length that end together; a hundredth of the values is missing.

    What sets a good model apart from the seasonal naive one: on Saturday and Sunday the daily curve is another, the level
    drifts, and the noise of yesterday should not be repeated.
    """
    random = np.random.default_rng([seed, 20_260])
    lengths = random.integers(_SHORTEST, _LONGEST + 1, series)
    lengths[0] = _LONGEST
    kinds = np.arange(series) % len(_KINDS)
    pieces = [
        _one(random, int(kind), _LONGEST)[_LONGEST - length :] for kind, length in zip(kinds, lengths, strict=True)
    ]
    values = np.concatenate(pieces)
    gaps = random.random(len(values)) < 0.01
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    gaps[offsets[:-1]] = gaps[offsets[1:] - 1] = False
    values[gaps] = np.nan
    return Panel(
        values[:, None],
        offsets,
        (_LONGEST - lengths).astype(np.int64),
        Calendar("h", pd.Timestamp(_START), _LONGEST),
        [f"{_KINDS[kind]}-{number + 1:02d}" for number, kind in enumerate(kinds)],
        static_categories=kinds[:, None].astype(np.int64),
        category_names=[list(_KINDS)],
    )


def _one(random: np.random.Generator, kind: int, length: int) -> np.ndarray:
    """One series' values at two decimals, [length]."""
    hour = np.arange(length) % 24
    weekend = np.arange(length) // 24 % 7 >= 5
    level = random.uniform(40, 120)
    peak = (13, 10, 17)[kind] + random.uniform(-1, 1)
    width = (4.0, 2.5, 5.0)[kind]
    away = np.minimum(np.abs(hour - peak), 24 - np.abs(hour - peak))
    day = np.exp(-0.5 * (away / width) ** 2)
    busy = np.where(weekend, (0.25, 0.1, 1.6)[kind], 1.0)
    trend = 1 + np.linspace(0, random.uniform(-0.2, 0.4), length)
    noise = random.normal(0, 0.06, length)
    return np.round(level * trend * (0.4 + day * busy + noise), 2)


def write_sample(folder: str | Path, seed: int = 0) -> None:
    """Writes the sample as a long CSV, `series.csv` with item_id, timestamp, target and kind; whole or not at all."""
    panel = make(seed)
    number = np.repeat(np.arange(len(panel)), panel.lengths)
    step = np.arange(len(number)) - panel.offsets[number]
    stamps = panel.calendar.timestamps(0, panel.calendar.length)
    table = pd.DataFrame(
        {
            "item_id": np.array(panel.item_ids)[number],
            "timestamp": stamps[panel.starts[number] + step],
            "target": panel.values[:, 0],
            "kind": np.array(panel.category_names[0])[panel.static_categories[number, 0]],
        }
    )
    write_folder(folder, lambda root: table.to_csv(root / _FILE, index=False))
