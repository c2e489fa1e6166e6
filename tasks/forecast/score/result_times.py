"""Time stamps of files of forecasts and actual values, with and without a time zone, as one kind that can be paired."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.errors import DataError

if TYPE_CHECKING:
    from tasks.forecast.score.result_tables import Long


def times_of(path: Path, column: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """(int64 where the column holds whole numbers, else datetime64, in UTC where it has a zone; what the zone's clocks show).

    Raises:
        DataError: a cell that is no time stamp; names the row.
    """
    import pandas as pd

    if column.isna().any():
        raise DataError(f"{path}, row {_first(column.isna())}: no {column.name}")
    if pd.api.types.is_numeric_dtype(column):
        values = column.to_numpy()
        if (values == np.floor(values)).all():
            return values.astype(np.int64), None
    found = pd.to_datetime(column, errors="coerce", utc=True)
    if found.isna().any():
        row = _first(found.isna())
        raise DataError(f"{path}, row {row}: {str(column.iloc[row - 1])[:40]!r} is no time stamp")
    times = np.asarray(found.dt.tz_convert(None), dtype="datetime64[ns]")
    if getattr(column.dtype, "tz", None) is not None:
        return times, np.asarray(column.dt.tz_localize(None), dtype="datetime64[ns]")
    return times, None if column.dtype.kind == "M" else _clock(column)


def _clock(column: Any) -> np.ndarray | None:
    """What texts with an offset from UTC show; None where they have none."""
    import pyarrow as pa

    from tasks.forecast.readers.written import NO_OFFSET, texts_of

    read = texts_of(pa.array([str(cell).strip() for cell in column]), lambda at, what: DataError(what), fails=False)
    if read is None or (read[1] == NO_OFFSET).any():
        return None
    return read[0].view("datetime64[ns]")


def paired(tables: list[Long]) -> list[np.ndarray]:
    """The tables' times as one kind: numbers as dates where others are dates; days by the clocks of their zone.

    Raises:
        DataError: numbers that are no dates beside dates; a time zone beside none.
    """
    times = [table.times for table in tables]
    if len({array.dtype.kind for array in times}) > 1:
        times = [_dated(table) if table.times.dtype.kind == "i" else table.times for table in tables]
    zoned = [table.clock is not None for table in tables]
    if any(zoned) and not all(zoned):
        clocks = [table.clock for table in tables if table.clock is not None]
        shifted = any((clock != table.times).any() for clock, table in zip(clocks, _zoned(tables), strict=True))
        plain = tables[zoned.index(False)]
        if shifted and plain.times.dtype.kind == "M":
            raise DataError(
                f"{plain.path}: its time stamps have no time zone, those of {tables[zoned.index(True)].path} have one; write both "
                "with their zone"
            )
    if all(zoned) and tables:
        shown = [table.clock for table in tables if table.clock is not None]
        every = np.concatenate(shown)
        # All at one time of the day: days, whose length in hours changes with the clocks.
        if len(np.unique(every - every.astype("datetime64[D]"))) == 1:
            return shown
    return times


def _zoned(tables: list[Long]) -> list[Long]:
    return [table for table in tables if table.clock is not None]


def _dated(table: Long) -> np.ndarray:
    from tasks.forecast.readers.numbered import STEPS, unit_of

    unit = unit_of(table.times)
    if unit is not None and unit.words != STEPS:
        nanoseconds, good = unit.nanoseconds(table.times)
        if good.all():
            return nanoseconds.view("datetime64[ns]")
    return table.times


def _first(mask: Any) -> int:
    """The row, from 1 on, of the first True."""
    return int(np.flatnonzero(np.asarray(mask))[0]) + 1
