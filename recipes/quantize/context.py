"""The interface between a quantization's trials and its files: model, reference figures, writing of a trial's model."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from recipes.process.interrupts import Interrupts
from recipes.quantizable import Quantizable
from recipes.quantize.config import Quantize
from recipes.quantize.measure import Latency, Measured, Run, compare, time_them
from recipes.quantize.trials import Trial
from recipes.terminal.progress import Progress


@dataclass
class QuantizationContext(ABC):
    """A float model and trials of it.

    Attributes:
        usage: how the written folder is run, for its README; {example} stands for a text.
        reference: the float model's figures.
    """

    usage: ClassVar[str]

    config: Quantize
    subject: Quantizable
    interrupts: Interrupts
    reference: Measured = field(init=False)

    @abstractmethod
    def write_model(self, trial: Trial, folder: Path) -> None:
        """Writes a trial's model into a folder."""

    def tidy(self) -> None:  # noqa: B027
        """Drops what was kept for the search, if anything was."""

    def score(self, label: str, run: Run, size: int) -> Measured:
        """Score and speed of a model of `size` bytes over every text of the evaluation splits."""
        subject = self.subject
        width = 1 if subject.labels is None else len(subject.labels)
        logits = {name: np.zeros((len(split), width), np.float32) for name, split in subject.evaluation.items()}
        seconds, total = 0.0, sum(map(len, logits.values()))
        with Progress(label, total, unit="texts") as progress:
            for name, numbers, feeds in subject.feeds(self.config.batch_size):
                began = time.perf_counter()
                logits[name][numbers] = run(feeds)
                seconds += time.perf_counter() - began
                progress.advance(len(numbers))
                self.interrupts.check()
        return Measured(subject.figures(logits), logits, total / max(seconds, 1e-9), size)

    def measure(self, trial: Trial, float_run: Run, run: Run, size: int) -> Latency:
        """Fills in the figures of a trial of `size` bytes; returns the float model's latency, timed in turns with it."""
        measured = self.score(trial.name, run, size)
        measured.against = compare(self.subject, self.reference, measured)
        times = time_them(self.subject, {"float": float_run, "this": run}, self.config, self.interrupts.check)
        measured.latency = times["this"]
        measured.against["float_latency"] = times["float"]
        trial.measured = measured.as_dict()
        return times["float"]
