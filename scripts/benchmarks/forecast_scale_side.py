"""One task of the forecasting benchmark at size, in a process of its own. Writes one JSON object.

python -m benchmarks.forecast_scale_side write-traffic|traffic|write-many|many --folder FOLDER --output FILE ...
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.forecast_run import peak

BATCH, SAMPLES = 128, 100
SERIES, HOURS, HORIZON, WINDOWS = 862, 17_544, 24, 7
POINTS = 200


def write_traffic(options: argparse.Namespace) -> dict[str, Any]:
    """A matrix in traffic's form: shares of a road's capacity by the hour, with days, weeks and noise."""
    import pyarrow as pa
    from pyarrow import csv

    random = np.random.default_rng(0)
    hour = np.arange(HOURS)
    columns = {}
    for number in range(SERIES):
        level, peak_hour = random.uniform(0.01, 0.2), random.uniform(7, 19)
        day = 1 + np.cos(2 * np.pi * (hour - peak_hour) / 24)
        week = np.where(hour // 24 % 7 >= 5, 0.5, 1.0)
        columns[str(number)] = np.round(level * (0.3 + day * week) * random.lognormal(0, 0.1, HOURS), 4)
    file = options.folder / "traffic.txt"
    csv.write_csv(pa.table(columns), file, csv.WriteOptions(include_header=False))
    return {"file_bytes": file.stat().st_size}


def write_many(options: argparse.Namespace) -> dict[str, Any]:
    """Days of many short series, as long Parquet and long CSV."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    random, block = np.random.default_rng(0), 1000
    days = np.datetime64("2024-01-01", "s") + np.arange(POINTS) * np.timedelta64(1, "D")
    schema = pa.schema([("item_id", pa.string()), ("timestamp", pa.timestamp("s")), ("target", pa.float64())])
    written = 0
    with (
        parquet.ParquetWriter(options.folder / "many.parquet", schema) as packed,
        csv.CSVWriter(options.folder / "many.csv", schema) as plain,
    ):
        for first in range(0, options.series, block):
            count = min(block, options.series - first)
            walks = random.normal(size=(count, POINTS)).cumsum(axis=1) + 100
            names = np.repeat([f"item-{number:06d}" for number in range(first, first + count)], POINTS)
            columns = [pa.array(names), pa.array(np.tile(days, count)), pa.array(walks.round(3).reshape(-1))]
            table = pa.table(columns, schema=schema)
            packed.write_table(table)
            plain.write_table(table)
            written += table.nbytes
    return {"points": options.series * POINTS, "table_bytes": written}


def traffic(options: argparse.Namespace) -> dict[str, Any]:
    """Reading, an epoch, the back-test, and a batch's products."""
    import torch

    from benchmarks import arithmetic, forecast_products
    from recipes.distributed.device import keep_memory
    from recipes.forecast.forecasting import ForecastRequest
    from recipes.forecast.networks import Opened
    from recipes.forecast.testing import measure
    from tasks.forecast.data import Options, load
    from tasks.forecast.models import past_length
    from tasks.forecast.panel import Entries
    from tasks.forecast.sampling import draw
    from tasks.forecast.windows import Windows

    keep_memory()
    began = time.perf_counter()
    loaded = with_items(load(Options("traffic", data_file=str(options.folder / "traffic.txt"))))
    found: dict[str, Any] = {"load_seconds": time.perf_counter() - began, "description": loaded.description}
    model, train_seconds = train(loaded, options.steps, 2 * HORIZON)
    found |= {"train_seconds": train_seconds, "train_peak_bytes": peak(), "batch": BATCH}
    model.eval()
    test: Entries = loaded.test.part(slice(0, options.entries or len(loaded.test)))
    asked = ForecastRequest(loaded.panel, test, HORIZON, SAMPLES, BATCH, 0, torch.device("cpu"))
    tested = measure([Opened("transformer", model)], asked, 24, show=False)
    found["test"] = {"entries": len(test), **{f"{name}_seconds": value for name, value in tested.seconds.items()}}
    found["test_peak_bytes"] = peak()
    windows = Windows(loaded.panel, past_length=past_length(model), prediction_length=HORIZON)
    part = test.part(slice(0, BATCH))
    batch = windows.take(part.series, part.origin, future=False)

    def forecast() -> None:
        draw(model, batch, SAMPLES, torch.Generator().manual_seed(0))

    config = model.config
    head = config.d_model // config.decoder_attention_heads
    products = forecast_products.record(forecast)
    inner = forecast_products.self_attention(
        len(part), SAMPLES, HORIZON, config.decoder_layers, config.decoder_attention_heads, head
    )
    batches = len(test) / len(part)
    found["products"] = {
        "seconds": batches * arithmetic.seconds_alone(products),
        "self_attention_seconds": batches * arithmetic.seconds_alone(inner),
        "gflop": batches * arithmetic.flops(products) / 1e9,
        "shapes": [[left.shape, right.shape, count] for (left, right), count in products.most_common()],
    }
    found["profile"] = arithmetic.profile(forecast, 1, 10)
    return found


def many(options: argparse.Namespace) -> dict[str, Any]:
    """Reading and a few steps."""
    found: dict[str, Any] = {}
    import torch  # noqa: F401 - what the imports take is told apart

    from recipes.distributed.device import keep_memory
    from tasks.forecast.data import Options, load
    from tasks.forecast.models import build  # noqa: F401

    keep_memory()
    found["start_bytes"] = peak()
    began = time.perf_counter()
    loaded = load(Options(str(options.file), prediction_length=14))
    found |= {"load_seconds": time.perf_counter() - began, "load_peak_bytes": peak()}
    _, found["train_seconds"] = train(loaded, options.steps, 28)
    return found | {"steps": options.steps, "description": loaded.description}


def with_items(loaded: Any) -> Any:
    """Each series as its own category."""
    import dataclasses

    from recipes.forecast.data import with_item_category

    return dataclasses.replace(loaded, panel=with_item_category(loaded.panel))


def train(loaded: Any, steps: int, context: int) -> tuple[Any, float]:
    """A Transformer of the posts' size after so many steps, and their seconds."""
    import torch

    from tasks.forecast.calendar import lags_for, time_features
    from tasks.forecast.models import Spec, build, losses, past_length
    from tasks.forecast.origins import Origins
    from tasks.forecast.windows import Windows

    panel, horizon = loaded.panel, loaded.prediction_length
    lags = tuple(lag for lag in lags_for(panel.calendar.freq) if context + lag < int(panel.lengths.min()))
    spec = Spec(
        kind="transformer",
        prediction_length=horizon,
        context_length=context,
        lags=lags,
        num_time_features=len(time_features(panel.calendar.freq)) + 1,
        cardinality=tuple(len(names) for names in panel.category_names),
    )
    model = build(spec, 0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    windows = Windows(panel, past_length=past_length(model), prediction_length=horizon)
    origins = Origins(loaded.train_ends, context_length=context, prediction_length=horizon)
    began = time.perf_counter()
    for numbers in origins.batches(seed=0, epoch=0, batch_size=BATCH, count=steps):
        loss = losses(model, windows.take(*origins.locate(numbers))).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return model, time.perf_counter() - began


TASKS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "write-traffic": write_traffic,
    "traffic": traffic,
    "write-many": write_many,
    "many": many,
}


def main() -> None:
    """Runs the task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--file", type=Path)
    parser.add_argument("--series", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--entries", type=int, default=0)
    options = parser.parse_args()
    options.output.write_text(json.dumps(TASKS[options.task](options)), encoding="utf-8")


if __name__ == "__main__":
    main()
