"""Data checks of series, before anything is computed from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from tasks.errors import DataError
from tasks.forecast.panel import Panel
from tasks.forecast.readers.source import Problems, Read

FLOAT32_MAX = float(np.finfo(np.float32).max)
_BLOCK = 1_000_000


@dataclass(frozen=True)
class Profile:
    """Figures of each series over all its dimensions, [series].

    Attributes:
        observed: int64, values that are not NaN.
        low, high: float64, NaN where nothing is observed.
        zeros, negative: int64, how many values are.
        whole: bool, whether all observed values are integers.
    """

    observed: np.ndarray
    low: np.ndarray
    high: np.ndarray
    zeros: np.ndarray
    negative: np.ndarray
    whole: np.ndarray

    @property
    def constant(self) -> np.ndarray:
        """Whether a series has values, all the same; bool [series]."""
        return self.low == self.high


def profile(panel: Panel, thorough: bool = True) -> Profile:
    """One pass over the panel, a block of series at a time.

    Args:
        thorough: whether zeros, negative and whole are wanted; else they are 0 and False.
    """
    count = len(panel)
    observed, zeros, negative = np.zeros((3, count), np.int64)
    low, high = np.full((2, count), np.nan)
    result = Profile(observed, low, high, zeros, negative, np.zeros(count, bool))
    for some, values, first in _blocks(panel):
        flat = values.reshape(-1)
        begins = first * panel.dims
        result.observed[some] = np.add.reduceat(~np.isnan(flat), begins, dtype=np.int64)
        result.low[some] = np.fmin.reduceat(flat, begins)
        result.high[some] = np.fmax.reduceat(flat, begins)
        if thorough:
            result.zeros[some] = np.add.reduceat(flat == 0, begins, dtype=np.int64)
            result.negative[some] = np.add.reduceat(flat < 0, begins, dtype=np.int64)
            result.whole[some] = np.logical_and.reduceat((flat == np.floor(flat)) | np.isnan(flat), begins)
    return result


def _blocks(panel: Panel) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(numbers of series that have steps, their values, where each begins in them)."""
    filled = np.flatnonzero(panel.lengths)
    at = 0
    while at < len(filled):
        begin = panel.offsets[filled[at]]
        end = max(
            at + 1, int(np.searchsorted(panel.offsets[filled + 1], begin + max(1, _BLOCK // panel.dims), "right"))
        )
        some = filled[at:end]
        yield some, panel.values[begin : panel.offsets[some[-1] + 1]], panel.offsets[some] - begin
        at = end


def find_bad(read: Read, skip: bool = False) -> tuple[Problems, Profile]:
    """The series that can't be used: without values, with values beyond float32, with gaps in their covariates.

    Raises:
        DataError: there are any, unless `skip`.
    """
    panel = read.panel
    problems = Problems(read.source, skip)
    found = profile(panel, thorough=False)

    def note(bad: np.ndarray, kind: str, message: Callable[[int], str]) -> None:
        for number in np.flatnonzero(bad).tolist():
            problems.add(number, kind, partial(message, number))

    def huge(number: int) -> str:
        values = panel.series(number)
        step, dim = np.argwhere(np.abs(values) > FLOAT32_MAX)[0]
        return f"{_where(read, number, int(step))}: {values[step, dim]:g} is beyond what float32 holds (3.4e38)"

    names, lengths = panel.item_ids, panel.lengths
    note(lengths == 0, "no values", lambda number: f"series {names[number]} has no values")
    note(
        (found.observed == 0) & (lengths > 0),
        "NaN only",
        lambda number: f"series {names[number]}: all {lengths[number]:,} values are missing (NaN)",
    )
    note(np.fmax(found.high, -found.low) > FLOAT32_MAX, "values beyond float32", huge)
    _check_covariates(read, problems)
    problems.raise_if_any()
    return problems, found


def _where(read: Read, series: int, step: int) -> str:
    """How a step is named to the user: series, row, time stamp."""
    parts = [f"series {read.panel.item_ids[series]}"]
    if read.where is not None:
        parts.append(read.where(series, step))
    stamp = read.panel.stamp(series, step)
    parts.append(f"{stamp} (value {step + 1})" if stamp else f"value {step + 1}")
    return ", ".join(part for part in parts if part)


def _check_covariates(read: Read, problems: Problems) -> None:
    panel = read.panel
    if not panel.covariates.shape[1]:
        return
    bad = np.flatnonzero(~np.isfinite(panel.covariates).all(axis=1))
    series = np.searchsorted(panel.covariate_offsets, bad, "right") - 1

    def message(number: int, row: int) -> str:
        name = panel.covariate_names[int(np.argmax(~np.isfinite(panel.covariates[row])))]
        where = _where(read, number, row - int(panel.covariate_offsets[number]))
        return f"{where}: the covariate {name} is missing"

    for number, at in zip(*np.unique(series, return_index=True), strict=True):
        problems.add(int(number), "covariates missing", partial(message, int(number), int(bad[at])))


def long_enough(train_ends: np.ndarray, context_length: int, lags: list[int], horizon: int) -> np.ndarray:
    """Which series hold one whole training window, bool [series]."""
    return train_ends >= needed(context_length, lags, horizon)


def needed(context_length: int, lags: list[int], horizon: int) -> int:
    """Training steps that one window takes: the context, the longest lag before it, and what is to be forecast."""
    return context_length + max(lags, default=0) + horizon


def too_short(panel: Panel, train_ends: np.ndarray, context_length: int, lags: list[int], horizon: int) -> str | None:
    """Says of the first series that holds no whole training window how long it must be; None where all do."""
    short = np.flatnonzero(~long_enough(train_ends, context_length, lags, horizon))
    if not len(short):
        return None
    series = int(short[0])
    more = f" (and {len(short) - 1:,} more series)" if len(short) > 1 else ""
    return (
        f"series {panel.item_ids[series]} has {int(train_ends[series]):,} steps to train on{more}, but must have "
        f"{needed(context_length, lags, horizon):,}: context {context_length} + longest lag {max(lags, default=0)} + "
        f"horizon {horizon}; lower --context-length, --lags or --prediction-length"
    )


def check_counts(panel: Panel) -> None:
    """Raises DataError at the first value that a count can't be: negative or fractional."""
    for some, values, first in _blocks(panel):
        wrong = (values < 0) | ((values != np.floor(values)) & ~np.isnan(values))
        if wrong.any():
            row, dim = np.argwhere(wrong)[0]
            place = np.searchsorted(first, row, "right") - 1
            where, value = _where(Read(panel, "", ""), int(some[place]), int(row - first[place])), values[row, dim]
            raise DataError(
                f"{where}: {value:g} is {'negative' if value < 0 else 'no whole number'}; the "
                "negative binomial is for counts, choose --distribution student_t"
            )


def next_steps(panel: Panel) -> np.ndarray:
    """The step of each series that a forecast begins with, int64 [series]: the one after its end, or after the table's."""
    ends = panel.ends
    return (ends.max() - panel.starts if panel.one_end and len(ends) else panel.lengths).astype(np.int64)


def find_silent(panel: Panel, origins: np.ndarray, context_length: int) -> np.ndarray:
    """The series that have no value in the context before their origin: there is nothing to forecast from; int64."""
    last = np.full(len(panel), -1)
    for some, values, first in _blocks(panel):
        step = np.arange(len(values)) - np.repeat(first, panel.lengths[some])
        seen = np.where(np.isnan(values).all(axis=1), -1, step)
        last[some] = np.maximum.reduceat(seen, first)
    return np.flatnonzero(origins - last > context_length)


def check_future(panel: Panel, horizon: int) -> None:
    """Raises DataError where covariates known beforehand don't reach `horizon` steps beyond where forecasts begin."""
    if not panel.covariates.shape[1]:
        return
    there = np.diff(panel.covariate_offsets) - next_steps(panel)
    short = np.flatnonzero(there < horizon)
    if len(short):
        first = int(short[0])
        more = f" (and {len(short) - 1:,} more)" if len(short) > 1 else ""
        raise DataError(
            f"series {panel.item_ids[first]}{more}: the covariates {', '.join(panel.covariate_names)} are known for "
            f"{int(there[first])} of the {horizon} steps to forecast; add rows with them and an empty target"
        )
