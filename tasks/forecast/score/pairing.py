"""Pairing of forecasts, actual values and histories from files, by series and time stamp or by order."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.errors import DataError
from tasks.forecast.calendar import normal
from tasks.forecast.panel import Entries
from tasks.forecast.score.result_files import Long, Rows
from tasks.forecast.score.scale import bare_panel, seasonal_error
from tasks.forecast.score.summary import Forecasts, from_points, from_quantiles, from_samples


@dataclass(frozen=True)
class Pairs:
    """What `tasks.forecast.score.scores.score` takes, for each entry, and the quantile levels that the file has (none for points)."""

    forecasts: Forecasts
    actual: np.ndarray
    scale: np.ndarray
    series: np.ndarray
    window: np.ndarray
    levels: tuple[float, ...]


def pair(
    predictions: Long | Rows, references: Long | Rows, history: Long | Rows | None, m: int | None, freq: str | None
) -> Pairs:
    """Pairs predictions with what came true, and with the scale of each series' history.

    With time stamps on both sides a prediction is paired with the value of its series and time stamp, and all earlier values,
    of the history and of the references, are its history. Without, rows are paired by name, or by order.

    Args:
        m: the season of the scale; None: no scale is wanted.
        freq: of the time stamps; None: inferred.

    Raises:
        DataError: keys without a partner, unequal lengths, no history; names the file and row.
    """
    if isinstance(predictions, Long) and isinstance(references, Long):
        return _by_time(predictions, references, history, m, freq)
    if isinstance(predictions, Long) and len(_levels(predictions)) > 1:
        raise DataError(f"{references.path}: quantiles by time stamp need references with a series and a time column")
    return _by_row(as_rows(predictions), as_rows(references), history, m)


def as_rows(table: Long | Rows) -> Rows:
    """A long table as a row a series, in the order of their first rows, values in the order of time; ragged ends are NaN.

    Raises:
        DataError: it holds several windows.
    """
    if isinstance(table, Rows):
        return table
    if len(np.unique(table.windows)) > 1:
        raise DataError(f"{table.path}: several windows need time stamps in the other files too")
    names, codes = _numbered(table.items)
    order = np.lexsort((table.times, codes))
    counts = np.bincount(codes, minlength=len(names))
    values = np.full((len(names), counts.max()), np.nan)
    step = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    values[codes[order], step] = table.point()[order]
    return Rows(table.path, names, values)


def _by_row(predictions: Rows, references: Rows, history: Long | Rows | None, m: int | None) -> Pairs:
    if references.values.ndim == 3:
        raise DataError(f"{references.path} must hold [series, steps], found {references.values.shape}")
    actual = _matched(references, predictions)
    shape = (len(predictions.values), predictions.values.shape[-1])
    if actual.shape != shape:
        raise DataError(
            f"{predictions.path} has {shape[0]} series of {shape[1]} steps and {references.path} has "
            f"{actual.shape[0]} of {actual.shape[1]}; they must pair up"
        )
    sampled = predictions.values.ndim == 3
    forecasts = from_samples(predictions.values, actual) if sampled else from_points(predictions.values)
    scale = np.full(len(actual), np.nan)
    if m is not None:
        scale = _scale(as_rows(_there(history, references.path)), predictions, m)
    keys = np.arange(len(actual))
    return Pairs(forecasts, actual, scale, keys, np.zeros_like(keys), (0.0, 1.0) if sampled else ())


def _matched(table: Rows, predictions: Rows, *, all_of_it: bool = True) -> np.ndarray:
    """The table's rows in the order of the predictions: by name where both have names, else as they are."""
    if table.names is None or predictions.names is None or len(table.names) == len(predictions.names) == 1:
        return table.values
    place = {name: row for row, name in enumerate(table.names)}
    missing = [name for name in predictions.names if name not in place]
    if missing:
        raise DataError(f"{table.path} has no series {missing[0]} of {predictions.path} ({len(missing)} in all)")
    alone = sorted(place.keys() - set(predictions.names), key=lambda name: place[name])
    if alone and all_of_it:
        raise DataError(f"{predictions.path} has no series {alone[0]} of {table.path} ({len(alone)} in all)")
    return table.values[[place[name] for name in predictions.names]]


def _scale(history: Rows, predictions: Rows, m: int) -> np.ndarray:
    """The scale of each predicted series' history; what is NaN at its ends is padding."""
    rows = _matched(history, predictions, all_of_it=False)
    if len(rows) != len(predictions.values):
        raise DataError(f"{history.path} has {len(rows)} series and {predictions.path} has {len(predictions.values)}")
    cut = []
    for number, row in enumerate(rows, start=1):
        seen = np.flatnonzero(~np.isnan(row))
        if not len(seen):
            raise DataError(f"{history.path}, series {number}: no history")
        cut.append(row[seen[0] : seen[-1] + 1])
    lengths = np.array([len(row) for row in cut])
    panel = bare_panel(np.concatenate(cut)[:, None], lengths)
    return seasonal_error(panel, Entries(np.arange(len(cut)), lengths, np.zeros_like(lengths)), m)[:, 0]


def _by_time(
    predictions: Long, references: Long, history: Long | Rows | None, m: int | None, freq: str | None
) -> Pairs:
    names, codes = _numbered(predictions.items)
    tables = [references] if not isinstance(history, Long) else [references, history]
    timeline = _Timeline(names, tables, predictions, freq, regular=m is not None and not isinstance(history, Rows))
    step = timeline.grid.positions(predictions)
    entry, first, horizon = _entries(predictions, codes, step)
    at = timeline.offsets[codes] + step - timeline.starts[codes]
    inside = (step >= timeline.starts[codes]) & (at < timeline.offsets[codes + 1])
    known = inside & timeline.referred[np.where(inside, at, 0)]
    _check_all(known, predictions, f"{references.path} has no")
    # References after a series' first prediction must have one; earlier ones are history.
    code, place = timeline.codes[0], timeline.steps[0]
    begin = np.full(len(names), np.iinfo(np.int64).max)
    np.minimum.at(begin, codes, step)
    width = int(max(place.max(), step.max())) + 1
    predicted = np.isin(code * width + place, codes * width + step)
    _check_all(
        (code >= 0) & (predicted | (place < begin[code])), references, f"{predictions.path} has no prediction of"
    )
    count, ahead = len(first), step - first[entry]
    actual = np.full((count, horizon), np.nan)
    actual[entry, ahead] = timeline.values[at]
    series, window = np.empty(count, np.int64), np.empty(count, np.int64)
    series[entry], window[entry] = codes, predictions.windows
    forecasts, levels = _forecasts(predictions, entry, ahead, (count, horizon))
    scale = np.full(count, np.nan)
    if m is not None and isinstance(history, Rows):
        if len(np.unique(window)) > 1:
            raise DataError(f"{history.path}: with several windows the history needs a series and a time column")
        scale = _scale(history, Rows(predictions.path, names, np.zeros((len(names), 1))), m)[series]
    elif m is not None:
        origin = first - timeline.starts[series]
        if (origin < 1).any():
            name = names[int(series[np.flatnonzero(origin < 1)[0]])]
            _there(history, references.path)
            raise DataError(f"{tables[-1].path}: no history of {name} before its first prediction")
        panel = bare_panel(timeline.values[:, None], np.diff(timeline.offsets))
        scale = seasonal_error(panel, Entries(series, origin, window), m)[:, 0]
    return Pairs(forecasts, actual, scale, series, window, levels)


class _Timeline:
    """The values of each predicted series, one after the other on a regular grid, from its first known step on.

    Attributes:
        values: float64 [points]; referred: whether a point is in the references; offsets, starts: as a panel's.
        codes, steps: of each table's rows the series, -1 for one that is not predicted, and the position.
    """

    def __init__(
        self, names: list[str], tables: list[Long], predictions: Long, freq: str | None, *, regular: bool
    ) -> None:
        self.grid = _Grid([table.times for table in (*tables, predictions)], tables[0].path, freq, regular)
        number = {name: code for code, name in enumerate(names)}
        self.codes = [np.array([number.get(item, -1) for item in table.items], dtype=np.int64) for table in tables]
        self.steps = [self.grid.positions(table) for table in tables]
        code, step = np.concatenate(self.codes), np.concatenate(self.steps)
        code, step = code[code >= 0], step[code >= 0]
        self.starts, ends = np.full(len(names), np.iinfo(np.int64).max), np.full(len(names), -1)
        np.minimum.at(self.starts, code, step)
        np.maximum.at(ends, code, step)
        lengths = np.maximum(ends - self.starts + 1, 0)
        self.starts[lengths == 0] = 0
        self.offsets = np.append(0, np.cumsum(lengths))
        self.values = np.full(max(1, int(lengths.sum())), np.nan)
        self.referred = np.zeros(len(self.values), dtype=bool)
        # The references come last, so that they stand where a history holds the same time stamp.
        for table, codes, at in list(zip(tables, self.codes, self.steps, strict=True))[::-1]:
            mine = codes >= 0
            place = self.offsets[codes[mine]] + at[mine] - self.starts[codes[mine]]
            if len(np.unique(place)) < len(place):
                twice = np.flatnonzero(np.bincount(place) > 1)[0]
                row = int(np.flatnonzero(mine)[np.flatnonzero(place == twice)[1]]) + 1
                raise DataError(f"{table.path}, row {row}: {table.items[row - 1]} has this time stamp twice")
            self.values[place] = table.point()[mine]
            if table is tables[0]:
                self.referred[place] = True


class _Grid:
    """Numbers time stamps along their frequency; without one, along the stamps that there are."""

    def __init__(self, times: list[np.ndarray], path: Path, freq: str | None, regular: bool) -> None:
        import pandas as pd

        if len({array.dtype.kind for array in times}) > 1:
            raise DataError(f"{path}: some files have time stamps and some whole numbers; they must be of one kind")
        stamps = np.unique(np.concatenate(times))
        self.whole, self.first, self.freq = stamps.dtype.kind == "i", stamps[0], freq
        if self.whole:
            return
        self.index = pd.DatetimeIndex(stamps)
        if freq is None and len(stamps) > 2:
            self.freq = pd.infer_freq(self.index)
        if self.freq is None and regular:
            raise DataError(f"{path}: the time stamps are not evenly spaced; give their frequency with --freq")
        if self.freq is not None:
            self.index = pd.date_range(self.index[0], self.index[-1], freq=normal(self.freq))

    def positions(self, table: Long) -> np.ndarray:
        """int64 [n].

        Raises:
            DataError: a time stamp off the grid.
        """
        if self.whole:
            return table.times - self.first
        found = self.index.get_indexer(table.times)
        if (found < 0).any():
            row = int(np.flatnonzero(found < 0)[0])
            raise DataError(
                f"{table.path}, row {row + 1}: {str(table.times[row])[:19]} is off the frequency {self.freq}"
            )
        return np.asarray(found, dtype=np.int64)


def _entries(predictions: Long, codes: np.ndarray, step: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Which entry each row belongs to, [n], in the order of windows and series; their first steps; the longest horizon."""
    key = predictions.windows * (codes.max() + 1) + codes
    _, entry = np.unique(key, return_inverse=True)
    count = int(entry.max()) + 1
    first, last = np.full(count, np.iinfo(np.int64).max), np.full(count, -1)
    np.minimum.at(first, entry, step)
    np.maximum.at(last, entry, step)
    order = np.lexsort((step, entry))
    same = (np.diff(entry[order]) == 0) & (np.diff(step[order]) == 0)
    if same.any():
        row = int(order[np.flatnonzero(same)[0] + 1]) + 1
        raise DataError(f"{predictions.path}, row {row}: {predictions.items[row - 1]} has this time stamp twice")
    holed = np.flatnonzero(np.bincount(entry) != last - first + 1)
    if len(holed):
        row = int(np.flatnonzero(entry == holed[0])[0]) + 1
        raise DataError(f"{predictions.path}: {predictions.items[row - 1]} lacks a time stamp within its forecast")
    return entry, first, int((last - first).max()) + 1


def _forecasts(
    predictions: Long, entry: np.ndarray, ahead: np.ndarray, shape: tuple[int, int]
) -> tuple[Forecasts, tuple[float, ...]]:
    levels = _levels(predictions)

    def laid(values: np.ndarray) -> np.ndarray:
        # A shorter forecast is filled up with 0: there is no actual value to score it against.
        table = np.zeros(shape)
        table[entry, ahead] = values
        return table

    if len(levels) < 2:
        return from_points(laid(predictions.point())), ()
    median = next((name for name in ("0.5", "median") if name in predictions.columns), None)
    if median is None:
        raise DataError(f"{predictions.path} has quantiles, but no column median or 0.5")
    levels[0.5] = median
    order = sorted(levels)
    quantiles = np.stack([laid(predictions.columns[levels[level]]) for level in order], axis=1)
    mean = laid(predictions.columns["mean"]) if "mean" in predictions.columns else None
    return from_quantiles(quantiles, order, mean), tuple(order)


def _levels(table: Long) -> dict[float, str]:
    """Quantile level -> column, of the columns that are named by one."""
    found: dict[float, str] = {}
    for name in table.columns:
        with suppress(ValueError):
            if 0 < float(name) < 1:
                found[float(name)] = name
    return found


def _check_all(paired: np.ndarray, table: Long, lacking: str) -> None:
    """Raises DataError at the first row of a table that has no partner in the other file."""
    alone = np.flatnonzero(~paired)
    if len(alone):
        row = int(alone[0])
        time = str(table.times[row])[:19]
        raise DataError(f"{table.path}, row {row + 1}: {lacking} {table.items[row]} at {time} ({len(alone)} in all)")


def _numbered(items: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Names in the order of their first rows, and each row's number among them."""
    import pandas as pd

    codes, names = pd.factorize(items)
    return [str(name) for name in names], np.asarray(codes, dtype=np.int64)


def _there(history: Long | Rows | None, path: Path) -> Long | Rows:
    if history is None:
        raise DataError(f"{path} has no values before the predictions to scale errors by; give them with --history")
    return history
