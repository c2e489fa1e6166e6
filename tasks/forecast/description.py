"""Loaded series in words: how many, how long, when, and what to know of their ends."""

from __future__ import annotations

import numpy as np

from tasks.forecast.panel import Panel
from tasks.forecast.readers.source import Split

_WORDS = {
    "h": "hours",
    "B": "business days",
    "D": "days",
    "W": "weeks",
    "MS": "months",
    "ME": "months",
    "QS": "quarters",
    "QE": "quarters",
    "YS": "years",
    "YE": "years",
    "min": "minutes",
    "s": "seconds",
}


def describe(panel: Panel, parted: Split) -> str:
    """One line: '8 series x 7,588 steps, business days, 1990-01-01 to 2019-01-30, 5 windows of 30'."""
    lengths = panel.lengths
    low, high = int(lengths.min()), int(lengths.max())
    size = f"x {high:,} steps" if low == high else f"of {low:,} to {high:,} steps"
    if panel.dims > 1:
        size = f"of {panel.dims:,} dimensions {size}"
    parts = [f"{len(panel):,} series {size}", words(panel.calendar.freq)]
    parts.append(span(panel) if panel.has_timestamps else "no time stamps")
    windows = len(np.unique(parted.test.window))
    parts.append(
        f"{windows} window{'s' if windows > 1 else ''} of {parted.prediction_length}" if windows else "no test"
    )
    return ", ".join(parts)


def words(freq: str) -> str:
    """A frequency to read: "hours", "weeks", "steps of 15min"."""
    return _WORDS.get(freq.split("-")[0], f"steps of {freq}")


def span(panel: Panel) -> str:
    """First and last time stamp; the clock's time only where days don't tell all."""
    first, last = int(panel.starts.min()), int((panel.starts + panel.lengths).max()) - 1
    ends = panel.calendar.timestamps(first, last - first + 1)[[0, -1]]
    format = "%Y-%m-%d" if (ends == ends.normalize()).all() else "%Y-%m-%d %H:%M"
    zone = panel.calendar.zone
    return " to ".join(ends.strftime(format)) + (f" {zone}" if zone else "")


def ends_told(panel: Panel) -> list[str]:
    """Says of series that end before others what they are forecast from."""
    if not panel.has_timestamps or not len(panel):
        return []
    ends = panel.ends
    early = np.flatnonzero(ends < ends.max())
    if not len(early):
        return []
    first, last = int(early[0]), span(panel).rpartition(" to ")[2]
    what = f"{len(early):,} of {len(ends):,} series end before the others (the first: {panel.item_ids[first]}, at "
    what += f"{panel.stamp(first, int(panel.lengths[first]) - 1)}; the last value is of {last}): "
    if panel.one_end:
        return [
            what + "their cells are empty there, tool predict goes on from the table's end, a test is at each one's own"
        ]
    return [what + "forecasts and tests are at each one's own end"]


def made_up_told(panel: Panel) -> list[str]:
    """Says that dates are made up, where they are."""
    if panel.has_timestamps or not len(panel):
        return []
    return [
        f"no time stamps: forecasts are dated from {panel.calendar.start:%Y-%m-%d} on, which is made up; --start says another"
    ]
