"""ControlNet: `tool train controlnet` beside the step of diffusers' train_controlnet.py, with and without gradient checkpointing.

Both sides start from the same photos, Stable Diffusion and ControlNet, with the same batch size, learning rate and precision
(float32 on the CPU; bf16 for the size `full`, which needs a GPU). The time of a step runs from the end of the first to that of the
last. What the tool needs to fill its caches once is told apart, with the number of steps after which it is earned back.

    python scripts/bench.py controlnet                 the middle size, on the CPU
    python scripts/bench.py controlnet --only full     Stable Diffusion 2.1's size at 512 pixels, on a GPU
"""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path
from typing import Any

from benchmarks.common import BenchmarkFailed, Options, describe_machine, machine, run, say, settle
from benchmarks.controlnet_report import header, row, summary
from benchmarks.controlnet_sides import CHECKPOINTED, HELD_OUT, PLAIN, SIZES, Pair, Side, Size, run_script, run_tool
from benchmarks.vqa import worker

SAME_LOSS, SAME_NORM, SAME_STEP = 1e-5, 1e-4, 1e-3
# The share by which the mean training loss of the two may differ: they draw other noise.
TOLERANCE = 0.3
# What each side has in memory before it reads anything.
IMPORTS = {
    "script": "import benchmarks.controlnet_peer",
    "tool": "from recipes.registry import get; get('controlnet').part('train'); from diffusers import AutoencoderKL, "
    "ControlNetModel, UNet2DConditionModel; from transformers import CLIPTextModel, CLIPTokenizer",
}


def bench(options: Options) -> dict[str, Any]:
    """Runs each size and prints its figures.

    Raises:
        BenchmarkFailed: a side failed, or the two don't compute the same.
    """
    chosen = [size for size in SIZES if (size.name in options.only if options.only else not size.asked)]
    if not chosen:
        return {}
    found: dict[str, Any] = {"machine": machine()}
    say(describe_machine(found["machine"]))
    for size in chosen:
        found[size.name] = bench_size(sized(size, options), options)
    return found


def sized(size: Size, options: Options) -> Size:
    """The size with the number of steps and pairs that the options ask for."""
    return dataclasses.replace(
        size,
        steps=max(2, options.steps or (size.quick_steps if options.quick else size.steps)),
        pairs=options.pairs or (1 if options.quick else size.pairs),
        batch_size=min(size.batch_size, options.batch_size or size.batch_size),
    )


def bench_size(size: Size, options: Options) -> dict[str, Any]:
    """All pairs of one size, then the checks."""
    work = options.work / f"controlnet-{size.name}"
    shutil.rmtree(work, ignore_errors=True)
    inputs = make_inputs(size, options, work)
    header(size, inputs)
    checks = worker(
        "controlnet_checks", work / "checks", "--inputs", inputs, "--pixels", size.pixels, "--batch-size", size.batch_size
    )  # fmt: skip
    imports = {name: run([sys.executable, "-c", code], work / "imports").peak_bytes for name, code in IMPORTS.items()}
    pairs = [run_pair(size, inputs, work / "pair", number, imports) for number in range(size.pairs)]
    if not options.keep:
        settle(work)
    found = {
        "size": dataclasses.asdict(size),
        "operations": checks.pop("operations"),
        "imports": imports,
        "pairs": [
            {kind: {name: dataclasses.asdict(one) for name, one in sides.items()} for kind, sides in pair.items()}
            for pair in pairs
        ],
        "checks": checks,
        "ratios": {kind: ratios([pair[kind] for pair in pairs]) for kind in (PLAIN, CHECKPOINTED)},
    }
    agree(size, pairs, checks)
    summary(pairs, found)
    return found


def make_inputs(size: Size, options: Options, work: Path) -> Path:
    """The folder with data/, model/ and controlnet/ that both sides start from."""
    source = options.data / "controlnet" / "dreambooth-512"
    if not source.is_dir():
        raise BenchmarkFailed(f"{source} is not there; give the folder of real data by --data")
    rows = size.batch_size * size.steps + HELD_OUT
    run(
        [sys.executable, "-m", "benchmarks.controlnet_inputs", "--size", size.name, "--source", source,
         "--rows", str(rows), "--output", work / "inputs"],
        work / "making",
    )  # fmt: skip
    written = len((work / "inputs" / "data" / "metadata.jsonl").read_text(encoding="utf-8").splitlines())
    if written != rows:
        raise BenchmarkFailed(f"{source} has only {written} photos; take fewer --steps")
    return work / "inputs"


def run_pair(size: Size, inputs: Path, folder: Path, number: int, imports: dict[str, int]) -> Pair:
    """Script and tool in turns, first without gradient checkpointing."""
    found: Pair = {}
    for kind in (PLAIN, CHECKPOINTED):
        settle(folder)
        script = run_script(size, inputs, folder / "script", kind, imports["script"])
        row(number, kind, "script", script)
        settle(folder / "none")
        ours = run_tool(size, inputs, folder / "tool", kind, imports["tool"])
        row(number, kind, "tool", ours)
        found[kind] = {"script": script, "tool": ours}
    settle(folder)
    return found


def ratios(sides: list[dict[str, Side]]) -> dict[str, list[float]]:
    """Pair by pair: pictures a second as tool over script, memory as tool over script, and when the caches are earned back."""
    both = [(one["script"], one["tool"]) for one in sides]
    return {
        "pictures_per_second": [script.step_seconds / ours.step_seconds for script, ours in both],
        "peak_memory": [ours.peak_bytes / script.peak_bytes for script, ours in both],
        "whole_process": [ours.whole_bytes / script.whole_bytes for script, ours in both],
        "above_imports": [ours.above_bytes / script.above_bytes for script, ours in both],
        "earned_back": [
            max(0.0, ours.before - script.before) / max(1e-9, script.step_seconds - ours.step_seconds)
            for script, ours in both
        ],
    }


def agree(size: Size, pairs: list[Pair], checks: dict[str, Any]) -> None:
    """
    Raises:
        BenchmarkFailed: the sides did other work, or came to other results, than each other.
    """
    wrong = []
    for pair in pairs:
        for kind, sides in pair.items():
            script, ours = sides["script"], sides["tool"]
            if script.steps != size.steps or ours.steps != size.steps:
                wrong.append(f"{script.steps} and {ours.steps} steps, not {size.steps}")
            if abs(script.loss - ours.loss) > TOLERANCE * max(script.loss, ours.loss):
                wrong.append(f"mean training losses {script.loss:.4f} and {ours.loss:.4f} ({kind})")
    for kind in (PLAIN, CHECKPOINTED):
        found = checks[kind]
        for what, values, tolerance in (
            ("loss", found["loss"], SAME_LOSS),
            ("gradient norm", found["norm"], SAME_NORM),
            *((f"loss of step {at}", both, SAME_STEP) for at, both in enumerate(found["steps"], 1)),
        ):
            script, ours = values
            if abs(script - ours) > tolerance * abs(script):
                wrong.append(f"the same weights and inputs give {what} {script} and {ours} ({kind})")
    if wrong:
        raise BenchmarkFailed("the sides disagree: " + "; ".join(wrong))
