"""ControlNet: `tool train controlnet` beside the step of diffusers' train_controlnet.py, with and without gradient checkpointing.

Both sides start from the same photos, Stable Diffusion and ControlNet, with the same batch size, learning rate and precision
(float32 on the CPU; bf16 for the size `full`, which needs a GPU). The time of a step runs from the end of the first to that of the
last. What the tool needs to fill its caches once is told apart, with the number of steps after which it is earned back.

    python scripts/bench.py controlnet                 the middle size, on the CPU
    python scripts/bench.py controlnet --only full     Stable Diffusion 2.1's size at 512 pixels, on a GPU
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.common import (
    BenchmarkFailed,
    Options,
    Process,
    describe_machine,
    folder_bytes,
    machine,
    megabytes,
    run,
    say,
    settle,
    spread,
    tool,
    tree_memory,
    verdict,
)
from benchmarks.vqa import last_step, worker

PEER = Path(__file__).with_name("controlnet_peer.py")
PLAIN, CHECKPOINTED = "plain", "checkpointed"
SAME_LOSS, SAME_NORM, SAME_STEP = 1e-5, 1e-4, 1e-3
# The share by which the mean training loss of the two may differ: they draw other noise.
TOLERANCE = 0.3
COLUMNS = "{:<5} {:<13} {:<7} {:>9} {:>10} {:>9} {:>9} {:>11} {:>12}"
HEADINGS = (
    ("", "gradient", "", "pictures", "seconds", "of them", "memory,", "above its", "mean"),
    ("pair", "checkpointing", "side", "a second", "a step", "to step 1", "peak", "imports", "loss"),
)
# What each side has in memory before it reads anything.
IMPORTS = {
    "script": "import benchmarks.controlnet_peer",
    "tool": "import recipes.controlnet.train, diffusers, transformers; from diffusers import AutoencoderKL, ControlNetModel, "
    "UNet2DConditionModel; from transformers import CLIPTextModel, CLIPTokenizer",
}


@dataclass(frozen=True)
class Size:
    """A model and how it is trained. `asked`: only run where it is asked for by name."""

    name: str
    title: str
    pixels: int
    batch_size: int
    steps: int
    quick_steps: int
    pairs: int
    cpu: bool = True
    asked: bool = False


SIZES = (
    Size("mid", "0.3 times Stable Diffusion 2.1's widths, 256 px, float32, CPU", 256, 4, 8, 3, 2),
    Size("small", "a few thousand parameters, 64 px, float32, CPU", 64, 2, 4, 3, 1, asked=True),
    Size("full", "Stable Diffusion 2.1's size, 512 px, bf16, GPU", 512, 4, 40, 10, 2, cpu=False, asked=True),
)
LEARNING_RATE = 1e-5
HELD_OUT = 2


@dataclass
class Side:
    """What a run came to.

    Attributes:
        before: seconds from the start of the process to the end of the first step.
        step_seconds: mean from the end of the first step to that of the last.
        peak_bytes: the largest resident size until the last step; on a GPU, what torch had allocated at most.
        whole_bytes: the same until the end of the process.
        above_bytes: the same without what the side's imports take.
        losses: of each step.
    """

    before: float
    step_seconds: float
    steps: int
    pictures: int
    peak_bytes: int
    whole_bytes: int
    above_bytes: int
    losses: list[float]

    @property
    def pictures_per_second(self) -> float:
        """Of the steps alone."""
        return self.pictures / self.steps / self.step_seconds

    @property
    def loss(self) -> float:
        """Their mean."""
        return sum(self.losses) / len(self.losses)


Pair = dict[str, dict[str, Side]]


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


def run_script(size: Size, inputs: Path, folder: Path, kind: str, imports: int) -> Side:
    """Time is taken where the script moves its progress bar."""
    report = folder / "report.json"
    command = [
        sys.executable, PEER, "--data", inputs / "data", "--model", inputs / "model", "--controlnet", inputs / "controlnet",
        "--report", report, "--pixels", size.pixels, "--batch-size", size.batch_size, "--steps", size.steps,
        "--learning-rate", LEARNING_RATE, *(["--cpu"] if size.cpu else []),
        *(["--gradient-checkpointing"] if kind == CHECKPOINTED else []),
    ]  # fmt: skip
    process = run([str(part) for part in command], folder)
    found = json.loads(report.read_text(encoding="utf-8"))
    ends = found["ends"]
    return side(
        size, process, imports, found["device_bytes"], before=ends[0] - process.began, losses=found["losses"],
        step_seconds=(ends[-1] - ends[0]) / (len(ends) - 1), steps=len(ends),
    )  # fmt: skip


def run_tool(size: Size, inputs: Path, folder: Path, kind: str, imports: int) -> Side:
    """Time is that of the lines in metrics.jsonl. Its caches start empty and are kept in memory."""
    command = [
        tool(), "train", "controlnet", "--model", inputs / "model", "--controlnet", inputs / "controlnet", "--data", inputs / "data",
        "--output-dir", folder / "runs", "--resolution", size.pixels, "--batch-size", size.batch_size, "--max-steps", size.steps,
        "--learning-rate", LEARNING_RATE, "--eval-fraction", HELD_OUT / (size.batch_size * size.steps + HELD_OUT),
        "--max-eval-samples", HELD_OUT, "--num-validation-images", 0, "--cache", "ram", "--optimizer", "adamw", "--lr-scheduler",
        "constant", "--warmup-ratio", 0, "--checkpoint-minutes", 0, "--log-steps", 1,
        *(["--cpu", "--mixed-precision", "no"] if size.cpu else ["--mixed-precision", "bf16"]),
        *(["--gradient-checkpointing"] if kind == CHECKPOINTED else []),
    ]  # fmt: skip
    watch = Watch(folder / "runs", size.steps)
    process = run([str(part) for part in command], folder, watch=watch)
    (metrics,) = (folder / "runs").glob("*/metrics.jsonl")
    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    lines = [line for line in lines if line["kind"] == "train"]
    if process.seen is None or len(lines) != size.steps:
        raise BenchmarkFailed(f"{metrics} has {len(lines)} steps, not {size.steps}")
    after_first = lines[-1]["seconds"] - lines[0]["seconds"]
    return side(
        size, process, imports, device_bytes(metrics.parent), trained=watch.peak, steps=len(lines),
        before=process.seen - process.began - after_first, step_seconds=after_first / (len(lines) - 1),
        losses=[line["loss"] for line in lines],
    )  # fmt: skip


class Watch:
    """Looks for the last step in metrics.jsonl, and keeps the largest resident size until it is there.

    What follows it, evaluation, checkpoint and report, has no counterpart in the script's run.
    """

    def __init__(self, runs: Path, steps: int) -> None:
        self.last = last_step(runs, steps)
        self.peak, self.ended = 0, False

    def __call__(self) -> bool:
        self.ended = self.ended or self.last()
        for child in [] if self.ended else psutil.Process().children():
            self.peak = max(self.peak, tree_memory(child.pid)[0])
        return self.ended


def device_bytes(run_folder: Path) -> int:
    """The peak that the run's own record tells."""
    found = json.loads((run_folder / "status.json").read_text(encoding="utf-8"))
    return int(found["measured"]["memory_bytes"])


def side(size: Size, process: Process, imports: int, device: int, trained: int = 0, **measured: Any) -> Side:
    """Joins what the process took, until the end of training where that is known, and what its run says."""
    peak = (trained or process.peak_bytes) if size.cpu else device
    return Side(
        peak_bytes=peak,
        whole_bytes=process.peak_bytes if size.cpu else device,
        above_bytes=peak - imports if size.cpu else peak,
        pictures=measured["steps"] * size.batch_size,
        **measured,
    )


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


# -- what is shown ---------------------------------------------------------------------------------------------------


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
