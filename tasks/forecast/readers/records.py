"""Records, one a series: GluonTS's JSON lines and folders, and tables whose target column holds lists."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tasks.errors import DataError
from tasks.forecast.panel import Panel
from tasks.forecast.readers.buffer import Buffer
from tasks.forecast.readers.grid import OFF, Grid, calendar_of, resolve
from tasks.forecast.readers.source import Options, Read
from tasks.forecast.readers.statics import encode
from tasks.forecast.readers.tables import open_text

LINES = (".json", ".jsonl", ".ndjson")


def read_lines(path: Path, options: Options) -> Read:
    """A file of JSON lines with start, target (one row, or one a dimension), item_id, feat_static_cat, feat_static_real and
    feat_dynamic_real.

    Raises:
        DataError: a line that is no such record, with its row; no frequency, neither stated nor in a metadata.json.
    """
    return read(parsed(path), options, str(path), "GluonTS JSON lines")


def parsed(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, record) of each line."""
    try:
        with open_text(path) as file:
            for row, line in enumerate(file, 1):
                if not line.strip():
                    continue
                where = f"{path}, row {row}"
                try:
                    record = json.loads(line)
                except (json.JSONDecodeError, RecursionError) as error:
                    raise DataError(f"{where}: not JSON, or more than one line a record ({error})") from error
                if not isinstance(record, dict) or "target" not in record:
                    raise DataError(f"{where}: no record with a target; GluonTS wants start, target and item_id a line")
                yield where, record
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: can't be unpacked ({error})") from error


def from_batches(batches: Iterable[pa.RecordBatch], options: Options, source: str, format: str) -> Read:
    """The same from Arrow batches with list columns; `timestamp` may be a list too."""

    def records() -> Iterator[tuple[str, dict[str, Any]]]:
        row = 1
        for batch in batches:
            columns = [(name, batch.column(name)) for name in batch.schema.names]
            for at in range(batch.num_rows):
                yield f"{source}, row {row + at}", {name: _plain(column[at]) for name, column in columns}
            row += batch.num_rows

    return read(records(), options, source, format)


def _plain(cell: Any) -> Any:
    """A number list as an array, without a Python object for each number."""
    values = getattr(cell, "values", None)
    if values is None or pa.types.is_nested(values.type):
        return cell.as_py()
    return values.to_numpy(zero_copy_only=False)


class _Collected:
    """Records as flat arrays."""

    def __init__(self, options: Options) -> None:
        self.limit = options.memory_limit
        self.ids: list[str] = []
        self.starts: list[Any] = []
        self.lengths: list[int] = []
        self.known: list[int] = []
        self.categories: list[list[str]] = []
        self.reals: list[np.ndarray] = []
        self.values: Buffer | None = None
        self.covariates: Buffer | None = None

    def add(self, where: str, record: dict[str, Any], options: Options) -> None:
        target = _matrix(record[(options.target_columns or ["target"])[0]], where, "target")
        self.values = self.values or Buffer(target.shape[1], np.float64, 1 << 16, self.limit)
        if target.shape[1] != self.values.array.shape[1]:
            raise DataError(
                f"{where}: {target.shape[1]} target rows where the first record has {self.values.array.shape[1]}"
            )
        self.values.append(target)
        self.lengths.append(len(target))
        name = next((record[key] for key in (options.item_column or "item_id", "id") if key in record), None)
        self.ids.append(str(len(self.ids) if name is None else name))
        self.starts.append(_start(record, options))
        self.categories.append([str(value) for value in _list(record.get("feat_static_cat"))])
        self.reals.append(np.asarray(_list(record.get("feat_static_real")), np.float32))
        for what, given in (("feat_static_cat", self.categories), ("feat_static_real", self.reals)):
            if len(given[-1]) != len(given[0]):
                raise DataError(
                    f"{where}: {len(given[-1])} values in {what} where the first record has {len(given[0])}"
                )
        self._add_covariates(where, _list(record.get("feat_dynamic_real")))

    def _add_covariates(self, where: str, given: Any) -> None:
        known = _matrix(given, where, "feat_dynamic_real", rows=True) if len(given) else np.empty((0, 0))
        if self.covariates is None:
            self.covariates = Buffer(known.shape[1], np.float32, 1 << 16 if known.size else 1, self.limit)
        if known.shape[1] != self.covariates.array.shape[1]:
            raise DataError(
                f"{where}: {known.shape[1]} rows in feat_dynamic_real, others have {self.covariates.array.shape[1]}"
            )
        if known.shape[1] and len(known) < self.lengths[-1]:
            raise DataError(f"{where}: feat_dynamic_real has {len(known)} steps, target {self.lengths[-1]}")
        self.covariates.append(known.astype(np.float32))
        self.known.append(len(known))


def _list(value: Any) -> Any:
    return [] if value is None else value


def _start(record: dict[str, Any], options: Options) -> Any:
    """The first time stamp, or the array of all; None where the record tells none."""
    return next((record[key] for key in (options.timestamp_column or "start", "timestamp") if key in record), None)


def _matrix(value: Any, where: str, field: str, rows: bool = False) -> np.ndarray:
    """[steps, dims] from one list, or a list a dimension; `null` and "NaN" are NaN."""
    try:
        found = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{where}: {field} is no list of numbers, or its rows are of unequal length") from None
    if found.ndim == 2:
        return np.ascontiguousarray(found.T)
    if found.ndim != 1 or rows:
        raise DataError(f"{where}: {field} must be {'a list a feature' if rows else 'one list, or a list a dimension'}")
    return found[:, None]


def read(records: Iterable[tuple[str, dict[str, Any]]], options: Options, source: str, format: str) -> Read:
    """A panel of records."""
    collected = _Collected(options)
    for where, record in records:
        collected.add(where, record, options)
    if not collected.ids or collected.values is None or collected.covariates is None:
        raise DataError(f"{source}: no rows")
    if len(set(collected.ids)) < len(collected.ids):
        twice = next(name for number, name in enumerate(collected.ids) if name in collected.ids[:number])
        raise DataError(f"{source}: two series are called {twice}; give each record its own item_id")
    offsets = np.concatenate([[0], np.cumsum(collected.lengths)]).astype(np.int64)
    position, grid = _positions(collected, options, source)
    length = int((position + np.diff(offsets)).max())
    names = [f"feat_static_cat {number}" for number in range(len(collected.categories[0]))]
    columns = [list(column) for column in zip(*collected.categories, strict=True)]
    covered = collected.covariates.array.shape[1]
    dims = collected.values.array.shape[1]
    panel = Panel(
        collected.values.finish(),
        offsets,
        position,
        calendar_of(grid, 0, length, options, f"{source}: no start and no frequency"),
        collected.ids,
        target_names=["target"] if dims == 1 else [str(dim) for dim in range(dims)],
        static_reals=np.stack(collected.reals).astype(np.float32),
        real_names=[f"feat_static_real {number}" for number in range(len(collected.reals[0]))],
        covariates=collected.covariates.finish(),
        covariate_offsets=np.concatenate([[0], np.cumsum(collected.known)]).astype(np.int64),
        covariate_names=[f"feat_dynamic_real {number}" for number in range(covered)],
        has_timestamps=grid is not None or options.start is not None,
        **encode(columns, names, options.categories, source, collected.ids),
    )
    return Read(panel, format, source)


def _positions(collected: _Collected, options: Options, source: str) -> tuple[np.ndarray, Grid | None]:
    """Each series' first position, from the earliest on, and the grid; zeros and None where no record tells a start."""
    if all(start is None for start in collected.starts):
        return np.zeros(len(collected.ids), np.int64), None
    listed = [isinstance(start, (list, np.ndarray)) and len(start) > 0 for start in collected.starts]
    firsts = [start[0] if is_list else start for start, is_list in zip(collected.starts, listed, strict=True)]
    stamps = pd.to_datetime(pd.Series([str(first) for first in firsts]), errors="coerce", format="ISO8601", utc=True)
    if stamps.isna().any():
        at = int(np.argmax(stamps.isna().to_numpy()))
        raise DataError(
            f"{source}, series {collected.ids[at]}: start {firsts[at]!r} is no time stamp like 2026-01-31 17:00"
        )
    nanoseconds = stamps.to_numpy(dtype="datetime64[ns]").view(np.int64)
    if not any(listed) and options.freq is None:
        raise DataError(f"{source}: a start alone tells no frequency; state --freq")
    shown = _nanoseconds(collected.starts[listed.index(True)]) if any(listed) else nanoseconds[:1]
    freq = resolve(options.freq, shown, source)
    earliest = int(np.argmin(nanoseconds))
    grid = Grid(freq, int(nanoseconds[earliest]), f"{source}, series {collected.ids[earliest]}")
    position = grid.positions(nanoseconds)
    if (position == OFF).any():
        at = int(np.argmax(position == OFF))
        raise DataError(f"{source}, series {collected.ids[at]}: its start {grid.off(firsts[at])}")
    _check_lists(collected, grid, source)
    return position, grid


def _nanoseconds(stamps: list[Any] | np.ndarray) -> np.ndarray:
    return pd.to_datetime(pd.Series(stamps)).to_numpy("datetime64[ns]").view(np.int64)


def _check_lists(collected: _Collected, grid: Grid, source: str) -> None:
    """Where every value comes with its time stamp, these must follow each other without gaps."""
    for name, stamps, length in zip(collected.ids, collected.starts, collected.lengths, strict=True):
        if not isinstance(stamps, (list, np.ndarray)):
            continue
        nanoseconds = _nanoseconds(stamps)
        if len(nanoseconds) != length:
            raise DataError(f"{source}, series {name}: {len(nanoseconds)} time stamps for {length} values")
        wrong = np.flatnonzero(np.diff(grid.positions(nanoseconds)) != 1)
        if len(wrong):
            at = int(wrong[0]) + 1
            raise DataError(
                f"{source}, series {name}, value {at + 1}: {pd.Timestamp(nanoseconds[at])} is not one step of {grid.freq} after the "
                "one before (duplicate, unsorted, missing or of another frequency)"
            )
