"""What checkpoints cost: a 350 MB model trained without any, with the tool's, and with those of the usual scripts, in turns."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

from benchmarks.common import (
    BenchmarkFailed,
    Options,
    describe_machine,
    machine,
    megabytes,
    run,
    say,
    settle,
    spread,
)

SIDE = Path(__file__).with_name("checkpoint_side.py")
WAYS = ("none", "tool", "accelerate")
EVERY_SECONDS = 60.0
RUN_SECONDS = 135.0
TARGET = 0.05


def bench(options: Options) -> dict[str, Any]:
    """Trains by each way on the same batches; the final weights must be the same to the bit."""
    about = machine()
    say("checkpoint: a 350 MB model in float32 with AdamW, a checkpoint a minute")
    say(describe_machine(about))
    trial = _side("none", 8, EVERY_SECONDS, options.work / "trial")
    per_step = trial["seconds"] / 7
    steps = options.steps or max(8, math.ceil((40.0 if options.quick else RUN_SECONDS) / per_step))
    every = min(EVERY_SECONDS, steps * per_step / 2.5)
    pairs = options.pairs or (1 if options.quick else 3)
    say(
        f"model     {megabytes(trial['model_bytes'])}, {steps} steps of {per_step:.2f} s, a checkpoint each {every:.0f} s"
    )
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for pair in range(pairs):
        # Turned round from pair to pair, so that no way always runs first.
        for way in WAYS[pair % len(WAYS) :] + WAYS[: pair % len(WAYS)]:
            found[way].append(_side(way, steps, every, options.work / f"{way}-{pair}"))
            done = found[way][-1]
            say(f"  {way:<11} {done['seconds']:.1f} s, {len(done['saved'])} checkpoints")
    digests = {done["weights"] for runs in found.values() for done in runs}
    if len(digests) > 1:
        raise BenchmarkFailed("the ways end with different weights; saving must not change training")
    if any(not done["saved"] for way in WAYS[1:] for done in found[way]):
        raise BenchmarkFailed("a run saved no checkpoint; give more --steps")
    costs = {
        way: [_cost(with_, without) for with_, without in zip(found[way], found["none"], strict=True)]
        for way in WAYS[1:]
    }
    say("all three end with the same weights to the bit")
    for way, values in costs.items():
        share = spread([100 * value for value in values])
        say(f"{way:<11} a checkpoint a minute costs {share} % of the time")
    met = "met" if spread(costs["tool"]).median <= TARGET else "missed"
    say(f"target      at most {100 * TARGET:.0f} %: {met}")
    return {"machine": about, "steps": steps, "every_seconds": every, "runs": found, "costs": costs}


def _cost(with_: dict[str, Any], without: dict[str, Any]) -> float:
    """The share of the time that a checkpoint a minute takes: the seconds that each cost, over 60."""
    return (with_["seconds"] - without["seconds"]) / len(with_["saved"]) / 60.0


def _side(way: str, steps: int, every: float, folder: Path) -> dict[str, Any]:
    settle(folder)
    output = folder / "result.json"
    run([sys.executable, SIDE, way, str(steps), str(every), output], folder)
    result: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    settle(folder)
    return result
