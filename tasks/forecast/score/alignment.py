"""What forecasts from files and the tables they are scored against need to fit: dimensions, time zones, calendars, what came true."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tasks.errors import DataError
from tasks.forecast.calendar import normal
from tasks.forecast.score.result_tables import Long, Rows
from tasks.forecast.zones import by_the_clock


def truth_of(predictions: Long | Rows) -> Long:
    """What came true by the file of predictions itself.

    Raises:
        DataError: it doesn't say.
    """
    if isinstance(predictions, Rows) or predictions.actual is None:
        raise DataError(f"{predictions.path} has no column actual; give what came true with --references")
    import pandas as pd

    keys = [array for array in (predictions.items, predictions.targets, predictions.times) if array is not None]
    once = np.flatnonzero(~pd.DataFrame(dict(enumerate(keys))).duplicated())
    return replace(predictions.part(once), columns={"actual": predictions.actual[once]}, samples=None)


def timed(table: Long | Rows | None, predictions: Long, freq: str | None) -> Long | None:
    """A table without time stamps on the calendar that was made up for it when it was forecast.

    One of the test alone, as M4's, is compared with what the predictions' file says came true, and left to that: None.

    Raises:
        DataError: rows without names; other values than those that were forecast.
    """
    if table is None or isinstance(table, Long):
        return table
    if table.names is None or table.values.ndim != 2:
        raise DataError(f"{table.path} has no names to find the series of {predictions.path} by")
    steps = table.values.shape[1]
    items, inverse = np.unique(predictions.items, return_inverse=True)
    if set(items) <= set(table.names) and (np.bincount(inverse) == steps).all():
        rows = table.values[[table.names.index(name) for name in items]]
        order = np.lexsort((predictions.times, inverse))
        check_actual(predictions.part(order), rows.reshape(-1), table.path)
        return None
    if freq is None:
        raise DataError(f"{table.path} has no time stamps; give their frequency with --freq")
    from tasks.forecast.readers.grid import made_up

    count = len(table.names)
    return Long(
        table.path,
        np.repeat(np.asarray(table.names, dtype=object), steps),
        np.tile(made_up(normal(freq), None, steps).timestamps(0, steps).to_numpy(), count),
        np.zeros(count * steps, dtype=np.int64),
        {"value": table.values.reshape(-1)},
        np.repeat(np.arange(1, count + 1), steps),
    )


def on_one_clock(table: Any, predictions: Long, freq: str | None) -> Any:
    """A table whose time stamps have no zone in that of the predictions: in UTC as they are, and days by what the clocks show.

    Raises:
        DataError: only one of the two has a zone, and it has no name; the clocks showed a time twice or never.
    """
    if not isinstance(table, Long) or (table.zone is None and predictions.zone is None):
        return table
    import pandas as pd

    stamps, number = np.unique(table.times, return_inverse=True)
    index = pd.DatetimeIndex(stamps)
    if (table.zone is None) != (predictions.zone is None):
        one, other = (table, predictions) if table.zone is not None else (predictions, table)
        refusal = f"{one.path} has time stamps of a zone and {other.path} has none; write both alike, with their offset from UTC"
        if not predictions.zone:
            raise DataError(refusal)
        index = index.tz_localize(predictions.zone, ambiguous="NaT", nonexistent="NaT").tz_convert(None)
        if index.isna().any():
            raise DataError(refusal)
    if predictions.zone and freq is not None and by_the_clock(normal(freq)):
        index = index.tz_localize("UTC").tz_convert(predictions.zone).tz_localize(None)
    return replace(table, times=index.to_numpy()[number].astype("datetime64[ns]"))


def by_target(table: Long, predictions: Long) -> Long:
    """The table with each dimension of a series as a series of its own, where the predictions are of several dimensions."""
    if predictions.targets is None:
        return table
    if table.targets is not None:
        return replace(table, items=_joined(table.items, table.targets), targets=None)
    targets, items = list(dict.fromkeys(predictions.targets)), set(predictions.items)
    if len(items) == 1 and set(targets) <= set(table.items):  # a wide file, whose columns are the dimensions
        return replace(table, items=_joined(predictions.items[:1].repeat(len(table.items)), table.items))
    missing = [name for name in targets if name not in table.columns]
    if missing:
        raise DataError(f"{table.path} has no column {missing[0]} of {predictions.path}")
    count = len(table.items)
    return Long(
        table.path,
        np.concatenate([_joined(table.items, np.full(count, name, dtype=object)) for name in targets]),
        np.tile(table.times, len(targets)),
        np.tile(table.windows, len(targets)),
        {"value": np.concatenate([table.columns[name] for name in targets])},
        np.tile(table.numbers, len(targets)),
    )


def _joined(items: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return np.asarray([f"{item} {target}" for item, target in zip(items, targets, strict=True)], dtype=object)


def check_actual(predictions: Long, values: np.ndarray, path: Path) -> None:
    """Raises DataError where the references are other data than the file of predictions says that it forecast."""
    if predictions.actual is None:
        return
    both = ~np.isnan(predictions.actual) & ~np.isnan(values)
    other = np.flatnonzero(both & ~np.isclose(predictions.actual, values, rtol=1e-6, atol=0))
    if len(other):
        row = int(other[0])
        raise DataError(
            f"{predictions.path}, row {predictions.numbers[row]}: {predictions.items[row]} was {predictions.actual[row]:.7g} at "
            f"{str(predictions.times[row])[:19]}, and is {values[row]:.7g} in {path} ({len(other)} such rows); give the data "
            "that were forecast"
        )
