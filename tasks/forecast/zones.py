"""Time zones, by name (Europe/Berlin) or by their offset from UTC (+01:00), and clocks that they put forward and back."""

from __future__ import annotations

import datetime
import difflib
import functools
import re
import zoneinfo

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset

from tasks.errors import ConfigError

DAY = 86_400_000_000_000
HOUR = DAY // 24
_OFFSET = re.compile(r"([+-])(\d{2}):?(\d{2})?")


@functools.cache
def zone_of(name: str) -> datetime.tzinfo:
    """The zone of a name or an offset.

    Raises:
        ConfigError: there is none of that name.
    """
    if name.upper() in ("UTC", "Z"):
        return datetime.UTC
    nanoseconds = offset_of(name)
    if nanoseconds is not None:
        return datetime.timezone(datetime.timedelta(microseconds=nanoseconds // 1000))
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        names = {known.lower(): known for known in sorted(zoneinfo.available_timezones())}
        near = difflib.get_close_matches(name.lower(), names, 1, 0.6)
        hint = (
            f"; did you mean {names[near[0]]}?"
            if near
            else "; give a name like Europe/Berlin, UTC, or an offset like +01:00"
        )
        raise ConfigError(f"--time-zone {name!r}: there is no such time zone{hint}") from None


def offset_of(text: str) -> int | None:
    """The nanoseconds that an offset like +01:00, -0330 or Z is ahead of UTC; None where the text is none."""
    if text.upper() in ("Z", "UTC", "GMT"):
        return 0
    match = _OFFSET.fullmatch(text)
    if match is None:
        return None
    return (-1 if match[1] == "-" else 1) * (int(match[2]) * 60 + int(match[3] or 0)) * 60 * 1_000_000_000


def offset_name(nanoseconds: int) -> str:
    """UTC, or an offset as ISO 8601 writes it."""
    if not nanoseconds:
        return "UTC"
    minutes = abs(nanoseconds) // 60_000_000_000
    return f"{'-' if nanoseconds < 0 else '+'}{minutes // 60:02d}:{minutes % 60:02d}"


def by_the_clock(freq: str) -> bool:
    """Whether a frequency's steps are days or longer: regular by the clock on the wall, while hours are by the time that passes."""
    offset = to_offset(freq)
    return not isinstance(offset, pd.offsets.Tick) or offset.nanos % DAY == 0


def clock(instants: np.ndarray, zone: str) -> np.ndarray:
    """What a zone's clocks show at instants (int64 nanoseconds, UTC), int64 nanoseconds."""
    index = pd.DatetimeIndex(instants.view("datetime64[ns]"), tz="UTC").tz_convert(zone_of(zone))
    return index.tz_localize(None).asi8


def localized(index: pd.DatetimeIndex, zone: str) -> pd.DatetimeIndex:
    """Times of a zone's clocks as instants; those that the clocks leave out move on, of those shown twice it is the first."""
    first = np.ones(len(index), dtype=bool)
    return index.tz_localize(zone_of(zone), ambiguous=first, nonexistent="shift_forward")


class Clock:
    """Turns the times that a zone's clocks show into instants, series by series, row after row.

    An hour that is shown twice is the first one until the rows of the series go back.
    """

    def __init__(self, zone: str) -> None:
        self.zone = zone
        self.last: dict[int, tuple[int, bool]] = {}

    def instants(self, shown: np.ndarray, series: np.ndarray) -> tuple[np.ndarray, int | None]:
        """(int64 nanoseconds in UTC, the first row whose time the clocks leave out, None where there is none)."""
        index = pd.DatetimeIndex(shown.view("datetime64[ns]"))
        first, second = (self._instants(index, is_first) for is_first in (True, False))
        lost = np.flatnonzero(clock(first, self.zone) != shown)
        for at in np.flatnonzero(first != second).tolist():
            now, before = int(shown[at]), self.last.get(int(series[at]))
            again = before is not None and now - before[0] < DAY // 2 and (before[1] or now <= before[0])
            self.last[int(series[at])] = now, again
            if again:
                first[at] = second[at]
        return first, int(lost[0]) if len(lost) else None

    def _instants(self, index: pd.DatetimeIndex, first: bool) -> np.ndarray:
        moved = index.tz_localize(zone_of(self.zone), ambiguous=np.full(len(index), first), nonexistent="shift_forward")
        return moved.asi8.copy()
