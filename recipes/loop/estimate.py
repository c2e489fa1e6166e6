"""Time, memory, disk and money for a whole run, known before its first step."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recipes.options import TrainOptions
from recipes.terminal.progress import duration, size
from recipes.terminal.tables import table
from tasks.errors import OutOfDisk
from tasks.files import folder_bytes, free_bytes

# The report, the model card, predictions and logs.
OUTPUT_BYTES = 8_000_000


@dataclass
class Estimate:
    """What a run will take: seconds and steps from here on, bytes at their highest."""

    steps: int
    seconds: float
    memory_bytes: int
    disk_bytes: int
    checkpoint_bytes: int = 0
    model_bytes: int = 0
    batch_size: int = 0
    micro_batch_size: int = 0

    def text(self, options: TrainOptions) -> str:
        """The estimate as the run's header says it."""
        money = options.cost_text(self.seconds)
        return (
            f"{self.steps:,} steps · {duration(self.seconds)} · {size(self.memory_bytes)} memory · "
            f"{size(self.disk_bytes)} disk{f' · {money}' if money else ''}"
        )

    def summary(self, options: TrainOptions, run: Path) -> dict[str, Any]:
        """What --dry-run prints."""
        free = free_bytes(run)
        money = options.cost_text(self.seconds)
        batch = f"each of {self.batch_size} examples, {self.micro_batch_size} at once a process"
        rows = [
            ["steps", f"{self.steps:,}, {batch}"],
            ["time", duration(self.seconds)],
            ["memory", f"{size(self.memory_bytes)} a process at most"],
            ["disk", f"{size(self.disk_bytes)} at most, {size(free)} free in {options.output_dir}"],
            ["checkpoint", size(self.checkpoint_bytes)],
            *([["cost", money]] if money else []),
        ]
        text = table(["a whole run", "estimate"], rows)
        if self.disk_bytes > free:
            text += f"\nthe disk is too small: the run would end with code 5; free {size(self.disk_bytes - free)} first"
        return {**asdict(self), **options.cost(self.seconds), "free_bytes": free, "text": text}


def check_disk(estimate: Estimate, run: Path, keep: int) -> None:
    """Counts what the run will write against what is free.

    Raises:
        OutOfDisk: with the sum.
    """
    written = folder_bytes(run / "checkpoints")
    free = free_bytes(run)
    if estimate.disk_bytes <= free + written:
        return
    already = f", {size(written)} of it written already" if written else ""
    raise OutOfDisk(
        f"the run needs {size(estimate.disk_bytes)}{already}: {keep + 2} checkpoints of {size(estimate.checkpoint_bytes)} (the newest "
        f"{keep}, the best, and one being written), model {size(estimate.model_bytes)}, report and logs {size(OUTPUT_BYTES)}; "
        f"{run.parent} has {size(free)} free. Free some (tool runs prune), choose another --output-dir, or go on regardless with "
        f"--no-check-disk"
    )
