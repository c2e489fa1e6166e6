"""What a recipe hands to `tool quantize`: a float classifier, the data that it is measured on, and those for calibration."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from recipes.process.memory import room
from recipes.runs.folder import Run
from recipes.terminal.progress import print_line, size
from tasks.errors import ConfigError, OutOfMemory
from tasks.paired import Paired
from tasks.seen import Seen

Feeds = dict[str, np.ndarray]
# The weights in PyTorch, in the graph that is written, and in the one that is quantized.
COPIES = 3


class Batches(Protocol):
    """The examples of a split, of which `lengths`, int64 [n], says how much work each is."""

    lengths: np.ndarray

    def __len__(self) -> int: ...

    def in_order(self, batch_size: int) -> list[np.ndarray]:
        """Batches of example numbers, the longest first."""

    def feeds(self, numbers: np.ndarray) -> Feeds:
        """A batch as the graph's inputs."""


@dataclass
class EvaluatedBefore:
    """What of the evaluation's examples training saw, ranges were calibrated on, or the kept trial was chosen by.

    Attributes:
        record: of all three, for the folder that is written.
        lines: what is to be said, by a word for each; none where nothing is.
        facts: for the result as JSON, by the same words.
        marks: behind a score: of "seen" (by every model's) and of "calibrated" (by that of what was calibrated).
    """

    record: Seen
    lines: dict[str, str]
    facts: dict[str, Any]
    marks: dict[str, str]


@dataclass
class Quantizable(ABC):
    """A float classifier and its data.

    Attributes:
        model: as the user named it; `run` where it is a run's.
        folder: where its weights are; a Hub id where they aren't here.
        network: the PyTorch model, None where the folder holds ONNX.
        settings: the model's config of transformers.
        labels: names of the classes; None: a regression.
        length: tokens that texts are cut to.
        seed: of the choice of calibration examples, of which there are some where `can_calibrate`.
        evaluation: the batches of each evaluation split.
        description: the data in one line.
        digest: of the examples and labels measured on.
        metric, title: the headline's key among the figures, and its name to read.
        example: an input in Python, for a README.
    """

    model: str
    run: Run | None
    folder: str
    network: Any
    tokenizer: Any
    settings: Any
    labels: list[str] | None
    length: int
    seed: int
    evaluation: Mapping[str, Batches]
    description: str
    digest: str
    metric: str
    title: str
    example: str
    can_calibrate: bool

    @property
    def first(self) -> Batches:
        """The split that the headline is measured on."""
        return next(iter(self.evaluation.values()))

    def of_all_lengths(self, count: int) -> list[Feeds]:
        """Single examples of the first split, as many short and long ones as it has."""
        order = np.argsort(self.first.lengths, kind="stable")
        chosen = order[np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)]
        return [self.first.feeds(np.asarray([number])) for number in chosen]

    def batches_of_all_lengths(self, batch_size: int, count: int) -> list[Feeds]:
        """Batches of the first split, spread over its lengths."""
        plan = self.first.in_order(batch_size)
        chosen = np.linspace(0, len(plan) - 1, min(count, len(plan))).round().astype(int)
        return [self.first.feeds(plan[number]) for number in chosen]

    def feeds(self, batch_size: int) -> Iterator[tuple[str, np.ndarray, Feeds]]:
        """(split, example numbers, feeds) of every example of every split, the longest first."""
        for name, batches in self.evaluation.items():
            for numbers in batches.in_order(batch_size):
                yield name, numbers, batches.feeds(numbers)

    @abstractmethod
    def calibration(self, approach: str, samples: int, batch_size: int) -> list[Feeds]:
        """Batches of seeded random training examples, like in length with like.

        Raises:
            DataError: there are none, which `approach` needs.
        """

    @abstractmethod
    def evaluated_before(self, calibration_samples: int, trials: int) -> EvaluatedBefore:
        """What was known of the evaluation's examples before they were scored.

        Args:
            calibration_samples: as `calibration`'s; 0: nothing was calibrated.
            trials: that the kept one was chosen from by its score; 1: there was no choice.
        """

    @abstractmethod
    def random_inputs(self, count: int) -> list[Feeds]:
        """Single made-up examples, of no data; the same ones each time."""

    @abstractmethod
    def text_of(self, value: float) -> str:
        """A value of the headline to read, in its unit."""

    @abstractmethod
    def figures(self, logits: dict[str, np.ndarray]) -> dict[str, Any]:
        """The metrics of every split, from its logits float32 [n, labels]."""

    @abstractmethod
    def verdict(self, logits: dict[str, np.ndarray]) -> dict[str, Any]:
        """Whether logits clear what a constant answer scores: "clears", and "line", what is wrong in words or None."""

    @abstractmethod
    def answers(self, logits: np.ndarray) -> np.ndarray:
        """Class numbers int64 [n], or scores float64 [n] of a regression."""

    @abstractmethod
    def paired(self, split: str, reference: np.ndarray, other: np.ndarray) -> Paired:
        """The headline of two models' answers to a split, example by example."""


def trained_verdict(run: Run | None) -> dict[str, Any] | None:
    """What training found of its own evaluation, as `Quantizable.verdict`; None of models from elsewhere and older runs."""
    path = None if run is None else run.path / "evaluation.json"
    if path is None or not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8")).get("verdict")
    except (ValueError, AttributeError):
        return None
    return found if isinstance(found, dict) and "clears" in found else None


def require_better(verdict: dict[str, Any], model: str, force: bool) -> None:
    """Refuses a model that is no better than a constant answer: what quantization loses of it can't be seen.

    Raises:
        ConfigError: with the verdict's line, unless it is forced.
    """
    if verdict["clears"]:
        return
    line = verdict.get("line") or "no better than a constant answer"
    if not force:
        raise ConfigError(f"--model {model}: {line}; --force quantizes it all the same")
    print_line(f"forced    {line}")


def check_memory(folder: str, model: str) -> None:
    """Refuses weights that can't be exported and quantized in the memory that is free. What is on the Hub isn't known yet.

    Raises:
        OutOfMemory: with the sum.
    """
    weights = sum(file.stat().st_size for file in Path(folder).glob("*.safetensors")) if Path(folder).is_dir() else 0
    free = room(torch.device("cpu"))
    if COPIES * weights > free:
        raise OutOfMemory(
            f"--model {model}: {size(weights)} of weights, which export and quantization hold {COPIES} times, don't fit into the "
            f"{size(free)} of memory that are free; use a larger machine or a smaller model"
        )
