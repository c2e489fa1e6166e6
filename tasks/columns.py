"""Reading one column of predictions or references from whatever file it came in."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.errors import ConfigError, DataError, data_errors

_WHOLE = re.compile(r"[+-]?\d+")


def read_column(path: str | Path, candidates: Sequence[str], column: str | None = None) -> list[Any]:
    """The values of one column: numbers, text or lists of these; of answers with scores, as `tool predict` writes them, the best.

    Args:
        path: .json (values, objects, or an object of columns), .jsonl, .csv or .tsv with a header, .parquet, .npy with
            one axis, or .txt with one value a line.
        candidates: names to look for where a file has several columns, in order.
        column: the name to use instead of looking.

    Raises:
        DataError: naming the file and row: it can't be read, has no rows or no such column, a value is missing.
        ConfigError: `column` is not in the file, or the ending is none of the above.
    """
    path = Path(path)
    columns = read_columns(path)
    values = columns if isinstance(columns, list) else columns[_choose(path, list(columns), candidates, column)]
    if not values:
        raise DataError(f"{path} has no rows")
    values = [_best(value) for value in values]
    missing = [row for row, value in enumerate(values, start=1) if value is None]
    if missing:
        raise data_errors([f"{path}, row {row}: no value" for row in missing[:10]], len(missing))
    return values


def _best(value: Any) -> Any:
    """The first label or answer of a list of objects that have one, which stand best first; any other value as it is."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return next((value[0][name] for name in ("label", "answer") if name in value[0]), value)
    return value


def read_columns(path: Path) -> list[Any] | dict[str, list[Any]]:
    """The values of a file that holds nothing else, or its columns.

    Raises:
        DataError, ConfigError: as `read_column`.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(f"{path}: unknown ending {path.suffix!r}; there are {', '.join(_READERS)}")
    with _reading(path):
        return reader(path)


def read_json(path: str | Path) -> Any:
    """One JSON document.

    Raises:
        DataError: the file can't be read, or isn't JSON (names the line).
    """
    path = Path(path)
    with _reading(path):
        return _parse(path, path.read_text(encoding="utf-8-sig"))


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: byte {error.start} can't be read") from None
    except OSError as error:
        raise DataError(f"can't read {path}: {error.strerror or error}") from None


def _parse(path: Path, text: str, line: int = 1) -> Any:
    """The JSON text that begins in a line of the file."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"{path}, line {line + error.lineno - 1}"
        raise DataError(f"{where}: not JSON: {error.msg} (column {error.colno})") from None
    except RecursionError:
        raise DataError(f"{path} is nested too deeply to be read") from None


def as_numbers(values: Sequence[Any]) -> list[Any] | None:
    """The values as finite numbers, text in digits included, lists value by value; None where one isn't."""
    numbers = [as_numbers(value) if isinstance(value, (list, tuple)) else _number(value) for value in values]
    return None if any(number is None for number in numbers) else numbers


def as_text(values: Sequence[Any]) -> list[Any]:
    """The values as text; lists value by value."""
    return [as_text(value) if isinstance(value, (list, tuple)) else str(value) for value in values]


def _number(value: Any) -> int | float | None:
    try:
        if isinstance(value, str):
            value = int(value) if _WHOLE.fullmatch(value.strip()) else float(value)
        return value if isinstance(value, (int, float)) and math.isfinite(value) else None
    except (ValueError, OverflowError):  # not a number, or a whole one beyond every float
        return None


def _choose(path: Path, columns: list[str], candidates: Sequence[str], column: str | None) -> str:
    if column is not None:
        if column not in columns:
            raise ConfigError(f"{path} has no column {column!r}; it has {', '.join(columns)}")
        return column
    if len(columns) == 1:
        return columns[0]
    for name in candidates:
        if name in columns:
            return name
    raise DataError(f"{path} has the columns {', '.join(columns)}; name one of them {candidates[0]!r}")


_Columns = list[Any] | dict[str, list[Any]]


def _from_json(path: Path) -> _Columns:
    loaded = read_json(path)
    if isinstance(loaded, dict):  # as `tool predict ... --json` prints rows
        rows = loaded.get("predictions")
        loaded = rows if isinstance(rows, list) and rows and isinstance(rows[0], dict) else loaded
    if isinstance(loaded, dict) and loaded and all(isinstance(values, list) for values in loaded.values()):
        return loaded
    if not isinstance(loaded, list):
        raise DataError(f"{path} must hold a list of values or objects, or an object of columns")
    return _from_rows(path, loaded)


def _from_lines(path: Path) -> _Columns:
    lines = enumerate(path.read_text(encoding="utf-8-sig").split("\n"), start=1)
    return _from_rows(path, [_parse(path, line, number) for number, line in lines if line.strip()])


def _from_rows(path: Path, rows: list[Any]) -> _Columns:
    """Objects to columns, all with the keys of the first; plain values as they are."""
    if not rows or not isinstance(rows[0], dict):
        odd = [number for number, row in enumerate(rows, start=1) if isinstance(row, dict)]
        if odd:
            raise DataError(f"{path}, row {odd[0]}: an object among plain values")
        return rows
    columns: dict[str, list[Any]] = {key: [] for key in rows[0]}
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise DataError(f"{path}, row {number}: a plain value among objects")
        for key, values in columns.items():
            values.append(row.get(key))
    return columns


def _from_table(path: Path) -> _Columns:
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        try:
            header = _header(path, next(rows, []))
            columns: dict[str, list[Any]] = {name: [] for name in header}
            for number, row in enumerate(rows, start=1):
                # A blank line is an empty value where there is one column, and nothing where there are several.
                cells = row or ([""] if len(header) == 1 else [])
                if cells and len(cells) != len(header):
                    raise DataError(f"{path}, row {number}: {len(cells)} values under {len(header)} columns")
                for name, cell in zip(header, cells, strict=False):
                    columns[name].append(cell)
        except csv.Error as error:
            raise DataError(f"{path}, line {rows.line_num}: not CSV: {error}") from None
    return columns


def _header(path: Path, names: list[str]) -> list[str]:
    if not names:
        raise DataError(f"{path} has no rows")
    if len(set(names)) < len(names):
        raise DataError(f"{path}, line 1: two columns have the same name")
    # Without this, the first value of a file without a header would be lost in silence.
    if any(_number(name) is not None for name in names):
        raise DataError(f"{path}, line 1: the first line must name the columns, found {', '.join(names[:5])}")
    return names


def _from_parquet(path: Path) -> _Columns:
    from pyarrow import ArrowException, parquet

    try:
        table = parquet.read_table(path)
    except ArrowException as error:
        raise DataError(f"{path} is not Parquet: {str(error).splitlines()[0]}") from None
    return {name: table.column(name).to_pylist() for name in table.column_names}


def _from_npy(path: Path) -> _Columns:
    import numpy as np

    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DataError(f"{path} is not an array of numbers or text: {str(error).splitlines()[0]}") from None
    if not isinstance(array, np.ndarray) or array.ndim != 1:
        raise DataError(f"{path} must hold one array with one axis, found shape {getattr(array, 'shape', None)}")
    return array.tolist()


def _from_text(path: Path) -> _Columns:
    lines = path.read_text(encoding="utf-8-sig").replace("\r\n", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


_READERS: dict[str, Callable[[Path], _Columns]] = {
    ".json": _from_json,
    ".jsonl": _from_lines,
    ".csv": _from_table,
    ".tsv": _from_table,
    ".parquet": _from_parquet,
    ".npy": _from_npy,
    ".txt": _from_text,
}
