"""Rows of CSV, TSV, JSON lines and JSON files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tasks.readers.paths import read_text
from tasks.readers.problems import Problems
from tasks.readers.rows import Row, delimited, delimiter, json_lines, json_list

ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")


def rows_of(file: Path, problems: Problems) -> Iterator[Row]:
    """(row number, cells) of each row. The number is the line where the row starts, or its place in a JSON list, from 1.

    Raises:
        DataError: the file can't be read, or is no list of rows.
    """
    text = read_text(file)
    if file.suffix.lower() in (".csv", ".tsv"):
        return delimited(file, text, delimiter(text.split("\n", 1)[0]), problems)
    if text.lstrip()[:1] == "[":
        return json_list(file, text, "not a list of rows", problems)
    return json_lines(file, text.split("\n"), problems)
