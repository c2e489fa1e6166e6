"""Forecasting at size: an epoch and a back-test of traffic's size, and 100,000 short series, in seconds and peak memory.

`traffic`: 862 series of 17,544 hours, generated; the back-test is of 7 windows of 24 hours, 100 samples, and its forecasting is set
beside the model's own matrix products. `many`: 100,000 series of 200 points, from Parquet and from CSV. `--only` takes either.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.common import Options, describe_machine, machine, megabytes, run, say, settle

PARTS = ("traffic", "many")
PRODUCTS_TARGET = 3.0
MEMORY_TARGET = 3.0


def bench(options: Options) -> dict[str, Any]:
    """Runs the parts and prints their figures."""
    parts = [part for part in PARTS if part in options.only] or ([] if options.only else PARTS)
    found: dict[str, Any] = {"machine": machine()}
    if not parts:
        return found
    say(describe_machine(found["machine"]))
    for part in parts:
        work = options.work / f"forecast-{part}"
        settle(work)
        found[part] = {"traffic": bench_traffic, "many": bench_many}[part](options, work)
        if not options.keep:
            settle(work)
    return found


def side(work: Path, task: str, *arguments: Any) -> dict[str, Any]:
    """Runs a task of `forecast_scale_side` in a process of its own; its figures with the process's peak."""
    output = work / f"{task}.json"
    command = [sys.executable, "-m", "benchmarks.forecast_scale_side", task, "--output", output, *arguments]
    process = run([str(part) for part in command], work / "side")
    figures: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    return figures | {"peak_bytes": process.peak_bytes, "private_bytes": process.private_bytes}


def at_most(value: float, target: float) -> str:
    """A target that a figure may not be above, and whether it was met."""
    return f"target at most {target:g}: {'met' if value <= target else 'missed'}"


def bench_traffic(options: Options, work: Path) -> dict[str, Any]:
    """An epoch, a back-test, and its products."""
    steps, entries = (options.steps or 4, 64) if options.quick else (options.steps or 100, 0)
    made = side(work, "write-traffic", "--folder", work)
    found = side(work, "traffic", "--folder", work, "--steps", steps, "--entries", entries)
    test, products = found["test"], found["products"]
    share = test["forecast_seconds"] / products["seconds"]
    whole = test["forecast_seconds"] / (products["seconds"] + products["self_attention_seconds"])
    say(f"\nforecast-scale traffic: {found['description']}, file {megabytes(made['file_bytes'])}")
    say(f"  read and checked                {found['load_seconds']:.1f} s")
    say(
        f"  an epoch of {steps} steps of {found['batch']}      {found['train_seconds']:.1f} s, "
        f"{steps * found['batch'] / found['train_seconds']:.0f} windows/s · peak memory so far {megabytes(found['train_peak_bytes'])}"
    )
    say(
        f"  back-test, {test['entries']:,} forecasts      {test['forecast_seconds']:.1f} s forecasting "
        f"({test['entries'] / test['forecast_seconds']:.1f} windows/s), {test['score_seconds']:.1f} s scoring · peak memory "
        f"{megabytes(found['peak_bytes'])}"
    )
    say(
        f"  forecasting over the products that it calls   {share:.2f} · {at_most(share, PRODUCTS_TARGET)} "
        f"({products['seconds']:.2f} s, {products['gflop']:.1f} GFLOP)"
    )
    say(
        f"    and the decoder's self-attention's          {whole:.2f} · {at_most(whole, PRODUCTS_TARGET)} "
        f"({products['self_attention_seconds']:.2f} s more; the tool has these as sums along samples)"
    )
    for name, part, calls in found["profile"]:
        say(f"  {100 * part:5.1f} %  {name} ({calls} calls)")
    return {"made": made, **found, "over_products": share, "over_all_products": whole}


def bench_many(options: Options, work: Path) -> dict[str, Any]:
    """Reading and a few steps, from each format."""
    series = 10_000 if options.quick else 100_000
    made = side(work, "write-many", "--folder", work, "--series", series)
    found: dict[str, Any] = {"made": made}
    values = 8 * made["points"]
    say(f"\nforecast-scale many: {series:,} series of 200 points, {megabytes(values)} of values")
    for name in ("parquet", "csv"):
        file = work / f"many.{name}"
        one = side(work, "many", "--folder", work, "--file", file, "--steps", options.steps or 5)
        above = one["peak_bytes"] - one["start_bytes"]
        ratios = [one["peak_bytes"] / size for size in (values, made["table_bytes"], file.stat().st_size)]
        say(
            f"  {name:<8} {megabytes(file.stat().st_size)} read in {one['load_seconds']:.1f} s, {one['steps']} steps in "
            f"{one['train_seconds']:.1f} s · peak memory {megabytes(one['peak_bytes'])} ({megabytes(one['start_bytes'])} of it imports)"
        )
        say(
            f"           above the imports, over the values {above / values:.2f} · {at_most(above / values, MEMORY_TARGET)} · "
            f"the whole over the values {ratios[0]:.2f}, over the table of item, time and value {ratios[1]:.2f}, over the file "
            f"{ratios[2]:.2f}"
        )
        found[name] = {**one, "over_values": ratios[0], "above_imports": above / values}
    return found
