"""Tables of forecasts, actual values and histories as they were read: a row a value, or a row a series."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tasks.cells import as_text
from tasks.errors import DataError

ITEM = ("item_id", "unique_id", "series_id", "series", "id")
TIME = ("timestamp", "ds", "date", "datetime", "time")
POINT = ("median", "0.5", "prediction", "forecast", "mean", "target", "value", "y", "reference")
# Columns of the tool's own files beside series, time stamp and the forecast's values.
_OFFSET = re.compile(r"\d(Z|[+-]\d\d:?\d\d)$")
_OWN = ("model", "window", "step", "actual", "seen", "samples")


@dataclass(frozen=True)
class Long:
    """A row a value: which series, when, in which window, and one or several values; n rows.

    Attributes:
        items: text; times: int64 steps or datetime64; windows: int64; numbers: int64, the file's own numbers of the rows.
        columns: name -> float64, NaN where empty.
        models: text, whose forecast a row is, where the file says it. targets: text, which dimension of the series.
        actual: float64, what came true, where a file of forecasts says it.
        seen: bool, whether a window was seen in training, where the file says it; `seen_known` is False where it says that nobody
            knows.
        samples: float64 [n, samples] in place of quantiles.
        text: the columns that were passed over because they hold text.
        zone: the time zone's name, "" where the time stamps have offsets alone; None where they have none. Times are UTC where there
            is one.
    """

    path: Path
    items: np.ndarray
    times: np.ndarray
    windows: np.ndarray
    columns: dict[str, np.ndarray]
    numbers: np.ndarray
    models: np.ndarray | None = None
    targets: np.ndarray | None = None
    actual: np.ndarray | None = None
    seen: np.ndarray | None = None
    seen_known: bool = True
    samples: np.ndarray | None = None
    text: tuple[str, ...] = ()
    zone: str | None = None

    def part(self, rows: np.ndarray) -> Long:
        """Some of the rows."""
        names = ("items", "times", "windows", "numbers", "models", "targets", "actual", "seen", "samples")
        arrays = {name: array[rows] for name in names if (array := getattr(self, name)) is not None}
        return replace(self, columns={name: values[rows] for name, values in self.columns.items()}, **arrays)

    def point(self) -> np.ndarray:
        """The column that holds the single value.

        Raises:
            DataError: none of the usual names, and several others.
        """
        usual = [name for name in POINT if name in self.columns]
        if not self.columns and self.actual is not None:
            return self.actual
        if not usual and len(self.columns) != 1:
            raise DataError(f"{self.path} has the columns {', '.join(self.columns)}; name one of them target or median")
        return self.columns[usual[0] if usual else next(iter(self.columns))]


@dataclass(frozen=True)
class Rows:
    """A row a series, [series, steps], or [series, samples, steps]; NaN where empty. Names where the file has them."""

    path: Path
    names: list[str] | None
    values: np.ndarray


def long_table(path: Path, frame: Any, item: str, time: str) -> Long:
    """A frame with a column of series and one of time stamps; of the others `model`, `window`, `step`, `actual`, `seen`, `samples` and
    a `target` of words are known, columns of words are passed over, and the rest are values.

    Raises:
        DataError: a cell that is missing or no number; names the row.
    """
    if frame[item].isna().any():
        raise DataError(f"{path}, row {_first(frame[item].isna())}: no {item}")
    window = np.zeros(len(frame), dtype=np.int64)
    if "window" in frame.columns:
        values = numbers_of(path, frame["window"], "window")
        wrong = np.flatnonzero(values != np.round(values))
        if len(wrong):
            raise DataError(f"{path}, row {wrong[0] + 1}: the window is {values[wrong[0]]}, not a whole number")
        window = values.astype(np.int64)
    names = [name for name in frame.columns if name not in (item, time, *_OWN)]
    texts = [name for name in names if is_text(frame[name])]
    columns = {name: numbers_of(path, frame[name], name) for name in names if name not in texts}
    samples = _samples(path, frame["samples"]) if "samples" in frame.columns else None
    if not columns and samples is None and "actual" not in frame.columns:
        raise DataError(f"{path} has no column of values beside {', '.join([item, time, *texts])}")
    seen = frame["seen"] if "seen" in frame.columns else None
    return Long(
        path,
        frame[item].map(as_text).to_numpy(dtype=object),
        times_of(path, frame[time]),
        window,
        columns,
        np.arange(1, len(frame) + 1),
        frame["model"].astype(str).to_numpy(dtype=object) if "model" in frame.columns else None,
        frame["target"].astype(str).to_numpy(dtype=object) if "target" in texts else None,
        numbers_of(path, frame["actual"], "actual") if "actual" in frame.columns else None,
        None if seen is None else np.asarray(seen.astype(str).str.lower().isin(("true", "1", "1.0"))),
        seen is None or not seen.isna().any(),
        samples,
        tuple(name for name in texts if name != "target"),
        zone_of(frame[time]),
    )


def is_text(column: Any) -> bool:
    """Whether a column holds words: none of its cells is a number. One that should be numbers and has a wrong cell is none."""
    import pandas as pd

    known = column.dropna()
    return (
        column.dtype.kind not in "iufb" and len(known) > 0 and bool(pd.to_numeric(known, errors="coerce").isna().all())
    )


def zone_of(column: Any) -> str | None:
    """The zone of a column of time stamps, as in `Long`."""
    zone = getattr(column.dtype, "tz", None)
    if zone is not None:
        return str(zone)
    return "" if column.dtype.kind == "O" and len(column) and _OFFSET.search(str(column.iloc[0])) else None


def _samples(path: Path, column: Any) -> np.ndarray:
    """float64 [rows, samples]."""
    sizes = {len(cell) if isinstance(cell, (list, np.ndarray)) else -1 for cell in column}
    if len(sizes) != 1 or min(sizes) < 1:
        raise DataError(f"{path}: the column samples must hold lists of one length")
    return np.stack([np.asarray(cell, dtype=np.float64) for cell in column])


def numbers_of(path: Path, column: Any, name: str) -> np.ndarray:
    """float64, NaN where empty."""
    import pandas as pd

    found = pd.to_numeric(column, errors="coerce")
    wrong = found.isna() & column.notna()
    if wrong.any():
        cell = str(column[wrong].iloc[0])[:40]
        raise DataError(f"{path}, row {_first(wrong)}, column {name}: {cell!r} is not a number")
    return np.asarray(found, dtype=np.float64)


def times_of(path: Path, column: Any) -> np.ndarray:
    """int64 where the column holds whole numbers, else datetime64."""
    import pandas as pd

    if column.isna().any():
        raise DataError(f"{path}, row {_first(column.isna())}: no {column.name}")
    if pd.api.types.is_integer_dtype(column):
        return np.asarray(column, dtype=np.int64)
    found = pd.to_datetime(column, errors="coerce", utc=True)
    if found.isna().any():
        row = _first(found.isna())
        raise DataError(f"{path}, row {row}: {str(column.iloc[row - 1])[:40]!r} is no time stamp")
    return np.asarray(found.dt.tz_convert(None), dtype="datetime64[ns]")


def _first(mask: Any) -> int:
    """The row, from 1 on, of the first True."""
    return int(np.flatnonzero(np.asarray(mask))[0]) + 1
