"""Long tables, a row a value: series id, time stamp, target, and what else a row tells. Read batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from tasks.errors import ConfigError, DataError
from tasks.forecast.readers.blocks import Block, Columns
from tasks.forecast.readers.gather import Gather
from tasks.forecast.readers.grid import Grid, resolve
from tasks.forecast.readers.source import Options, Read
from tasks.forecast.readers.tables import csv_batches, head, is_number, open_parquet, parquet_batches, plain_suffix

ITEM = ("item_id", "series_id", "unique_id", "series", "id")
TIME = ("timestamp", "date", "datetime", "time", "ds")
TARGET = ("target", "value", "y")
Complain = Callable[[int, str], DataError]
# Rows looked at for the frequency before anything is stored.
_PROBED = 2_000_000
# Bytes of a text file read at once.
_BLOCK = 1 << 19


def looks_like(names: list[str], options: Options) -> bool:
    """Whether columns of these names are a long table rather than a column a series."""
    if options.item_column is not None:
        return True
    return all(any(name in names for name in wanted) for wanted in (ITEM, TIME)) and (
        options.target_columns is not None or any(name in names for name in TARGET)
    )


def columns_of(names: list[str], options: Options, source: str) -> Columns:
    """Finds the columns, those named first.

    Raises:
        ConfigError: a named column is not there.
        DataError: none of the usual names is there, and none was named.
    """

    def one(flag: str, named: str | None, usual: tuple[str, ...]) -> str:
        found = named or next((name for name in usual if name in names), None)
        if found is None:
            raise DataError(f"{source}: no column {' or '.join(usual)} among {_list(names)}; name it with --{flag}")
        return found

    targets = options.target_columns or [one("target-columns", None, TARGET)]
    found = Columns(
        one("item-column", options.item_column, ITEM),
        one("timestamp-column", options.timestamp_column, TIME),
        targets,
        options.category_columns or [],
        options.real_columns or [],
        options.covariate_columns or [],
    )
    missing = [name for name in found.all if name not in names]
    if missing:
        raise ConfigError(f"{source}: no column {', '.join(missing)}, only {_list(names)}")
    return found


def _list(names: list[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def read_file(path: Path, options: Options) -> Read:
    """A long CSV, TSV or Parquet file.

    Raises:
        DataError: see `read`; a cell that is no number or time stamp, with row and column.
    """
    if plain_suffix(path) == ".parquet":
        names = open_parquet(path).schema_arrow.names
        columns = columns_of(names, options, str(path))
        batches, rows = parquet_batches(path, columns.all)
        return read(batches, columns, options, str(path), rows, first_row=1, format="long Parquet")
    top = head(path)
    columns = columns_of(top.rows[0], options, str(path))
    types = {name: pa.float64() for name in (*columns.targets, *columns.reals, *columns.covariates)}
    types |= {name: pa.dictionary(pa.int32(), pa.string()) for name in (columns.item, *columns.categories)}
    cell = top.rows[1][top.rows[0].index(columns.time)] if len(top.rows) > 1 and len(top.rows[1]) else ""
    types[columns.time] = stamp_type(cell)
    # Rows are short, but for a file of many more columns than are asked for.
    longest = max(sum(len(cell) + 1 for cell in row) for row in top.rows)
    batches = csv_batches(path, top, columns.all, types, block=max(_BLOCK, 64 * longest))
    # Packed or not, a row of text takes some twenty bytes or more; what is too much is cut off.
    rows = min(path.stat().st_size // 16, 1 << 20)
    return read(batches, columns, options, str(path), rows, first_row=2, format="long CSV")


def stamp_type(cell: str) -> pa.DataType:
    """How a time column's cells are read, told by one of them: steps that are mere numbers, or time stamps."""
    if cell.isdigit() and not (len(cell) == 8 and "19" <= cell[:2] <= "21"):
        return pa.int64()
    zoned = cell.endswith("Z") or (len(cell) > 19 and cell[-6] in "+-")
    return pa.timestamp("ns", tz="UTC") if zoned else pa.timestamp("ns")


def read(
    batches: Iterable[pa.RecordBatch],
    columns: Columns,
    options: Options,
    source: str,
    rows: int,
    *,
    first_row: int,
    format: str,
) -> Read:
    """A long table from its batches; series may alternate, the rows of one must ascend in time.

    Args:
        rows: how many are expected.
        first_row: how the first one is counted for the user.

    Raises:
        DataError: no rows; a row without time stamp; stamps that repeat, go back or lie off the grid; a category or real that
            changes within a series.
    """
    blocks = (block for block in _blocks(batches, columns, source, first_row) if len(block.series))
    probed: list[Block] = []
    for block in blocks:
        probed.append(block)
        if np.bincount(block.series).max() >= 10 or sum(len(one.series) for one in probed) >= _PROBED:
            break
    if not probed:
        raise DataError(f"{source}: no rows")
    gather = Gather(columns, options, source, rows, first_row, _grid(probed, options, source))
    while probed:
        gather.add(probed.pop(0))
    for block in blocks:
        gather.add(block)
    return gather.finish(format)


def _grid(probed: list[Block], options: Options, source: str) -> Grid | None:
    """The grid of the first series that is long enough to tell; None for steps that are mere numbers."""
    if not probed[0].timed:
        return None
    longest = max(probed, key=lambda block: int(np.bincount(block.series).max()))
    number = int(np.argmax(np.bincount(longest.series)))
    name = longest.ids[number]
    stamps = longest.stamps[longest.series == number]
    if len(stamps) < 10:
        stamps = np.concatenate([one.stamps[one.series == one.ids.index(name)] for one in probed if name in one.ids])
    where = f"{source}, series {name}"
    freq = resolve(options.freq, stamps, where)
    return Grid(freq, int(stamps[0]), where)


def _blocks(batches: Iterable[pa.RecordBatch], columns: Columns, source: str, first_row: int) -> Iterator[Block]:
    row = first_row
    for batch in batches:
        yield _block(batch, columns, source, row)
        row += batch.num_rows


def complaint(source: str, row: int, column: str) -> Complain:
    """Makes the error for a cell, given how far below `row` it is and what is wrong."""
    return lambda at, what: DataError(f"{source}, row {row + at}, column {column}: {what}")


def _first_null(column: pa.Array) -> int:
    return int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))


def _block(batch: pa.RecordBatch, columns: Columns, source: str, row: int) -> Block:
    ids, series = _texts(batch, columns.item, source, row)
    timed, stamps = stamps_of(batch, columns.time, source, row)
    return Block(
        ids,
        series,
        stamps,
        timed,
        numbers_of(batch, columns.targets, source, row),
        [_texts(batch, name, source, row) for name in columns.categories],
        numbers_of(batch, columns.reals, source, row),
        numbers_of(batch, columns.covariates, source, row),
    )


def _texts(batch: pa.RecordBatch, name: str, source: str, row: int) -> tuple[list[str], np.ndarray]:
    """The distinct values in order of appearance, as text, and each row's number among them."""
    column = batch.column(name)
    if column.null_count:
        raise complaint(source, row, name)(_first_null(column), "the cell is empty")
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    series, used = pd.factorize(column.indices.to_numpy(zero_copy_only=False))
    return column.dictionary.take(pa.array(used)).cast(pa.string()).to_pylist(), series


def numbers_of(batch: pa.RecordBatch, names: list[str], source: str, row: int) -> np.ndarray:
    """Columns as float64 [rows, columns], NaN where there is none.

    Args:
        row: how the batch's first row is counted for the user.
    """
    numbers = np.empty((batch.num_rows, len(names)))
    for i, name in enumerate(names):
        numbers[:, i] = _numbers(batch.column(name), complaint(source, row, name))
    return numbers


def _numbers(column: pa.Array, complain: Complain) -> np.ndarray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    try:
        return column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        for at, cell in enumerate(column.to_pylist()):
            if cell is not None and not is_number(str(cell)):
                raise complain(at, f"{str(cell)[:40]!r} is not a number") from None
        raise complain(0, f"cells of type {column.type} are no numbers") from None


def stamps_of(batch: pa.RecordBatch, name: str, source: str, row: int) -> tuple[bool, np.ndarray]:
    """(whether they are time stamps rather than step numbers, int64 nanoseconds or numbers)."""
    column, complain = batch.column(name), complaint(source, row, name)
    if column.null_count:
        raise complain(_first_null(column), "no time stamp")
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_integer(column.type):
        return False, column.cast(pa.int64()).to_numpy(zero_copy_only=False)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        found = pd.to_datetime(pd.Series(column.to_pylist()), errors="coerce", format="ISO8601", utc=True)
        wrong = found.isna().to_numpy()
        if wrong.any():
            at = int(np.argmax(wrong))
            raise complain(at, f"{column[at].as_py()[:40]!r} is no time stamp like 2026-01-31 17:00")
        return True, found.to_numpy(dtype="datetime64[ns]").view(np.int64)
    if not pa.types.is_temporal(column.type):
        raise complain(0, f"cells of type {column.type} are no time stamps")
    zone = getattr(column.type, "tz", None)
    try:
        nanoseconds = column.cast(pa.timestamp("ns", tz=zone)).cast(pa.int64())
    except pa.ArrowInvalid:
        raise complain(0, "time stamps before 1678 or after 2261 can't be used") from None
    return True, nanoseconds.to_numpy(zero_copy_only=False)
