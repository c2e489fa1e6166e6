"""Which test windows a model saw in training: refused, or scored apart and marked."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from recipes.forecast.config import ARCHITECTURES
from recipes.forecast.networks import Opened, record_of
from tasks.errors import ConfigError, printable
from tasks.forecast.panel import Entries, Panel
from tasks.forecast.score.training_record import NOTHING, SeenEnds, TrainingRecord, seen_ends

NAMES_SHOWN = 3


@dataclass
class SeenWindows:
    """Which of the test windows a model was trained on or chosen by; of several models, any of them.

    Attributes:
        entries: bool [entries].
        known: whether each model's training is on record.
        notes: what isn't known, and which series are new, a line each.
        refusal: why the windows can't be scored as unseen; "" where they can.
    """

    entries: np.ndarray
    known: bool = True
    notes: list[str] = field(default_factory=list)
    refusal: str = ""

    @property
    def mixed(self) -> bool:
        """Whether some were seen and others not."""
        return bool(self.entries.any() and not self.entries.all())

    def parts(self) -> list[tuple[np.ndarray, SeenWindows]]:
        """Those that weren't seen and those that were: which they are, and what is known of them."""
        return [(chosen, SeenWindows(self.entries[chosen], self.known)) for chosen in (~self.entries, self.entries)]

    def marks(self, part: slice) -> list[bool | None]:
        """Of some entries whether their windows were seen; None where that isn't known."""
        return [True if seen else (False if self.known else None) for seen in self.entries[part]]


def find_seen(models: list[Opened], panel: Panel, test: Entries, *, refit: bool = False) -> SeenWindows:
    """Looks every model's training up in the data.

    A window is unseen where all of it lies after what training and the choice of the best weights saw of its series. A series that
    is new to a model is unseen whatever the time, although the model may know that time from others: that is said.

    Args:
        refit: whether the runs are trained anew before each window, so that only what they began with counts.
    """
    found = SeenWindows(np.zeros(len(test), bool))
    worst = 0
    for model in models:
        if model.network is None:
            continue
        record = _begun_with(model) if refit else model.record
        if record is None or not record.complete:
            found.known = False
            found.notes.append(_unknown(model.name, record))
        if record is None or not len(record):
            continue
        ends = seen_ends(record, panel)
        seen = test.origin < ends.ends[test.series]
        found.entries |= seen
        found.notes += _new_series(model.name, ends, panel)
        if seen.sum() > worst:
            worst, found.refusal = int(seen.sum()), _refusal(model, ends, seen, panel, test)
    if found.refusal:
        windows = int(test.window.max()) - int(test.window[found.entries].max())
        lies = "which lies after" if windows == 1 else "which lie after"
        found.refusal += f"; take --windows {windows}, {lies}" if windows else "; no window lies after"
    return found


def refuse_seen(found: SeenWindows, *ways: str) -> None:
    """Raises ConfigError where windows were seen, naming the other ways out."""
    if found.refusal:
        raise ConfigError(", or ".join([found.refusal, *ways]))


def _begun_with(model: Opened) -> TrainingRecord | None:
    """What a run that is trained anew has seen before: what the model that it begins with saw; random weights saw nothing."""
    options = model.run.config() if model.run is not None else {}
    base = str(options.get("model") or "tiny")
    return NOTHING if base in (*ARCHITECTURES, "tiny") else record_of(base, options.get("revision"), None)


def _unknown(name: str, record: TrainingRecord | None) -> str:
    what = "what it was trained on is not on record" if record is None else "the model that it began with has no record"
    return f"{name}: {what}, so that nobody knows whether it saw these windows"


def _new_series(name: str, ends: SeenEnds, panel: Panel) -> list[str]:
    """Which series are new to a model, where others aren't."""
    lines = []
    others = np.flatnonzero(ends.other_values)
    new = np.flatnonzero(~ends.known & ~ends.other_values)
    if len(others):
        lines.append(
            f"{name}: {len(others):,} of {len(panel):,} series have the name and time of one that it was trained on, but other values "
            f"({_listed(panel, others)}): taken as new"
        )
    if len(new):
        lines.append(
            f"{name}: {len(new):,} of {len(panel):,} series are new to it ({_listed(panel, new)}): unseen, though it may know their "
            "time from other series"
        )
    return lines


def _refusal(model: Opened, ends: SeenEnds, seen: np.ndarray, panel: Panel, test: Entries) -> str:
    first = int(np.flatnonzero(seen)[0])
    series = int(test.series[first])
    when = panel.stamp(series, int(ends.ends[series]) - 1) or f"step {int(ends.ends[series]):,}"
    count, windows = len(np.unique(test.window[seen])), int(test.window.max()) + 1
    name, more = printable(str(panel.item_ids[series])), len(np.unique(test.series[seen])) - 1
    return (
        f"--windows: {model.name} was trained on, or chosen by, {int(seen.sum()):,} of these {len(test):,} forecasts ({count} of "
        f"{windows} windows): it saw series {name} until {when}{f', and {more:,} other series' if more else ''}"
    )


def _listed(panel: Panel, numbers: np.ndarray) -> str:
    names = [printable(str(panel.item_ids[number])) for number in numbers[:NAMES_SHOWN]]
    return ", ".join(names + ["..."] * (len(numbers) > NAMES_SHOWN))
