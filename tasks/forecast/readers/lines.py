"""Records as text files hold them, one a series: JSON lines, and rows of a table whose lists are written as text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tasks.errors import DataError
from tasks.forecast.readers.source import Options
from tasks.forecast.readers.tables import Head, csv_rows, open_text

LINES = (".json", ".jsonl", ".ndjson")


def looks_like(names: list[str], cells: list[str], options: Options) -> bool:
    """Whether a table's target cells are lists written as text."""
    target = (options.target_columns or ["target"])[0]
    at = names.index(target) if target in names else len(cells)
    return at < len(cells) and cells[at].lstrip().startswith("[")


def parsed(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, record) of each line."""
    with unpacked(path) as file:
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


def table_rows(path: Path, top: Head) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, record) of each row of a CSV file, the cells that are not empty."""
    with unpacked(path) as file:
        lines = csv_rows(file, top.delimiter)
        names = [name.strip() for name in next(lines)]
        for row, cells in enumerate((cells for cells in lines if cells), 2):
            where = f"{path}, row {row}"
            if len(cells) != len(names):
                raise DataError(f"{where}: {len(cells)} cells where the header has {len(names)}")
            yield where, {name: cell for name, cell in zip(names, cells, strict=True) if cell.strip()}


@contextmanager
def unpacked(path: Path) -> Iterator[IO[str]]:
    """A file's text, line by line; what it can't be read for ends in DataError."""
    try:
        with open_text(path) as file:
            yield file
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: can't be unpacked ({error})") from error
