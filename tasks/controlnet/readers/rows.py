"""Rows of CSV, TSV, JSON lines and JSON files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.errors import DataError
from tasks.readers.paths import read_text
from tasks.readers.problems import Problems

ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
_BROKEN = "row that can't be read"
Row = tuple[int, dict[str, Any]]


def rows_of(file: Path, problems: Problems) -> Iterator[Row]:
    """(row number, cells) of each row. The number is the line where the row starts, or its place in a JSON list, from 1.

    Raises:
        DataError: the file can't be read, or is no list of rows.
    """
    text = read_text(file)
    if file.suffix.lower() in (".csv", ".tsv"):
        return _delimited(file, text, problems)
    if text.lstrip()[:1] == "[":
        return _list(file, text, problems)
    return _lines(file, text, problems)


def _delimited(file: Path, text: str, problems: Problems) -> Iterator[Row]:
    head = text.split("\n", 1)[0]
    mark = "\t" if "\t" in head else ";" if head.count(";") > head.count(",") else ","
    csv.field_size_limit(1 << 24)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark)
    try:
        header = [name.strip() for name in next(reader, [])]
        start = reader.line_num + 1
        for cells in reader:
            number, start = start, reader.line_num + 1
            if len(cells) == len(header):
                yield number, dict(zip(header, cells, strict=True))
            elif cells:
                what = f"has {len(cells)} cells under a header of {len(header)}; quote cells that hold {mark!r}"
                problems.add(f"{file}, row {number}", what, _BROKEN)
    except csv.Error as error:
        raise DataError(f"{file}, row {reader.line_num}: not readable as CSV ({error})") from error


def _lines(file: Path, text: str, problems: Problems) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            problems.add(f"{file}, row {number}", f"not valid JSON ({error})", _BROKEN)
            continue
        if isinstance(row, dict):
            yield number, row
        else:
            problems.add(f"{file}, row {number}", "not a JSON object", _BROKEN)


def _list(file: Path, text: str, problems: Problems) -> Iterator[Row]:
    try:
        rows = json.loads(text)
    except ValueError as error:
        raise DataError(f"{file}: not valid JSON ({error})") from error
    for number, row in enumerate(rows, 1):
        if isinstance(row, dict):
            yield number, row
        else:
            problems.add(f"{file}, row {number}", "not a JSON object", _BROKEN)
