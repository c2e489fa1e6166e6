"""A GluonTS folder: metadata.json, train/ and test/, with the test that its writer made."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.cells import as_text
from tasks.errors import DataError
from tasks.forecast.panel import Entries
from tasks.forecast.readers import lines, records
from tasks.forecast.readers.source import Options, Read, Split
from tasks.forecast.readers.tables import plain_suffix


def looks_like(folder: Path) -> bool:
    return (folder / "train").is_dir() and bool(_files(folder / "train"))


def read_folder(folder: Path, options: Options) -> Read:
    """The series of the test where there is one, else those of the training part.

    A test record forecasts its last steps; those of one series, however many, are the windows of the test.

    Raises:
        DataError: test records that do not go on where a training series ends, or end in it.
    """
    metadata = _metadata(folder)
    options = replace(options, freq=options.freq or metadata.get("freq"))
    horizon = options.prediction_length or metadata.get("prediction_length")
    train = _records(folder / "train")
    trained = records.read(train, options, str(folder / "train"), "GluonTS folder")
    if not (folder / "test").is_dir() or horizon is None:
        return trained
    longest, series, lengths = _test(folder / "test", trained.panel.item_ids)
    whole = records.read(longest, options, str(folder / "test"), "GluonTS folder")
    _check_same_start(trained, whole)
    origin = lengths - int(horizon)
    before = trained.panel.lengths
    early = np.flatnonzero(origin < before[series])
    if len(early):
        at = int(early[0])
        raise DataError(
            f"{folder / 'test'}, row {at + 1}: series {whole.panel.item_ids[series[at]]} has {lengths[at]} steps, the training part "
            f"{before[series[at]]}: a horizon of {horizon} is beyond the test data; lower --prediction-length"
        )
    # The order of the file; the n-th record of a series is in the n-th window.
    window = pd.Series(series).groupby(series).cumcount().to_numpy()
    order = np.argsort(window, kind="stable")
    whole.split = Split(before, Entries(series[order], origin[order], window[order]), int(horizon))
    return whole


def _metadata(folder: Path) -> dict[str, Any]:
    for place in (folder / "metadata.json", folder / "metadata" / "metadata.json"):
        if place.is_file():
            try:
                found = json.loads(place.read_text(encoding="utf-8"))
            except (UnicodeDecodeError, json.JSONDecodeError) as error:
                raise DataError(f"{place}: not JSON ({error})") from error
            if isinstance(found, dict):
                return found
    return {}


def _files(folder: Path) -> list[Path]:
    return [
        path for path in sorted(folder.iterdir()) if plain_suffix(path) in lines.LINES and not path.name.startswith(".")
    ]


def _records(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    return [found for path in _files(folder) for found in lines.parsed(path)]


def _test(folder: Path, ids: list[str]) -> tuple[list[tuple[str, dict[str, Any]]], np.ndarray, np.ndarray]:
    """(each series' longest record in the order of `ids`; series and length of every record)."""
    found = _records(folder)
    numbers = {name: number for number, name in enumerate(ids)}
    series, lengths = np.empty(len(found), np.int64), np.empty(len(found), np.int64)
    longest: dict[int, tuple[str, dict[str, Any]]] = {}
    for at, (where, record) in enumerate(found):
        name = as_text(record.get("item_id"))
        number = at % len(ids) if name is None else numbers.get(name)
        if number is None:
            raise DataError(f"{where}: series {name} is not in the training part")
        series[at], lengths[at] = number, _length(where, record)
        if number not in longest or lengths[at] > _length(*longest[number]):
            longest[number] = (where, {**record, "item_id": ids[number]})
    lost = next((name for number, name in enumerate(ids) if number not in longest), None)
    if lost is not None:
        raise DataError(f"{folder}: series {lost} of the training part is not there")
    return [longest[number] for number in range(len(ids))], series, lengths


def _length(where: str, record: dict[str, Any]) -> int:
    target = records.as_given(record["target"], where, "target")
    return len(target[0]) if len(target) and isinstance(target[0], list) else len(target)


def _check_same_start(trained: Read, whole: Read) -> None:
    """A training series must be the beginning of its test series."""
    one, other = trained.panel, whole.panel
    for number, name in enumerate(one.item_ids):
        values = one.series(number)
        if not np.array_equal(values, other.series(number)[: len(values)], equal_nan=True):
            raise DataError(f"{whole.source}: series {name} does not begin with the values of its training part")
