"""Long tables, a row a value: series id, time stamp, target, and what else a row tells. Read batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from tasks.cells import MISSING_WORDS, as_text
from tasks.errors import ConfigError, DataError
from tasks.forecast.readers.blocks import Block, Columns
from tasks.forecast.readers.gather import Gather
from tasks.forecast.readers.grid import Grid
from tasks.forecast.readers.source import Options, Read
from tasks.forecast.readers.stamps import TIME, TimeColumn, first_null, join
from tasks.forecast.readers.tables import (
    Complain,
    complaint,
    csv_batches,
    head,
    is_number,
    not_a_number,
    open_parquet,
    parquet_batches,
    plain_suffix,
)
from tasks.forecast.readers.written import arrow_type

ITEM = ("item_id", "series_id", "unique_id", "series", "id")
TARGET = ("target", "value", "y")
# Rows looked at for the frequency before anything is stored.
_PROBED = 2_000_000
# Bytes of a text file read at once.
_BLOCK = 1 << 19


def looks_like(names: list[str], options: Options) -> bool:
    """Whether columns of these names are a long table rather than a column a series."""
    if options.item_column is not None:
        return True
    return (
        any(name in names for name in ITEM)
        and time_among(names) is not None
        and (options.target_columns is not None or any(name in names for name in TARGET))
    )


def time_among(names: list[str]) -> str | None:
    """The column that is named as times are, in any case of letters."""
    lower = {name.lower(): name for name in reversed(names)}
    return next((lower[name] for name in TIME if name in lower), None)


def columns_of(names: list[str], options: Options, source: str) -> Columns:
    """Finds the columns, those named first.

    Raises:
        ConfigError: a named column is not there.
        DataError: none of the usual names is there, and none was named.
    """

    def one(flag: str, named: str | None, usual: tuple[str, ...]) -> str:
        found = named or (time_among(names) if usual is TIME else next((name for name in usual if name in names), None))
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
    types[columns.time] = arrow_type(cell)
    # Rows are short, but for a file of many more columns than are asked for.
    longest = max(sum(len(cell) + 1 for cell in row) for row in top.rows)
    batches = csv_batches(path, top, columns.all, types, block=max(_BLOCK, 64 * longest))
    # Packed or not, a row of text takes some twenty bytes or more; what is too much is cut off.
    rows = min(path.stat().st_size // 16, 1 << 20)
    return read(batches, columns, options, str(path), rows, first_row=2, format="long CSV")


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
    time = TimeColumn(columns.time, source, options)
    blocks = (block for block in _blocks(batches, columns, time, source, first_row) if len(block.series))
    probed: list[Block] = []
    for block in blocks:
        probed.append(block)
        if np.bincount(block.series).max() >= 10 or sum(len(one.series) for one in probed) >= _PROBED:
            break
    if not probed:
        raise DataError(f"{source}: no rows")
    gather = Gather(columns, options, source, rows, first_row, _grid(probed, time, source), time)
    while probed:
        gather.add(probed.pop(0))
    for block in blocks:
        gather.add(block)
    return gather.finish(format)


def _grid(probed: list[Block], time: TimeColumn, source: str) -> Grid | None:
    """The grid of the first series that is long enough to tell; None for steps that are mere numbers."""
    if not probed[0].stamps.timed:
        return None
    longest = max(probed, key=lambda block: int(np.bincount(block.series).max()))
    number = int(np.argmax(np.bincount(longest.series)))
    name = longest.ids[number]
    stamps = longest.stamps.take(longest.series == number)
    if len(stamps.values) < 10:
        some = [one for one in probed if name in one.ids]
        stamps = join([one.stamps.take(one.series == one.ids.index(name)) for one in some])
    where = f"{source}, series {name}"
    freq = time.frequency(stamps, where)
    first = time.ticks(stamps.take(np.arange(1)), freq, np.zeros(1, np.int64), None)
    return Grid(freq, int(first[0]), where)


def _blocks(
    batches: Iterable[pa.RecordBatch], columns: Columns, time: TimeColumn, source: str, first_row: int
) -> Iterator[Block]:
    row = first_row
    for batch in batches:
        yield _block(batch, columns, time, source, row)
        row += batch.num_rows


def _block(batch: pa.RecordBatch, columns: Columns, time: TimeColumn, source: str, row: int) -> Block:
    ids, series = _texts(batch, columns.item, source, row)
    return Block(
        ids,
        series,
        time.read(batch.column(columns.time), complaint(source, row, columns.time)),
        numbers_of(batch, columns.targets, source, row),
        [_texts(batch, name, source, row) for name in columns.categories],
        numbers_of(batch, columns.reals, source, row),
        numbers_of(batch, columns.covariates, source, row),
    )


def _texts(batch: pa.RecordBatch, name: str, source: str, row: int) -> tuple[list[str], np.ndarray]:
    """The distinct values in order of appearance, as text, and each row's number among them; 1, 1.0 and "1" are one."""
    column, complain = batch.column(name), complaint(source, row, name)
    if column.null_count:
        raise complain(first_null(column), "the cell is empty")
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    series, used = pd.factorize(column.indices.to_numpy(zero_copy_only=False))
    texts = [as_text(cell) for cell in column.dictionary.take(pa.array(used)).to_pylist()]
    if None in texts:
        raise complain(int(np.argmax(series == texts.index(None))), "the cell is empty")
    numbers, distinct = pd.factorize(np.array(texts, dtype=object))
    return distinct.tolist(), numbers[series]


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
        if not pa.types.is_string(column.type) and not pa.types.is_large_string(column.type):
            raise complain(0, f"cells of type {column.type} are no numbers") from None
    cells = column.to_pylist()
    for at, cell in enumerate(cells):
        if cell is not None and not is_number(cell):
            raise complain(at, not_a_number(cell))
    return np.array([_number(cell) for cell in cells])


def _number(cell: str | None) -> float:
    text = "" if cell is None else cell.strip()
    return np.nan if not text or text.lower() in MISSING_WORDS else float(text)
