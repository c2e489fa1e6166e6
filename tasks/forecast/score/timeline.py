"""Values of series from files, on one regular grid of time stamps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from tasks.errors import DataError
from tasks.forecast.calendar import normal
from tasks.forecast.readers.numbered import STEPS, unit_of
from tasks.forecast.score.result_tables import Long


class Timeline:
    """The values of each predicted series, one after the other on a regular grid, from its first known step on.

    Attributes:
        values: float64 [points]; referred: whether a point is in the references; offsets, starts: as a panel's.
        codes, steps: of each table's rows the series, -1 for one that is not predicted, and the position.
    """

    def __init__(
        self, names: list[str], tables: list[Long], predictions: Long, freq: str | None, *, regular: bool
    ) -> None:
        *tables, predictions = as_dates([*tables, predictions])
        self.predictions = predictions
        self.grid = Grid([table.times for table in (*tables, predictions)], tables[0].path, freq, regular)
        number = {name: code for code, name in enumerate(names)}
        self.codes = [np.array([number.get(item, -1) for item in table.items], dtype=np.int64) for table in tables]
        self.steps = [self.grid.positions(table) for table in tables]
        code, step = np.concatenate(self.codes), np.concatenate(self.steps)
        # As a panel, a series begins with its first value.
        missing = np.isnan(np.concatenate([table.point() for table in tables]))
        self.starts, ends = np.full(len(names), np.iinfo(np.int64).max), np.full(len(names), -1)
        np.minimum.at(self.starts, code[(code >= 0) & ~missing], step[(code >= 0) & ~missing])
        np.maximum.at(ends, code[code >= 0], step[code >= 0])
        lengths = np.maximum(ends - self.starts + 1, 0)
        self.starts[lengths == 0] = 0
        self.offsets = np.append(0, np.cumsum(lengths))
        self.values = np.full(max(1, int(lengths.sum())), np.nan)
        self.referred = np.zeros(len(self.values), dtype=bool)
        # The references come last, so that they stand where a history holds the same time stamp.
        for table, codes, at in list(zip(tables, self.codes, self.steps, strict=True))[::-1]:
            mine = (codes >= 0) & (at >= self.starts[codes]) & (at - self.starts[codes] < lengths[codes])
            place = self.offsets[codes[mine]] + at[mine] - self.starts[codes[mine]]
            if len(np.unique(place)) < len(place):
                twice = np.flatnonzero(np.bincount(place) > 1)[0]
                row = int(np.flatnonzero(mine)[np.flatnonzero(place == twice)[1]]) + 1
                raise DataError(
                    f"{table.path}, row {table.numbers[row - 1]}: {table.items[row - 1]} has this time stamp twice"
                )
            self.values[place] = table.point()[mine]
            if table is tables[0]:
                self.referred[place] = True


def as_dates(tables: list[Long]) -> list[Long]:
    """The tables, with numbers that write out dates or count time since 1970 as these where another has time stamps."""
    if len({table.times.dtype.kind for table in tables}) < 2:
        return tables
    return [_dated(table) if table.times.dtype.kind == "i" else table for table in tables]


def _dated(table: Long) -> Long:
    unit = unit_of(table.times)
    if unit is None or unit.words == STEPS:
        return table
    nanoseconds, good = unit.nanoseconds(table.times)
    return replace(table, times=nanoseconds.view("datetime64[ns]")) if good.all() else table


class Grid:
    """Numbers time stamps along their frequency; without one, along the stamps that there are."""

    def __init__(self, times: list[np.ndarray], path: Path, freq: str | None, regular: bool) -> None:
        import pandas as pd

        if len({array.dtype.kind for array in times}) > 1:
            raise DataError(f"{path}: some files have time stamps and some whole numbers; they must be of one kind")
        stamps = np.unique(np.concatenate(times))
        self.whole, self.first, self.freq = stamps.dtype.kind == "i", stamps[0], freq
        if self.whole:
            return
        self.index = pd.DatetimeIndex(stamps)
        if freq is None and len(stamps) > 2:
            self.freq = pd.infer_freq(self.index)
        if self.freq is None and regular:
            raise DataError(f"{path}: the time stamps are not evenly spaced; give their frequency with --freq")
        if self.freq is not None:
            self.index = pd.date_range(self.index[0], self.index[-1], freq=normal(self.freq))

    def positions(self, table: Long) -> np.ndarray:
        """int64 [n].

        Raises:
            DataError: a time stamp off the grid.
        """
        if self.whole:
            return table.times - self.first
        found = self.index.get_indexer(table.times)
        if (found < 0).any():
            row = int(np.flatnonzero(found < 0)[0])
            raise DataError(
                f"{table.path}, row {table.numbers[row]}: {str(table.times[row])[:19]} is off the frequency {self.freq}"
            )
        return np.asarray(found, dtype=np.int64)
