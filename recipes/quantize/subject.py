"""What is quantized: a float classifier, the texts that it is measured on, and those that it is calibrated on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recipes.glue.data import digest, run_data
from recipes.glue.inference import check_length, labels_of, trained_length
from recipes.process.memory import room
from recipes.quantize.config import Quantize
from recipes.runs import folder as run_folder
from recipes.runs.select import choose_model
from recipes.terminal.progress import print_line, size
from tasks.errors import ConfigError, DataError, OutOfMemory
from tasks.glue import pretrained
from tasks.glue.batches import TextBatches
from tasks.glue.data import Splits
from tasks.weights import holds_onnx, model_folder

Feeds = dict[str, np.ndarray]
# The weights in PyTorch, in the graph that is written, and in the one that is quantized.
COPIES = 3


@dataclass
class Subject:
    """A float classifier and its data.

    Attributes:
        model: as the user named it; `run` where it is a run's.
        folder: where its weights are; a Hub id where they aren't here.
        network: the PyTorch model, None where the folder holds ONNX.
        settings: the model's config of transformers.
        length: tokens that texts are cut to.
        evaluation: the batches of each evaluation split.
    """

    model: str
    run: run_folder.Run | None
    folder: str
    network: Any
    tokenizer: Any
    settings: Any
    labels: list[str] | None
    splits: Splits
    length: int
    evaluation: dict[str, TextBatches]
    seed: int

    @property
    def first(self) -> TextBatches:
        """The split that the headline is measured on."""
        return next(iter(self.evaluation.values()))

    @cached_property
    def data(self) -> str:
        """A digest of the texts and labels measured on."""
        return f"{digest(self.labels, *self.splits.evaluation.values())} {self.length}"

    def calibration(self, config: Quantize) -> list[Feeds]:
        """Batches of seeded random training texts, like in length with like.

        Raises:
            DataError: there are no training texts.
        """
        texts = self.splits.train
        if texts is None or not len(texts):
            raise DataError(
                f"--approach {config.approach} needs training texts to calibrate on and {self.splits.name} has none; "
                f"give --data with a training split (or --train-split NAME), or take --approach dynamic"
            )
        count = min(config.calibration_samples, len(texts))
        rows = np.random.default_rng(self.seed).permutation(len(texts))[:count]
        batches = TextBatches(texts.take(np.sort(rows)), self.tokenizer, max_length=self.length)
        return [batches.feeds(numbers) for numbers in batches.in_order(config.calibration_batch_size)]

    def of_all_lengths(self, count: int) -> list[Feeds]:
        """Single texts of the first split, as many short and long ones as it has."""
        order = np.argsort(self.first.lengths, kind="stable")
        chosen = order[np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)]
        return [self.first.feeds(np.asarray([number])) for number in chosen]

    def batches_of_all_lengths(self, batch_size: int, count: int) -> list[Feeds]:
        """Batches of the first split, spread over its lengths."""
        plan = self.first.in_order(batch_size)
        chosen = np.linspace(0, len(plan) - 1, min(count, len(plan))).round().astype(int)
        return [self.first.feeds(plan[number]) for number in chosen]

    def feeds(self, batch_size: int) -> Iterator[tuple[str, np.ndarray, Feeds]]:
        """(split, text numbers, feeds) of every text of every split, the longest first."""
        for name, batches in self.evaluation.items():
            for numbers in batches.in_order(batch_size):
                yield name, numbers, batches.feeds(numbers)


def open_subject(config: Quantize) -> Subject:
    """The model asked for, or the newest run's, with its data.

    Raises:
        ConfigError: no model, no classification head, or quantized already.
        DataError: data that don't fit it.
    """
    model, run = choose_model(config.model, config.output_dir, ("glue",))
    folder = model_folder(model)
    path = Path(folder)
    if holds_onnx(path):
        from tasks.onnx.session import open_model

        _, tokenizer, settings = open_model(path, threads=config.threads)
        network = None
    else:
        if pretrained.is_quantized(pretrained.load_config(model, config.revision, config.token)):
            raise ConfigError(f"--model {model} is quantized already; give the float model")
        check_memory(folder, model)
        network = pretrained.load(model, config.revision, config.token).eval()
        tokenizer = pretrained.load_tokenizer(model, config.revision, config.token)
        settings = network.config
    labels = labels_of(settings)
    seed = config.seed if config.seed is not None else int(run.config().get("seed", 0)) if run is not None else 0
    splits = read_data(config, run, labels)
    longest = pretrained.longest(settings, tokenizer)
    check_length(config.max_length, longest, model)
    length = min(trained_length(run, config.max_length, longest), longest)
    held = {name: TextBatches(texts, tokenizer, max_length=length) for name, texts in splits.evaluation.items()}
    return Subject(model, run, folder, network, tokenizer, settings, labels, splits, length, held, seed)


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


def read_data(config: Quantize, run: run_folder.Run | None, labels: list[str] | None) -> Splits:
    """The evaluation split, and the training split where it is calibrated on."""
    if config.data is None and run is None and config.task is None:
        raise DataError(
            f"--data: say what to measure {config.model} on: texts with labels that it knows, or --task for GLUE's own"
        )

    def read(*need: str) -> Splits:
        return run_data(config, run, need, labels, regression=labels is None)

    try:
        splits = read("train", "evaluation") if config.approach in ("static", "auto") else read("evaluation")
    except DataError as error:
        if config.approach == "static":
            raise DataError(f"--approach static needs training texts to calibrate on: {error}") from None
        if config.approach != "auto":
            raise
        splits = read("evaluation")
        print_line(f"note      nothing to calibrate on, so static approaches are left out: {error}")
    for line in splits.skipped:
        print_line(f"skipped   {line}")
    return splits


def points(metric_value: float) -> float:
    """A metric in points: per cent, or hundredths of a correlation."""
    return 100 * metric_value if math.isfinite(metric_value) else float("nan")
