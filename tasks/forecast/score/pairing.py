"""Pairing of forecasts, actual values and histories from files, by series and time stamp or by order."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.errors import DataError
from tasks.forecast.panel import Entries
from tasks.forecast.score.alignment import by_target, check_actual, on_one_clock, timed, truth_of
from tasks.forecast.score.result_tables import Long, Rows
from tasks.forecast.score.scale import bare_panel, seasonal_error
from tasks.forecast.score.summary import Forecasts, from_points, from_quantiles, from_samples
from tasks.forecast.score.timeline import Timeline


@dataclass(frozen=True)
class Pairs:
    """What `tasks.forecast.score.scores.score` takes, for each entry, and the quantile levels that the file has (none for points).

    `short` counts the entries whose history is shorter than the season, so that they are scaled with m = 1.
    """

    forecasts: Forecasts
    actual: np.ndarray
    scale: np.ndarray
    series: np.ndarray
    window: np.ndarray
    levels: tuple[float, ...]
    short: int = 0


def pair(
    predictions: Long | Rows,
    references: Long | Rows | None,
    history: Long | Rows | None,
    m: int | None,
    freq: str | None,
) -> Pairs:
    """Pairs predictions with what came true, and with the scale of each series' history.

    With time stamps on both sides a prediction is paired with the value of its series and time stamp, and all earlier values,
    of the history and of the references, are its history. Without, rows are paired by name, or by order.

    A forecast of one of the tool's own files is of what the file says; the references may then hold other series and times too.

    Args:
        references: None: what the predictions' file says that came true.
        m: the season of the scale; None: no scale is wanted.
        freq: of the time stamps; None: inferred.

    Raises:
        DataError: keys without a partner, unequal lengths, no history; names the file and row.
    """
    if isinstance(predictions, Long) and predictions.actual is not None:
        references, history = timed(references, predictions, freq), timed(history, predictions, freq)
    if references is None:
        references = truth_of(predictions)
    if isinstance(predictions, Long) and isinstance(references, Long):
        own: Long = on_one_clock(predictions, predictions, freq)
        truth = by_target(on_one_clock(references, predictions, freq), predictions)
        past = on_one_clock(history, predictions, freq)
        past = by_target(past, predictions) if isinstance(past, Long) else past
        return _by_time(by_target(own, predictions), truth, past, m, freq)
    if isinstance(predictions, Long) and (len(_levels(predictions)) > 1 or predictions.samples is not None):
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
    scale, short = np.full(len(actual), np.nan), 0
    if m is not None:
        scale, short = _scale(as_rows(_there(history, references.path)), predictions, m)
    keys = np.arange(len(actual))
    return Pairs(forecasts, actual, scale, keys, np.zeros_like(keys), (0.0, 1.0) if sampled else (), short)


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


def _scale(history: Rows, predictions: Rows, m: int) -> tuple[np.ndarray, int]:
    """The scale of each predicted series' history, and how many are shorter than m; what is NaN at its ends is padding."""
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
    scale = seasonal_error(panel, Entries(np.arange(len(cut)), lengths, np.zeros_like(lengths)), m)[:, 0]
    return scale, int((lengths < m).sum())


def _by_time(
    predictions: Long, references: Long, history: Long | Rows | None, m: int | None, freq: str | None
) -> Pairs:
    names, codes = _numbered(predictions.items)
    tables = [references] if not isinstance(history, Long) else [references, history]
    timeline = Timeline(names, tables, predictions, freq, regular=m is not None and not isinstance(history, Rows))
    step = timeline.grid.positions(timeline.predictions)
    entry, first, horizon = _entries(predictions, codes, step)
    at = timeline.offsets[codes] + step - timeline.starts[codes]
    inside = (step >= timeline.starts[codes]) & (at < timeline.offsets[codes + 1])
    at = np.where(inside, at, 0)
    known = inside & timeline.referred[at]
    missing = np.isnan(predictions.actual) if predictions.actual is not None else np.zeros(len(at), dtype=bool)
    _check_all(known | missing, predictions, f"{references.path} has no")
    values = np.where(known, timeline.values[at], np.nan)
    check_actual(predictions, values, references.path)
    if predictions.models is None:
        _check_predicted(timeline, codes, step, references, predictions)
    count, ahead = len(first), step - first[entry]
    actual = np.full((count, horizon), np.nan)
    actual[entry, ahead] = values
    series, window = np.empty(count, np.int64), np.empty(count, np.int64)
    series[entry], window[entry] = codes, predictions.windows
    forecasts, levels = _forecasts(predictions, entry, ahead, actual)
    scale, short = np.full(count, np.nan), 0
    if m is not None and isinstance(history, Rows):
        if len(np.unique(window)) > 1:
            raise DataError(f"{history.path}: with several windows the history needs a series and a time column")
        scale, short = _scale(history, Rows(predictions.path, names, np.zeros((len(names), 1))), m)
        scale = scale[series]
    elif m is not None:
        origin = first - timeline.starts[series]
        if (origin < 1).any():
            name = names[int(series[np.flatnonzero(origin < 1)[0]])]
            _there(history, references.path)
            raise DataError(f"{tables[-1].path}: no history of {name} before its first prediction")
        panel = bare_panel(timeline.values[:, None], np.diff(timeline.offsets))
        scale, short = seasonal_error(panel, Entries(series, origin, window), m)[:, 0], int((origin < m).sum())
    return Pairs(forecasts, actual, scale, series, window, levels, short)


def _check_predicted(
    timeline: Timeline, codes: np.ndarray, step: np.ndarray, references: Long, predictions: Long
) -> None:
    """References after a series' first prediction must have one; earlier ones are history."""
    code, place = timeline.codes[0], timeline.steps[0]
    begin = np.full(len(timeline.starts), np.iinfo(np.int64).max)
    np.minimum.at(begin, codes, step)
    width = int(max(place.max(), step.max())) + 1
    predicted = np.isin(code * width + place, codes * width + step)
    _check_all(
        (code >= 0) & (predicted | (place < begin[code])), references, f"{predictions.path} has no prediction of"
    )


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
        row = int(order[np.flatnonzero(same)[0] + 1])
        number = predictions.numbers[row]
        raise DataError(f"{predictions.path}, row {number}: {predictions.items[row]} has this time stamp twice")
    holed = np.flatnonzero(np.bincount(entry) != last - first + 1)
    if len(holed):
        row = int(np.flatnonzero(entry == holed[0])[0]) + 1
        raise DataError(f"{predictions.path}: {predictions.items[row - 1]} lacks a time stamp within its forecast")
    return entry, first, int((last - first).max()) + 1


def _forecasts(
    predictions: Long, entry: np.ndarray, ahead: np.ndarray, actual: np.ndarray
) -> tuple[Forecasts, tuple[float, ...]]:
    levels = _levels(predictions)

    def laid(values: np.ndarray) -> np.ndarray:
        # A shorter forecast is filled up with 0: there is no actual value to score it against.
        table = np.zeros((*actual.shape, *values.shape[1:]))
        table[entry, ahead] = values
        return table

    if predictions.samples is not None:
        return from_samples(laid(predictions.samples).transpose(0, 2, 1), actual), (0.0, 1.0)
    columns = [predictions.columns[name] for name in levels.values()]
    if len(levels) < 2 or all(np.array_equal(column, predictions.point()) for column in columns):
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
        raise DataError(
            f"{table.path}, row {table.numbers[row]}: {lacking} {table.items[row]} at {time} ({len(alone)} in all)"
        )


def _numbered(items: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Names in the order of their first rows, and each row's number among them."""
    import pandas as pd

    codes, names = pd.factorize(items)
    return [str(name) for name in names], np.asarray(codes, dtype=np.int64)


def _there(history: Long | Rows | None, path: Path) -> Long | Rows:
    if history is None:
        raise DataError(f"{path} has no values before the predictions to scale errors by; give them with --history")
    return history
