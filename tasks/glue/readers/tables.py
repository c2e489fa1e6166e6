"""CSV, TSV, JSON lines and JSON lists, read in one pass; only the columns in use are kept."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from tasks.errors import DataError
from tasks.glue.named import TASKS
from tasks.glue.readers.columns import layout
from tasks.glue.readers.source import Options, Raw
from tasks.readers.paths import read_text, why
from tasks.readers.problems import Problems
from tasks.readers.rows import Row, delimiter, is_object, json_lines, json_list

DELIMITED = (".csv", ".tsv")
ENDINGS = (*DELIMITED, ".jsonl", ".ndjson", ".json")
_BROKEN = "row that can't be read"
# One cell may hold a book.
_LONGEST = 1 << 30
Cells = Iterator[tuple[int, list[str]]]


def read(file: Path, options: Options, problems: Problems, header: Sequence[str] | None = None) -> Raw:
    """One file as one split.

    Args:
        header: the columns of a file whose first line is a row already (CoLA's).

    Raises:
        DataError: the file can't be read, is empty, or has no text column.
    """
    ending = file.suffix.lower()
    if ending in DELIMITED or ending == ".txt":
        return _read_delimited(file, options, problems, header)
    return _read_json(file, options, problems)


def read_lines(file: Path) -> Raw:
    """A plain text file: a text a line, nothing else."""
    texts = [line.rstrip("\r\n") for line in _lines(file)]
    return Raw(texts, None, None, None, str(file), range(1, len(texts) + 1), columns=("text",))


def columns(file: Path) -> list[str]:
    """The names in the header of a CSV or TSV file, or of the first JSON row; [] for an empty file."""
    if file.suffix.lower() in (*DELIMITED, ".txt"):
        first = next(_lines(file), "")
        return [name.strip() for name in next(csv.reader([first], delimiter=delimiter(first)), [])]
    row = next((row for _, row in _json_rows(file, Problems(skip=True))), {})
    return list(row)


def _read_delimited(file: Path, options: Options, problems: Problems, header: Sequence[str] | None) -> Raw:
    first = next(_lines(file), "")
    if not first.strip():
        raise DataError(f"{file}: the file is empty" if not first else f"{file}: the first line is empty")
    mark = delimiter(first)
    names = list(header) if header is not None else columns(file)
    roles = layout(names, options, str(file))
    plain = mark == "\t" and (options.task is not None or not _is_quoted(file, len(names)))
    rows = plain_rows(file) if plain else _quoted_rows(file, mark)
    if header is None:
        next(rows, None)
    tolerant = options.task is not None and TASKS[options.task].broken_rows
    at = [names.index(name) for name in roles.used]
    cells: list[list[str]] = [[] for _ in at]
    numbers: list[int] = []
    for number, row in rows:
        if len(row) == len(names):
            numbers.append(number)
            for column, i in zip(cells, at, strict=True):
                column.append(row[i])
        elif tolerant:
            problems.leave_out(f"{file}, row {number}", _BROKEN)
        else:
            hint = "" if plain else f"; quote cells that hold {mark!r}"
            problems.add(f"{file}, row {number}", f"has {len(row)} cells, the header has {len(names)}{hint}", _BROKEN)
    return roles.raw(dict(zip(roles.used, cells, strict=True)).__getitem__, str(file), numbers, names)


def _lines(file: Path) -> Iterator[str]:
    """The lines of a UTF-8 file with their ends, with or without a byte order mark.

    Raises:
        DataError: it can't be opened, or a line is of another encoding.
    """
    try:
        with open(file, "rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    raise DataError(f"{file}, row {number}: not UTF-8 text; save the file as UTF-8") from error
                yield text
    except OSError as error:
        raise DataError(f"can't read {file}: {why(error)}") from error


def plain_rows(file: Path) -> Cells:
    """(line number, cells) of a tab-separated file in which quotes are letters like others."""
    for number, line in enumerate(_lines(file), 1):
        line = line.rstrip("\r\n")
        if line:
            yield number, line.split("\t")


def _quoted_rows(file: Path, mark: str) -> Cells:
    """(line where the row starts, cells) of a file whose cells may be quoted."""
    csv.field_size_limit(_LONGEST)
    ended = []

    def lines() -> Iterator[str]:
        yield from _lines(file)
        ended.append(True)

    reader = csv.reader(lines(), delimiter=mark)
    number = 1
    try:
        for cells in reader:
            if ended:  # a sound last row is given before more lines are asked for
                raise DataError(f"{file}, row {number}: a quote that is opened there is never closed")
            if cells:
                yield number, cells
            number = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{file}, row {number}: can't be read as CSV ({error})") from error


def _is_quoted(file: Path, width: int) -> bool:
    """Whether quotes in a tab-separated file are marks around cells rather than letters in them.

    They are where every line that has one is sound only so: cells closed by the quote that opens them, inner ones doubled.
    """
    seen = False
    for line in _lines(file):
        if '"' not in line:
            continue
        cells = line.rstrip("\r\n").split("\t")
        if len(cells) != width:
            return _sound(file, width)
        if any('"' in cell and not _QUOTED.fullmatch(cell) for cell in cells):
            return False
        seen = True
    return seen


_QUOTED = re.compile(r'"(?:[^"]|"")*"')


def _sound(file: Path, width: int) -> bool:
    """Whether every row has its number of cells when quotes are taken as marks."""
    try:
        return all(len(cells) == width for _, cells in _quoted_rows(file, "\t"))
    except DataError:
        return False


def _read_json(file: Path, options: Options, problems: Problems) -> Raw:
    rows = list(_json_rows(file, problems))
    if not rows:
        problems.raise_if_any()
        raise DataError(f"{file}: no rows")
    names = list(dict.fromkeys(name for _, row in rows[:1000] for name in row))
    numbers = [number for number, _ in rows]
    return layout(names, options, str(file)).raw(
        lambda name: [row.get(name) for _, row in rows], str(file), numbers, names
    )


def _json_rows(file: Path, problems: Problems) -> Iterator[Row]:
    """(row number, row): its line in JSON lines, its place from 1 in a list."""
    if file.suffix.lower() == ".json" and not is_object(next(_lines(file), "")):
        return json_list(file, read_text(file), "neither a list of rows nor JSON lines", problems, "data")
    return json_lines(file, _lines(file), problems)
