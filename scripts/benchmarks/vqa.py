"""VQA: `tool train vqa` beside the transformers guide's way, from raw files to the end of an epoch.

Both sides start from the same files, weights, batch size, learning rate and number of steps, in float32 on the CPU, without
dropout. Time runs from the start of the process to the end of the last training step: imports, reading, preparation and the
tool's estimate count; what each does afterwards (the tool evaluates, saves and writes its report; the guide saves) does not.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import vqa_report
from benchmarks.common import (
    BenchmarkFailed,
    Options,
    Process,
    describe_machine,
    folder_bytes,
    machine,
    run,
    say,
    settle,
    tool,
)
from benchmarks.vqa_sides import SIZES, Side, Size

PEER = Path(__file__).with_name("vqa_peer.py")
SAME_LOSS = 1e-4
SAME_STEP = 1e-3
# What the tool leaves besides data and reports; the guide's side gets no checkpoints, and its saved model isn't counted either.
NOT_COUNTED = ("checkpoints", "model", "output.txt")


def bench(options: Options) -> dict[str, Any]:
    """Runs each model size and prints its figures.

    Raises:
        BenchmarkFailed: a side failed, or the two don't compute the same.
    """
    found: dict[str, Any] = {"machine": machine()}
    say(describe_machine(found["machine"]))
    for size in SIZES:
        if not options.only or size.name in options.only:
            found[size.name] = bench_size(sized(size, options), options)
    return found


def sized(size: Size, options: Options) -> Size:
    """The size with the number of steps and pairs that the options ask for."""
    steps = options.steps or (size.quick_steps if options.quick else size.steps)
    pairs = options.pairs or (min(2, size.pairs) if options.quick else size.pairs)
    batch_size = min(size.batch_size, options.batch_size or size.batch_size)
    # What chance does to a mean goes with the square root of how many questions it is over.
    fewer = size.steps * size.batch_size / (steps * batch_size)
    tolerance = size.tolerance * max(1.0, fewer) ** 0.5
    return dataclasses.replace(size, steps=steps, pairs=pairs, batch_size=batch_size, tolerance=tolerance)


def bench_size(size: Size, options: Options) -> dict[str, Any]:
    """All pairs of one model size, then the checks and the arithmetic."""
    work = options.work / f"vqa-{size.name}"
    shutil.rmtree(work, ignore_errors=True)
    inputs = make_inputs(size, options, work)
    vqa_report.header(size)
    pairs: list[dict[str, Side]] = []
    trained: list[Path] = []
    for number in range(size.pairs):
        pair, trained = run_pair(size, inputs, work / "pair", number)
        pairs.append(pair)
    checks = worker(
        "vqa_checks", work / "checks", "--inputs", inputs, "--batch-size", size.batch_size, "--learning-rate", size.learning_rate,
        "--trained", *trained,
    )  # fmt: skip
    settle(work / "pair")
    arithmetic = worker(
        "vqa_arithmetic", work / "arithmetic", "--inputs", inputs, "--batch-size", size.batch_size,
        "--steps", min(3, size.steps), *(["--profile"] if options.profile else []),
    )  # fmt: skip
    if not options.keep:
        settle(work)
    found = {
        "size": dataclasses.asdict(size),
        "pairs": [{name: dataclasses.asdict(side) for name, side in pair.items()} for pair in pairs],
        "checks": checks,
        "arithmetic": arithmetic,
        "ratios": ratios(pairs),
    }
    agree(size, pairs, checks)
    vqa_report.summary(size, pairs, found)
    return found


def make_inputs(size: Size, options: Options, work: Path) -> Path:
    """The folder with data/ and model/ that both sides start from."""
    source = options.data / size.data
    if not source.is_dir():
        say(f"no {source}: using `tool data sample vqa` in its place")
        source = work / "sample"
        run([tool(), "data", "sample", "vqa", "--output", source], work / "making")
    vocabulary = options.data / "glue" / "bert-base-uncased-vocab.txt"
    run(
        [sys.executable, "-m", "benchmarks.vqa_inputs", "--size", size.name, "--source", source, "--vocabulary", vocabulary,
         "--rows", str(size.batch_size * size.steps), "--held-out", str(size.held_out), "--output", work / "inputs"],
        work / "making",
    )  # fmt: skip
    rows = len((work / "inputs" / "data" / "train.jsonl").read_text(encoding="utf-8").splitlines())
    if rows != size.batch_size * size.steps:
        raise BenchmarkFailed(f"{source} has only {rows} questions; take fewer --steps")
    return work / "inputs"


def run_pair(size: Size, inputs: Path, folder: Path, number: int) -> tuple[dict[str, Side], list[Path]]:
    """The guide's side, then the tool's; with the folders of the two trained models."""
    settle(folder)
    guide = run_guide(size, inputs, folder / "guide")
    vqa_report.row(number, "guide", guide)
    shutil.rmtree(folder / "guide" / "cache")
    settle(folder / "none")
    ours = run_tool(size, inputs, folder / "tool")
    vqa_report.row(number, "tool", ours)
    (model,) = (folder / "tool" / "runs").glob("*/model")
    return {"guide": guide, "tool": ours}, [folder / "guide" / "model", model]


def run_guide(size: Size, inputs: Path, folder: Path) -> Side:
    """Time is taken by the Trainer's callback at the end of each step."""
    report = folder / "report.json"
    third = max(1, size.steps // 3)
    process = run(
        [sys.executable, PEER, "--data", inputs / "data" / "train.jsonl", "--model", inputs / "model", "--output", folder / "model",
         "--report", report, "--batch-size", str(size.batch_size), "--learning-rate", str(size.learning_rate),
         "--logging-steps", str(third)],
        folder,
    )  # fmt: skip
    found = json.loads(report.read_text(encoding="utf-8"))
    ends = found["ends"]
    return side(
        process, folder, ended=ends[-1], step_seconds=(ends[-1] - ends[0]) / max(1, len(ends) - 1), steps=len(ends),
        questions=found["questions"], epoch=found["epoch"], losses=found["losses"][: size.steps // third],
    )  # fmt: skip


def run_tool(size: Size, inputs: Path, folder: Path) -> Side:
    """Time is taken when the last step's line is seen in metrics.jsonl, looked for each 50 ms."""
    command = [
        tool(), "train", "vqa", "--model", inputs / "model", "--data", inputs / "data", "--output-dir", folder / "runs",
        "--epochs", 1, "--batch-size", size.batch_size, "--learning-rate", size.learning_rate, "--min-answer-frequency", 1,
        "--optimizer", "adamw", "--weight-decay", 0, "--warmup-ratio", 0, "--adam-beta2", 0.999,
        "--head-learning-rate-factor", 1, "--augment", "none", "--mixed-precision", "no", "--checkpoint-minutes", 0,
        "--log-steps", 1, "--cpu",
    ]  # fmt: skip
    process = run([str(part) for part in command], folder, watch=last_step(folder / "runs", size.steps))
    (metrics,) = (folder / "runs").glob("*/metrics.jsonl")
    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    lines = [line for line in lines if line["kind"] == "train"]
    if process.seen is None or len(lines) != size.steps:
        raise BenchmarkFailed(f"{metrics} has {len(lines)} steps, not {size.steps}")
    third = max(1, size.steps // 3)
    return side(
        process, folder, ended=process.seen, steps=len(lines), epoch=lines[-1]["epoch"],
        step_seconds=(lines[-1]["seconds"] - lines[0]["seconds"]) / max(1, len(lines) - 1),
        questions=round(len(lines) * size.batch_size / lines[-1]["epoch"]),
        losses=[mean(line["loss"] for line in lines[at * third : (at + 1) * third]) for at in range(size.steps // third)],
    )  # fmt: skip


def side(process: Process, folder: Path, *, ended: float, **measured: Any) -> Side:
    """Joins what the process took and what its run says."""
    return Side(
        seconds=ended - process.began,
        disk_bytes=folder_bytes(folder, NOT_COUNTED),
        peak_bytes=process.peak_bytes,
        private_bytes=process.private_bytes,
        **measured,
    )


def last_step(runs: Path, steps: int) -> Callable[[], bool]:
    """Whether a run below `runs` has logged that step."""
    wanted = f'"kind": "train", "step": {steps},'.encode()

    def seen() -> bool:
        for file in runs.glob("*/metrics.jsonl"):
            with open(file, "rb") as lines:
                lines.seek(max(0, file.stat().st_size - 2000))
                return wanted in lines.read()
        return False

    return seen


def worker(module: str, folder: Path, *arguments: Any) -> dict[str, Any]:
    """Runs a module of this package in a process of its own and reads the JSON that it writes."""
    output = folder / "found.json"
    parts = [str(argument) for argument in arguments]
    run([sys.executable, "-m", f"benchmarks.{module}", *parts, "--output", output], folder)
    return dict(json.loads(output.read_text(encoding="utf-8")))


def ratios(pairs: list[dict[str, Side]]) -> dict[str, list[float]]:
    """Guide over tool, pair by pair: above 1 the tool takes less."""
    both = [(pair["guide"], pair["tool"]) for pair in pairs]
    return {
        "questions_per_second": [guide.seconds / ours.seconds for guide, ours in both],
        "steps_alone": [guide.step_seconds / ours.step_seconds for guide, ours in both],
        "long_run": [guide.after(vqa_report.LONG) / ours.after(vqa_report.LONG) for guide, ours in both],
        "disk": [guide.disk_bytes / ours.disk_bytes for guide, ours in both],
        "peak_memory": [guide.peak_bytes / ours.peak_bytes for guide, ours in both],
        "private_memory": [guide.private_bytes / ours.private_bytes for guide, ours in both],
    }


def agree(size: Size, pairs: list[dict[str, Side]], checks: dict[str, Any]) -> None:
    """
    Raises:
        BenchmarkFailed: the sides did other work, or came to other results, than each other.
    """
    wrong = []
    rows = size.batch_size * size.steps
    for pair in pairs:
        for name, one in pair.items():
            if (one.steps, one.questions, round(one.epoch, 3)) != (size.steps, rows, 1.0):
                wrong.append(f"{name}: {one.questions} questions in {one.steps} steps, not {rows} in {size.steps}")
        wrong += differing("training loss", pair["guide"].losses[-1], pair["tool"].losses[-1], size.tolerance)
    guide, ours = checks["held_out"]
    wrong += differing("held-out loss", guide, ours, 2 * size.tolerance)
    for step, (guide, ours) in enumerate(zip(*checks["same_order"].values(), strict=True), 1):
        wrong += differing(f"the loss of step {step} on the same questions in the same order", guide, ours, SAME_STEP)
    forward = checks["forward"]
    if abs(forward["guide"] - forward["tool"]) > SAME_LOSS:
        wrong.append(
            f"the same {forward['questions']} questions and weights give loss {forward['guide']} and {forward['tool']}"
        )
    if wrong:
        raise BenchmarkFailed("the sides disagree: " + "; ".join(wrong))


def differing(what: str, guide: float, ours: float, tolerance: float) -> Iterator[str]:
    """A line where the two lie too far apart."""
    if abs(guide - ours) > tolerance * max(guide, ours):
        yield f"{what} {guide:.4f} and {ours:.4f} differ by more than {100 * tolerance:g} %"


def mean(values: Iterator[float]) -> float:
    """Of at least one value."""
    found = list(values)
    return sum(found) / len(found)
