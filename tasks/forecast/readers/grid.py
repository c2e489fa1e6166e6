"""Frequencies: found from time stamps, and the regular grid that they put the stamps on."""

from __future__ import annotations

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset

from tasks.errors import DataError
from tasks.forecast.calendar import Calendar, normal
from tasks.forecast.readers.source import Options
from tasks.forecast.zones import by_the_clock, localized, offset_name, zone_of

# A position that no time stamp has: the stamp lies between two steps of the grid.
OFF = np.iinfo(np.int64).min
DAY = 86_400_000_000_000
_LOOKED_AT = 5_000
# Frequencies of months and longer, tried in this order where stamps have gaps.
_MONTHLY = ("MS", "ME", "QS-JAN", "QS-FEB", "QS-MAR", "QE-OCT", "QE-NOV", "QE-DEC")
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_KNOWN = {"D", "B", "W", "MS", "ME", "QS", "QE", "YS", "YE"}


class Grid:
    """The steps of a frequency, counted from an anchor: one time stamp of the data.

    Args:
        freq: a pandas alias.
        anchor: a time stamp that lies on the grid, int64 nanoseconds.
        where: file and series or row, for messages.

    Raises:
        DataError: the anchor is no step of the frequency, such as a Saturday for business days.
    """

    def __init__(self, freq: str, anchor: int, where: str = "") -> None:
        self.freq, self.anchor = freq, int(anchor)
        offset = to_offset(freq)
        self.times: np.ndarray | None = None
        if isinstance(offset, pd.offsets.Tick):
            self.step = int(offset.nanos)
        elif isinstance(offset, pd.offsets.Week):
            self.step = 7 * DAY * offset.n
        else:
            base, self.step = offset.base, offset.n
            day, clock = divmod(self.anchor, DAY)
            self.times = _days(base) + clock
            self.first = int(np.searchsorted(self.times, day * DAY + clock))
        if not _fits(offset, pd.Timestamp(self.anchor)):
            raise DataError(f"{where}: {pd.Timestamp(self.anchor)} is no step of the frequency {freq}; check --freq")

    def positions(self, stamps: np.ndarray) -> np.ndarray:
        """Steps from the anchor for int64 nanoseconds, int64 of the same shape; OFF where a stamp is between two steps."""
        if self.times is None:
            steps, rest = np.divmod(stamps - self.anchor, self.step)
            return np.where(rest == 0, steps, OFF)
        index = np.minimum(np.searchsorted(self.times, stamps), len(self.times) - 1)
        steps, rest = np.divmod(index - self.first, self.step)
        return np.where((self.times[index] == stamps) & (rest == 0), steps, OFF)

    def stamp(self, position: int) -> pd.Timestamp:
        if self.times is None:
            return pd.Timestamp(self.anchor + int(position) * self.step)
        return pd.Timestamp(int(self.times[self.first + int(position) * self.step]))

    def off(self, stamp: object, anchor: object = None) -> str:
        """The message for a time stamp between two steps; `anchor` is how the data write the grid's."""
        anchor = anchor or pd.Timestamp(self.anchor)
        return f"{stamp} is off the grid of frequency {self.freq} that starts at {anchor} (wrong or mixed frequency)"


def _days(offset: pd.DateOffset) -> np.ndarray:
    """The midnights of a calendar's steps over all of pandas's time, int64 nanoseconds."""
    if offset.freqstr == "B":  # pandas counts business days one by one
        days = np.arange("1678-01-01", "2262-01-01", dtype="datetime64[D]")
        return days[np.is_busday(days)].astype("datetime64[ns]").astype(np.int64)
    return pd.date_range("1678-01-01", "2261-12-31", freq=offset).as_unit("ns").asi8


def _fits(offset: pd.DateOffset, stamp: pd.Timestamp) -> bool:
    return isinstance(offset, pd.offsets.Tick) or bool(offset.is_on_offset(stamp))


def calendar_of(
    grid: Grid | None, first: int, length: int, options: Options, missing: str, zone: str | None = None
) -> Calendar:
    """The grid's calendar from position `first` on; of data without time stamps that of the stated frequency and start.

    Args:
        zone: the time zone of the grid's time stamps.

    Raises:
        DataError: no frequency is stated; `missing` names the data and what they lack.
    """
    if grid is not None:
        return Calendar(grid.freq, grid.stamp(first), length, zone)
    if options.freq is None:
        raise DataError(f"{missing}; state --freq (and --start)")
    return made_up(normal(options.freq), options.start, length, options.time_zone)


def made_up(freq: str, start: str | None, length: int, zone: str | None = None) -> Calendar:
    """A calendar for data without time stamps: from `start`, else from 2000 on, or earlier where pandas's time would end.

    Args:
        zone: of the time zone that the start is meant in, where it names none of its own.

    Raises:
        DataError: `start` is no time stamp or no step of the frequency.
    """
    offset = to_offset(freq)
    if start is None:
        years = length * _nanoseconds(freq) / (365.25 * DAY)
        begin = pd.Timestamp("2000-01-03") if years < 200 else pd.Timestamp("1000-01-01").as_unit("s")
        return Calendar(freq, begin if _fits(offset, begin) else offset.rollforward(begin), length)
    begin, zone = _on_the_clock(timestamp(start, "--start"), freq, zone)
    if not _fits(offset, begin):
        raise DataError(
            f"--start {start} is no step of the frequency {freq}; the next one is {offset.rollforward(begin)}"
        )
    return Calendar(freq, begin, length, zone)


def _on_the_clock(stamp: pd.Timestamp, freq: str, zone: str | None) -> tuple[pd.Timestamp, str | None]:
    """A time stamp as a calendar of the frequency begins with, without its zone, and the zone's name or offset."""
    if stamp.tz is None and zone is None:
        return stamp, None
    if stamp.tz is None:
        stamp = localized(pd.DatetimeIndex([stamp]), str(zone))[0]
    elif zone is not None:
        stamp = stamp.tz_convert(zone_of(zone))
    name = zone or offset_name(stamp.utcoffset() // pd.Timedelta(1, "us") * 1000)
    return (stamp if by_the_clock(freq) else stamp.tz_convert("UTC")).tz_localize(None), name


def timestamp(text: str, where: str) -> pd.Timestamp:
    """A written time stamp, with its zone where it has one.

    Raises:
        DataError: it is none.
    """
    try:
        found = pd.Timestamp(text)
    except (ValueError, TypeError):
        found = pd.NaT
    if found is pd.NaT:
        raise DataError(f"{where}: {text!r} is no time stamp; write it as 2026-01-31 or 2026-01-31 17:00")
    return found


def _nanoseconds(freq: str) -> float:
    """About how long a step is."""
    offset = to_offset(freq)
    first = offset.rollforward(pd.Timestamp("2000-01-01"))
    return float(((first + 100 * offset) - first).value) / 100


def resolve(stated: str | None, stamps: np.ndarray, where: str) -> str:
    """The frequency as stated, or as one series' ascending time stamps tell it.

    A bare "W" takes the data's weekday, a bare "M", "Q" or "Y" the start or the end of the period, as the data have it.

    Args:
        stamps: int64 nanoseconds.
        where: file and series, for messages.

    Raises:
        DataError: the stamps tell none, or too few of them are there.
    """
    stamps = stamps[:_LOOKED_AT]
    if stated is not None:
        return _canonical(_stated(stated, stamps))
    if len(stamps) < 3:
        raise DataError(f"{where}: too few time stamps to find the frequency; state it with --freq")
    found = infer(stamps)
    if found is None:
        some = ", ".join(str(pd.Timestamp(stamp)) for stamp in stamps[:4])
        raise DataError(f"{where}: the time stamps have no regular step ({some}, ...); state it with --freq")
    return found


def _canonical(freq: str) -> str:
    """One spelling of a quarterly grid, which begins in any of four months: QS-JAN to QS-MAR, QE-OCT to QE-DEC."""
    name, _, month = freq.partition("-")
    if name not in ("QS", "QE"):
        return freq
    number = _MONTHS.index(month) % 3
    return f"{name}-{_MONTHS[number + (9 if name == 'QE' else 0)]}"


def _stated(stated: str, stamps: np.ndarray) -> str:
    freq = normal(stated)
    name = stated.lstrip("0123456789")
    many = stated[: len(stated) - len(name)]
    if name.upper() == "W" and len(stamps):
        return many + _weekly(pd.Timestamp(stamps[0]))
    if name in ("M", "Q", "A", "Y") and len(stamps) and pd.Timestamp(stamps[0]).day == 1:
        month = _MONTHS[pd.Timestamp(stamps[0]).month - 1]
        quarter = _MONTHS[(pd.Timestamp(stamps[0]).month - 1) % 3]
        return many + {"M": "MS", "Q": f"QS-{quarter}"}.get(name, f"YS-{month}")
    return freq


def infer(stamps: np.ndarray) -> str | None:
    """The frequency of ascending time stamps (int64 nanoseconds), gaps allowed; None where there is none."""
    stamps = np.unique(stamps)
    index = pd.DatetimeIndex(stamps)
    found = pd.infer_freq(index) if len(stamps) > 2 else None
    if found is not None:
        freq = normal(found)
        offset = to_offset(freq)
        if isinstance(offset, pd.offsets.Tick):
            whole_weeks = offset.nanos % (7 * DAY) == 0
            return _weekly(index[0], offset.nanos // (7 * DAY)) if whole_weeks else freq
        if freq.lstrip("0123456789").split("-")[0] in _KNOWN:
            return _canonical(freq)
    return _with_gaps(stamps, index)


def _with_gaps(stamps: np.ndarray, index: pd.DatetimeIndex) -> str | None:
    steps, counts = np.unique(np.diff(stamps), return_counts=True)
    if not len(steps):
        return None
    usual = int(steps[np.argmax(counts)])
    if usual == DAY and len(stamps) >= 10 and (index.dayofweek < 5).all():
        return "B"
    if usual < 28 * DAY and (steps % usual == 0).all():
        if usual % (7 * DAY) == 0:
            return _weekly(index[0], usual // (7 * DAY))
        return str(to_offset(pd.Timedelta(usual)).freqstr)
    yearly = [f"{side}-{month}" for side in ("YS", "YE") for month in _MONTHS]
    for freq in (*reversed(yearly), *reversed(_MONTHLY)):
        if _fits(to_offset(freq), index[0]):
            positions = Grid(freq, int(stamps[0])).positions(stamps)
            if (positions != OFF).all() and 2 * (np.diff(positions) == 1).sum() >= len(positions) - 1:
                return freq
    return None


def _weekly(stamp: pd.Timestamp, weeks: int = 1) -> str:
    return f"{weeks if weeks > 1 else ''}W-{stamp.day_name()[:3].upper()}"
