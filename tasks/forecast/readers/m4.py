"""The M4 competition's files: a row a series, X-train.csv with the steps to forecast in X-test.csv beside it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.cells import as_text
from tasks.errors import DataError
from tasks.forecast.calendar import normal
from tasks.forecast.panel import Entries, Panel
from tasks.forecast.readers.buffer import Buffer
from tasks.forecast.readers.grid import made_up
from tasks.forecast.readers.source import Options, Read, Split
from tasks.forecast.readers.tables import csv_batches, head

FREQUENCIES = {"yearly": "YS", "quarterly": "QS", "monthly": "MS", "weekly": "W", "daily": "D", "hourly": "h"}


def looks_like(names: list[str]) -> bool:
    """The competition's header: V1, V2, ..."""
    return names[:2] == ["V1", "V2"]


def pair_of(path: Path) -> tuple[Path, Path] | None:
    """(train, test) that a file belongs to, or the only pair in a folder; None where one is missing."""
    if path.is_dir():
        pairs = {pair for file in path.iterdir() if (pair := pair_of(file)) is not None}
        return pairs.pop() if len(pairs) == 1 else None
    match = re.fullmatch(r"(.*[-_])(train|test)(\.csv(?:\.gz)?)", path.name, re.IGNORECASE | re.DOTALL)
    if match is None:
        return None
    is_train = match[2].lower() == "train"
    other = "test" if is_train else "train"
    mate = path.with_name(match[1] + (other.capitalize() if match[2][0].isupper() else other) + match[3])
    if not mate.is_file():
        return None
    return (path, mate) if is_train else (mate, path)


def read_pair(train: Path, test: Path, options: Options) -> Read:
    """The pair as one panel; training sees the first file's values, the test is the second's.

    Raises:
        DataError: other series in the second file than in the first; test rows of unequal length; no frequency, neither in the
            file's name nor stated.
    """
    ids, values, lengths = _rows(train, options)
    test_ids, test_values, test_lengths = _rows(test, options)
    horizon = int(test_lengths[0]) if len(test_lengths) else 0
    unequal = np.flatnonzero(test_lengths != horizon)
    if len(unequal):
        at = int(unequal[0])
        raise DataError(
            f"{test}, row {at + 2}: series {test_ids[at]} has {test_lengths[at]} values, the first {horizon}"
        )
    place = {name: number for number, name in enumerate(test_ids)}
    lost = next((name for name in ids if name not in place), None)
    if lost is not None or len(ids) != len(test_ids):
        raise DataError(
            f"{test}: {len(test_ids)} series, {train} has {len(ids)}" + (f"; {lost} is missing" if lost else "")
        )
    offsets = np.concatenate([[0], np.cumsum(lengths + horizon)])
    joined = np.empty((int(offsets[-1]), 1))
    is_test = np.zeros(len(joined), bool)
    is_test[(offsets[1:, None] - horizon + np.arange(horizon)).reshape(-1)] = True
    joined[~is_test] = values
    order = np.array([place[name] for name in ids])
    joined[is_test] = test_values.reshape(len(ids), horizon)[order].reshape(-1, 1)
    every = np.arange(len(ids))
    split = Split(lengths, Entries(every, lengths.copy(), np.zeros_like(every)), horizon)
    panel = Panel(
        joined,
        offsets,
        np.zeros(len(ids), np.int64),
        made_up(_frequency(train, options), options.start, int((lengths + horizon).max())),
        ids,
        has_timestamps=options.start is not None,
    )
    return Read(panel, "M4 pair", str(train), split)


def _frequency(path: Path, options: Options) -> str:
    found = options.freq or next((freq for word, freq in FREQUENCIES.items() if word in path.name.lower()), None)
    if found is None:
        raise DataError(f"{path}: the name tells no frequency (Hourly, Daily, ...); state --freq")
    return normal(found)


def _rows(path: Path, options: Options) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Ids, values [points, 1] without the empty cells at the rows' ends, and int64 lengths."""
    top = head(path)
    names = top.rows[0]
    types = {name: pa.float64() for name in names[1:]} | {names[0]: pa.string()}
    ids: list[str] = []
    lengths = []
    values = Buffer(1, np.float64, max(1, path.stat().st_size // 8), options.memory_limit)
    for batch in csv_batches(path, top, names, types):
        matrix = np.stack([batch.column(i).to_numpy(zero_copy_only=False) for i in range(1, len(names))], axis=1)
        valid = ~np.isnan(matrix)
        length = np.where(valid.any(axis=1), matrix.shape[1] - valid[:, ::-1].argmax(axis=1), 0)
        values.append(matrix[np.arange(matrix.shape[1]) < length[:, None]][:, None])
        names_read = [as_text(cell) for cell in batch.column(0).to_pylist()]
        if None in names_read:
            raise DataError(
                f"{path}, row {len(ids) + names_read.index(None) + 2}, column {names[0]}: the cell is empty"
            )
        ids += [str(name) for name in names_read]
        lengths.append(length.astype(np.int64))
    if not ids:
        raise DataError(f"{path}: no rows")
    return ids, values.finish(), np.concatenate(lengths)
