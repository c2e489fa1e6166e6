"""How a side of the forecasting benchmark is run: the parts asked for, one after the other, timed; its figures as JSON.

    python forecast_peer.py --set exchange_rate --file F --kind informer --model FOLDER --parts train sample ... --output FILE

A side has the methods train, save, load, sample and score of `Side`.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmarks.forecast_sets import Set, by_name

PARTS = ("train", "sample", "metrics")


@dataclass(frozen=True)
class Run:
    """What a side is given."""

    set: Set
    file: Path
    kind: str
    model: Path


@dataclass
class Clock:
    """When each step ended, in seconds of `time.perf_counter`."""

    ends: list[float] = field(default_factory=list)

    def tick(self) -> None:
        """A step has ended."""
        self.ends.append(time.perf_counter())

    @property
    def seconds(self) -> float:
        """From the end of the first step to that of the last."""
        return self.ends[-1] - self.ends[0]


class Side(Protocol):
    """What both sides can do."""

    def train(self, steps: int, clock: Clock) -> list[float]:
        """Takes so many steps, ticking after each, and returns their losses."""

    def save(self, folder: Path) -> None:
        """Keeps the trained weights."""

    def load(self, folder: Path) -> None:
        """Takes weights to forecast with."""

    def sample(self, most: int) -> np.ndarray:
        """float32 [entries, samples, horizon] of at most so many test entries, evenly spread."""

    def score(self, samples: np.ndarray) -> dict[str, Any]:
        """Seconds, mase and smape of all test entries' samples, the times taken by the side itself."""


def serve(make: Callable[[Run], Side]) -> None:
    """The command line of a side."""
    options = parse()
    run = Run(by_name(options.set), options.file, options.kind, options.model)
    found: dict[str, Any] = {"start_bytes": peak()}
    began = time.perf_counter()
    side = make(run)
    found["load_seconds"] = time.perf_counter() - began
    if options.steps and "train" in options.parts:
        found["train"] = train(side, options.steps)
    if "sample" in options.parts:
        # The first of all runs leaves the weights that every run forecasts with.
        if not (options.trained / "config.json").exists():
            side.save(options.trained)
        side.load(options.trained)
        found["sample"] = sample(side, options.entries, options.seed, options.draws)
    if "metrics" in options.parts:
        found["metrics"] = {**side.score(np.load(options.samples)), "peak_bytes": peak()}
    options.output.write_text(json.dumps(found), encoding="utf-8")


def train(side: Side, steps: int) -> dict[str, Any]:
    """The first step apart: it carries the setting up."""
    began, clock = time.perf_counter(), Clock()
    losses = side.train(steps, clock)
    return {
        "first_seconds": clock.ends[0] - began,
        "seconds": clock.seconds,
        "steps": steps - 1,
        "losses": losses,
        "peak_bytes": peak(),
    }


def sample(side: Side, entries: int, seed: int, draws: Path) -> dict[str, Any]:
    """One entry first, untimed; what is drawn goes to `draws`."""
    import torch

    torch.manual_seed(seed)
    side.sample(1)
    began = time.perf_counter()
    drawn = side.sample(entries)
    seconds = time.perf_counter() - began
    np.save(draws, drawn)
    return {"seconds": seconds, "entries": len(drawn), "peak_bytes": peak()}


def peak() -> int:
    """The largest resident size of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", required=True)
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--kind", required=True)
    parser.add_argument("--model", type=Path, required=True, help="folder with the weights that both sides start from")
    parser.add_argument(
        "--trained", type=Path, required=True, help="folder with the weights that both sides forecast with"
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, required=True)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--entries", type=int, required=True)
    parser.add_argument("--samples", type=Path, help="npy of samples to score, of every test entry")
    parser.add_argument("--draws", type=Path, help="where to write what is drawn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    return parser.parse_args()
