"""Rows of CSV and TSV files, JSON lines and JSON lists, each with its number; rows that can't be read are reported."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tasks.errors import DataError
from tasks.readers.problems import Problems

_BROKEN = "row that can't be read"
Row = tuple[int, dict[str, Any]]


def delimited(file: Path, text: str, mark: str, problems: Problems) -> Iterator[Row]:
    """(line where the row starts, cells) under a header.

    Args:
        mark: what parts the cells.

    Raises:
        DataError: it can't be read as CSV.
    """
    csv.field_size_limit(1 << 24)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark)
    try:
        header = [name.strip() for name in next(reader, [])]
        start = reader.line_num + 1
        for cells in reader:
            number, start = start, reader.line_num + 1
            if cells and len(cells) == len(header):
                yield number, dict(zip(header, cells, strict=True))
            elif cells:
                what = f"has {len(cells)} cells under a header of {len(header)}; quote cells that hold {mark!r}"
                problems.add(f"{file}, row {number}", what, _BROKEN)
    except csv.Error as error:
        raise DataError(f"{file}, row {reader.line_num}: not readable as CSV ({error})") from error


def delimiter(header: str) -> str:
    """What parts the cells of a header line: tab, semicolon or comma."""
    if "\t" in header:
        return "\t"
    return ";" if header.count(";") > header.count(",") else ","


def is_object(line: str) -> bool:
    """Whether a first line is a JSON object of its own, as in JSON lines."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def json_lines(file: Path, lines: Iterable[str], problems: Problems) -> Iterator[Row]:
    """(line, the object on it); empty lines are passed over."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            problems.add(f"{file}, row {number}", f"not valid JSON ({error})", _BROKEN)
            continue
        yield from _objects(file, [(number, row)], problems)


def json_list(file: Path, text: str, unlike: str, problems: Problems, field: str = "") -> Iterator[Row]:
    """(place from 1, object) of each in a JSON list.

    Args:
        unlike: what to say of other JSON.
        field: an object's field that may hold the list.

    Raises:
        DataError: it is no JSON, or no list.
    """
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: not valid JSON ({error})") from error
    if isinstance(rows, dict) and field:
        rows = rows.get(field)
    if not isinstance(rows, list):
        raise DataError(f"{file}: {unlike}")
    yield from _objects(file, enumerate(rows, 1), problems)


def _objects(file: Path, rows: Iterable[tuple[int, Any]], problems: Problems) -> Iterator[Row]:
    for number, row in rows:
        if isinstance(row, dict):
            yield number, row
        else:
            problems.add(f"{file}, row {number}", "not a JSON object", _BROKEN)
