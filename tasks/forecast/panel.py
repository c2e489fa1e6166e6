"""All series of a data set in one array, one after the other, on one calendar."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from tasks.forecast.calendar import Calendar


@dataclass(frozen=True)
class Panel:
    """The series, of unequal length.

    Attributes:
        values: float64 [points, dims], all series one after the other, NaN where a value is missing; may be memory-mapped.
        offsets: int64 [series + 1]; series i is `values[offsets[i] : offsets[i + 1]]`.
        starts: int64 [series], the calendar position of each series' first value.
        item_ids: the series' names, [series].
        target_names: the dimensions' names; one for univariate series.
        static_categories: int64 [series, categories], each column counted from 0.
        category_names: for each column its values' names, so that a model can be used on other series.
        static_reals: float32 [series, reals].
        covariates: float32 [covariate points, covariates], known beforehand, each series with its own offsets, at least as long as
            its target.
        has_timestamps: False where the calendar was made up, as M4's files have none.
        one_end: whether the series end together, as the columns of a table do, so that what a series lacks at its end is missing;
            else each ends with its own last value.
    """

    values: np.ndarray
    offsets: np.ndarray
    starts: np.ndarray
    calendar: Calendar
    item_ids: list[str]
    target_names: list[str] = field(default_factory=lambda: ["target"])
    static_categories: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))
    category_names: list[list[str]] = field(default_factory=list)
    static_reals: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    real_names: list[str] = field(default_factory=list)
    covariates: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    covariate_offsets: np.ndarray = field(default_factory=lambda: np.zeros(1, dtype=np.int64))
    covariate_names: list[str] = field(default_factory=list)
    has_timestamps: bool = True
    one_end: bool = False

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def dims(self) -> int:
        return self.values.shape[1]

    @property
    def lengths(self) -> np.ndarray:
        """Steps of each series, int64 [series]."""
        return np.diff(self.offsets)

    @property
    def ends(self) -> np.ndarray:
        """The calendar position after each series' last value, int64 [series]."""
        return self.starts + self.lengths

    def series(self, number: int) -> np.ndarray:
        """A view on one series, [steps, dims]."""
        return self.values[self.offsets[number] : self.offsets[number + 1]]

    def select(self, chosen: np.ndarray) -> Panel:
        """The series of the given numbers, in that order, on the same calendar."""
        values, offsets = take_rows(self.values, self.offsets[:-1][chosen], self.offsets[1:][chosen])
        covariates, covariate_offsets = self.covariates, self.covariate_offsets
        if covariates.shape[1]:
            covariates, covariate_offsets = take_rows(
                covariates, covariate_offsets[:-1][chosen], covariate_offsets[1:][chosen]
            )
        return replace(
            self,
            values=values,
            offsets=offsets,
            starts=self.starts[chosen],
            item_ids=[self.item_ids[number] for number in chosen],
            static_categories=self.static_categories[chosen] if self.static_categories.size else self.static_categories,
            static_reals=self.static_reals[chosen] if self.static_reals.size else self.static_reals,
            covariates=covariates,
            covariate_offsets=covariate_offsets,
        )

    def stamp(self, number: int, step: int) -> str:
        """The time stamp of a step as text; "" where the calendar was made up."""
        if not self.has_timestamps:
            return ""
        return str(self.calendar.timestamps(int(self.starts[number]) + step, 1)[0])


def take_rows(values: np.ndarray, first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pieces `values[first[i] : last[i]]` one after the other, and their offsets, int64 [pieces + 1]."""
    offsets = np.concatenate([[0], np.cumsum(last - first)]).astype(np.int64)
    result = np.empty((int(offsets[-1]), values.shape[1]), values.dtype)
    # A few hundred thousand rows at a time, so that the index stays small beside the data.
    block = max(1, len(first) * 500_000 // max(1, len(result)))
    for at in range(0, len(first), block):
        begin, end = first[at : at + block], last[at : at + block]
        shift = begin - offsets[at : at + len(begin)]
        low, high = int(offsets[at]), int(offsets[at + len(begin)])
        result[low:high] = values[np.repeat(shift, end - begin) + np.arange(low, high)]
    return result, offsets


@dataclass(frozen=True)
class Entries:
    """What is forecast: entry e is series `series[e]`, its first forecast step at position `origin[e]` of that series.

    Attributes:
        window: which of the rolling windows an entry belongs to, from 0 on; entries are in the order of their windows.
    """

    series: np.ndarray
    origin: np.ndarray
    window: np.ndarray

    def __len__(self) -> int:
        return len(self.series)

    def part(self, chosen: np.ndarray | slice) -> Entries:
        return Entries(self.series[chosen], self.origin[chosen], self.window[chosen])

    def take(self, rows: np.ndarray) -> Entries:
        """The entries of these numbers (int64 [k])."""
        return self.part(rows)


def rolling_entries(lengths: np.ndarray, horizon: int, windows: int, stride: int) -> Entries:
    """The last `windows` origins of each series, `stride` steps apart, the last one `horizon` before the series' end."""
    count = len(lengths)
    back = np.arange(windows - 1, -1, -1) * stride + horizon
    origin = (lengths[None, :] - back[:, None]).reshape(-1)
    return Entries(np.tile(np.arange(count), windows), origin, np.repeat(np.arange(windows), count))
