"""Recognises the format of a forecasting data set, by its files, endings and columns, and reads it."""

from __future__ import annotations

import difflib
from pathlib import Path

import pyarrow as pa

from tasks.errors import ConfigError, DataError
from tasks.forecast.readers import gluonts, lines, long, m4, records, wide
from tasks.forecast.readers.source import Options, Read
from tasks.forecast.readers.tables import head, open_parquet, parquet_batches, plain_suffix

FORMATS = ("wide", "long", "gluonts", "matrix", "m4")
_TEXT = (".csv", ".tsv", ".txt")


def read(options: Options, known: list[str]) -> Read:
    """What the data are, a file or folder here or a dataset on the Hub, as a panel.

    Args:
        known: names that they might have been meant as, for a hint.

    Raises:
        ConfigError: a format or column that is not there.
        DataError: no such file, or nothing readable in it.
        ToolError: a Hub id that can't be reached.
    """
    if options.format is not None and options.format not in FORMATS:
        raise ConfigError(f"--format {options.format}: one of {', '.join(FORMATS)}")
    data = options.data
    path = Path(data).expanduser()
    if path.is_dir():
        return _folder(path, options)
    if path.exists():
        return _file(path, options)
    from tasks.hub import is_hub_id

    near = difflib.get_close_matches(data, known, 1, 0.75)
    if near:
        raise DataError(f"no file or folder {data}; did you mean {near[0]}? (for a Hub dataset give OWNER/NAME)")
    if not is_hub_id(data) or "/" not in data:
        raise DataError(f"--data {data}: no such file or folder; named data sets are {', '.join(known)}")
    from tasks.forecast.readers import hub

    return hub.read_id(options)


def _folder(path: Path, options: Options) -> Read:
    if gluonts.looks_like(path):
        return gluonts.read_folder(path, options)
    pair = m4.pair_of(path)
    if pair is not None:
        return m4.read_pair(*pair, options)
    files = [
        file
        for file in sorted(path.iterdir())
        if plain_suffix(file) in (*_TEXT, *lines.LINES, ".parquet") and not file.name.startswith(".")
    ]
    if len(files) == 1:
        return _file(files[0], options)
    found = ", ".join(file.name for file in files[:5]) or "none"
    raise DataError(
        f"{path}: holds no GluonTS folder, M4 pair or single data file (found: {found}); give one file as --data"
    )


def _file(path: Path, options: Options) -> Read:
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")
    suffix = plain_suffix(path)
    kind = options.format
    if kind == "gluonts" or (kind is None and suffix in lines.LINES):
        return records.read_lines(path, options)
    if suffix == ".parquet":
        return _parquet(path, options)
    if kind is None and suffix not in _TEXT:
        raise DataError(
            f"{path}: not a format known here; give CSV, TSV, Parquet, GluonTS JSON lines, a raw matrix or M4's pair, or "
            f"say which it is with --format {'|'.join(FORMATS)}"
        )
    return _text(path, options)


def _parquet(path: Path, options: Options) -> Read:
    schema = open_parquet(path).schema_arrow
    target = (options.target_columns or ["target"])[0]
    if target in schema.names and (pa.types.is_nested(schema.field(target).type) or _lists_as_text(path, target)):
        batches, _ = parquet_batches(path, schema.names)
        return records.from_batches(batches, options, str(path), "Parquet records")
    as_long = options.format == "long" or (options.format is None and long.looks_like(schema.names, options))
    return long.read_file(path, options) if as_long else wide.read_file(path, options)


def _lists_as_text(path: Path, target: str) -> bool:
    """Whether the first of a Parquet file's target cells is a text that begins a list."""
    batches, rows = parquet_batches(path, [target])
    cell = next(batches).column(0)[0].as_py() if rows else None
    return isinstance(cell, str) and cell.lstrip().startswith("[")


def _text(path: Path, options: Options) -> Read:
    top = head(path)
    names = top.rows[0]
    kind = options.format
    if kind is None and len(top.rows) > 1 and lines.looks_like(names, top.rows[1], options):
        return records.read_table(path, top, options)
    if kind == "m4" or (kind is None and m4.looks_like(names)):
        pair = m4.pair_of(path)
        if pair is None:
            raise DataError(
                f"{path}: M4's files come as a pair, X-train.csv and X-test.csv side by side; the other one is missing"
            )
        return m4.read_pair(*pair, options)
    if kind == "long" or (kind is None and long.looks_like(names, options)):
        return long.read_file(path, options)
    return wide.read_file(path, options, header={"wide": True, "matrix": False}.get(kind or ""))
