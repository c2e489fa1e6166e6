"""Reading of files of forecasts, actual values and histories, in the usual layouts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.columns import as_numbers, read_column
from tasks.errors import ConfigError, DataError

ITEM = ("item_id", "unique_id", "series_id", "series", "id")
TIME = ("timestamp", "ds", "date", "datetime", "time")
POINT = ("median", "0.5", "prediction", "forecast", "mean", "target", "value", "y", "reference")
_NO_NAME = "Unnamed: 0"
_M4 = re.compile(r"V\d+")
_ENDINGS = (".parquet", ".csv", ".tsv", ".npy", ".json", ".jsonl", ".txt")


@dataclass(frozen=True)
class Long:
    """A row a value: which series, when, in which window, and one or several values.

    Attributes:
        items: [n] text; times: int64 [n] steps or datetime64 [n]; windows: int64 [n].
        columns: name -> float64 [n], NaN where empty.
    """

    path: Path
    items: np.ndarray
    times: np.ndarray
    windows: np.ndarray
    columns: dict[str, np.ndarray]

    def point(self) -> np.ndarray:
        """The column that holds the single value.

        Raises:
            DataError: none of the usual names, and several others.
        """
        usual = [name for name in POINT if name in self.columns]
        if not usual and len(self.columns) != 1:
            raise DataError(f"{self.path} has the columns {', '.join(self.columns)}; name one of them target or median")
        return self.columns[usual[0] if usual else next(iter(self.columns))]


@dataclass(frozen=True)
class Rows:
    """A row a series, [series, steps], or [series, samples, steps]; NaN where empty. Names where the file has them."""

    path: Path
    names: list[str] | None
    values: np.ndarray


def read_results(path: str | Path) -> Long | Rows:
    """Reads one file.

    Parquet, CSV and TSV: long (a series column, a time column, values), wide (a column a series; with a time column it is
    taken as long), or M4's (a row a series under V1, V2, ...). npy: [steps], [series, steps] or [series, samples, steps].
    JSON, JSON lines and text: a list of numbers, or of lists of them.

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
    if suffix in (".json", ".jsonl", ".txt"):
        return _array(path, _listed(path))
    frame = _frame(path)
    if not len(frame) or not len(frame.columns):
        raise DataError(f"{path} has no rows")
    names = [str(name) for name in frame.columns]
    frame.columns = names
    item, time = _named(names, ITEM), _named(names, TIME)
    if item is not None and time is not None:
        return _long(path, frame, item, time)
    if len(names) > 1 and all(_M4.fullmatch(name) for name in names[1:]):
        values = np.stack([_numbers(path, frame[name], name) for name in names[1:]], axis=1)
        return Rows(path, [str(name) for name in frame[names[0]]], values)
    return _wide(path, frame, time)


def check_complete(table: Long | Rows) -> None:
    """Raises DataError at the first NaN of a file of predictions."""
    if isinstance(table, Rows):
        bad = np.argwhere(np.isnan(table.values))
        if len(bad):
            which = table.names[bad[0][0]] if table.names else f"row {bad[0][0] + 1}"
            raise DataError(f"{table.path}, {which}, step {bad[0][-1] + 1}: no prediction ({len(bad)} in all)")
        return
    for name, values in table.columns.items():
        empty = np.flatnonzero(np.isnan(values))
        if len(empty):
            raise DataError(f"{table.path}, row {empty[0] + 1}: no prediction in column {name} ({len(empty)} in all)")


def _frame(path: Path) -> Any:
    import pandas as pd

    try:
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, sep="\t" if path.suffix.lower() == ".tsv" else ",", encoding="utf-8-sig")
    except pd.errors.EmptyDataError:
        raise DataError(f"{path} has no rows") from None
    except (ValueError, OSError) as error:  # pandas' and Arrow's parser errors are ValueErrors
        raise DataError(f"can't read {path}: {_first_line(error)}") from error


def _long(path: Path, frame: Any, item: str, time: str) -> Long:
    if frame[item].isna().any():
        raise DataError(f"{path}, row {_first(frame[item].isna())}: no {item}")
    window = np.zeros(len(frame), dtype=np.int64)
    if "window" in frame.columns:
        values = _numbers(path, frame["window"], "window")
        wrong = np.flatnonzero(values != np.round(values))
        if len(wrong):
            raise DataError(f"{path}, row {wrong[0] + 1}: the window is {values[wrong[0]]}, not a whole number")
        window = values.astype(np.int64)
    names = [name for name in frame.columns if name not in (item, time, "window")]
    columns = {name: _numbers(path, frame[name], name) for name in names}
    if not columns:
        raise DataError(f"{path} has no column of values beside {item} and {time}")
    return Long(path, frame[item].astype(str).to_numpy(dtype=object), _times(path, frame[time]), window, columns)


def _named(names: list[str], usual: tuple[str, ...]) -> str | None:
    """The column of the first usual name that there is, however its letters are cased."""
    lower = {name.lower(): name for name in reversed(names)}
    return next((lower[name] for name in usual if name in lower), None)


def _wide(path: Path, frame: Any, time: str | None) -> Long | Rows:
    plain = [name for name in ("prediction", "reference") if name in frame.columns]
    if plain:
        return Rows(path, None, _numbers(path, frame[plain[0]], plain[0])[None])
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
    values = np.stack([_numbers(path, frame[name], name) for name in names])
    if time is None:
        return Rows(path, names, values)
    steps = len(frame)
    items = np.repeat(np.array(names, dtype=object), steps)
    times = np.tile(_times(path, frame[time]), len(names))
    return Long(path, items, times, np.zeros(len(items), dtype=np.int64), {"value": values.reshape(-1)})


def _numbers(path: Path, column: Any, name: str) -> np.ndarray:
    import pandas as pd

    found = pd.to_numeric(column, errors="coerce")
    wrong = found.isna() & column.notna()
    if wrong.any():
        cell = str(column[wrong].iloc[0])[:40]
        raise DataError(f"{path}, row {_first(wrong)}, column {name}: {cell!r} is not a number")
    return np.asarray(found, dtype=np.float64)


def _times(path: Path, column: Any) -> np.ndarray:
    """int64 where the column holds whole numbers, else datetime64."""
    import pandas as pd

    if column.isna().any():
        raise DataError(f"{path}, row {_first(column.isna())}: no {column.name}")
    if pd.api.types.is_integer_dtype(column):
        return np.asarray(column, dtype=np.int64)
    found = pd.to_datetime(column, errors="coerce", utc=getattr(column.dtype, "tz", None) is not None)
    if found.isna().any():
        row = _first(found.isna())
        raise DataError(f"{path}, row {row}: {str(column.iloc[row - 1])[:40]!r} is no time stamp")
    if getattr(found.dtype, "tz", None) is not None:
        found = found.dt.tz_convert(None)
    return np.asarray(found, dtype="datetime64[ns]")


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


def _first(mask: Any) -> int:
    """The row, from 1 on, of the first True."""
    return int(np.flatnonzero(np.asarray(mask))[0]) + 1


def _first_line(error: Exception) -> str:
    return (str(error).strip().partition("\n")[0] or type(error).__name__)[:200]
