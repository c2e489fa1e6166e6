"""The interface between a quantization's trials and its files: model, reference figures, writing of a trial's model."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from recipes.process.interrupts import Interrupts
from recipes.quantizable import EvaluatedBefore, Quantizable, require_better, trained_verdict
from recipes.quantize.config import Quantize
from recipes.quantize.measure import Latency, Measured, Run, compare, in_batches, time_them
from recipes.quantize.trials import Trial
from recipes.terminal.progress import Progress


@dataclass
class QuantizationContext(ABC):
    """A float model and trials of it.

    Attributes:
        usage: how the written folder is run, for its README; {example} stands for a text.
        reference: the float model's figures.
        before: what was known of the evaluation's examples before.
        verdict: whether they clear a constant answer's.
    """

    usage: ClassVar[str]

    config: Quantize
    subject: Quantizable
    interrupts: Interrupts
    reference: Measured = field(init=False)
    before: EvaluatedBefore = field(init=False)
    verdict: dict[str, Any] = field(init=False)

    @abstractmethod
    def write_model(self, trial: Trial, folder: Path) -> None:
        """Writes a trial's model into a folder."""

    def tidy(self) -> None:  # noqa: B027
        """Drops what was kept for the search, if anything was."""

    def score(self, label: str, run: Run, size: int) -> Measured:
        """Score and speed in batches of a model of `size` bytes over every text of the evaluation splits."""
        logits, speed = self.logits(label, run, self.config.batch_size)
        return Measured(self.subject.figures(logits), logits, speed, size)

    def logits(self, label: str, run: Run, batch_size: int) -> tuple[dict[str, np.ndarray], float]:
        """Logits float32 [n, labels] of every split, and texts a second."""
        subject = self.subject
        width = 1 if subject.labels is None else len(subject.labels)
        logits = {name: np.zeros((len(split), width), np.float32) for name, split in subject.evaluation.items()}
        seconds, total = 0.0, sum(map(len, logits.values()))
        with Progress(label, total, unit="texts") as progress:
            for name, numbers, feeds in subject.feeds(batch_size):
                began = time.perf_counter()
                logits[name][numbers] = run(feeds)
                seconds += time.perf_counter() - began
                progress.advance(len(numbers))
                self.interrupts.check()
        return logits, total / max(seconds, 1e-9)

    def score_float(self, run: Run, size: int) -> None:
        """The float model's figures: the reference of all trials.

        Raises:
            ConfigError: it is no better than a constant answer, by its training or else by these figures, and isn't forced.
        """
        self.reference = self.score("float", run, size)
        trained = trained_verdict(self.subject.run)
        self.verdict = trained or self.subject.verdict(self.reference.logits)
        if trained is None:
            require_better(self.verdict, self.subject.model, self.config.force)

    def score_as_used(self, label: str, run: Run, size: int) -> Measured:
        """The score in batches of --eval-batch-size, by which a trial is judged, and beside it what --batch-size gives.

        Dynamic ranges span a batch, padding and all, so that an answer hangs on what else is in it. The float model's doesn't,
        and is measured in batches alone.
        """
        measured = self.score(label, run, size)
        used, batch = self.config.eval_batch_size, self.config.batch_size
        if used == batch:
            return measured
        batched = measured.logits
        measured.logits, _ = self.logits(f"{label} at batch {used}", run, used)
        measured.figures = self.subject.figures(measured.logits)
        measured.in_batches = in_batches(self.subject, self.reference, measured, batched, batch)
        return measured

    def measure(self, trial: Trial, float_run: Run, run: Run, size: int) -> Latency:
        """Fills in the figures of a trial of `size` bytes; returns the float model's latency, timed in turns with it."""
        measured = self.score_as_used(trial.name, run, size)
        measured.against = compare(self.subject, self.reference.logits, measured.logits)
        times = time_them(self.subject, {"float": float_run, "this": run}, self.config, self.interrupts.check)
        measured.latency = times["this"]
        measured.against["float_latency"] = times["float"]
        trial.measured = measured.as_dict()
        return times["float"]
