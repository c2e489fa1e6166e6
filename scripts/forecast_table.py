#!/usr/bin/env python3
"""Joins the back-tests that reproduce_forecast_table.sh left into one table in Markdown, on stdout."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

METRICS = ("mase", "wql", "smape")


def main(folder: Path, models: list[str]) -> None:
    """A table a data set: for each model the mean over seeds with the lowest and highest, and the ensemble of its seeds."""
    for data in ("exchange_rate", "m4_hourly"):
        found = {name: json.loads((folder / data / f"{name}.json").read_text()) for name in (*models, "all")}
        print(f"\n**{data}**, m {found['all']['m']}, horizon {found['all']['horizon']}\n")
        print("| | MASE (mean of seeds, lowest to highest) | wQL | sMAPE | MASE of the seeds' ensemble (95 %) |")
        print("|---|---|---|---|---|")
        for name in models:
            print(_row(name, found[name]["models"]))
        everything = found["all"]["models"]
        print(f"| all of these together | | | | {_interval(everything['ensemble'])} |")
        for name in ("naive", "seasonal-naive"):
            values = [everything[name]["overall"][metric]["value"] for metric in METRICS]
            print(f"| {name} | {values[0]:.4f} | {values[1]:.4f} | {values[2]:.4f} | |")


def _row(name: str, scores: dict[str, Any]) -> str:
    seeds = [one["overall"] for key, one in scores.items() if key not in ("ensemble", "naive", "seasonal-naive")]
    means = {metric: statistics.fmean(one[metric]["value"] for one in seeds) for metric in METRICS}
    mase = [one["mase"]["value"] for one in seeds]
    joined = _interval(scores["ensemble"]) if "ensemble" in scores else ""
    return (
        f"| {name} | {means['mase']:.4f} ({min(mase):.4f} to {max(mase):.4f}) | {means['wql']:.4f} | "
        f"{means['smape']:.4f} | {joined} |"
    )


def _interval(scores: dict[str, Any]) -> str:
    found = scores["overall"]["mase"]
    return f"{found['value']:.4f} ({found['low']:.4f} to {found['high']:.4f})"


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
