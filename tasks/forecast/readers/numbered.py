"""Numbers in a time column: years, YYYYMM and longer dates, or time since 1970, told by their values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset

from tasks.forecast.zones import DAY, HOUR

# pandas's time, and the years of dates whose digits could be seconds too.
YEARS, NEAR, MONTHS = (1678, 2261), (1900, 2199), 12
STEPS, DECIMAL = "step numbers", "years and twelfths"
# Digits -> what they write out.
_DATES = {
    4: "years",
    6: "months (YYYYMM)",
    8: "days (YYYYMMDD)",
    10: "hours (YYYYMMDDHH)",
    12: "minutes (YYYYMMDDHHMM)",
    14: "seconds (YYYYMMDDHHMMSS)",
}
# Nanoseconds of a unit, counted from 1970 on.
_SINCE = {
    "seconds since 1970 (UTC)": 1_000_000_000,
    "milliseconds since 1970 (UTC)": 1_000_000,
    "microseconds since 1970 (UTC)": 1_000,
    "nanoseconds since 1970 (UTC)": 1,
}
# The last value of a column lies between 1973 and 2100 for exactly one of the units.
_EARLIEST, _LATEST = 100_000_000, 4_102_444_800
# Steps are counted from 0, 1 or so; a column that begins later may be anything.
_FIRST_STEP = 1000
WAY_OUT = "write dates like 2026-01-31, or state --freq and --start, and they are counted as steps"


@dataclass(frozen=True)
class Unit:
    """What the numbers of a time column count."""

    words: str

    @property
    def utc(self) -> bool:
        """Whether they are instants rather than a calendar's dates."""
        return self.words in _SINCE

    @property
    def short(self) -> bool:
        """Whether its numbers are such as steps may be too: years and months."""
        return self.words in (_DATES[4], _DATES[6], DECIMAL)

    def nanoseconds(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(int64 nanoseconds, which of the values are of the unit, bool)."""
        if self.utc:
            factor = _SINCE[self.words]
            good = np.abs(values.astype(np.float64)) * factor < 2**63 - 2**12
            return _scaled(np.where(good, values, 0), factor), good
        if self.words == DECIMAL:
            months = np.round(values * MONTHS)
            good = (values >= YEARS[0]) & (values < YEARS[1]) & (np.abs(values * MONTHS - months) < 0.05)
            whole = np.where(good, months, 0).astype(np.int64) - 1970 * MONTHS
            return whole.astype("datetime64[M]").astype("datetime64[ns]").astype(np.int64), good
        digits = next(digits for digits, words in _DATES.items() if words == self.words)
        return _written_out(values, digits)

    def finer(self, freq: str) -> bool:
        """Whether a frequency has several steps in one of the unit, so that most of them would be empty."""
        least = {_DATES[4]: 360, _DATES[6]: 28}.get(self.words)
        first = pd.Timestamp("2001-01-01")
        offset = to_offset(freq)
        begin = offset.rollforward(first)
        return least is not None and begin + offset - begin < pd.Timedelta(days=least)


def unit_of(values: np.ndarray) -> Unit | None:
    """What the numbers of a column count, int64 or float64; None where they may be several things.

    Dates written out go before time since 1970: 20240131 is a day, not a second of August 1970.
    """
    low, high = values.min(), values.max()
    whole = values.dtype.kind in "iu" or bool((values == np.floor(values)).all())
    if whole:
        for digits, words in _DATES.items():
            if 10 ** (digits - 1) <= low and high < 10**digits:
                share = _written_out(values, digits)[1].mean()
                # A date that can't be is told with its row; years have no other sign than that all of them may be.
                if share == 1 or (share >= 0.5 and digits > 4):
                    return Unit(words)
    elif Unit(DECIMAL).nanoseconds(values)[1].all():
        return Unit(DECIMAL)
    for words, factor in _SINCE.items():
        if _EARLIEST <= high * (factor / 1_000_000_000) <= _LATEST:
            return Unit(words)
    return Unit(STEPS) if whole and low < _FIRST_STEP else None


def dated(values: np.ndarray) -> bool:
    """Whether ascending numbers without a name look like dates or time since 1970."""
    if len(values) < 3 or not (np.isfinite(values).all() and (np.diff(values) > 0).all()):
        return False
    unit = unit_of(values)
    if unit is None or unit.words in (STEPS, DECIMAL):
        return False
    return values[0] >= 10_000 or bool((np.diff(values) == 1).all())


def guesses(value: float) -> str:
    """What a number of no known unit may be, for a message."""
    if 10_000 <= value < 80_000:
        return "may be an Excel date, days since 1970 or a step"
    return "is neither a year, YYYYMM, YYYYMMDD nor seconds since 1970"


def _scaled(values: np.ndarray, factor: int) -> np.ndarray:
    if values.dtype.kind in "iu":
        return values.astype(np.int64) * factor
    whole = np.floor(values)
    result = whole.astype(np.int64) * factor + np.round((values - whole) * factor).astype(np.int64)
    # Floats have no digits left for single nanoseconds.
    return result if factor > 1 else np.round(result / 1000).astype(np.int64) * 1000


def _written_out(values: np.ndarray, digits: int) -> tuple[np.ndarray, np.ndarray]:
    """(int64 nanoseconds, bool) of numbers like 20240131."""
    rest = values.astype(np.int64)
    fields: list[np.ndarray] = []
    for _ in range((digits - 4) // 2):
        rest, field = np.divmod(rest, 100)
        fields.append(field)
    some: list[np.ndarray | None] = [*reversed(fields), *[None] * 5]
    month, day, hour, minute, second = some[:5]
    first, last = YEARS if digits <= 8 else NEAR
    good = (rest >= first) & (rest <= last)
    year = np.where(good, rest, 1970)
    months = (year - 1970) * MONTHS
    if month is not None:
        good &= (month >= 1) & (month <= MONTHS)
        months = months + np.where(good, month - 1, 0)
    begin = months.astype("datetime64[M]").astype("datetime64[D]")
    result = begin.astype("datetime64[ns]").astype(np.int64)
    if day is not None:
        length = ((months + 1).astype("datetime64[M]").astype("datetime64[D]") - begin).astype(np.int64)
        good &= (day >= 1) & (day <= length)
        result = result + (day - 1) * DAY
    for part, most, step in ((hour, 24, HOUR), (minute, 60, HOUR // 60), (second, 60, HOUR // 3600)):
        if part is not None:
            good &= part < most
            result = result + part * step
    return result, good
