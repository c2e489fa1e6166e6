"""`tool predict forecast`: forecasts of the steps after the end of the data."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recipes.distributed.device import pick_device, silence
from recipes.forecast.config import Predict
from recipes.forecast.data import notes, open_for
from recipes.forecast.forecasting import ENSEMBLE, over
from recipes.forecast.networks import open_models, place
from recipes.forecast.outputs import forecast_frame
from recipes.forecast.setup import choose_horizon, forecast_request, named
from recipes.terminal.progress import Progress, print_line
from recipes.terminal.tables import table
from tasks.errors import ConfigError, DataError
from tasks.files import write_text, writing
from tasks.forecast.checks import check_future, find_silent, next_steps
from tasks.forecast.data import Loaded
from tasks.forecast.models import spec_of
from tasks.forecast.panel import Entries, Panel
from tasks.forecast.score import summary

SHOWN = ("timestamp", "0.1", "median", "0.9", "mean")
ROWS = 20


def predict(config: Predict) -> dict[str, Any]:
    """Forecasts what comes after each series' end; returns the rows and the text to print.

    Raises:
        ConfigError: a baseline for a model, data that don't fit.
        DataError: covariates that end before the horizon; a series without a value in the context.
    """
    silence()
    if config.inputs:
        if len(config.inputs) > 1:
            raise ConfigError(f"give one data set, found {len(config.inputs)}: {', '.join(config.inputs)}")
        config = dataclasses.replace(config, data=config.inputs[0])
    models = open_models(config.model, config.output_dir, config.revision, config.token)
    if any(model.network is None for model in models):
        raise ConfigError("--model: give trained models; the baselines are for tool backtest")
    config = named(config, models, models[0])
    horizon = choose_horizon(config, models)
    loaded = open_for(config, models, horizon=horizon, windows=0)
    assert horizon is not None
    context = min(spec_of(model.network).context_length for model in models)
    loaded = _without_silent(loaded, context, config.skip_bad)
    panel = loaded.panel
    check_future(panel, horizon)
    print_line(f"forecast · {', '.join(model.name for model in models)} · {loaded.description}")
    for line in notes(loaded):
        print_line(line)
    count = len(panel)
    entries = Entries(np.arange(count), next_steps(panel), np.zeros(count, dtype=np.int64))
    device = pick_device(config.cpu, config.threads)
    place(models, device)
    request = forecast_request(config, panel, entries, horizon, device)
    ensemble = "mean" if config.ensemble == "none" else config.ensemble
    request = dataclasses.replace(request, ensemble=ensemble, scored=False)
    name = ENSEMBLE if len(models) > 1 else models[0].name
    with Progress("forecasting", count, unit="series") as progress:
        parts = []
        for piece in over(models, request):
            parts.append(piece.forecasts[name])
            progress.advance(piece.part.stop - piece.part.start)
    frame = forecast_frame(panel, entries, summary.concatenate(parts), actual=False).drop(columns="window")
    return present(config, frame)


def _without_silent(loaded: Loaded, context: int, skip: bool) -> Loaded:
    """The data without the series that have no value in the context before their forecast.

    Raises:
        DataError: there are any, unless they are to be skipped.
    """
    panel: Panel = loaded.panel
    silent = find_silent(panel, next_steps(panel), context)
    if not len(silent):
        return loaded
    first = int(silent[0])
    what = f"{len(silent):,} of {len(panel):,} series have no value in the {context} steps before their forecast"
    if not skip or len(silent) == len(panel):
        raise DataError(
            f"{loaded.name}: {what} (the first: {panel.item_ids[first]}): there is nothing to go on from; give their last values, or "
            "leave such series out with --skip-bad"
        )
    end = panel.ends.max()
    rest = panel.select(np.setdiff1d(np.arange(len(panel)), silent))
    if rest.one_end and rest.ends.max() < end:
        raise DataError(
            f"{loaded.name}: {what}, those with the table's last values among them; cut the table where they end"
        )
    return dataclasses.replace(loaded, panel=rest, skipped=[*loaded.skipped, f"{what}: left out"])


def present(config: Predict, frame: pd.DataFrame) -> dict[str, Any]:
    """The file that was asked for, or the rows themselves."""
    series = frame["item_id"].nunique()
    if config.output:
        write_frame(Path(config.output), frame)
        text = f"{len(frame):,} rows ({series:,} series) written to {config.output}"
        return {"predictions": {"output": config.output, "rows": len(frame), "series": series}, "text": text}
    rows = json.loads(written_out(frame).to_json(orient="records", date_format="iso", double_precision=15))
    head = frame.head(ROWS)
    shown = ["item_id", *(["target"] if "target" in frame else []), *SHOWN]
    text = table(shown, [[_cell(row[name]) for name in shown] for _, row in head.iterrows()])
    if len(frame) > ROWS:
        text += f"\nthe first {ROWS} of {len(frame):,} rows; all of them: --output future.csv, .parquet or .jsonl, or --json"
    return {"predictions": rows, "text": text}


def write_frame(path: Path, frame: pd.DataFrame) -> None:
    """By the file's ending, whole or not at all."""
    if path.suffix == ".parquet":
        with writing(path, "wb") as file:
            frame.to_parquet(file, index=False)
    elif path.suffix == ".csv":
        write_text(path, frame.to_csv(index=False))
    else:
        write_text(
            path, written_out(frame).to_json(orient="records", lines=True, date_format="iso", double_precision=15)
        )


def written_out(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with time stamps of a zone as ISO 8601 writes them, with their offset, which pandas turns into UTC."""
    stamps = frame["timestamp"]
    if getattr(stamps.dtype, "tz", None) is None:
        return frame
    return frame.assign(timestamp=[stamp.isoformat() for stamp in stamps])


def _cell(value: Any) -> Any:
    return float(value) if isinstance(value, float) else str(value)
