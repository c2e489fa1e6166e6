"""Loading of time series: from any of the known formats to a checked panel with training part and test."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tasks.errors import ConfigError, DataError
from tasks.forecast import checks, named, readers, sample
from tasks.forecast.description import describe, ends_told, made_up_told
from tasks.forecast.leaks import leaked
from tasks.forecast.panel import Entries, Panel, rolling_entries, take_rows
from tasks.forecast.readers.source import Options, Read, Split
from tasks.readers.leaks import without_leaks

__all__ = ["Loaded", "Options", "load", "read_data"]

# How far ahead is forecast where nobody says: M4's horizons, the blog's for hours and business days.
_HORIZONS = {"h": 24, "B": 30, "D": 14, "W": 13, "MS": 18, "ME": 18, "QS": 8, "QE": 8, "YS": 6, "YE": 6}
_HORIZON = 24


@dataclass(frozen=True)
class Loaded:
    """What a run trains on and what a back-test forecasts.

    Attributes:
        panel: all values, those of the test too.
        train_ends: int64 [series]; training sees values[:train_end] of each series.
        test: what a back-test forecasts, window by window; empty where no test was asked for.
        description: one line for the run header.
        skipped: what was left out, one line a sort.
        name: of a named data set, else the given text.
        format: what the data were recognised as.
        warnings: what may be as it should, one line each.
        own_split: whether the test is the data's own.
    """

    panel: Panel
    train_ends: np.ndarray
    test: Entries
    prediction_length: int
    description: str
    skipped: list[str] = field(default_factory=list)
    name: str = ""
    format: str = ""
    warnings: list[str] = field(default_factory=list)
    own_split: bool = False


def load(options: Options) -> Loaded:
    """Reads, checks and parts the data.

    Raises:
        ConfigError: a flag that can't be.
        DataError: unusable data, with file, series and row.
        ToolError: a Hub id or a named data set that can't be reached.
    """
    _check_numbers(options)
    read = read_data(options)
    problems, profile = checks.find_bad(read, options.skip_bad)
    constant = profile.constant
    if problems.bad:
        kept = np.setdiff1d(np.arange(len(read.panel)), sorted(problems.bad))
        if not len(kept):
            raise DataError(f"{read.source}: no series is left; {'; '.join(problems.summary())}")
        read = _select(replace(read, skipped=[*read.skipped, *problems.summary()]), kept)
        constant = constant[kept]
    if options.max_series is not None and options.max_series < len(read.panel):
        chosen = np.sort(np.random.default_rng(options.seed).permutation(len(read.panel))[: options.max_series])
        read = _select(read, chosen)
        constant = constant[chosen]
    read, parted = _part(read, options)
    own_split = parted is read.split
    share = f"{int(constant.sum()):,} of {len(constant):,}"
    warnings = [*read.notes, *ends_told(read.panel), *made_up_told(read.panel)]
    warnings += [f"{share} series are constant: MASE has no scale there"] if constant.any() else []
    parted, repeated = _without_leaks(read, parted, options)
    warnings += [repeated] if repeated else []
    return Loaded(
        read.panel,
        parted.train_ends,
        parted.test,
        parted.prediction_length,
        describe(read.panel, parted),
        read.skipped,
        options.data,
        read.format,
        warnings,
        own_split,
    )


def _without_leaks(read: Read, parted: Split, options: Options) -> tuple[Split, str]:
    """The split, and what its test windows share with the training data."""
    test, line = without_leaks(
        parted.test,
        leaked(read.panel, parted.train_ends, parted.test, parted.prediction_length),
        drop=options.drop_leaks,
        units="windows",
        what="values",
        name=read.source,
    )
    return replace(parted, test=test), line


def read_data(options: Options) -> Read:
    """The data as they are: leading gaps cut off, nothing checked yet but what reading itself needs."""
    data, data_file = options.data, options.data_file
    if data_file is not None and data not in named.NAMES:
        raise ConfigError(
            f"--data-file goes with a named data set ({', '.join(named.NAMES)}); give {data_file} as --data"
        )
    if data == "sample":
        read = sample.read(options.seed)
    elif data in named.NAMES:
        read = named.read(options)
    else:
        read = readers.read(options, ["sample", *named.NAMES])
    if read.split is None:
        read = _trim(read)
    return _as_one(read) if options.multivariate else read


def _check_numbers(options: Options) -> None:
    lowest = {"prediction_length": 1, "windows": 0, "stride": 1, "max_series": 1}
    wrong = [
        f"--{name.replace('_', '-')} {value}: must be at least {least}"
        for name, least in lowest.items()
        if (value := getattr(options, name)) is not None and value < least
    ]
    if wrong:
        raise ConfigError("\n".join(wrong))


def _trim(read: Read) -> Read:
    """Without the missing values before a series' first; and without those at the end that only carry covariates."""
    panel = read.panel
    some = np.flatnonzero(panel.lengths)
    covered = panel.covariates.shape[1] > 0
    edges = [panel.offsets[:-1][some]] + ([panel.offsets[1:][some] - 1] if covered else [])
    open_ended = some[np.any([np.isnan(panel.values[edge]).all(axis=1) for edge in edges], axis=0)]
    first, last = panel.offsets[:-1].copy(), panel.offsets[1:].copy()
    for number in open_ended:
        valid = np.flatnonzero(~np.isnan(panel.series(int(number))).all(axis=1))
        if len(valid):
            begin = int(first[number])
            first[number] = begin + valid[0]
            last[number] = begin + valid[-1] + 1 if covered else last[number]
    cut = first - panel.offsets[:-1]
    if not cut.any() and (last == panel.offsets[1:]).all():
        return read
    values, offsets = take_rows(panel.values, first, last)
    changes: dict[str, Any] = {"values": values, "offsets": offsets, "starts": panel.starts + cut}
    if covered:
        changes["covariates"], changes["covariate_offsets"] = take_rows(
            panel.covariates, panel.covariate_offsets[:-1] + cut, panel.covariate_offsets[1:]
        )
    where = read.where
    shifted = None if where is None else lambda series, step: where(series, step + int(cut[series]))
    return replace(read, panel=replace(panel, **changes), where=shifted)


def _as_one(read: Read) -> Read:
    """The series of a univariate panel as one of many dimensions; static features, being a series' own, are left out.

    Raises:
        DataError: they don't begin and end together.
    """
    panel = read.panel
    if panel.dims > 1 or len(panel) == 1:
        return read
    starts, lengths = panel.starts, panel.lengths
    odd = np.flatnonzero((starts != starts[0]) | (lengths != lengths[0]))
    if len(odd):
        raise DataError(
            f"{read.source}: series {panel.item_ids[odd[0]]} does not begin and end with {panel.item_ids[0]}; only series of the same "
            "span make one multivariate series"
        )
    steps = int(lengths[0])
    covered = panel.covariates.shape[1] > 0
    one = replace(
        panel,
        values=np.ascontiguousarray(panel.values.reshape(len(panel), steps).T),
        offsets=np.array([0, steps], np.int64),
        starts=starts[:1],
        item_ids=[read.source.rsplit("/", 1)[-1].split(".")[0]],
        target_names=list(panel.item_ids),
        static_categories=np.zeros((0, 0), np.int64),
        category_names=[],
        static_reals=np.zeros((0, 0), np.float32),
        real_names=[],
        covariates=panel.covariates[: panel.covariate_offsets[1]] if covered else panel.covariates,
        covariate_offsets=panel.covariate_offsets[:2] if covered else panel.covariate_offsets,
    )
    split = read.split
    if split is not None:
        split = replace(split, train_ends=split.train_ends[:1], test=split.test.part(split.test.series == 0))
    return replace(read, panel=one, split=split, where=None)


def _select(read: Read, chosen: np.ndarray) -> Read:
    """The series of the given ascending numbers, their own test with them."""
    split = read.split
    if split is not None:
        place = np.full(len(read.panel), -1)
        place[chosen] = np.arange(len(chosen))
        test = split.test.part(np.flatnonzero(place[split.test.series] >= 0))
        test = Entries(place[test.series], test.origin, test.window)
        split = Split(split.train_ends[chosen], test, split.prediction_length)
    where = read.where
    moved = None if where is None else lambda series, step: where(int(chosen[series]), step)
    return replace(read, panel=read.panel.select(chosen), split=split, where=moved)


def _part(read: Read, options: Options) -> tuple[Read, Split]:
    """The data's own test, or the last rolling origins, or none.

    Raises:
        DataError: a horizon beyond the test data; a series too short for the windows.
    """
    own, horizon, windows, stride = read.split, options.prediction_length, options.windows, options.stride
    if own is not None and windows is None and stride is None:
        if horizon is None or horizon == own.prediction_length:
            return read, own
        beyond = own.test.origin + horizon > read.panel.lengths[own.test.series]
        if beyond.any():
            raise DataError(
                f"{read.source}: --prediction-length {horizon} is beyond the test data, which have {own.prediction_length} steps"
            )
        read.split = replace(own, prediction_length=horizon)
        return read, read.split
    horizon = horizon or (own.prediction_length if own else None) or default_horizon(read.panel.calendar.freq)
    lengths = read.panel.lengths
    count = 1 if windows is None else windows
    if count == 0:
        nothing = np.zeros(0, np.int64)
        return read, Split(lengths.copy(), Entries(nothing, nothing, nothing), horizon)
    back = (count - 1) * (stride or horizon) + horizon
    short = np.flatnonzero(lengths <= back)
    if len(short):
        if not options.skip_bad or len(short) == len(lengths):
            first = int(short[0])
            raise DataError(
                f"{read.source}: series {read.panel.item_ids[first]} has {lengths[first]:,} steps"
                + (f" (and {len(short) - 1:,} more series are too short)" if len(short) > 1 else "")
                + f"; {count} window{'s' if count > 1 else ''} of {horizon} need more than {back:,}: lower --prediction-length, "
                "--windows or --stride, or use --skip-bad"
            )
        note = f"{len(short):,} series left out: too short for the test ({back:,} steps and one to train on)"
        read = _select(replace(read, skipped=[*read.skipped, note]), np.flatnonzero(lengths > back))
        lengths = read.panel.lengths
    test = rolling_entries(lengths, horizon, count, stride or horizon)
    return read, Split(lengths - back, test, horizon)


def default_horizon(freq: str) -> int:
    """Steps ahead where nobody says: a day of hours, 30 business days, 18 months, ..."""
    return _HORIZONS.get(freq.split("-")[0], _HORIZON)
