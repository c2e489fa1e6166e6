"""Regular time stamps and the features that models see of them.

The features and their scaling are those of `gluonts.time_feature`, in the order that the time-series models of
transformers were published with: the frequency's own, then the age.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from tasks.errors import ConfigError
from tasks.forecast.zones import by_the_clock, localized, zone_of


@dataclass(frozen=True)
class Calendar:
    """`length` steps of `freq` from `start` on; positions are counted from 0 and may reach past the end.

    Attributes:
        freq: a pandas offset alias: "h", "B", "W-SUN", "15min", "MS".
        start: the first time stamp, without a zone: where one is known it is UTC for steps of hours and less, and for days and
            longer ones what the zone's clocks show.
        length: how many steps the data cover.
        zone: the time zone's name or offset; None where the data tell none.
        features_zone: whose clocks the features are of, where a model was trained on those of another.
    """

    freq: str
    start: pd.Timestamp
    length: int
    zone: str | None = None
    features_zone: str | None = None

    def timestamps(self, first: int, count: int) -> pd.DatetimeIndex:
        """`count` time stamps from position `first` >= 0 on, in the zone where there is one."""
        index = self._steps(first, count)
        if self.zone is None:
            return index
        if by_the_clock(self.freq):
            return localized(index, self.zone)
        return index.tz_localize("UTC").tz_convert(zone_of(self.zone))

    def _steps(self, first: int, count: int) -> pd.DatetimeIndex:
        unit = "ns" if self.start.year >= 1678 else "s"  # nanoseconds reach from 1678 to 2261 only
        if self.freq == "B":  # pandas counts business days one by one
            start = self.start.to_numpy()
            day = start.astype("datetime64[D]")
            days = np.busday_offset(day, np.arange(first, first + count), roll="forward")
            return pd.DatetimeIndex(days + (start - day)).as_unit(unit)
        return pd.date_range(self.start, periods=first + count, freq=self.freq, unit=unit)[first:]

    def features(self, count: int) -> np.ndarray:
        """What gluonts.time_feature gives for the frequency, float32 [count, features], for positions 0 to count - 1; by the
        time that the zone's clocks show."""
        zone = self.zone if by_the_clock(self.freq) else self.features_zone or self.zone
        index = replace(self, zone=zone).timestamps(0, count).tz_localize(None)
        columns = [np.asarray(feature(index), dtype=np.float32) for feature in time_features(self.freq)]
        return np.stack(columns, axis=1) if columns else np.zeros((count, 0), dtype=np.float32)


def time_features(freq: str) -> list:
    """The functions of gluonts.time_feature for a frequency."""
    from gluonts.time_feature import time_features_from_frequency_str

    return list(time_features_from_frequency_str(normal(freq)))


def lags_for(freq: str) -> list[int]:
    """The lags of gluonts.time_feature for a frequency: 1 to 7 steps back, and what lies a day, a week, a year back."""
    from gluonts.time_feature import get_lags_for_frequency

    return [int(lag) for lag in get_lags_for_frequency(normal(freq))]


def seasonality_of(freq: str) -> int:
    """The season's length m that MASE is stated with: 24 for hours, 5 for business days, 12 for months, 1 for days."""
    from gluonts.time_feature import get_seasonality

    return int(get_seasonality(normal(freq)))


@functools.cache
def normal(freq: str) -> str:
    """The alias as today's pandas spells it ("H" becomes "h", "M" becomes "ME").

    Raises:
        ConfigError: pandas knows no such frequency.
    """
    from pandas.tseries.frequencies import to_offset

    old = {"H": "h", "T": "min", "S": "s", "M": "ME", "Q": "QE", "A": "YE", "Y": "YE"}
    digits = freq.rstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-")
    name = freq[len(digits) :]
    try:
        offset = to_offset(digits + old.get(name, name))
    except ValueError:
        raise ConfigError(
            f"--freq: pandas knows no frequency {freq!r}; there are h, D, B, W, MS, QS, YS, min, 15min, ..."
        ) from None
    assert offset is not None
    return str(offset.freqstr)
