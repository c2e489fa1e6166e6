"""Files of a back-test: forecasts.parquet, metrics.json, scores.json."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recipes.forecast import testing
from recipes.forecast.testing import BacktestResult
from recipes.forecast.verdict import verdict_dict
from recipes.runs import scores
from tasks.files import write_json, writing
from tasks.forecast.data import Loaded
from tasks.forecast.panel import Entries, Panel
from tasks.forecast.score.scale import actual_rows, row_keys
from tasks.forecast.score.scores import Forecasts

FORECASTS, METRICS = "forecasts.parquet", "metrics.json"
# Entries whose rows are held as a table at once.
_PIECE = 2048


def forecast_frame(panel: Panel, entries: Entries, found: Forecasts, *, actual: bool) -> pd.DataFrame:
    """A long table, a row for each step of each dimension of each entry: item_id, target, window, timestamp, step, actual, median,
    mean, and each quantile under its level."""
    steps = found.horizon
    columns = _keys(panel, entries, steps)
    columns["step"] = np.tile(np.arange(1, steps + 1), len(entries) * panel.dims)
    if actual:
        columns["actual"] = actual_rows(panel, entries, steps).reshape(-1)
    return pd.DataFrame({**columns, **found.columns()})


def _keys(panel: Panel, entries: Entries, steps: int) -> dict[str, Any]:
    """Whose value each row of a long table is, and when: item_id, target, window, timestamp."""
    dims, count = panel.dims, len(entries)
    ids = np.asarray(panel.item_ids, dtype=object)[entries.series]
    columns: dict[str, Any] = {"item_id": np.repeat(ids, dims * steps)}
    if dims > 1:
        columns["target"] = np.tile(np.repeat(np.asarray(panel.target_names, dtype=object), steps), count)
    columns["window"] = np.repeat(entries.window, dims * steps)
    at = (panel.starts[entries.series] + entries.origin)[:, None] + np.arange(steps)
    calendar = panel.calendar.timestamps(0, int(at.max(initial=0)) + 1)
    columns["timestamp"] = calendar.take(np.repeat(at, dims, axis=0).reshape(-1))  # in the data's time zone
    return columns


def write_forecasts(path: Path, tested: BacktestResult) -> None:
    """forecasts.parquet: the long table of every model, the model's name first, and last whether a window was seen in training
    (empty where that isn't on record). The same forecasts give the same bytes.

    Raises:
        OutOfDisk: no room for it.
    """
    dims = tested.panel.dims

    def frames() -> Iterator[pd.DataFrame]:
        for name, view in ((name, view) for name in tested.forecasts for view in tested.views):
            for first in range(0, len(view.entries), _PIECE):
                part = slice(first, first + _PIECE)
                rows = slice(first * dims, (first + _PIECE) * dims)
                found = view.forecasts[name].part(rows)
                frame = forecast_frame(view.panel, view.entries.part(part), found, actual=True)
                frame.insert(0, "model", name)
                frame["seen"] = pd.array([view.seen] * len(frame), dtype="boolean")
                yield frame

    _write_frames(path, frames())


def write_samples(
    path: Path, panel: Panel, pieces: Iterable[tuple[Entries, list[bool | None], dict[str, np.ndarray]]]
) -> None:
    """samples.parquet: for each entry (and dimension) and step of each model its sample paths' values, as a list of float32, and
    whether its window was seen in training."""
    frames = (
        _sample_frame(panel, entries, seen, name, values)
        for entries, seen, samples in pieces
        for name, values in samples.items()
    )
    _write_frames(path, frames)


def _write_frames(path: Path, frames: Iterable[pd.DataFrame]) -> None:
    """Tables of the same columns one after the other in a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with writing(path, "wb") as file:
        writer: Any = None
        for frame in frames:
            table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
            writer = writer or pq.ParquetWriter(file, table.schema, compression="zstd")
            writer.write_table(table)
        if writer is not None:
            writer.close()


def _sample_frame(
    panel: Panel, entries: Entries, seen: list[bool | None], name: str, values: np.ndarray
) -> pd.DataFrame:
    paths = values[..., None] if values.ndim == 3 else values
    columns = {"model": name, **_keys(panel, entries, values.shape[2])}
    columns["samples"] = list(paths.transpose(0, 3, 2, 1).reshape(-1, paths.shape[1]))
    columns["seen"] = pd.array(seen, dtype="boolean").repeat(panel.dims * values.shape[2])
    return pd.DataFrame(columns)


def write_all(folder: Path, tested: BacktestResult, data: dict[str, Any]) -> None:
    """The files of a back-test: forecasts, metrics, and the scores of each series for `tool runs compare`."""
    with testing.phase(tested.seconds, "write"):
        write_forecasts(folder / FORECASTS, tested)
        write_json(folder / METRICS, {"data": data, **testing.figures(tested), "verdict": verdict_dict(tested)})
        found = per_series(tested, data)
        if found is not None:
            scores.write(folder, found)


def data_facts(loaded: Loaded, test: Entries, horizon: int, revision: str | None) -> dict[str, Any]:
    """What figures are of."""
    return {
        "name": loaded.name,
        "revision": revision,
        "frequency": loaded.panel.calendar.freq,
        **({"time_zone": loaded.panel.calendar.zone} if loaded.panel.calendar.zone else {}),
        "series": len(loaded.panel),
        "windows": int(test.window.max(initial=-1)) + 1,
        "horizon": horizon,
    }


def per_series(tested: BacktestResult, data: dict[str, Any]) -> scores.Scores | None:
    """The best model's MASE of each series, for comparing runs; a series is known by its name and what came true.

    None of windows that were seen in training, which say nothing of how runs compare.
    """
    if tested.seen:
        return None
    found = tested.scores[tested.best]
    mase = found.per_series["mase"]
    known = np.flatnonzero(~np.isnan(mase))
    if not len(known):
        return None
    panel = tested.panel
    names = [series_name(panel, int(number)) for number in found.series]
    actual = actual_rows(panel, tested.entries, tested.horizon)
    keys, _ = row_keys(panel, tested.entries)
    order = np.argsort(keys, kind="stable")
    parts = np.split(actual[order], np.searchsorted(keys[order], found.series)[1:])
    return scores.Scores(
        metric="mase",
        greater_is_better=False,
        data=data,
        ids=[names[number] for number in known],
        scores=[float(mase[number]) for number in known],
        groups=[names[number] for number in known],
        contents=[scores.digest(np.nan_to_num(parts[number]).round(9).tolist()) for number in known],
        unit="",
    )


def series_name(panel: Panel, number: int) -> str:
    """The name of a row's series, numbered series * dims + dimension."""
    item = str(panel.item_ids[number // panel.dims])
    return item if panel.dims == 1 else f"{item} {panel.target_names[number % panel.dims]}"
