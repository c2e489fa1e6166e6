"""Wide tables, a column a series: CSV with or without time stamps, Parquet, and raw matrices without a header."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.errors import ConfigError, DataError
from tasks.forecast.panel import Panel
from tasks.forecast.readers.buffer import Buffer, allocate
from tasks.forecast.readers.grid import OFF, Grid, calendar_of
from tasks.forecast.readers.long import numbers_of, time_among
from tasks.forecast.readers.numbered import STEPS, dated, unit_of
from tasks.forecast.readers.source import Options, Read
from tasks.forecast.readers.stamps import Stamps, TimeColumn, join
from tasks.forecast.readers.tables import (
    Head,
    complaint,
    csv_batches,
    head,
    is_number,
    open_parquet,
    parquet_batches,
    plain_suffix,
)
from tasks.forecast.readers.written import arrow_type, is_stamp

# The names of a column without one: of an index that pandas wrote, or of the cells after a line's last delimiter.
_NAMELESS = re.compile(r"|Unnamed: \d+(_level_\d+)?|__index_level_\d+__")


@dataclass(frozen=True)
class Columns:
    """Which column is what; `passed_over` have no name."""

    time: str | None
    series: list[str]
    covariates: list[str]
    passed_over: list[str]

    @property
    def all(self) -> list[str]:
        return [*([self.time] if self.time is not None else []), *self.series, *self.covariates]


def has_no_header(top: Head) -> bool:
    """Whether the first row is data: numbers all along, or after a time stamp."""
    first = top.rows[0]
    if not first[0] and first[1:] == [str(number) for number in range(len(first) - 1)]:
        return False  # as pandas writes a matrix with its index
    return all(is_number(cell) for cell in first[1:]) and (
        is_number(first[0]) or (len(first) > 1 and is_stamp(first[0]))
    )


def _check_headless(top: Head, path: Path) -> None:
    """Raises DataError where the first row or the first column of a matrix looks like names or dates."""
    counted = [str(number) for number in range(len(top.rows[0]))]
    if len(counted) > 2 and top.rows[0] == counted:
        raise DataError(
            f"{path}, row 1: {', '.join(counted[:3])}, ... are values or the columns' names; say --format matrix or --format wide"
        )
    first = [row[0] for row in top.rows]
    if len(counted) > 1 and all(map(_plain_number, first)) and dated(np.array([float(cell) for cell in first])):
        raise DataError(
            f"{path}, row 1: {first[0]} looks like a date, in a file without a header; give the columns names in a first row, or "
            "say --format matrix where it is a series"
        )


def _plain_number(cell: str) -> bool:
    return cell.replace(".", "", 1).isdigit()


def read_file(path: Path, options: Options, *, header: bool | None = None) -> Read:
    """A wide table, as many series or, with `multivariate`, as one of many dimensions.

    Empty cells before a series' first value and after its last one make it shorter; those between are NaN.

    Args:
        header: whether the first row names the columns; found out where None.

    Raises:
        ConfigError: a named column is not there.
        DataError: no time stamps and no frequency stated; time stamps that repeat, go back or lie off the grid; a cell that is no
            number.
    """
    if options.category_columns or options.real_columns:
        raise ConfigError(f"{path}: static columns are for long tables (item_id, timestamp, target); this one is wide")
    names: list[str] | None
    if plain_suffix(path) == ".parquet":
        schema = open_parquet(path).schema_arrow
        some = open_parquet(path).read_row_group(0).slice(0, 3) if open_parquet(path).num_row_groups else None
        cells = [str(column[0].as_py()) if len(column) else "" for column in some.columns] if some is not None else []
        dates = next((field.name for field in schema if pa.types.is_temporal(field.type)), None)
        time = _time(schema.names, cells, options, dates)
        columns, first_row, format = _columns(schema.names, time, options, path), 1, "wide Parquet"
        batches: Iterator[pa.RecordBatch] = parquet_batches(path, columns.all)[0]
    else:
        top = head(path)
        bare = has_no_header(top) if header is None else not header
        if bare and header is None:
            _check_headless(top, path)
        names = [str(number) for number in range(len(top.rows[0]))] if bare else None
        cells = top.rows[0 if bare else 1] if len(top.rows) > (0 if bare else 1) else []
        time = _time(names or top.rows[0], cells, options)
        if bare and time is not None:
            names = ["timestamp", *(str(number) for number in range(len(top.rows[0]) - 1))]
            time = "timestamp"
        columns = _columns(names or top.rows[0], time, options, path)
        types = {name: pa.float64() for name in columns.all}
        if time is not None:
            types[time] = arrow_type(_cell(names or top.rows[0], cells, time))
        batches = csv_batches(path, top, columns.all, types, names)
        first_row, format = (1 if bare else 2), ("matrix" if bare and time is None else "wide CSV")
    return _Table(path, columns, options, first_row).read(batches, format)


def _time(names: list[str], cells: list[str], options: Options, dates: str | None = None) -> str | None:
    """The column with the time: the named one, the first if it tells a time, one named as times are, or an index without a name.

    Args:
        cells: of the first row.
        dates: a column that is of a type of time.
    """
    if options.timestamp_column is not None:
        return options.timestamp_column
    others = {*(options.target_columns or []), *(options.covariate_columns or [])}
    free = [name for name in names if name not in others]
    if not cells or not free or len(names) < 2:
        return dates
    named = [name for name in free if not _NAMELESS.fullmatch(name)]
    index = [name for name in free if _NAMELESS.fullmatch(name)]
    for name in (*free[:1], *named[:1], *index):
        if dates is None and is_stamp(_cell(names, cells, name)):
            return name
    usual = dates or time_among(free)
    if usual is not None:
        return usual
    return next((name for name in index if _tells_time(_cell(names, cells, name))), None)


def _tells_time(cell: str) -> bool:
    """Whether the number of an index without a name is a date rather than a row's number."""
    if not _plain_number(cell):
        return False
    found = unit_of(np.array([float(cell)]))
    return found is not None and found.words != STEPS


def _cell(names: list[str], cells: list[str], name: str) -> str:
    at = names.index(name) if name in names else len(cells)
    return cells[at] if at < len(cells) else ""


def _columns(names: list[str], time: str | None, options: Options, path: Path) -> Columns:
    covariates = options.covariate_columns or []
    others = [name for name in names if name != time and name not in covariates]
    series = options.target_columns or [name for name in others if not _NAMELESS.fullmatch(name)]
    passed_over = [] if options.target_columns else [name for name in others if _NAMELESS.fullmatch(name)]
    missing = [name for name in (*series, *covariates, *([time] if time else [])) if name not in names]
    if missing:
        raise ConfigError(f"{path}: no column {', '.join(missing)}, only {', '.join(names[:12])}")
    wanted = [name for name in names if name not in passed_over]
    twice = next((name for name in wanted if wanted.count(name) > 1), None) if len(set(wanted)) < len(wanted) else None
    if twice is not None:
        raise DataError(f"{path}: two columns are called {twice!r}; rename one")
    if not series:
        raise DataError(f"{path}: no column beside the time stamps")
    return Columns(time, series, covariates, passed_over)


@dataclass(frozen=True)
class _Table:
    """A wide table and how it is read; `first_row` is how its first row is counted for the user."""

    path: Path
    columns: Columns
    options: Options
    first_row: int

    def read(self, batches: Iterator[pa.RecordBatch], format: str) -> Read:
        columns, limit, source = self.columns, self.options.memory_limit, str(self.path)
        values = Buffer(len(columns.series), np.float64, 1024, limit)
        covariates = Buffer(len(columns.covariates), np.float32, 1024, limit)
        time = None if columns.time is None else TimeColumn(columns.time, source, self.options)
        stamps: list[Stamps] = []
        for batch in batches:
            row = self.first_row + values.rows
            values.append(numbers_of(batch, columns.series, source, row))
            covariates.append(numbers_of(batch, columns.covariates, source, row))
            if time is not None and batch.num_rows:
                stamps.append(time.read(batch.column(time.name), complaint(source, row, time.name)))
        if not values.rows:
            raise DataError(f"{self.path}: no rows")
        position, grid = (np.arange(values.rows), None) if time is None else self._positions(time, join(stamps))
        notes = [] if time is None else time.finish()
        if columns.passed_over:
            names = ", ".join(repr(name) for name in columns.passed_over[:3])
            notes.append(f"{len(columns.passed_over)} without a name passed over: the column {names} is no series")
        zone = None if time is None else time.zone
        return self._build(values.finish(), covariates.finish(), position, grid, format, zone, notes)

    def _positions(self, time: TimeColumn, stamps: Stamps) -> tuple[np.ndarray, Grid | None]:
        """Each row's position from the first on, and the grid; None for step numbers."""
        path, first_row = self.path, self.first_row
        freq = time.frequency(stamps, str(path)) if stamps.timed else None
        every = np.zeros(len(stamps.values), np.int64)
        ticks = time.ticks(stamps, freq, every, complaint(str(path), first_row, time.name))
        back = np.flatnonzero(np.diff(ticks) <= 0)
        if len(back):
            at = int(back[0]) + 1
            how = (
                "comes twice (duplicate time stamp)"
                if ticks[at] == ticks[at - 1]
                else "comes after a later one; sort the rows by time"
            )
            shown = time.shown(ticks[at], freq) if stamps.timed else ticks[at]
            raise DataError(f"{path}, row {first_row + at}: {shown} {how}{time.hint(ticks[at], freq)}")
        grid = None if freq is None else Grid(freq, int(ticks[0]), f"{path}, row {first_row}")
        position = ticks - ticks[0] if grid is None else grid.positions(ticks)
        if grid is not None and (position == OFF).any():
            at = int(np.argmax(position == OFF))
            off = grid.off(time.shown(ticks[at], freq), time.shown(grid.anchor, freq))
            raise DataError(f"{path}, row {first_row + at}: {off}")
        coarse = int(np.gcd.reduce(np.diff(position))) if len(position) > 2 else 1
        if coarse > 1:
            raise DataError(f"{path}: the rows go by {coarse} steps of {freq or 1} at a time; check --freq")
        return position, grid

    def _build(
        self,
        matrix: np.ndarray,
        covariates: np.ndarray,
        position: np.ndarray,
        grid: Grid | None,
        format: str,
        zone: str | None,
        notes: list[str],
    ) -> Read:
        columns, options = self.columns, self.options
        steps = int(position[-1]) + 1
        valid = ~np.isnan(matrix)
        if options.multivariate:
            valid = valid.any(axis=1, keepdims=True)
        some = valid.any(axis=0)
        first = np.where(some, valid.argmax(axis=0), 0)
        last = np.where(some, len(matrix) - 1 - valid[::-1].argmax(axis=0), len(matrix) - 1)
        del valid
        starts, ends = position[first], position[last] + 1
        offsets = np.concatenate([[0], np.cumsum(ends - starts)])
        dims = len(columns.series) if options.multivariate else 1
        values = allocate(int(offsets[-1]), dims, np.float64, options.memory_limit)
        whole = len(matrix) == steps and int(offsets[-1]) == steps * len(first)
        if options.multivariate and whole:
            values = matrix
        elif whole:
            values.reshape(len(first), steps)[:] = matrix.T
        else:
            values[:] = np.nan
            for i in range(len(first)):
                rows = slice(first[i], last[i] + 1)
                values[offsets[i] + position[rows] - starts[i]] = (
                    matrix[rows] if options.multivariate else matrix[rows, i : i + 1]
                )
        known, known_offsets = _covariates(covariates, position, steps, starts)
        panel = Panel(
            values,
            offsets,
            starts,
            calendar_of(grid, 0, steps, options, f"{self.path}: no time stamps", zone),
            [self.path.name.split(".")[0]] if options.multivariate else list(columns.series),
            target_names=list(columns.series) if options.multivariate else ["target"],
            covariates=known,
            covariate_offsets=known_offsets,
            covariate_names=list(columns.covariates),
            has_timestamps=grid is not None or options.start is not None,
            one_end=grid is not None,
        )

        def row(series: int, step: int) -> str:
            found = np.flatnonzero(position == starts[series] + step)
            return f"row {self.first_row + int(found[0])}" if len(found) else ""

        return Read(panel, format, str(self.path), where=row, notes=notes)


def _covariates(
    covariates: np.ndarray, position: np.ndarray, steps: int, starts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Every series' own copy of the covariate columns, from its start to the table's end."""
    whole = np.full((steps, covariates.shape[1]), np.nan, np.float32)
    whole[position] = covariates
    pieces = [whole[start:] for start in starts]
    return np.concatenate(pieces), np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])])
