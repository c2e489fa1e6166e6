"""CSV, TSV and Parquet files as streams of Arrow batches, and what is wrong in a CSV file that Arrow can't read."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from tasks.cells import MISSING_WORDS
from tasks.cells import is_number as number
from tasks.errors import DataError

NULLS = [
    "",
    "NaT",
    *sorted({form for word in MISSING_WORDS for form in (word, word.upper(), word.capitalize())}),
    "NaN",
]
Complain = Callable[[int, str], DataError]
_OPEN = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_BLOCK = 8 << 20
_COMMAS = re.compile(r"[+-]?\d[\d., '’]*[,'’ ][\d., '’]*")
# Ways to write a time stamp beside ISO 8601 that can be read in one way only.
FORMATS = (
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y",
)


@dataclass(frozen=True)
class Head:
    """The first lines of a text file: its delimiter and cells."""

    delimiter: str
    rows: list[list[str]]


def plain_suffix(path: Path) -> str:
    """The ending that tells the format: ".csv" of "a.csv.gz"."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _OPEN:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def open_bytes(path: Path) -> IO[Any]:
    """The file's bytes, unpacked by its ending."""
    try:
        return _OPEN.get(path.suffix.lower(), open)(path, "rb")  # type: ignore[operator]
    except OSError as error:
        raise DataError(f"can't read {path}: {(error.strerror or type(error).__name__).lower()}") from error


def open_text(path: Path) -> IO[str]:
    """The file's text as UTF-8, with or without a byte order mark."""
    return io.TextIOWrapper(open_bytes(path), encoding="utf-8-sig", newline="")


def head(path: Path, rows: int = 3) -> Head:
    """The first rows of a delimited text file.

    Raises:
        DataError: the file is empty, is no text, or is broken.
    """
    try:
        with open_text(path) as file:
            first = file.readline()
            if not first.strip():
                raise DataError(f"{path}: the file is empty" if not first else f"{path}: the first line is empty")
            delimiter = max(",;\t", key=first.count) if any(mark in first for mark in ",;\t") else ","
            lines = [first, *(line for _, line in zip(range(4 * rows), file, strict=False))]
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise DataError(f"{path}: can't be unpacked ({error})") from error
    parsed = [cells for cells in csv_rows(lines, delimiter) if cells]
    return Head(delimiter, [[cell.strip() for cell in cells] for cells in parsed[:rows]])


def csv_rows(lines: Iterable[str], delimiter: str) -> Any:
    """A `csv.reader` whose cells may be as long as lists written as text are."""
    csv.field_size_limit(1 << 30)
    return csv.reader(lines, delimiter=delimiter)


def csv_batches(
    path: Path,
    top: Head,
    columns: list[str],
    types: dict[str, pa.DataType],
    names: list[str] | None = None,
    block: int | None = None,
) -> Iterator[pa.RecordBatch]:
    """The wanted columns of a CSV file, block by block.

    Args:
        names: of all columns, for a file without a header.
        block: bytes read at once. Arrow reads some thirty blocks ahead, so that they are what a long table's reading takes beside
            its values; no row may be longer.

    Raises:
        DataError: a cell that is not of its type, or a row of another length, with row and column.
    """
    convert = pyarrow.csv.ConvertOptions(
        include_columns=columns,
        column_types=types,
        null_values=NULLS,
        timestamp_parsers=[pyarrow.csv.ISO8601, *FORMATS],
    )
    parse = pyarrow.csv.ParseOptions(delimiter=top.delimiter, newlines_in_values=False)
    read = pyarrow.csv.ReadOptions(
        block_size=block or _BLOCK, column_names=names or top.rows[0], skip_rows=1 if names is None else 0
    )
    if names is None and len(top.rows) < 2:
        return  # a header and nothing else, which Arrow can't skip
    try:
        with open_bytes(path) as file:
            reader = pyarrow.csv.open_csv(file, read_options=read, parse_options=parse, convert_options=convert)
            yield from reader
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError, EOFError) as error:
        numbers = [name for name in columns if types.get(name) in (pa.float64(), pa.float32())]
        stamps = [name for name in columns if pa.types.is_timestamp(types.get(name, pa.null()))]
        explain(path, top, names, numbers, stamps, error)


def explain(
    path: Path, top: Head, names: list[str] | None, numbers: list[str], stamps: list[str], error: Exception
) -> None:
    """Reads a CSV file slowly up to what Arrow stumbled over, and raises DataError that names row and column."""
    try:
        with open_text(path) as file:
            lines = csv_rows(file, top.delimiter)
            header = "the first row" if names else "the header"
            names = names or [name.strip() for name in next(lines)]
            at = [(names.index(name), name) for name in numbers]
            time = [(names.index(name), name) for name in stamps]
            for cells in lines:
                if not cells:
                    continue
                row = f"{path}, row {lines.line_num}"
                if len(cells) != len(names):
                    raise DataError(f"{row}: {len(cells)} cells where {header} has {len(names)}")
                for column, name in at:
                    if not is_number(cells[column]):
                        raise DataError(f"{row}, column {name}: {not_a_number(cells[column])}")
                for column, name in time:
                    text = cells[column].strip()
                    wrong = not_a_stamp(text)
                    if wrong:
                        raise DataError(f"{row}, column {name}: {wrong}")
    except UnicodeDecodeError as wrong:
        raise DataError(f"{path}: not UTF-8 text (byte {wrong.start}); save it as UTF-8") from wrong
    raise DataError(f"{path}: can't be read as CSV ({' '.join(str(error).split())[:200]})") from error


def not_a_stamp(text: str) -> str:
    """What is wrong with a cell among time stamps without a zone; "" where nothing is."""
    import pandas as pd

    for format in ("ISO8601", *FORMATS):
        stamp = pd.to_datetime(text, errors="coerce", format=format)
        if not pd.isna(stamp):
            return "" if stamp.tzinfo is None else f"{text[:40]!r} has a time zone where other rows have none"
    return f"{text[:40]!r} is no time stamp like 2026-01-31 17:00"


def is_number(cell: str) -> bool:
    """Whether a cell is a number or says that there is none."""
    cell = cell.strip()
    return cell in NULLS or (number(cell) and "_" not in cell)


def not_a_number(cell: str) -> str:
    """What is wrong with a cell that should be a number."""
    text = cell.strip()
    why = ": write numbers with a decimal point and nothing between the thousands" if _COMMAS.fullmatch(text) else ""
    return f"{text[:40]!r} is not a number{why}"


def complaint(source: str, row: int, column: str) -> Complain:
    """Makes the error for a cell, given how far below `row` it is and what is wrong."""
    return lambda at, what: DataError(f"{source}, row {row + at}, column {column}: {what}")


def parquet_batches(path: Path, columns: list[str]) -> tuple[Iterator[pa.RecordBatch], int]:
    """The wanted columns of a Parquet file, batch by batch, and its number of rows."""
    file = open_parquet(path)
    return file.iter_batches(batch_size=1 << 17, columns=columns), file.metadata.num_rows


def open_parquet(path: Path) -> pq.ParquetFile:
    """Raises DataError where the file is none."""
    try:
        # Text columns stay dictionaries: an id is stored once a group of rows, not once a row.
        schema = pq.read_schema(path)
        texts = [
            field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
        ]
        return pq.ParquetFile(path, read_dictionary=texts)
    except (pa.ArrowException, OSError) as error:
        what = "the file is empty" if path.stat().st_size == 0 else "not a Parquet file, or broken"
        raise DataError(f"{path}: {what}") from error
