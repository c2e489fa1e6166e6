"""Logits of a text classifier over batches, PyTorch or ONNX, for training, `tool eval` and `tool predict`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from recipes.distributed.device import pick_device
from recipes.glue.config import MAX_LENGTH, UseOptions
from recipes.process.memory import to_device
from recipes.runs import folder as run_folder
from recipes.terminal.progress import Progress, print_line
from recipes.work import Batch, Evaluator
from tasks.errors import ConfigError
from tasks.glue import pretrained, thresholds
from tasks.glue.batches import TextBatches
from tasks.glue.cuts import cut_notes, cuts
from tasks.glue.texts import Texts
from tasks.weights import holds_onnx, model_folder

MULTI_LABEL = "multi_label_classification"


@dataclass
class Classifier:
    """A text classifier that can be asked.

    Attributes:
        logits: a batch as `TextBatches.collate` gives it, on `device` -> float32 [b, labels].
        labels: names of the classes in order of their numbers; None: a regression.
        thresholds: where a text may have several labels, the probability from which on it has each; else None.
        longest: tokens that it reads at most.
        kind: `torch` or `onnx`.
        batch_dependent: whether an answer hangs on what else is in its batch, as in int8 with dynamic ranges.
    """

    name: str
    logits: Callable[[Batch], torch.Tensor]
    tokenizer: Any
    labels: list[str] | None
    longest: int
    device: torch.device
    kind: str
    thresholds: list[float] | None = None
    batch_dependent: bool = False

    def batches(self, texts: Texts, max_length: int | None) -> TextBatches:
        """The texts as batches for this model.

        Raises:
            ConfigError: --max-length beyond what the model can read.
        """
        check_length(max_length, self.longest, self.name)
        return TextBatches(texts, self.tokenizer, max_length=max_length or self.longest)


def open_classifier(config: UseOptions, model: str) -> Classifier:
    """The model at a run folder, a model folder of PyTorch or ONNX, or on the Hub.

    Raises:
        ConfigError: it has no classification head.
        DataError: it is damaged.
    """
    folder = Path(model_folder(model))
    if holds_onnx(folder):
        return _open_onnx(config, model, folder)
    device = pick_device(config.cpu, config.threads)
    network = pretrained.load(model, config.revision, config.token).eval()
    if pretrained.is_quantized(network.config):
        device = network.device
    else:
        network = network.to(device)
    tokenizer = pretrained.load_tokenizer(model, config.revision, config.token)
    return _classifier(config, model, lambda batch: forward(network, batch), tokenizer, network.config, device, "torch")


def _open_onnx(config: UseOptions, model: str, folder: Path) -> Classifier:
    from tasks.onnx.session import open_model

    session, tokenizer, settings = open_model(folder, threads=config.threads)

    def logits(batch: Batch) -> torch.Tensor:
        mask = batch["attention_mask"]
        feeds = {name: value.numpy() for name, value in batch.items() if name not in ("labels", "attention_mask")}
        feeds["attention_mask"] = np.ones_like(feeds["input_ids"]) if mask is None else mask.numpy()
        return torch.from_numpy(session.run(feeds))

    classifier = _classifier(config, model, logits, tokenizer, settings, torch.device("cpu"), "onnx")
    classifier.batch_dependent = session.batch_dependent
    return classifier


def _classifier(
    config: UseOptions,
    model: str,
    logits: Callable[[Batch], torch.Tensor],
    tokenizer: Any,
    settings: Any,
    device: torch.device,
    kind: str,
) -> Classifier:
    """A model with what its config says of its labels."""
    longest, levels = pretrained.longest(settings, tokenizer), thresholds_of(settings, model, config.threshold)
    return Classifier(model, logits, tokenizer, labels_of(settings), longest, device, kind, levels)


def labels_of(config: Any) -> list[str] | None:
    """The classes of a model's config in order; None: a regression."""
    if config.problem_type != MULTI_LABEL and (config.num_labels == 1 or config.problem_type == "regression"):
        return None
    return [str(config.id2label[number]) for number in range(config.num_labels)]


def thresholds_of(config: Any, model: str, given: float | None = None) -> list[float] | None:
    """The probability from which on a text has each label, of a model of several labels a text; None of another.

    Args:
        given: the user's, for all labels.

    Raises:
        ConfigError: the user's, for a model of another kind.
        DataError: the model's own are none.
    """
    labels = labels_of(config)
    if labels is None or config.problem_type != MULTI_LABEL:
        if given is not None:
            raise ConfigError(f"--threshold: {model} gives each text one answer")
        return None
    return thresholds.of_config(config, labels, model) if given is None else [given] * len(labels)


def check_length(max_length: int | None, longest: int, model: str) -> None:
    """Refuses texts longer than the model can read.

    Raises:
        ConfigError: with its limit.
    """
    if max_length is not None and max_length > longest:
        raise ConfigError(f"--max-length: {max_length} is more than the {longest} tokens that {model} reads")


def trained_length(run: run_folder.Run | None, max_length: int | None, longest: int) -> int:
    """The length that texts are cut to: as asked for, as the run was trained, else what is usual."""
    was = run.config().get("max_length") if run is not None else None
    return max_length or min(int(was or MAX_LENGTH), longest)


def forward(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Logits float32 [b, labels] of a batch as `TextBatches` collates it, on the model's device."""
    logits: torch.Tensor = model(**{name: value for name, value in batch.items() if name != "labels"}).logits
    return logits.float()


def losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of classes, squared error of scores, of several labels the mean binary cross-entropy: float32 [b]."""
    if labels.dim() == 2:
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(dim=1)
    if labels.is_floating_point():
        return F.mse_loss(logits[:, 0], labels, reduction="none")
    return F.cross_entropy(logits, labels, reduction="none")


def predict_logits(
    logits: Callable[[Batch], torch.Tensor], batches: TextBatches, evaluator: Evaluator
) -> tuple[np.ndarray, float]:
    """Logits float32 [n, labels] of all texts in their order, and the mean loss (NaN without labels); all processes have all."""
    mine: list[Any] = []
    for numbers in evaluator.mine(batches.in_order(evaluator.batch_size)):
        batch = to_device(batches.collate(numbers), evaluator.device)
        with evaluator.autocast():
            values = logits(batch)
        loss = losses(values, batch["labels"]) if "labels" in batch else torch.full((len(numbers),), float("nan"))
        mine.append((numbers, values.float().cpu().numpy(), loss.cpu().numpy()))
        evaluator.progress(len(numbers))
    every = evaluator.gather(mine)
    width = every[0][1].shape[1] if every else 1
    result, loss_of = np.zeros((len(batches), width), dtype=np.float32), np.zeros(len(batches))
    for numbers, part, loss in every:
        result[numbers], loss_of[numbers] = part, loss
    return result, float(loss_of.mean()) if len(loss_of) else float("nan")


def predict_texts(
    classifier: Classifier,
    texts: Texts,
    length: int,
    config: UseOptions,
    name: str = "",
    batch_size: int | None = None,
    notes: bool = True,
) -> tuple[np.ndarray, float, float]:
    """Logits float32 [n, labels] of all texts, the mean loss, and texts a second from tokens to logits; says how many are cut.

    Args:
        name: of their split, where there are several.
        batch_size: in place of --batch-size.
        notes: whether to say how many are cut.
    """
    length = min(length, classifier.longest)
    batches = classifier.batches(texts, length)
    for line in cut_notes({name: cuts(batches, texts, classifier.tokenizer, length)}, length) if notes else ():
        print_line(f"note      {line}")
    precision = getattr(config, "mixed_precision", "no")
    with Progress("evaluating", len(texts), unit="texts") as progress, torch.inference_mode():
        evaluator = Evaluator.alone(classifier.device, batch_size or config.batch_size, progress.advance, precision)
        began = time.perf_counter()
        logits, loss = predict_logits(classifier.logits, batches, evaluator)
        return logits, loss, len(texts) / max(1e-9, time.perf_counter() - began)
