"""How the VQA benchmark shows its figures."""

from __future__ import annotations

from typing import Any

from benchmarks.common import megabytes, say, spread, verdict
from benchmarks.vqa_sides import Side, Size

COLUMNS = "{:<5} {:<6} {:>11} {:>9} {:>10} {:>9} {:>11} {:>9} {:>9} {:>8}"
HEADINGS = (
    ("", "", "questions", "seconds", "of them", "seconds", "on disk", "memory,", "of it", "last"),
    ("pair", "side", "a second", "in all", "to step 1", "a step", "", "peak", "private", "loss"),
)
DISK_TARGET = 100
LONG = 200


def header(size: Size) -> None:
    """What is run, and the table's head."""
    questions = size.batch_size * size.steps
    say(
        f"\nvqa {size.name} ({size.title}): {questions:,} questions, {size.steps} steps of {size.batch_size}, float32, CPU"
    )
    for line in HEADINGS:
        say(COLUMNS.format(*line))


def row(number: int, name: str, one: Side) -> None:
    """A side's run."""
    before = one.seconds - (one.steps - 1) * one.step_seconds
    cells = (
        f"{one.questions_per_second:.2f}", f"{one.seconds:.1f}", f"{before:.1f}", f"{one.step_seconds:.4f}", megabytes(one.disk_bytes),
        megabytes(one.peak_bytes), megabytes(one.private_bytes), f"{one.losses[-1]:.4f}",
    )  # fmt: skip
    say(COLUMNS.format(number + 1, name, *cells))


def summary(size: Size, pairs: list[dict[str, Side]], found: dict[str, Any]) -> None:
    """Ratios against their targets, agreement, arithmetic."""
    by = {name: spread(values) for name, values in found["ratios"].items()}
    say("guide / tool by pair, median (min, max); above 1 the tool takes less")
    whole, disk, memory = by["questions_per_second"], by["disk"], by["peak_memory"]
    say(f"  time from start to last step    {whole} · {verdict(whole.median, size.target)}")
    say(f"  time of a step                  {by['steps_alone']}")
    if size.steps < LONG:
        say(f"  time to step {LONG}, reckoned      {by['long_run']} · {verdict(by['long_run'].median, size.target)}")
    say(f"  bytes on disk                   {disk} · {verdict(disk.median, DISK_TARGET)}")
    say(f"  peak memory                     {memory} · {verdict(memory.median, 1)}")
    say(f"  peak memory, private            {by['private_memory']}")
    agreement(pairs, found["checks"])
    for name, part in found["arithmetic"].items():
        products(name, part)


def agreement(pairs: list[dict[str, Side]], checks: dict[str, Any]) -> None:
    """The two results beside each other."""
    forward, (guide, ours) = checks["forward"], checks["held_out"]
    last = pairs[-1]
    say("results   guide and tool")
    say(
        f"  the same {forward['questions']} questions and weights: loss {forward['guide']:.6f} and {forward['tool']:.6f}"
    )
    pairs_of_losses = list(zip(*checks["same_order"].values(), strict=True))
    apart = max(abs(one - other) for one, other in pairs_of_losses)
    say(f"  the same order for {len(pairs_of_losses)} training steps: losses at most {apart:.1e} apart")
    say(
        f"  training loss of the last third of the steps: {last['guide'].losses[-1]:.4f} and {last['tool'].losses[-1]:.4f}"
    )
    say(f"  loss on held-out questions after training: {guide:.4f} and {ours:.4f}")


def products(name: str, part: dict[str, Any]) -> None:
    """How much of a step its matrix products take."""
    say(
        f"products  {name:<6} {part['gflop']:.1f} GFLOP a step take {part['matmul_seconds']:.3f} s alone "
        f"({part['gflop_per_second']:.0f} GFLOP/s): {100 * part['share']:.0f} % of the step's {part['step_seconds']:.3f} s"
    )
    for key, share, calls in part.get("profile", ()):
        say(f"  {100 * share:5.1f} %  {key} ({calls} a step)")
