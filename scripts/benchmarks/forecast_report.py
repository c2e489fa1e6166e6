"""How the forecasting benchmark shows its figures."""

from __future__ import annotations

from typing import Any

from benchmarks.common import megabytes, say, spread, verdict
from benchmarks.forecast_sets import BATCH, KINDS, SAMPLES, ForecastRequest, Set

COLUMNS = "{:<12} {:<4} {:<5} {:>10} {:>9} {:>11} {:>9} {:>10} {:>9} {:>9}"
HEADINGS = (
    ("", "", "", "trained", "first", "forecast", "metrics,", "of it", "memory,", "of it"),
    ("model", "pair", "side", "windows/s", "step, s", "windows/s", "s", "bare, s", "peak", "imports"),
)
TARGETS = {"train": 3.0, "metrics": 100.0, "memory": 1.0}
SAMPLE_TARGETS = {"transformer": 15.0, "informer": 4.0, "autoformer": 15.0}
TITLES = {
    "train": "training, loading and stepping",
    "first step": "to the end of the first step",
    "sample": "forecasting",
    "metrics": "MASE and sMAPE of the medians",
    "metrics without evaluate": "  their bare arithmetic, past evaluate",
    "metrics, all of ours": "  beside samples to all scores and intervals",
    "memory": "peak memory",
}


def header(one: Set, asked: ForecastRequest) -> None:
    """What is run, and the table's head."""
    say(
        f"\nforecast {one.name}: horizon {one.horizon}, context {one.context}, {asked.steps} steps of {BATCH} windows, "
        f"{SAMPLES} samples, m {one.season}, float32, CPU"
    )
    for line in HEADINGS:
        say(COLUMNS.format(*line))


def row(number: int, kind: str, side: str, one: dict[str, Any]) -> None:
    """A side's run."""
    train, sample, metrics = one.get("train"), one.get("sample"), one.get("metrics")
    cells = (
        f"{BATCH * train['steps'] / train['seconds']:.0f}" if train else "",
        f"{train['first_seconds']:.2f}" if train else "",
        f"{sample['entries'] / sample['seconds']:.2f}" if sample else "",
        f"{metrics['seconds']:.4f}" if metrics else "",
        f"{metrics['alone_seconds']:.4f}" if metrics and "alone_seconds" in metrics else "",
        megabytes(one["peak_bytes"]),
        megabytes(one["start_bytes"]),
    )
    say(COLUMNS.format(kind, number + 1, "tool" if side == "ours" else side, *cells))


def target(kind: str, name: str) -> float | None:
    """The least ratio of a figure, where one was set."""
    return SAMPLE_TARGETS[kind] if name == "sample" else TARGETS.get(name)


def missed(kind: str, ratios: dict[str, list[float]]) -> list[str]:
    """The figures whose median lies below its target."""
    goals = {name: target(kind, name) for name in ratios}
    return [name for name, goal in goals.items() if goal is not None and spread(ratios[name]).median < goal]


def summary(kind: str, found: dict[str, Any]) -> None:
    """Ratios against their targets, and the agreement."""
    say(f"{kind}: peer / tool by pair, median (min, max); above 1 the tool takes less")
    for name, title in TITLES.items():
        if name in found["ratios"]:
            ratio, goal = spread(found["ratios"][name]), target(kind, name)
            say(f"  {title:<40} {ratio}" + (f" · {verdict(ratio.median, goal)}" if goal is not None else ""))
    agreement(found["pairs"][-1], found["checks"])


def agreement(pair: dict[str, Any], checks: dict[str, Any]) -> None:
    """The two results beside each other."""
    loss, apart = checks["loss"], max(checks["windows"].values())
    say(
        f"  same windows: at most {apart:.1e} apart; loss {loss['peer']:.6f} and {loss['tool']:.6f}, gradients "
        f"{loss['gradients_apart']:.1e} apart"
    )
    for name, one in checks.get("draws", {}).items():
        say(
            f"  samples: {name} {one['peer']:.4f} and {one['tool']:.4f}, {abs(one['peer'] - one['tool']) / one['standard_error']:.1f} "
            f"standard errors apart"
        )
    if "metrics" in pair["peer"]:
        peer, ours = pair["peer"]["metrics"], pair["ours"]["metrics"]
        say(
            f"  metrics: MASE {peer['mase']:.10f} and {ours['mase']:.10f} (called by evaluate {peer['mase_as_called']:.10f})"
        )


def profile(kind: str, part: str, found: dict[str, Any]) -> None:
    """What a part whose target was missed spends its time on."""
    say(f"  what {part} of {kind} is spent on ({found['seconds']:.3f} s):")
    for name, share, calls in found["top"]:
        say(f"  {100 * share:5.1f} %  {name} ({calls} calls)")


def closing(found: dict[str, Any]) -> None:
    """All targets that were missed, in one place."""
    models = [(name, kind, one) for name, kinds in found.items() for kind, one in kinds.items() if kind in KINDS]
    lines = [
        f"  {name} {kind}: {TITLES[what].strip()} {spread(one['ratios'][what])}, target {target(kind, what):g}"
        for name, kind, one in models
        for what in missed(kind, one["ratios"])
    ]
    say("\nmissed targets:" if lines else "\nall targets met")
    for line in lines:
        say(line)
