"""A time column's cells as time stamps: dates, numbers and texts, with their time zone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tasks.errors import DataError
from tasks.forecast.readers import numbered
from tasks.forecast.readers.grid import resolve
from tasks.forecast.readers.numbered import Unit
from tasks.forecast.readers.source import Options
from tasks.forecast.readers.tables import Complain
from tasks.forecast.readers.written import NO_OFFSET, NUMBER, as_numbers, texts_of
from tasks.forecast.zones import DAY, HOUR, Clock, by_the_clock, clock, localized, offset_name, zone_of

# Columns that are taken for the time where none is named, in any case of letters.
TIME = ("timestamp", "date", "datetime", "time", "ds", "period", "year", "month", "quarter", "week", "day")


@dataclass(frozen=True)
class Stamps:
    """The time of some rows.

    Attributes:
        timed: False for step numbers.
        values: int64 nanoseconds, UTC where a zone is known and the rows say when; else what the clock shows; or step numbers.
        clock: int64 nanoseconds, what the zone's clocks show; None where no zone is known.
    """

    timed: bool
    values: np.ndarray
    clock: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> Stamps:
        return Stamps(self.timed, self.values[rows], None if self.clock is None else self.clock[rows])


def join(stamps: list[Stamps]) -> Stamps:
    """The rows of several batches as one."""
    clocks = [one.clock for one in stamps if one.clock is not None]
    return Stamps(
        stamps[0].timed, np.concatenate([one.values for one in stamps]), np.concatenate(clocks) if clocks else None
    )


class TimeColumn:
    """How the cells of one time column become time stamps; settled by the first rows, and held to afterwards.

    Args:
        name: of the column, for messages.
        source: of the data, for messages.
    """

    def __init__(self, name: str, source: str, options: Options) -> None:
        self.name, self.source, self.options = name, source, options
        self.notes: list[str] = []
        self.unit: Unit | None = None
        self.named: str | None = options.time_zone
        if self.named is not None:
            zone_of(self.named)
        # Whether the rows say what clocks show and not when that is.
        self.local = False
        self.zoned: bool | None = None
        # Offsets from UTC that occur -> the last instant of each, and the days on which each occurs.
        self.offsets: dict[int, int] = {}
        self.days: dict[int, set[int]] = {}
        self.clocks: Clock | None = None

    @property
    def zone(self) -> str | None:
        """The zone's name, or its offset where it has none; None where the data tell none."""
        if self.named is not None or not self.zoned:
            return self.named if self.zoned else None
        if self.unit is not None and self.unit.utc:
            return "UTC"
        return offset_name(max(self.offsets, key=lambda offset: self.offsets[offset]))

    def finish(self) -> list[str]:
        """What there is to say when all rows are read: how numbers were taken, and a zone without a name."""
        notes = list(self.notes)
        if self.named is None and len(self.offsets) > 1:
            names = " and ".join(offset_name(offset) for offset in sorted(self.offsets))
            notes.append(
                f"{self.name}: offsets {names} of a time zone without a name: forecasts are written with {self.zone}; give the "
                "name by --time-zone"
            )
        return notes

    def read(self, column: pa.Array, complain: Complain) -> Stamps:
        """Some rows of the column.

        Raises:
            DataError: a cell without a time, or of another kind than the first rows.
        """
        if column.null_count:
            raise complain(first_null(column), "no time stamp")
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
            whole = pa.types.is_integer(column.type)
            return self._numbers(column.cast(pa.int64() if whole else pa.float64()), complain)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            return self._text(pc.utf8_trim_whitespace(column), complain)
        if not pa.types.is_temporal(column.type) or pa.types.is_time(column.type) or pa.types.is_duration(column.type):
            raise complain(0, f"cells of type {column.type} are no time stamps")
        zone = getattr(column.type, "tz", None)
        try:
            nanoseconds = column.cast(pa.timestamp("ns", tz=zone)).cast(pa.int64()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:
            raise complain(0, "time stamps before 1678 or after 2261 can't be used") from None
        if zone is None:
            return self._plain(nanoseconds, complain)
        self.named = self.named or zone
        return self._instants(nanoseconds, None, complain)

    def frequency(self, stamps: Stamps, where: str) -> str:
        """The frequency as stated or inferred, of one series' rows; by the clock on the wall where its steps are days or longer."""
        shown = stamps.values if stamps.clock is None else stamps.clock
        try:
            freq = resolve(self.options.freq, shown, where)
        except DataError:
            if stamps.clock is None:
                raise
            freq = "h"  # not by the clock; the time that passes may be regular
        if self.unit is not None and self.options.freq is not None and self.unit.finer(freq):
            raise DataError(
                f"{where}: the column {self.name} holds {self.unit.words}, and --freq {self.options.freq} has shorter steps; "
                "for step numbers state --start too"
            )
        if stamps.clock is None or by_the_clock(freq):
            return freq
        return resolve(self.options.freq, self.ticks(stamps, freq, np.zeros(len(shown), np.int64), None), where)

    def ticks(self, stamps: Stamps, freq: str | None, series: np.ndarray, complain: Complain | None) -> np.ndarray:
        """What lies on the grid of a frequency: step numbers, or int64 nanoseconds of the clock, or of the instants.

        Args:
            series: number of each row's series.
            complain: None for a look ahead, which leaves no trace.
        """
        if stamps.clock is None:
            return stamps.values
        if freq is not None and by_the_clock(freq):
            return stamps.clock
        if not self.local:
            return stamps.values
        if complain is None:
            return Clock(str(self.named)).instants(stamps.clock, series)[0]
        self.clocks = self.clocks or Clock(str(self.named))
        instants, lost = self.clocks.instants(stamps.clock, series)
        if lost is not None:
            shown = pd.Timestamp(int(stamps.clock[lost]))
            raise complain(lost, f"{shown} was left out by the clocks of {self.named}; name the right --time-zone")
        return instants

    def shown(self, tick: int, freq: str | None) -> str:
        """A tick as the data write it, for messages."""
        if self.zone is None or freq is None:
            return str(pd.Timestamp(int(tick)))
        index = pd.DatetimeIndex([pd.Timestamp(int(tick))])
        if by_the_clock(freq):
            return str(localized(index, self.zone)[0])
        return str(index.tz_localize("UTC").tz_convert(zone_of(self.zone))[0])

    def hint(self, tick: int, freq: str | None) -> str:
        """What to do about hours that come twice because clocks were put back."""
        night = tick % DAY < 4 * HOUR
        if self.zone is not None or freq is None or by_the_clock(freq) or not night:
            return ""
        return "; where clocks were put back, name the time zone: --time-zone Europe/Berlin"

    def _kind(self, zoned: bool, complain: Complain, at: int = 0) -> None:
        if self.zoned not in (None, zoned):
            raise complain(
                at, "no time zone where other rows have one" if self.zoned else "a time zone where other rows have none"
            )
        self.zoned = zoned

    def _plain(self, shown: np.ndarray, complain: Complain) -> Stamps:
        """Rows that say what the clock shows."""
        if self.named is None:
            self._kind(False, complain)
            return Stamps(True, shown)
        if self.zoned and not self.local:
            raise complain(0, "no time zone where other rows have one")
        self.zoned = self.local = True
        return Stamps(True, shown, shown)

    def _instants(self, values: np.ndarray, offsets: np.ndarray | None, complain: Complain) -> Stamps:
        """Rows that say when, in UTC; with their offsets where the zone has no name."""
        if self.local:
            raise complain(0, "a time zone where other rows have none")
        self._kind(True, complain)
        if self.named is not None:
            return Stamps(True, values, clock(values, self.named))
        if offsets is None:
            return Stamps(True, values, values)
        self._note_offsets(values, offsets, complain)
        return Stamps(True, values, values + offsets)

    def _note_offsets(self, values: np.ndarray, offsets: np.ndarray, complain: Complain) -> None:
        """Several offsets are one zone's where they are an hour apart at most, and change as seldom as clocks do."""
        for offset in dict.fromkeys([int(offsets[0]), *np.unique(offsets).tolist()]):
            rows = offsets == offset
            self.offsets[offset] = max(self.offsets.get(offset, values.min()), int(values[rows].max()))
            self.days.setdefault(offset, set()).update(np.unique(values[rows] // DAY).tolist())
        if len(self.offsets) < 2:
            return
        days = sorted(set.union(*self.days.values()))
        both = sum(len(found) for found in self.days.values()) - len(days)
        if max(self.offsets) - min(self.offsets) > HOUR or both > 2 + 2 * (days[-1] - days[0]) / 365:
            first = next(iter(self.offsets))
            at = int(np.argmax(offsets != first))
            raise complain(
                at,
                f"the offset {offset_name(int(offsets[at]))} where others have {offset_name(first)}: several time zones; read all "
                "rows in one by --time-zone NAME",
            )

    def _numbers(self, column: pa.Array, complain: Complain) -> Stamps:
        values = column.to_numpy(zero_copy_only=False)
        bad = ~np.isfinite(values)
        if bad.any():
            raise complain(int(np.argmax(bad)), "no time stamp")
        if not len(values):
            return Stamps(self.unit is None or self.unit.words != numbered.STEPS, values.astype(np.int64))
        if self.unit is None:
            self.unit = numbered.unit_of(values)
            stated = self.options.start is not None and self.options.freq is not None
            if stated and (self.unit is None or self.unit.short):
                self.unit = Unit(numbered.STEPS)
            if self.unit is None:
                odd = int(np.argmax(values))
                raise complain(
                    odd, f"{_number(values[odd])} {numbered.guesses(float(values[odd]))}; {numbered.WAY_OUT}"
                )
            self.notes.append(f"{self.name}: {_number(values[0])} read as {self.unit.words}")
        if self.unit.words == numbered.STEPS:
            broken = np.flatnonzero(values != np.floor(values))
            if len(broken):
                raise complain(int(broken[0]), f"{_number(values[broken[0]])} is no step number")
            return Stamps(False, values.astype(np.int64))
        nanoseconds, good = self.unit.nanoseconds(values)
        if not good.all():
            at = int(np.argmin(good))
            raise complain(at, f"{_number(values[at])} is none of the column's {self.unit.words}; {numbered.WAY_OUT}")
        return self._instants(nanoseconds, None, complain) if self.unit.utc else self._plain(nanoseconds, complain)

    def _text(self, column: pa.Array, complain: Complain) -> Stamps:
        if not len(column):
            return Stamps(True, np.zeros(0, np.int64))
        empty = pc.equal(column, "").to_numpy(zero_copy_only=False)
        if empty.any():
            raise complain(int(np.argmax(empty)), "no time stamp")
        if self.unit is not None or (self.zoned is None and NUMBER.fullmatch(column[0].as_py())):
            return self._numbers(as_numbers(column, complain), complain)
        read = texts_of(column, complain)
        assert read is not None
        shown, offsets, names = read
        if names:
            self._name(names, complain)
        missing = offsets == NO_OFFSET
        if missing.all():
            return self._plain(shown, complain)
        if missing.any():
            raise complain(int(np.argmax(missing)), "no time zone where other rows have one")
        return self._instants(shown - offsets, offsets, complain)

    def _name(self, names: list[str], complain: Complain) -> None:
        """Takes the zone's name from the rows, where no other was given."""
        if self.options.time_zone is not None:
            return
        if len(names) > 1 or self.named not in (None, names[0]):
            names = sorted({*names, *([self.named] if self.named else [])})
            raise complain(0, f"several time zones ({', '.join(names)}); read all rows in one by --time-zone NAME")
        zone_of(names[0])
        self.named = names[0]


def first_null(column: pa.Array) -> int:
    """The first row of a column that is empty."""
    return int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else f"{value:g}"
