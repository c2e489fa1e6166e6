"""What the tool's side of the forecasting benchmark spends a part's time on. Writes one JSON object.

python -m benchmarks.forecast_profile --set S --file FILE --kind K --model FOLDER --part train|sample|metrics --output FILE
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import arithmetic
from benchmarks.forecast_ours import Ours
from benchmarks.forecast_run import Clock, Run
from benchmarks.forecast_sets import SAMPLES, by_name

ROWS = 10
STEPS = 8


def operators(call: Callable[[], Any]) -> list[tuple[str, float, int]]:
    """torch's operators with the largest shares of the time spent in themselves."""
    return arithmetic.profile(call, 1, ROWS)


def functions(call: Callable[[], Any]) -> list[tuple[str, float, int]]:
    """Python's functions with the largest shares of the time spent in themselves."""
    profiler = cProfile.Profile()
    profiler.runcall(call)
    stats: Any = pstats.Stats(profiler)
    rows = sorted(stats.stats.items(), key=lambda row: -row[1][2])[:ROWS]
    return [(f"{Path(key[0]).name}:{key[2]}", row[2] / stats.total_tt, row[1]) for key, row in rows]


def main() -> None:
    """Writes the time and the heaviest operators or functions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", required=True)
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--kind", required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--part", required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    side = Ours(Run(by_name(options.set), options.file, options.kind, options.model))
    samples = np.zeros((len(side.loaded.test), SAMPLES, side.set.horizon), np.float32)
    calls: dict[str, Callable[[], Any]] = {
        "train": lambda: side.train(STEPS, Clock()),
        "sample": lambda: side.sample(side.set.entries),
        "metrics": lambda: side.score(samples),
    }
    call = calls[options.part]
    call()
    began = time.perf_counter()
    call()
    seconds = time.perf_counter() - began
    top = (functions if options.part == "metrics" else operators)(call)
    options.output.write_text(json.dumps({"seconds": seconds, "top": top}), encoding="utf-8")


if __name__ == "__main__":
    main()
