"""What the ControlNet benchmark prints: a line a run, then ratios against their targets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.common import folder_bytes, megabytes, say, spread, verdict
from benchmarks.controlnet_sides import CHECKPOINTED, PLAIN, Pair, Side, Size

COLUMNS = "{:<5} {:<13} {:<7} {:>9} {:>10} {:>9} {:>9} {:>11} {:>12}"
HEADINGS = (
    ("", "gradient", "", "pictures", "seconds", "of them", "memory,", "above its", "mean"),
    ("pair", "checkpointing", "side", "a second", "a step", "to step 1", "peak", "imports", "loss"),
)


def header(size: Size, inputs: Path) -> None:
    """What is run, and the table's head."""
    say(f"\ncontrolnet {size.name} ({size.title}): {size.steps} steps of {size.batch_size}")
    counted = json.loads((inputs / "operations.json").read_text(encoding="utf-8"))
    for name, one in counted.items():
        whole = one["vae"] + one["text_encoder"] + one["step"]
        say(
            f"  {name:<5} {whole:,.0f} GFLOP a picture and step as the script does it, {100 * one['share']:.1f} % VAE and text"
        )
    say(f"  model's files: {megabytes(folder_bytes(inputs / 'model') + folder_bytes(inputs / 'controlnet'))}")
    for line in HEADINGS:
        say(COLUMNS.format(*line))


def row(number: int, kind: str, name: str, one: Side) -> None:
    """A side's run."""
    cells = (
        f"{one.pictures_per_second:.2f}", f"{one.step_seconds:.3f}", f"{one.before:.1f}", megabytes(one.peak_bytes),
        megabytes(one.above_bytes), f"{one.loss:.4f}",
    )  # fmt: skip
    say(COLUMNS.format(number + 1, "on" if kind == CHECKPOINTED else "off", name, *cells))


def summary(pairs: list[Pair], found: dict[str, Any]) -> None:
    """Ratios against their targets, and agreement."""
    for kind in (PLAIN, CHECKPOINTED):
        by = {name: spread(values) for name, values in found["ratios"][kind].items()}
        say(f"gradient checkpointing {'on' if kind == CHECKPOINTED else 'off'} both ways; by pair, median (min, max)")
        say(
            f"  pictures a second, tool / script   {by['pictures_per_second']} · {verdict(by['pictures_per_second'].median, 1.5)}"
        )
        for name, title in (("peak_memory", "peak memory"), ("above_imports", "above its imports")):
            met = "met" if by[name].median <= 0.7 else "missed"
            say(f"  {title + ', tool / script':<35}{by[name]} · target at most 0.7: {met}")
        say(f"  of the whole process               {by['whole_process']} (evaluation, checkpoint and report as well)")
        say(f"  its caches are earned back after   {by['earned_back'].median:.0f} steps")
        script, ours = pairs[-1][kind]["script"], pairs[-1][kind]["tool"]
        say(f"  mean training loss: script {script.loss:.4f}, tool {ours.loss:.4f} (other noise)")
        same = found["checks"][kind]
        say(
            f"  same weights, latents, noise: loss {same['loss'][0]:.7f} and {same['loss'][1]:.7f}, gradient norm "
            f"{same['norm'][0]:.6f} and {same['norm'][1]:.6f}, {len(same['steps'])} training steps at most "
            f"{max(abs(one - other) for one, other in same['steps']):.1e} apart"
        )
