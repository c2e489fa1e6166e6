"""Records, one a series: GluonTS's JSON lines and folders, and tables whose target column holds lists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.cells import MISSING_WORDS, as_list, as_text, without_missing
from tasks.errors import DataError
from tasks.forecast.panel import Panel
from tasks.forecast.readers.buffer import Buffer
from tasks.forecast.readers.grid import OFF, Grid, calendar_of
from tasks.forecast.readers.lines import parsed, table_rows
from tasks.forecast.readers.source import Options, Read
from tasks.forecast.readers.stamps import TimeColumn
from tasks.forecast.readers.statics import encode
from tasks.forecast.readers.tables import Complain, Head


def read_lines(path: Path, options: Options) -> Read:
    """A file of JSON lines with start, target (one row, or one a dimension), item_id, feat_static_cat, feat_static_real and
    feat_dynamic_real.

    Raises:
        DataError: a line that is no such record, with its row; no frequency, neither stated nor in a metadata.json.
    """
    return read(parsed(path), options, str(path), "GluonTS JSON lines")


def read_table(path: Path, top: Head, options: Options) -> Read:
    """A CSV file with a series a row, its lists written as text."""
    return read(table_rows(path, top), options, str(path), "CSV of lists")


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
    """A number list as an array, without a Python object for each number; of time stamps Arrow's, which has their zone."""
    values = getattr(cell, "values", None)
    if values is None or pa.types.is_nested(values.type):
        return cell.as_py()
    return values if pa.types.is_temporal(values.type) else values.to_numpy(zero_copy_only=False)


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
        field = (options.target_columns or ["target"])[0]
        given = record.get(field)
        if given is None or (isinstance(given, str) and not given.strip()):
            raise DataError(f"{where}: no {field}")
        target = _matrix(as_given(given, where, field), where, field)
        self.values = self.values or Buffer(target.shape[1], np.float64, 1 << 16, self.limit)
        if target.shape[1] != self.values.array.shape[1]:
            raise DataError(
                f"{where}: {target.shape[1]} target rows where the first record has {self.values.array.shape[1]}"
            )
        self.values.append(target)
        self.lengths.append(len(target))
        name = next((record[key] for key in (options.item_column or "item_id", "id") if key in record), None)
        self.ids.append(as_text(name) or str(len(self.ids)))
        self.starts.append(_start(record, options, where))
        categories = [as_text(value) for value in as_given(record.get("feat_static_cat"), where, "feat_static_cat")]
        if None in categories:
            raise DataError(f"{where}: value {categories.index(None) + 1} of feat_static_cat is empty")
        self.categories.append([str(value) for value in categories])
        reals = as_given(record.get("feat_static_real"), where, "feat_static_real")
        self.reals.append(_numbers(reals, where, "feat_static_real").astype(np.float32))
        if np.isnan(self.reals[-1]).any():
            raise DataError(
                f"{where}: value {int(np.argmax(np.isnan(self.reals[-1]))) + 1} of feat_static_real is missing"
            )
        for what, given in (("feat_static_cat", self.categories), ("feat_static_real", self.reals)):
            if len(given[-1]) != len(given[0]):
                raise DataError(
                    f"{where}: {len(given[-1])} values in {what} where the first record has {len(given[0])}"
                )
        self._add_covariates(where, as_given(record.get("feat_dynamic_real"), where, "feat_dynamic_real"))

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


def as_given(value: Any, where: str, field: str) -> Any:
    """A field's list; one written as text is read, none is an empty one.

    Raises:
        DataError: a text that writes out no list.
    """
    if not isinstance(value, str):
        return [] if value is None else value
    try:
        found = as_list(value)
    except ValueError as error:
        raise DataError(f"{where}: {field} is {error}") from None
    if found is None:
        raise DataError(f"{where}: {field} is no list of numbers, but {value.strip()[:40]!r}")
    return found


def _start(record: dict[str, Any], options: Options, where: str) -> Any:
    """The first time stamp, or the array of all; None where the record tells none."""
    name = next((key for key in (options.timestamp_column or "start", "timestamp") if key in record), None)
    if name is None:
        return None
    value = record[name]
    return as_given(value, where, name) if isinstance(value, str) and value.lstrip().startswith("[") else value


def _numbers(value: Any, where: str, field: str) -> np.ndarray:
    """float64 of a list, or a list of lists; `null`, "NaN" and the like are NaN."""
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        pass
    try:
        return np.asarray(_without_words(value), dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{where}: {field} is no list of numbers, or its rows are of unequal length") from None


def _without_words(value: Any) -> Any:
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_without_words(one) for one in value]
    return None if isinstance(value, str) and value.strip().lower() in (*MISSING_WORDS, "") else value


def _matrix(value: Any, where: str, field: str, rows: bool = False) -> np.ndarray:
    """[steps, dims] from one list, or a list a dimension; `null` and "NaN" are NaN."""
    found = _numbers(value, where, field)
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
    _check_words(collected, source)
    time = TimeColumn(options.timestamp_column or "start", source, options)
    position, grid = _positions(collected, time, source)
    length = int((position + np.diff(offsets)).max())
    names = [f"feat_static_cat {number}" for number in range(len(collected.categories[0]))]
    columns = [list(column) for column in zip(*collected.categories, strict=True)]
    covered = collected.covariates.array.shape[1]
    dims = collected.values.array.shape[1]
    panel = Panel(
        collected.values.finish(),
        offsets,
        position,
        calendar_of(grid, 0, length, options, f"{source}: no start and no frequency", time.zone),
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
    return Read(panel, format, source, notes=time.finish())


def _check_words(collected: _Collected, source: str) -> None:
    """NA and its like name a series or a category among words; among numbers they are missing."""
    columns = [("item_id", collected.ids)] + [
        ("feat_static_cat", list(column)) for column in zip(*collected.categories, strict=True)
    ]
    for name, texts in columns:
        words = without_missing(texts)
        if None in words:
            at = words.index(None)
            raise DataError(f"{source}, record {at + 1}: {name} {texts[at]!r} among numbers is a missing one")


def _positions(collected: _Collected, time: TimeColumn, source: str) -> tuple[np.ndarray, Grid | None]:
    """Each series' first position, from the earliest on, and the grid; zeros and None where no record tells a start."""
    if all(start is None for start in collected.starts):
        return np.zeros(len(collected.ids), np.int64), None
    listed = [isinstance(start, (list, np.ndarray, pa.Array)) and len(start) > 0 for start in collected.starts]
    firsts = [start[0] if is_list else start for start, is_list in zip(collected.starts, listed, strict=True)]

    def complain(at: int, what: str) -> DataError:
        return DataError(f"{source}, series {collected.ids[at]}: start {what}")

    stamps = time.read(_as_arrow(firsts), complain)
    if not stamps.timed:
        raise complain(0, f"{firsts[0]!r} is no time stamp like 2026-01-31 17:00")
    if not any(listed) and time.options.freq is None:
        raise DataError(f"{source}: a start alone tells no frequency; state --freq")
    lists = [
        time.read(_as_arrow(start), _in(complain, at)) if listed[at] else None
        for at, start in enumerate(collected.starts)
    ]
    freq = time.frequency(next((one for one in lists if one is not None), stamps.take(np.arange(1))), source)
    ticks = time.ticks(stamps, freq, np.arange(len(firsts)), complain)
    earliest = int(np.argmin(ticks))
    grid = Grid(freq, int(ticks[earliest]), f"{source}, series {collected.ids[earliest]}")
    position = grid.positions(ticks)
    if (position == OFF).any():
        at = int(np.argmax(position == OFF))
        raise DataError(
            f"{source}, series {collected.ids[at]}: its start {grid.off(firsts[at], time.shown(grid.anchor, freq))}"
        )
    for at, one in enumerate(lists):
        if one is not None:
            every = np.full(len(one.values), len(firsts) + at)
            name = collected.ids[at]
            _check_list(
                name, time.ticks(one, freq, every, _in(complain, at)), collected.lengths[at], grid, time, source
            )
    return position, grid


def _in(complain: Complain, series: int) -> Complain:
    """The complaint about one of the time stamps of a series."""
    return lambda at, what: complain(series, f"{what} (value {at + 1})")


def _as_arrow(values: Any) -> pa.Array:
    """Time stamps as a column: numbers, dates with their zone, else texts."""
    if isinstance(values, pa.Array):
        return values
    if not all(isinstance(value, str) for value in values):
        try:
            return pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            pass
    return pa.array([None if value is None else str(value) for value in values], pa.string())


def _check_list(name: str, ticks: np.ndarray, length: int, grid: Grid, time: TimeColumn, source: str) -> None:
    """Where every value comes with its time stamp, these must follow each other without gaps."""
    if len(ticks) != length:
        raise DataError(f"{source}, series {name}: {len(ticks)} time stamps for {length} values")
    wrong = np.flatnonzero(np.diff(grid.positions(ticks)) != 1)
    if len(wrong):
        at = int(wrong[0]) + 1
        raise DataError(
            f"{source}, series {name}, value {at + 1}: {time.shown(ticks[at], grid.freq)} is not one step of {grid.freq} after the "
            "one before (duplicate, unsorted, missing or of another frequency)"
        )
