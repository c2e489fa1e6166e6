"""How the quantization benchmark shows its figures."""

from __future__ import annotations

import os
import statistics
from typing import Any

from benchmarks.common import megabytes, say, spread, verdict
from benchmarks.quantize_request import Request

# At most so much of the other's time; at least so many times as fast; at most so many bytes.
FLOAT_TARGET, PEER_TARGET, SCORE_TARGET, CALIBRATION_TARGET = 0.65, 0.75, 5.0, 1.5e9


def header(asked: Request) -> None:
    """What is run."""
    say(
        f"\nquantize: DistilBERT's size (67 M parameters), random weights, float32 to int8, CPU, {asked.threads} threads"
    )
    if os.getloadavg()[0] > 0.5:
        say("          something else runs here: what threads take that wait for each other then says little of a side")


def at_most(value: float, target: float) -> str:
    """A target that isn't to be passed, and whether it was."""
    return f"target at most {target:g}: {'met' if value <= target else 'missed'}"


def made(number: int, side: str, one: dict[str, Any]) -> None:
    """A side's export and quantization."""
    for name in ("export", "quantize"):
        found = one[name]
        say(
            f"make      pair {number + 1} · {side} · {name:<8} {found['wall_seconds']:6.1f} s in all, "
            f"{found['seconds']:5.1f} s without imports · peak {megabytes(found['peak_bytes'])}"
        )


def latency(found: dict[str, Any]) -> None:
    """Each graph, and our int8 graph's share of its time."""
    say("latency   batch 1 x 128: median ms (least); our int8's share of it, median of rounds (min, max)")
    targets = {"ours float": FLOAT_TARGET, "peer int8": PEER_TARGET}
    for name, rounds in found["milliseconds"].items():
        calls = [call for burst in rounds for call in burst]
        line = f"  {name:<14} {statistics.median(calls):7.1f} ({min(calls):.1f})"
        if name in found["ratios"]:
            share = spread(found["ratios"][name])
            line += f"   {share}" + (f" · {at_most(share.median, targets[name])}" if name in targets else "")
        say(line)


def scored(number: int, side: str, one: dict[str, Any]) -> None:
    """A side's pass over the dev set."""
    say(
        f"score     pair {number + 1} · {side} · {one['rows']} texts in {one['seconds']:.1f} s, "
        f"{one['rows'] / one['seconds']:.1f} a second · peak {megabytes(one['peak_bytes'])}"
    )


def agreed(found: dict[str, Any]) -> None:
    """The speed-up and the agreement."""
    faster = spread(found["speedup"])
    say(f"  peer / ours    {faster} · {verdict(faster.median, SCORE_TARGET)}")
    for names, one in found["agreement"].items():
        say(
            f"  {names:<24} {one['rows']} texts: logits {one['mean_difference']:.2g} apart on average, at most "
            f"{one['largest_difference']:.2g}; {100 * one['equal_answers']:.1f} % equal answers"
        )


def whole(found: dict[str, Any]) -> None:
    """One command beside three steps."""
    steps = found["peer"]
    seconds = sum(one["wall_seconds"] for one in steps.values())
    listed = " + ".join(f"{name} {one['wall_seconds']:.1f}" for name, one in steps.items())
    ours = found["ours"]
    say(f"whole     tool quantize {ours['wall_seconds']:.1f} s, peak {megabytes(ours['peak_bytes'])}")
    peak = max(one["peak_bytes"] for one in steps.values())
    say(f"          peer          {seconds:.1f} s ({listed}), peak {megabytes(peak)}")


def calibrated(method: str, one: dict[str, Any]) -> None:
    """A calibration method's memory."""
    say(
        f"calibrate {method:<10} {one['samples']} texts in {one['seconds']:.1f} s · peak {megabytes(one['peak_bytes'])} · "
        f"{at_most(one['peak_bytes'] / 1e6, CALIBRATION_TARGET / 1e6)} MB"
    )


def closing(found: dict[str, Any], asked: Request) -> None:
    """Export and quantization, ours beside the peer's."""
    if "make" not in asked.parts:
        return
    say("make      ours / peer by pair, median (min, max); below 1 the tool takes less")
    for name in ("export", "quantize"):
        for what, title in (("wall_seconds", "seconds"), ("seconds", "without imports"), ("peak_bytes", "peak memory")):
            share = spread([pair["ours"][name][what] / pair["peer"][name][what] for pair in found["make"]])
            say(f"  {name:<9} {title:<16} {share}" + (f" · {at_most(share.median, 1)}" if what == "peak_bytes" else ""))
