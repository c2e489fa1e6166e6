"""The record of what a model saw in training, series by series, and how its series are recognised in other data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.errors import DataError
from tasks.files import writing
from tasks.forecast.panel import Panel, take_rows
from tasks.forecast.score.anchors import ANCHOR, anchor_digests, anchor_rows, mixed, rolling_digests, row_digests

FILE = "training_record.parquet"
# A series has an anchor, the digest of ANCHOR values in a row, at the end of what was seen of it, and from there back one every so
# many steps, so that a piece of it holds some wherever it was cut.
SPACING = 8
# About so many anchors are kept of a data set, however large it is.
MOST_ANCHORS = 200_000
# Changes of value that must agree before a series is taken for one of another name: zeros and ones agree by accident.
EVIDENCE = 6
# Points whose digests are held at once, and candidates for a series that are looked at closely.
_BLOCK = 1 << 20
_CANDIDATES = 4
# Anchors of equal digest that are followed: short runs of few values stand in many series.
_ALIKE = 8


@dataclass(frozen=True)
class TrainingRecord:
    """What training, and the choice of the best weights, saw of each series.

    Attributes:
        item_ids: the series' names when they were trained on, [series].
        last: the time stamp of the last value that was seen, [series].
        steps: int64 [series], how many values were seen, from the series' first on.
        chosen: int64 [series], how many of these, the last ones, chose the best weights and trained none.
        spacing: int64 [series], steps from one anchor to the next.
        anchors: uint64, those of all series one after the other, each series' last anchor first.
        offsets: int64 [series + 1], whose anchors are whose.
        stamped: whether the data had time stamps of their own.
        complete: False where the model was trained further from one without a record.
    """

    item_ids: list[str]
    last: pd.DatetimeIndex
    steps: np.ndarray
    chosen: np.ndarray
    spacing: np.ndarray
    anchors: np.ndarray
    offsets: np.ndarray
    stamped: bool = True
    complete: bool = True

    def __len__(self) -> int:
        return len(self.item_ids)

    def write(self, folder: Path) -> None:
        """Writes it into a folder; the same record gives the same bytes."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = {
            "item_id": pa.array([str(name) for name in self.item_ids], pa.string()),
            "last": pa.array(self.last),
            "steps": pa.array(self.steps),
            "chosen": pa.array(self.chosen),
            "spacing": pa.array(self.spacing),
            "anchors": pa.LargeListArray.from_arrays(pa.array(self.offsets), pa.array(self.anchors)),
        }
        facts = {"stamped": str(self.stamped), "complete": str(self.complete), "anchor": str(ANCHOR)}
        with writing(folder / FILE, "wb") as file:
            pq.write_table(pa.table(columns).replace_schema_metadata(facts), file, compression="zstd")

    @classmethod
    def read(cls, folder: Path) -> TrainingRecord | None:
        """What a folder says; None where it has no record.

        Raises:
            DataError: the file is damaged.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = folder / FILE
        if not path.is_file():
            return None
        try:
            table = pq.read_table(path).combine_chunks()
            facts = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
            lists = table.column("anchors").combine_chunks()
            numbers = {name: table.column(name).to_numpy() for name in ("steps", "chosen", "spacing")}
            return cls(
                table.column("item_id").to_pylist(),
                pd.DatetimeIndex(table.column("last").to_pandas()),
                **numbers,
                anchors=np.asarray(lists.flatten(), dtype=np.uint64),
                offsets=np.append(0, np.cumsum(lists.value_lengths().to_numpy(zero_copy_only=False))).astype(np.int64),
                stamped=facts["stamped"] == "True",
                complete=facts["complete"] == "True",
            )
        except (pa.ArrowException, OSError, KeyError, ValueError, AttributeError) as error:
            raise DataError(f"{path} can't be read ({' '.join(str(error).split())[:200]}); train again") from None


def _nothing() -> TrainingRecord:
    none = np.zeros(0, np.int64)
    return TrainingRecord([], pd.DatetimeIndex([]), none, none, none, none.astype(np.uint64), np.zeros(1, np.int64))


# The record of random weights.
NOTHING = _nothing()


def training_record(panel: Panel, seen: np.ndarray, chosen: np.ndarray) -> TrainingRecord:
    """The record of a training.

    Args:
        seen: int64 [series], how many steps of each series were trained on or chose the weights; 0 for one that was left out.
        chosen: int64 [series], how many of these chose the weights.
    """
    rows = np.flatnonzero(seen > 0)
    ends = np.minimum(seen[rows], panel.lengths[rows])
    spacing = np.full(len(rows), max(SPACING, -(-int(ends.sum()) // MOST_ANCHORS)), dtype=np.int64)
    counts = np.where(ends >= ANCHOR, 1 + (ends - ANCHOR) // spacing, 0)
    offsets = np.append(0, np.cumsum(counts)).astype(np.int64)
    number, back = _numbered(offsets)
    first = panel.offsets[rows][number] + ends[number] - ANCHOR - back * spacing[number]
    anchors = anchor_digests(anchor_rows(panel.values, first))
    index = _stamps(panel, panel.calendar.length)
    last = index[panel.starts[rows] + ends - 1]
    names = [panel.item_ids[row] for row in rows]
    return TrainingRecord(names, last, ends, chosen[rows], spacing, anchors, offsets, panel.has_timestamps)


def joined(first: TrainingRecord | None, then: TrainingRecord) -> TrainingRecord:
    """The record of a model that was trained further; `first` is that of the model it began with, None where that has none."""
    if first is None:
        return replace(then, complete=False)
    pairs = {name: (getattr(first, name), getattr(then, name)) for name in ("steps", "chosen", "spacing", "anchors")}
    return TrainingRecord(
        [*first.item_ids, *then.item_ids],
        first.last.append(then.last),
        **{name: np.concatenate(pair) for name, pair in pairs.items()},
        offsets=np.append(first.offsets, first.offsets[-1] + then.offsets[1:]),
        stamped=first.stamped and then.stamped,
        complete=first.complete,
    )


@dataclass(frozen=True)
class SeenEnds:
    """What of a panel's series a training saw.

    Attributes:
        ends: int64 [series]; `values[:end]` of each series were seen, 0 where nothing was.
        known: bool [series], whether the series is one of the record.
        other_values: bool [series], whether it has the name and the time of one, but not its values.
    """

    ends: np.ndarray
    known: np.ndarray
    other_values: np.ndarray


def seen_ends(record: TrainingRecord, panel: Panel) -> SeenEnds:
    """Recognises a record's series in a panel, whatever their names and order are now, and where they grew or were cut.

    A series is looked for by its name and time first; at half of the anchors its values must agree, since single ones may have been
    corrected. One that isn't found so is looked for by its values: at the same time, then at any.
    """
    ends, known, other = (np.zeros(len(panel), kind) for kind in (np.int64, bool, bool))
    last = _calendar_ends(record, panel)
    named = _by_name(record, panel, last)
    agree, comparable = _agreement(record, panel, *named, evidence=0)
    # A piece that is too short to compare is taken for what its name and time say.
    _take(named, agree | (~comparable & (named[2] > 0)), panel, ends, known)
    other[named[0][comparable & ~agree]] = True
    for positions in (last, None):
        rest = np.flatnonzero(~known)
        if len(rest) and len(record.anchors):
            candidates = _by_values(record, panel, rest, positions)
            agree, _ = _agreement(record, panel, *candidates, evidence=EVIDENCE, aligned=positions is not None)
            _take(candidates, agree, panel, ends, known)
    known[named[0][named[2] <= 0]] = True  # what comes wholly after training
    return SeenEnds(ends, known, other & ~known)


# Series of the panel, rows of the record, and where in the series the row's training would have ended.
_Candidates = tuple[np.ndarray, np.ndarray, np.ndarray]


def _take(found: _Candidates, chosen: np.ndarray, panel: Panel, ends: np.ndarray, known: np.ndarray) -> None:
    """Notes the chosen candidates in `ends` and `known`; of several for a series the latest end counts."""
    series = found[0][chosen]
    np.maximum.at(ends, series, np.clip(found[2][chosen], 0, panel.lengths[series]))
    known[series] = True


def _by_name(record: TrainingRecord, panel: Panel, last: np.ndarray | None) -> _Candidates:
    """The series that have the name of a trained one; ends by the calendar, or by the steps where there is none."""
    numbers = {str(name): number for number, name in enumerate(panel.item_ids)}
    number = np.asarray([numbers.get(name, -1) for name in record.item_ids], dtype=np.int64)
    rows = np.flatnonzero(number >= 0)
    series = number[rows]
    return series, rows, record.steps[rows] if last is None else last[rows] - panel.starts[series]


def _by_values(record: TrainingRecord, panel: Panel, series: np.ndarray, last: np.ndarray | None) -> _Candidates:
    """Where anchors of the record stand in some series; of each the likeliest few.

    Args:
        last: the rows' ends on the panel's calendar, where an anchor must stand at its own time too.
    """
    row, back = _numbered(record.offsets)
    behind = back * record.spacing[row] + ANCHOR  # from an anchor's first value to the end of what was seen
    keys = record.anchors if last is None else record.anchors + mixed((last[row] - behind).astype(np.uint64))
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    found: list[np.ndarray] = []
    for some, values, begins in _blocks(panel, series):
        digests = rolling_digests(values)
        owner = np.searchsorted(begins, np.arange(len(digests)), side="right") - 1
        step = np.arange(len(digests)) - begins[owner]
        if last is not None:
            digests = digests + mixed((panel.starts[some][owner] + step).astype(np.uint64))
        place = np.minimum(np.searchsorted(keys, digests), len(keys) - 1)
        hit = np.flatnonzero((keys[place] == digests) & (step + ANCHOR <= panel.lengths[some][owner]))
        place = place[hit]
        for _ in range(_ALIKE):
            anchor = order[place]
            found.append(np.stack([some[owner[hit]], row[anchor], step[hit] + behind[anchor]]))
            place = place + 1
            more = np.flatnonzero(place < len(keys))
            more = more[keys[place[more]] == digests[hit[more]]]
            hit, place = hit[more], place[more]
    one, votes = np.unique(np.concatenate(found, axis=1), axis=1, return_counts=True)
    one = one[:, np.lexsort((-votes, one[0]))]
    rank = np.arange(one.shape[1]) - np.searchsorted(one[0], one[0])
    return tuple(one[:, rank < _CANDIDATES])


def _agreement(
    record: TrainingRecord,
    panel: Panel,
    series: np.ndarray,
    rows: np.ndarray,
    end: np.ndarray,
    *,
    evidence: int,
    aligned: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Which candidates have the values of the trained series, and which have any part to compare, bool [candidates] both.

    Args:
        evidence: how many changes of value the agreeing anchors must hold in all.
        aligned: whether both stand at the same time; where every anchor agrees then, one change is enough.
    """
    counts = np.diff(record.offsets)[rows]
    owner, back = _numbered(np.append(0, np.cumsum(counts)))
    step = end[owner] - ANCHOR - back * record.spacing[rows[owner]]
    inside = (step >= 0) & (step + ANCHOR <= panel.lengths[series[owner]])
    owner, back, step = owner[inside], back[inside], step[inside]
    values = anchor_rows(panel.values, panel.offsets[series[owner]] + step)
    equal = anchor_digests(values) == record.anchors[record.offsets[rows[owner]] + back]
    different = (np.diff(np.sort(values, axis=1), axis=1) != 0).sum(axis=1)
    size = len(rows)
    there, same = np.bincount(owner, minlength=size), np.bincount(owner, equal, minlength=size)
    held = np.bincount(owner, different * equal, minlength=size)
    exact = (same == there) & (held > 0) if aligned else np.zeros(size, bool)
    return (there > 0) & (((2 * same >= there) & (held >= evidence)) | exact), there > 0


def _calendar_ends(record: TrainingRecord, panel: Panel) -> np.ndarray | None:
    """Where on the panel's calendar each row's training ended, int64 [rows]; None where one has no time stamps of its own.

    What ended before the calendar begins is 0.
    """
    if not record.stamped or not panel.has_timestamps:
        return None
    index, last = _stamps(panel, panel.calendar.length), record.last
    if len(last) and last.max() > index[-1]:
        more = len(pd.date_range(index[-1], last.max(), freq=panel.calendar.freq))
        index = _stamps(panel, panel.calendar.length + more)
    return np.asarray(index.searchsorted(last, side="right"), dtype=np.int64)


def _stamps(panel: Panel, count: int) -> pd.DatetimeIndex:
    """The first time stamps of the panel's calendar; zoned ones in UTC, without the zone."""
    index = panel.calendar.timestamps(0, count)
    return index if index.tz is None else index.tz_convert(None)


def _blocks(panel: Panel, series: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(numbers of series, their values' digests one after the other, where each begins in them), a bounded part at a time."""
    size = np.cumsum(panel.lengths[series])
    for some in np.split(series, np.searchsorted(size, np.arange(_BLOCK, size[-1], _BLOCK), side="right")):
        if len(some):
            values, offsets = take_rows(panel.values, panel.offsets[:-1][some], panel.offsets[1:][some])
            yield some, row_digests(values), offsets[:-1]


def _numbered(offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of items in groups, [groups + 1], each one's group and its place there."""
    counts = np.diff(offsets)
    group = np.repeat(np.arange(len(counts)), counts)
    return group, np.arange(len(group)) - offsets[:-1][group]
