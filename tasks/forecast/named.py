"""Data sets known by name, with the splits that published figures are measured on.

exchange_rate, traffic, electricity and solar are the files of LSTNet (Lai et al., 2018), split as GluonTS does: training sees the
first t + 1 steps, t being 80 % of them rounded down; the windows follow each other from there.
"""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tasks.errors import ConfigError, DataError, ToolError
from tasks.files import sha256, writing
from tasks.forecast.calendar import Calendar
from tasks.forecast.panel import Entries, Panel
from tasks.forecast.readers import m4, wide
from tasks.forecast.readers.grid import made_up
from tasks.forecast.readers.source import Options, Read, Split, cache_folder

_ROOT = "https://raw.githubusercontent.com/laiguokun/multivariate-time-series-data/master/"
_TIMEOUT = 20.0


@dataclass(frozen=True)
class Known:
    """One matrix file.

    Attributes:
        path: below the repository's root.
        series, steps: its columns and rows.
        every: rows that are added up to one step (solar's ten minutes to an hour).
        sha256: of the packed file, where known.
    """

    path: str
    series: int
    steps: int
    freq: str
    start: str
    prediction_length: int
    windows: int
    every: int = 1
    sha256: str | None = None


SETS = {
    "exchange_rate": Known(
        "exchange_rate/exchange_rate.txt.gz",
        8,
        7_588,
        "B",
        "1990-01-01",
        30,
        5,
        sha256="6a4fbb561dcdee43f071a83badbeec9223a335552278348656738b556f1c2e9d",
    ),
    "traffic": Known("traffic/traffic.txt.gz", 862, 17_544, "h", "2015-01-01", 24, 7),
    "electricity": Known("electricity/electricity.txt.gz", 321, 26_304, "h", "2012-01-01", 24, 7),
    "solar": Known("solar-energy/solar_AL.txt.gz", 137, 52_560, "h", "2006-01-01", 24, 7, every=6),
}
M4 = tuple(f"m4_{period}" for period in ("yearly", "quarterly", "monthly", "weekly", "daily", "hourly"))
NAMES = (*SETS, *M4)


def read(options: Options) -> Read:
    """A named data set, from the options' `data_file` or fetched once into the cache.

    `data_file` is the matrix file; for M4 one of the pair's two files or their folder.

    Raises:
        ConfigError: another frequency or start than the data set's own was stated.
        DataError: the file is not there, or not this data set.
        ToolError: it can't be fetched.
    """
    name, data_file = options.data, options.data_file
    if options.freq is not None or options.start is not None:
        raise ConfigError(f"{name} has its own frequency and start; leave --freq and --start out")
    if name in M4:
        return _m4(name, data_file, options)
    known = SETS[name]
    path = fetch(name) if data_file is None else Path(data_file).expanduser()
    if not path.is_file():
        raise DataError(f"--data-file {data_file}: no such file")
    plain = replace(options, freq=known.freq, start=known.start, multivariate=False, covariate_columns=None)
    found = wide.read_file(path, plain, header=False).panel
    steps = int(found.lengths[0])
    if len(found) != known.series or found.dims != 1 or (found.lengths != known.steps).any():
        raise DataError(
            f"{path}: {len(found)} columns of {steps:,} rows, {name} has {known.series} of {known.steps:,}; give the right --data-file"
        )
    panel = found if known.every == 1 else _added_up(found, known)
    return Read(panel, "matrix", name, split_of(len(panel), int(panel.lengths[0]), known))


def split_of(series: int, steps: int, known: Known) -> Split:
    """Training ends after t + 1 steps, t = 80 %; window w starts w horizons later, all series in each window."""
    end = int(steps * (8 / 10)) + 1
    window = np.repeat(np.arange(known.windows), series)
    test = Entries(np.tile(np.arange(series), known.windows), end + window * known.prediction_length, window)
    return Split(np.full(series, end, np.int64), test, known.prediction_length)


def _added_up(panel: Panel, known: Known) -> Panel:
    steps = known.steps // known.every
    values = panel.values.reshape(-1, known.every).sum(axis=1)[:, None]
    offsets = np.arange(known.series + 1, dtype=np.int64) * steps
    calendar: Calendar = made_up(known.freq, known.start, steps)
    return replace(panel, values=values, offsets=offsets, calendar=calendar)


def _m4(name: str, data_file: str | None, options: Options) -> Read:
    period = name.removeprefix("m4_")
    if data_file is None:
        raise DataError(
            f"{name}: give the pair {period.capitalize()}-train.csv and -test.csv by --data-file (one of the two)"
        )
    pair = m4.pair_of(Path(data_file).expanduser())
    if pair is None:
        raise DataError(f"--data-file {data_file}: no pair X-train.csv and X-test.csv there")
    return m4.read_pair(*pair, replace(options, freq=m4.FREQUENCIES[period]))


def fetch(name: str) -> Path:
    """The data set's file in the cache, fetched when it isn't there: written aside, checked, then renamed.

    Raises:
        ToolError: no network, or an answer that is not the file.
    """
    known = SETS[name]
    path = cache_folder() / "forecast" / Path(known.path).name
    if path.is_file() and (known.sha256 is None or sha256(path) == known.sha256):
        return path
    address = _ROOT + known.path
    other = f"give the file by --data-file, or put it at {path}"
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT) as answer, writing(path, "wb") as file:
            announced, digest = int(answer.headers.get("Content-Length") or 0), hashlib.sha256()
            while block := answer.read(1 << 20):
                file.write(block)
                digest.update(block)
            if announced not in (0, file.tell()):
                raise ToolError(
                    f"{address}: broke off after {file.tell():,} of {announced:,} bytes; run again, or {other}"
                )
            if known.sha256 not in (None, digest.hexdigest()):
                raise ToolError(f"{address}: is no longer the file that {name} is; {other}")
    except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
        why = getattr(error, "reason", error)
        raise ToolError(f"{name}: can't fetch {address} ({why}); {other}") from error
    return path
