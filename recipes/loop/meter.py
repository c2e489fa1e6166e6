"""Running loss and throughput between two lines of metrics.jsonl."""

from __future__ import annotations

import time
from typing import Any

import torch
from accelerate import Accelerator


class Meter:
    """Loss and speed between two log lines. `facts` of the last line are for the progress bar; examples are called `unit`."""

    def __init__(self, every: int, unit: str) -> None:
        self.every, self.unit = every, unit
        self.losses: list[torch.Tensor] = []
        self.norm: torch.Tensor | None = None
        self.examples, self.since = 0, time.monotonic()
        self.facts: dict[str, str] = {}

    def add(self, loss: torch.Tensor, norm: torch.Tensor | None, size: int) -> None:
        """One optimizer step; nothing here waits for the device."""
        self.losses.append(loss)
        self.norm = norm
        self.examples += size

    def pause(self, seconds: float) -> None:
        """Time that went into something else than training steps doesn't count as speed."""
        self.since += seconds

    def due(self, step: int) -> bool:
        """Whether a log line is due after this step."""
        return step % self.every == 0

    def line(self, accelerator: Accelerator, step: int, epoch: float, scheduler: Any, seconds: float) -> dict[str, Any]:
        """The metrics line since the last; sums over processes."""
        loss = float(accelerator.reduce(torch.stack(self.losses).mean(), reduction="sum").item())
        speed = self.examples / max(1e-9, time.monotonic() - self.since)
        self.facts = {"loss": f"{loss:.4g}", "speed": f"{speed:,.0f} {self.unit}/s"}
        line = {
            "kind": "train",
            "step": step,
            "epoch": epoch,
            "loss": loss,
            "learning_rate": scheduler.get_last_lr()[0],
            "gradient_norm": None if self.norm is None else float(self.norm.item()),
            "examples_per_second": round(speed, 2),
            "seconds": seconds,
        }
        self.losses, self.examples, self.since = [], 0, time.monotonic()
        return line
