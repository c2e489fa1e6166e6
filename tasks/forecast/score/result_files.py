"""Reading of files of forecasts, actual values and histories, in the usual layouts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from tasks.cells import as_text
from tasks.columns import as_numbers, read_column, read_columns
from tasks.errors import ConfigError, DataError
from tasks.forecast.score.result_tables import (
    ITEM,
    POINT,
    TIME,
    Long,
    Rows,
    is_text,
    long_table,
    numbers_of,
    times_of,
    zone_of,
)

_NO_NAME = "Unnamed: 0"
_M4 = re.compile(r"V\d+")
_ENDINGS = (".parquet", ".csv", ".tsv", ".npy", ".json", ".jsonl", ".txt")


def read_results(path: str | Path) -> Long | Rows:
    """Reads one file.

    Parquet, CSV and TSV: long (a series column, a time column, values), wide (a column a series; with a time column it is
    taken as long), or M4's (a row a series under V1, V2, ...). npy: [steps], [series, steps] or [series, samples, steps].
    JSON, JSON lines and text: a list of numbers, or of lists of them; objects with the columns of a long table too.

    Raises:
        DataError: it can't be read, has no rows, or holds what is no number; names the row.
        ConfigError: another ending.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in _ENDINGS:
        raise ConfigError(f"{path}: unknown ending {suffix!r}; there are {', '.join(_ENDINGS)}")
    if not path.is_file():
        raise DataError(f"can't read {path}: there is no such file")
    if suffix == ".npy":
        return _array(path, _load(path))
    frame = _objects(path) if suffix in (".json", ".jsonl") else None
    if suffix in (".json", ".jsonl", ".txt") and frame is None:
        return _array(path, _listed(path))
    frame = _frame(path) if frame is None else frame
    if not len(frame) or not len(frame.columns):
        raise DataError(f"{path} has no rows")
    names = [str(name) for name in frame.columns]
    frame.columns = names
    item, time = _named(names, ITEM), _named(names, TIME)
    if item is not None and time is not None:
        return long_table(path, frame, item, time)
    if len(names) > 1 and all(_M4.fullmatch(name) for name in names[1:]):
        values = np.stack([numbers_of(path, frame[name], name) for name in names[1:]], axis=1)
        return Rows(path, [str(name) for name in frame[names[0]]], values)
    return _wide(path, frame, time)


def sample_results() -> Long:
    """The sample data of seed 0."""
    from tasks.forecast import sample

    panel = sample.make()
    series = np.repeat(np.arange(len(panel)), panel.lengths)
    position = panel.starts[series] + np.arange(len(series)) - panel.offsets[series]
    return Long(
        Path("sample"),
        np.asarray(panel.item_ids, dtype=object)[series],
        panel.calendar.timestamps(0, panel.calendar.length).to_numpy()[position],
        np.zeros(len(series), dtype=np.int64),
        {"target": panel.values[:, 0]},
        np.arange(1, len(series) + 1),
    )


def check_complete(table: Long | Rows) -> None:
    """Raises DataError at the first NaN of a file of predictions."""
    if isinstance(table, Rows):
        bad = np.argwhere(np.isnan(table.values))
        if len(bad):
            which = table.names[bad[0][0]] if table.names else f"row {bad[0][0] + 1}"
            raise DataError(f"{table.path}, {which}, step {bad[0][-1] + 1}: no prediction ({len(bad)} in all)")
        return
    columns = {**table.columns, **({} if table.samples is None else {"samples": table.samples.sum(axis=1)})}
    for name, values in columns.items():
        empty = np.flatnonzero(np.isnan(values))
        if len(empty) and (name in (*POINT, "samples") or as_numbers([name]) is not None or len(columns) == 1):
            row = table.numbers[empty[0]]
            raise DataError(f"{table.path}, row {row}: no prediction in column {name} ({len(empty)} in all)")


def _objects(path: Path) -> Any:
    """The objects of a JSON file as a frame, where they are rows of a long table; else None."""
    import pandas as pd

    columns = read_columns(path)
    if isinstance(columns, dict) and _named(list(columns), ITEM) and _named(list(columns), TIME):
        return pd.DataFrame(columns)
    return None


def _frame(path: Path) -> Any:
    import pandas as pd

    try:
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path)
        how: dict[str, Any] = {"sep": "\t" if path.suffix.lower() == ".tsv" else ",", "encoding": "utf-8-sig"}
        names = [str(name) for name in pd.read_csv(path, nrows=0, **how).columns]
        item = _named(names, ITEM) if _named(names, TIME) else None  # a series may be called NA
        return pd.read_csv(path, converters={item: as_text} if item else None, **how)
    except pd.errors.EmptyDataError:
        raise DataError(f"{path} has no rows") from None
    except (ValueError, OSError) as error:  # pandas' and Arrow's parser errors are ValueErrors
        raise DataError(f"can't read {path}: {_first_line(error)}") from error


def _named(names: list[str], usual: tuple[str, ...]) -> str | None:
    """The column of the first usual name that there is, however its letters are cased."""
    lower = {name.lower(): name for name in reversed(names)}
    return next((lower[name] for name in usual if name in lower), None)


def _wide(path: Path, frame: Any, time: str | None) -> Long | Rows:
    plain = [name for name in ("prediction", "reference") if name in frame.columns]
    if plain:
        return Rows(path, None, numbers_of(path, frame[plain[0]], plain[0])[None])
    if time is None and frame.columns[0] == _NO_NAME:
        # pandas writes its index so: time stamps, or the rows' numbers, which are no series.
        counted = frame[_NO_NAME].dtype.kind in "iu"
        time = None if counted else _NO_NAME
        frame = frame.drop(columns=_NO_NAME) if counted else frame
    names = [name for name in frame.columns if name != time]
    if not names:
        raise DataError(f"{path} has no column beside {time}")
    if any(as_numbers([name]) is not None for name in names) and names != [str(number) for number in range(len(names))]:
        raise DataError(f"{path}, line 1: the first line must name the columns, found {', '.join(names[:5])}")
    texts = [name for name in names if time is not None and is_text(frame[name])]
    names = [name for name in names if name not in texts]
    if not names:
        raise DataError(f"{path} has no column of values beside {', '.join([str(time), *texts])}")
    values = np.stack([numbers_of(path, frame[name], name) for name in names])
    if time is None:
        return Rows(path, names, values)
    steps = len(frame)
    items = np.repeat(np.array(names, dtype=object), steps)
    times = np.tile(times_of(path, frame[time]), len(names))
    numbers = np.tile(np.arange(1, steps + 1), len(names))
    window, zone = np.zeros(len(items), dtype=np.int64), zone_of(frame[time])
    return Long(path, items, times, window, {"value": values.reshape(-1)}, numbers, text=tuple(texts), zone=zone)


def _load(path: Path) -> np.ndarray:
    try:
        loaded = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise DataError(f"{path} is not an array of numbers: {_first_line(error)}") from None
    if not isinstance(loaded, np.ndarray) or loaded.dtype.kind not in "fiub":
        raise DataError(f"{path} must hold one array of numbers")
    return loaded


def _listed(path: Path) -> np.ndarray:
    values = read_column(path, ("prediction", "reference", "label"))
    numbers = as_numbers(values)
    if numbers is None:
        row = next(row for row, value in enumerate(values, start=1) if as_numbers([value]) is None)
        raise DataError(f"{path}, row {row}: {str(values[row - 1])[:40]!r} is not a finite number")
    try:
        return np.array(numbers, dtype=np.float64)
    except ValueError:
        raise DataError(f"{path}: its lists are of unequal length") from None


def _array(path: Path, values: np.ndarray) -> Rows:
    if not values.size:
        raise DataError(f"{path} has no rows")
    if values.ndim not in (1, 2, 3):
        raise DataError(f"{path} must hold [steps], [series, steps] or [series, samples, steps], found {values.shape}")
    return Rows(path, None, np.asarray(values, dtype=np.float64)[None] if values.ndim == 1 else values.astype(float))


def _first_line(error: Exception) -> str:
    return (str(error).strip().partition("\n")[0] or type(error).__name__)[:200]
