"""From the batches of a long table to a panel: rows are put on the calendar as they come, and checked on the way."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from tasks.cells import without_missing
from tasks.errors import DataError
from tasks.forecast.panel import Panel
from tasks.forecast.readers.blocks import Block, Columns
from tasks.forecast.readers.buffer import Buffer, allocate
from tasks.forecast.readers.grid import OFF, Grid, calendar_of
from tasks.forecast.readers.source import Options, Problems, Read
from tasks.forecast.readers.stamps import TimeColumn
from tasks.forecast.readers.statics import Categories, encode
from tasks.forecast.readers.tables import complaint

# A frequency that makes more of its steps empty than this many for each row is taken for wrong.
_SPREAD = 50
_NONE = np.iinfo(np.int32).min


class Gather:
    """Collects the blocks of one table.

    Neighbouring rows of a series that follow each other in time are kept as one run, so that only the values themselves are
    stored; where the runs already lie as a panel's do, nothing is moved at the end.

    Args:
        rows: how many are expected.
        grid: None where the time column holds step numbers.
        time: how the time column is read.
    """

    def __init__(
        self,
        columns: Columns,
        options: Options,
        source: str,
        rows: int,
        first_row: int,
        grid: Grid | None,
        time: TimeColumn,
    ) -> None:
        self.columns, self.options, self.source, self.grid, self.time = columns, options, source, grid, time
        self.freq = None if grid is None else grid.freq
        self.first_row = first_row
        self.problems = Problems(source, options.skip_bad)
        self.numbers: dict[str, int] = {}
        self.values = Buffer(len(columns.targets), np.float64, rows, options.memory_limit)
        self.covariates = Buffer(len(columns.covariates), np.float32, rows, options.memory_limit)
        self.runs: list[np.ndarray] = []
        self.in_order = True
        self.starts = np.empty(0, np.int32)
        self.ends = np.empty(0, np.int32)
        # Rows of each series, and the greatest step that all of its steps are multiples of.
        self.rows = np.empty(0, np.int64)
        self.coarse = np.empty(0, np.int32)
        self.categories = [Categories() for _ in columns.categories]
        self.reals = np.empty((0, len(columns.reals)))

    def add(self, block: Block) -> None:
        """Takes one block in.

        Raises:
            DataError: see `read` of the long reader; bad series are only noted where they are to be skipped.
        """
        known = len(self.numbers)
        series = np.array([self.numbers.setdefault(name, len(self.numbers)) for name in block.ids], np.int32)[
            block.series
        ]
        self._grow(len(self.numbers))
        complain = complaint(self.source, self.first_row + self.values.rows, self.columns.time)
        ticks = self.time.ticks(block.stamps, self.freq, series, complain)
        position = self._positions(ticks, series)
        runs = _runs(series, position)
        self._check_order(runs, ticks)
        self._add_statics(block, series, known)
        self.values.append(block.values)
        if self.columns.covariates:
            self.covariates.append(block.covariates)
        last = self.runs[-1][-1, 0] if self.runs else 0
        self.in_order = self.in_order and bool((np.diff(runs[:, 0], prepend=last) >= 0).all())
        self.runs.append(runs)
        self.problems.raise_if_any()

    def _row(self, at: int) -> str:
        return f"row {self.first_row + self.values.rows + at}"

    def _name(self, series: int) -> str:
        return list(self.numbers)[series]

    def _grow(self, count: int) -> None:
        more = count - len(self.starts)
        if more:
            for name, fill in (("starts", _NONE), ("ends", _NONE), ("rows", 0), ("coarse", 0), ("reals", np.nan)):
                array = getattr(self, name)
                setattr(self, name, np.concatenate([array, np.full((more, *array.shape[1:]), fill, array.dtype)]))

    def _positions(self, ticks: np.ndarray, series: np.ndarray) -> np.ndarray:
        """int32 [rows]; rows off the grid spoil their series and get any position."""
        grid = self.grid
        position = ticks if grid is None else grid.positions(ticks)
        off = position == OFF
        if grid is not None and off.any():
            self._report(
                series,
                np.flatnonzero(off),
                f"time stamps off the {grid.freq} grid",
                lambda at: grid.off(self._shown(ticks[at]), self._shown(grid.anchor)),
            )
            position = np.where(off, 0, position)
        far = np.abs(position) >= 2**31 - 1
        if far.any():
            at = int(np.argmax(far))
            raise DataError(f"{self.source}, {self._row(at)}: {ticks[at]} lies too far from the first step")
        return position.astype(np.int32)

    def _report(self, series: np.ndarray, rows: np.ndarray, kind: str, message: Callable[[int], str]) -> None:
        """Notes the first of the bad rows of each series."""

        def whole(number: int, at: int) -> str:
            return f"series {self._name(number)}, {self._row(at)}: {message(at)}"

        bad, first = np.unique(series[rows], return_index=True)
        for number, at in zip(bad.tolist(), rows[first].tolist(), strict=True):
            self.problems.add(number, kind, partial(whole, number, at))

    def _shown(self, tick: int) -> str:
        return str(tick) if self.grid is None else self.time.shown(tick, self.freq)

    def _check_order(self, runs: np.ndarray, ticks: np.ndarray) -> None:
        """Each run must begin after the series' run before it; brings `starts` and `ends` up to date."""
        first = np.cumsum(runs[:, 2]) - runs[:, 2]
        order = np.argsort(runs[:, 0], kind="stable")
        series, position, count = runs[order].T
        end = position + count
        fresh = np.concatenate([[True], series[1:] != series[:-1]])
        before = np.empty_like(end)
        before[1:] = end[:-1]
        before[fresh] = self.ends[series[fresh]]
        bad = position < before
        if bad.any():
            rows = np.sort(first[order[bad]])
            back = dict(zip(first[order[bad]].tolist(), (before - position)[bad].tolist(), strict=True))

            def message(at: int) -> str:
                stamp, hint = self._shown(ticks[at]), self.time.hint(ticks[at], self.freq)
                if back[at] == 1:
                    return f"{stamp} comes twice (duplicate time stamp){hint}"
                return f"{stamp} comes after a later or equal one; sort the rows of each series by time{hint}"

            # The series of each row.
            self._report(np.repeat(runs[:, 0], runs[:, 2]), rows, "time stamps that repeat or go back", message)
        new = before == _NONE
        self.starts[series[new]] = position[new]
        np.maximum.at(self.ends, series, end)
        np.add.at(self.rows, series, count)
        np.gcd.at(self.coarse, series[~new], (position - before + 1)[~new])
        self.coarse[series[count > 1]] = 1

    def _add_statics(self, block: Block, series: np.ndarray, known: int) -> None:
        for name, column, (names, codes) in zip(
            self.columns.categories, self.categories, block.categories, strict=True
        ):
            changed = column.add(series, names, codes, len(self.numbers))
            self._report(series, changed, f"{name} changes", _always(f"{name} changes within the series"))
        if not self.columns.reals:
            return
        fresh, first = np.unique(series, return_index=True)
        new = fresh >= known
        self.reals[fresh[new]] = block.reals[first[new]]
        differs = ~np.isclose(self.reals[series], block.reals, rtol=0, atol=0, equal_nan=True).all(axis=1)
        missing = np.isnan(block.reals).any(axis=1)
        for bad, kind in ((differs, "a static real changes"), (missing, "a static real is missing")):
            self._report(series, np.flatnonzero(bad), kind, _always(kind))

    def finish(self, format: str) -> Read:
        """The panel of all series that nothing is wrong with."""
        self._check_words()
        lengths, rows = (self.ends - self.starts).astype(np.int64), self.rows
        self._check_mixed()
        self.problems.raise_if_any()
        bad = np.array(sorted(self.problems.bad), np.int64)
        self._check_spread(lengths, rows, bad)
        lengths[bad] = 0
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        values = self._settle(self.values.finish(), offsets, bad)
        covariates = np.zeros((0, 0), np.float32)
        if self.columns.covariates:
            covariates = self._settle(self.covariates.finish(), offsets, bad)
        first = int(self.starts.min())
        missing = f"{self.source}: column {self.columns.time} holds step numbers"
        panel = Panel(
            values,
            offsets,
            (self.starts - first).astype(np.int64),
            calendar_of(self.grid, first, int(self.ends.max()) - first, self.options, missing, self.time.zone),
            list(self.numbers),
            target_names=list(self.columns.targets),
            static_reals=self.reals.astype(np.float32),
            real_names=list(self.columns.reals),
            covariates=covariates,
            covariate_offsets=offsets.copy() if self.columns.covariates else np.zeros(1, np.int64),
            covariate_names=list(self.columns.covariates),
            has_timestamps=self.grid is not None or self.options.start is not None,
            **encode(
                self.categories, self.columns.categories, self.options.categories, self.source, list(self.numbers), bad
            ),
        )
        kept = np.setdiff1d(np.arange(len(lengths)), bad)
        skipped = self.problems.summary()
        if len(bad):
            if not len(kept):
                raise DataError(f"{self.source}: no series is left; {'; '.join(skipped)}")
            panel = panel.select(kept)
        starts = self.starts[kept]

        def row(series: int, step: int) -> str:
            return self._row_of(int(kept[series]), int(starts[series]) + step)

        return Read(panel, format, self.source, where=row, skipped=skipped, notes=self.time.finish())

    def _row_of(self, series: int, position: int) -> str:
        """The row that holds a series' value at a position; "" where none does."""
        first_row = self.first_row
        for runs in self.runs:
            begin = np.cumsum(runs[:, 2]) - runs[:, 2]
            ahead = position - runs[:, 1]
            holding = np.flatnonzero((runs[:, 0] == series) & (ahead >= 0) & (ahead < runs[:, 2]))
            if len(holding):
                return f"row {first_row + int(begin[holding[0]] + ahead[holding[0]])}"
            first_row += int(runs[:, 2].sum())
        return ""

    def _settle(self, values: np.ndarray, offsets: np.ndarray, bad: np.ndarray) -> np.ndarray:
        """The rows in the panel's order, NaN where there was none."""
        if self.in_order and not len(bad) and len(values) == offsets[-1]:
            return values
        settled = allocate(int(offsets[-1]), values.shape[1], values.dtype, self.options.memory_limit)
        settled[:] = np.nan
        good = np.ones(len(offsets) - 1, bool)
        good[bad] = False
        begin = 0
        for runs in self.runs:
            series, position, count = runs.T
            to = np.repeat(offsets[series] + (position - self.starts[series]), count) + _counted(count)
            keep = np.repeat(good[series], count)
            settled[to[keep]] = values[begin : begin + len(to)][keep]
            begin += len(to)
        return settled

    def _check_words(self) -> None:
        """NA and its like name a series or a category among words; among numbers they are empty cells."""
        columns = [(self.columns.item, list(self.numbers), np.arange(len(self.numbers), dtype=np.int32))]
        columns += [
            (name, list(column.numbers), column.codes)
            for name, column in zip(self.columns.categories, self.categories, strict=True)
        ]
        for name, texts, codes in columns:
            missing = [code for code, text in enumerate(without_missing(texts)) if text is None]
            for series in np.flatnonzero(np.isin(codes, missing)).tolist():
                self.problems.add(series, f"no {name}", partial(self._no_word, series, name, texts[codes[series]]))

    def _no_word(self, series: int, name: str, text: str) -> str:
        where = self._row_of(series, int(self.starts[series]))
        return f"series {self._name(series)}, {where}, column {name}: {text!r} among numbers is an empty cell"

    def _check_mixed(self) -> None:
        """Series all of whose steps are a multiple of the frequency's: another frequency than the others'."""
        freq = self.grid.freq if self.grid is not None else "1"

        def message(series: int) -> str:
            return (
                f"series {self._name(series)}, {self._row_of(series, int(self.starts[series]))}: it goes by "
                f"{self.coarse[series]} steps of {freq} at a time (wrong or mixed frequency)"
            )

        for series in np.flatnonzero((self.rows >= 3) & (self.coarse > 1)).tolist():
            self.problems.add(series, "another frequency", partial(message, series))

    def _check_spread(self, lengths: np.ndarray, rows: np.ndarray, bad: np.ndarray) -> None:
        lengths, rows = lengths.copy(), rows.copy()
        lengths[bad] = rows[bad] = 0
        if lengths.sum() > _SPREAD * rows.sum() + 10_000:
            worst = int(np.argmax(lengths - _SPREAD * rows))
            freq = self.grid.freq if self.grid is not None else "1"
            raise DataError(
                f"{self.source}: series {self._name(worst)} has {rows[worst]:,} rows for {lengths[worst]:,} steps of {freq}; "
                "state a coarser --freq"
            )


def _always(text: str) -> Callable[[int], str]:
    return lambda _: text


def _runs(series: np.ndarray, position: np.ndarray) -> np.ndarray:
    """int32 [runs, 3]: series, first position, rows."""
    breaks = np.flatnonzero((series[1:] != series[:-1]) | (position[1:] != position[:-1] + 1)) + 1
    first = np.concatenate([[0], breaks])
    count = np.diff(np.append(first, len(series)))
    return np.stack([series[first], position[first], count], axis=1).astype(np.int32)


def _counted(count: np.ndarray) -> np.ndarray:
    """0, 1, ... count[0] - 1, 0, 1, ... count[1] - 1, ..."""
    total = int(count.sum())
    return np.arange(total) - np.repeat(np.cumsum(count) - count, count)
