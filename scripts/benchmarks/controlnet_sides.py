"""One run of either side of the ControlNet benchmark: how it is started, and what it came to."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import BenchmarkFailed, Process, run, tool
from benchmarks.vqa import last_step

PEER = Path(__file__).with_name("controlnet_peer.py")
PLAIN, CHECKPOINTED = "plain", "checkpointed"
LEARNING_RATE = 1e-5
HELD_OUT = 2


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
    # What follows the last step, evaluation, checkpoint and report, has no counterpart in the script's run.
    process = run([str(part) for part in command], folder, watch=last_step(folder / "runs", size.steps))
    (metrics,) = (folder / "runs").glob("*/metrics.jsonl")
    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    lines = [line for line in lines if line["kind"] == "train"]
    if process.seen is None or len(lines) != size.steps:
        raise BenchmarkFailed(f"{metrics} has {len(lines)} steps, not {size.steps}")
    after_first = lines[-1]["seconds"] - lines[0]["seconds"]
    return side(
        size, process, imports, device_bytes(metrics.parent), trained=process.seen_bytes, steps=len(lines),
        before=process.seen - process.began - after_first, step_seconds=after_first / (len(lines) - 1),
        losses=[line["loss"] for line in lines],
    )  # fmt: skip


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
