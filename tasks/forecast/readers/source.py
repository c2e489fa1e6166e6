"""What every reader is told and what it gives."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path

import numpy as np

from tasks.errors import data_errors
from tasks.forecast.panel import Entries, Panel

GIB = 1 << 30
# Problems told in one message; the rest is counted.
SHOWN = 10


@dataclass(frozen=True)
class Options:
    """What a user says about the data, how to read and how to part them; None is "find out".

    Attributes:
        data: a named data set, a file or folder here, a Hub id, or "sample".
        data_file: the file of a named data set, where it is not to be fetched.
        format: wide, long, gluonts, matrix or m4, where the file's looks mislead.
        freq, start: of data that don't tell; a stated frequency is checked against the time stamps.
        time_zone: the name or offset of the data's time zone; stamps of another are turned into it.
        categories: for each category column the names that a trained model knows, in its order.
        multivariate: all series (columns) as one of many dimensions.
        windows: rolling origins at the end of each series; None is the data's own test, else one window; 0 is no test.
        stride: steps between two origins, by default the horizon.
        max_series: a random subset, drawn from `seed`, in the data's order.
        skip_bad: leave out series that can't be used, and say so in `Loaded.skipped`.
        drop_leaks: leave out test windows whose values training has too.
        memory_limit: a panel of more bytes is kept in a file and mapped.
    """

    data: str = "sample"
    _: KW_ONLY
    data_file: str | None = None
    format: str | None = None
    freq: str | None = None
    start: str | None = None
    time_zone: str | None = None
    item_column: str | None = None
    timestamp_column: str | None = None
    target_columns: list[str] | None = None
    category_columns: list[str] | None = None
    real_columns: list[str] | None = None
    covariate_columns: list[str] | None = None
    categories: list[list[str]] | None = None
    multivariate: bool = False
    prediction_length: int | None = None
    windows: int | None = None
    stride: int | None = None
    max_series: int | None = None
    skip_bad: bool = False
    drop_leaks: bool = False
    seed: int = 0
    revision: str | None = None
    token: str | None = None
    split: str | None = None
    memory_limit: int = GIB


@dataclass(frozen=True)
class Split:
    """The test that comes with the data, as M4's second file or GluonTS's test folder does."""

    train_ends: np.ndarray
    test: Entries
    prediction_length: int


@dataclass
class Read:
    """Data as read.

    Attributes:
        format: what they were recognised as, for the user.
        source: file or data set, for messages.
        split: where the data bring a test of their own.
        where: "row 17" of a step, given (series, step); None where rows say nothing to the user.
        skipped: what was left out, one line a sort.
        notes: how cells were read that can be read in several ways, one line each.
    """

    panel: Panel
    format: str
    source: str
    split: Split | None = None
    where: Callable[[int, int], str] | None = None
    skipped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class Problems:
    """What is wrong with which series: told at once or, with `skip`, those series are left out and counted."""

    source: str
    skip: bool = False
    bad: dict[int, str] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)

    def add(self, series: int, kind: str, message: Callable[[], str]) -> None:
        """Notes the first problem of a series; `kind` names its sort in the summary, `message` is asked for where it is shown."""
        if series not in self.bad:
            self.bad[series] = message() if len(self.bad) < SHOWN else ""
            self.kinds[kind] = self.kinds.get(kind, 0) + 1

    def raise_if_any(self) -> None:
        """Raises DataError with up to ten of them, unless bad series are to be skipped."""
        if self.bad and not self.skip:
            shown = list(self.bad.values())
            shown[0] = f"{self.source}: {shown[0]}"
            raise data_errors(shown, hint="Mend the data, or leave such series out with --skip-bad")

    def summary(self) -> list[str]:
        return [f"{count:,} series left out: {kind}" for kind, count in self.kinds.items()]


def cache_folder() -> Path:
    """Where downloads and mapped panels go: modeltool under XDG_CACHE_HOME, by default ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modeltool"
