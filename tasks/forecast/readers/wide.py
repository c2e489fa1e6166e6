"""Wide tables, a column a series: CSV with or without time stamps, Parquet, and raw matrices without a header."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from tasks.errors import ConfigError, DataError
from tasks.forecast.panel import Panel
from tasks.forecast.readers.buffer import Buffer, allocate
from tasks.forecast.readers.grid import OFF, Grid, calendar_of, resolve
from tasks.forecast.readers.long import TIME, numbers_of, stamp_type, stamps_of
from tasks.forecast.readers.source import Options, Read
from tasks.forecast.readers.tables import (
    Head,
    csv_batches,
    head,
    is_number,
    open_parquet,
    parquet_batches,
    plain_suffix,
)


@dataclass(frozen=True)
class Columns:
    time: str | None
    series: list[str]
    covariates: list[str]

    @property
    def all(self) -> list[str]:
        return [*([self.time] if self.time is not None else []), *self.series, *self.covariates]


def has_no_header(top: Head) -> bool:
    """Whether the first row is data: numbers all along, or after a time stamp."""
    first = top.rows[0]
    return all(is_number(cell) for cell in first[1:]) and (
        is_number(first[0]) or (len(first) > 1 and _is_stamp(first[0]))
    )


def _is_stamp(cell: str) -> bool:
    return not is_number(cell) and not pd.isna(pd.to_datetime(cell, errors="coerce", format="ISO8601"))


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
        time = next((field.name for field in schema if pa.types.is_temporal(field.type)), None)
        columns, first_row, format = _columns(schema.names, time, options, path), 1, "wide Parquet"
        batches: Iterator[pa.RecordBatch] = parquet_batches(path, columns.all)[0]
    else:
        top = head(path)
        bare = has_no_header(top) if header is None else not header
        names = [str(number) for number in range(len(top.rows[0]))] if bare else None
        cells = top.rows[0 if bare else 1] if len(top.rows) > (0 if bare else 1) else []
        time = _time(names or top.rows[0], cells, options)
        if bare and time is not None:
            names = ["timestamp", *(str(number) for number in range(len(top.rows[0]) - 1))]
            time = "timestamp"
        columns = _columns(names or top.rows[0], time, options, path)
        types = {name: pa.float64() for name in columns.all}
        if time is not None:
            types[time] = stamp_type(cells[(names or top.rows[0]).index(time)])
        batches = csv_batches(path, top, columns.all, types, names)
        first_row, format = (1 if bare else 2), ("matrix" if bare and time is None else "wide CSV")
    return _Table(path, columns, options, first_row).read(batches, format)


def _time(names: list[str], cells: list[str], options: Options) -> str | None:
    if options.timestamp_column is not None:
        return options.timestamp_column
    if not cells:
        return None
    usual = names[0].lower() in (*TIME, "") and len(names) > 1
    return names[0] if _is_stamp(cells[0]) or usual else None


def _columns(names: list[str], time: str | None, options: Options, path: Path) -> Columns:
    covariates = options.covariate_columns or []
    series = options.target_columns or [name for name in names if name != time and name not in covariates]
    missing = [name for name in (*series, *covariates, *([time] if time else [])) if name not in names]
    if missing:
        raise ConfigError(f"{path}: no column {', '.join(missing)}, only {', '.join(names[:12])}")
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise DataError(f"{path}: two columns are called {twice!r}; rename one")
    if not series:
        raise DataError(f"{path}: no column beside the time stamps")
    return Columns(time, series, covariates)


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
        stamps, timed = [], columns.time is not None
        for batch in batches:
            row = self.first_row + values.rows
            values.append(numbers_of(batch, columns.series, source, row))
            covariates.append(numbers_of(batch, columns.covariates, source, row))
            if columns.time is not None:
                of_time, batch_stamps = stamps_of(batch, columns.time, source, row)
                timed = timed and of_time
                stamps.append(batch_stamps)
        if not values.rows:
            raise DataError(f"{self.path}: no rows")
        position, grid = self._positions(np.concatenate(stamps)) if timed else (np.arange(values.rows), None)
        return self._build(values.finish(), covariates.finish(), position, grid, format)

    def _positions(self, stamps: np.ndarray) -> tuple[np.ndarray, Grid]:
        """Each row's position from the first on, and the grid."""
        path, first_row = self.path, self.first_row
        back = np.flatnonzero(np.diff(stamps) <= 0)
        if len(back):
            at = int(back[0]) + 1
            how = (
                "comes twice (duplicate time stamp)"
                if stamps[at] == stamps[at - 1]
                else "comes after a later one; sort the rows by time"
            )
            raise DataError(f"{path}, row {first_row + at}: {pd.Timestamp(stamps[at])} {how}")
        freq = resolve(self.options.freq, stamps, str(path))
        grid = Grid(freq, int(stamps[0]), f"{path}, row {first_row}")
        position = grid.positions(stamps)
        if (position == OFF).any():
            at = int(np.argmax(position == OFF))
            raise DataError(f"{path}, row {first_row + at}: {grid.off(pd.Timestamp(stamps[at]))}")
        coarse = int(np.gcd.reduce(np.diff(position))) if len(position) > 2 else 1
        if coarse > 1:
            raise DataError(f"{path}: the rows go by {coarse} steps of {freq} at a time; check --freq")
        return position, grid

    def _build(
        self, matrix: np.ndarray, covariates: np.ndarray, position: np.ndarray, grid: Grid | None, format: str
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
            calendar_of(grid, 0, steps, options, f"{self.path}: no time stamps"),
            [self.path.name.split(".")[0]] if options.multivariate else list(columns.series),
            target_names=list(columns.series) if options.multivariate else ["target"],
            covariates=known,
            covariate_offsets=known_offsets,
            covariate_names=list(columns.covariates),
            has_timestamps=grid is not None or options.start is not None,
        )

        def row(series: int, step: int) -> str:
            found = np.flatnonzero(position == starts[series] + step)
            return f"row {self.first_row + int(found[0])}" if len(found) else ""

        return Read(panel, format, str(self.path), where=row)


def _covariates(
    covariates: np.ndarray, position: np.ndarray, steps: int, starts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Every series' own copy of the covariate columns, from its start to the table's end."""
    whole = np.full((steps, covariates.shape[1]), np.nan, np.float32)
    whole[position] = covariates
    pieces = [whole[start:] for start in starts]
    return np.concatenate(pieces), np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])])
