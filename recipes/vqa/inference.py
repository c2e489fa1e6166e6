"""Answers of a ViLT over batches, for training, `tool eval` and `tool predict`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from recipes.distributed.device import pick_device
from recipes.process.memory import to_device
from recipes.terminal.progress import print_line, print_line_once
from recipes.vqa.config import UseOptions
from recipes.work import Batch, Evaluator
from tasks.vqa.batches import ImageFormat, VqaBatches
from tasks.vqa.data import Splits
from tasks.vqa.evaluation import Choice, label
from tasks.vqa.models import library_check, pretrained
from tasks.vqa.models.vilt import ViltForQuestionAnswering
from tasks.vqa.questions import Questions
from tasks.weights import model_folder


def forward(model: torch.nn.Module, batch: Batch, images: ImageFormat) -> torch.Tensor:
    """Logits float32 [b, labels] of a batch as `VqaBatches` collates it, on the model's device."""
    logits: torch.Tensor = model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        pixel_values=images.normalise(batch["pixels"]),
        pixel_mask=batch["pixel_mask"],
        image_index=batch["image_index"],
    ).logits
    return logits.float()


def checked(model: ViltForQuestionAnswering) -> ViltForQuestionAnswering:
    """The model, which uses transformers' own forward where the faster one gives other logits; a line says so."""
    if sentence := library_check.keep_if_equal(model):
        print_line_once(f"layers    {sentence}")
    return model


def load_model(model: str, revision: str | None = None, token: str | None = None) -> tuple[Any, Any]:
    """A fine-tuned ViLT on the CPU, checked against transformers, and its processor."""
    return checked(pretrained.load(model, revision, token)), pretrained.load_processor(model, revision, token)


def open_vilt(config: UseOptions, model: str, questions: Questions) -> tuple[Any, VqaBatches, torch.device]:
    """A fine-tuned ViLT on its device, and the questions as its batches."""
    device = pick_device(config.cpu, config.threads)
    vilt, processor = load_model(model, config.revision, config.token)
    vilt = vilt.to(device).eval()
    longest = min(vilt.config.max_position_embeddings, int(processor.tokenizer.model_max_length))
    batches = VqaBatches(questions, processor.tokenizer, ImageFormat.of(processor), max_length=longest, cache_bytes=0)
    if line := batches.truncation.line():
        print_line(f"cut       {line}")
    return vilt, batches, device


def predict_logits(model: torch.nn.Module, batches: VqaBatches, plan: list[np.ndarray], evaluator: Evaluator) -> Any:
    """Yields (question numbers [b], logits float32 [b, labels], labels or None) for this process's share of the plan."""
    for numbers in evaluator.mine(plan):
        batch = to_device(batches.collate(numbers), evaluator.device)
        with evaluator.autocast():
            logits = forward(model, batch, batches.images)
        evaluator.progress(len(numbers))
        yield numbers, logits, batch.get("labels")


@dataclass
class Predicted:
    """The best label of each question int64 [n], its sigmoid score float64 [n], and its loss float64 [n] where labels were given."""

    label: np.ndarray
    confidence: np.ndarray
    loss: np.ndarray


def predict_ids(model: torch.nn.Module, batches: VqaBatches, plan: list[np.ndarray], evaluator: Evaluator) -> Predicted:
    """What the model answers; every process has all of it."""
    mine: list[Any] = []
    for numbers, logits, labels in predict_logits(model, batches, plan, evaluator):
        best, label = logits.sigmoid().max(1)
        loss = torch.zeros_like(best)
        if labels is not None:
            loss = F.binary_cross_entropy_with_logits(logits, labels, reduction="none").sum(1)
        mine += zip(numbers.tolist(), label.tolist(), best.tolist(), loss.tolist(), strict=True)
    predicted = Predicted(np.zeros(len(batches), dtype=np.int64), np.zeros(len(batches)), np.zeros(len(batches)))
    for number, label, best, loss in evaluator.gather(mine):
        predicted.label[number], predicted.confidence[number], predicted.loss[number] = label, best, loss
    return predicted


def generate(config: UseOptions, model: str, questions: Questions, done: Callable[[int], None]) -> list[str]:
    """Zero-shot answers of a generative model; `done` hears of each batch."""
    from tasks.vqa.models.generative import GenerativeVqa

    generator = GenerativeVqa.from_pretrained(
        model_folder(model),
        device=pick_device(config.cpu, config.threads),
        revision=config.revision,
        token=config.token,
    )
    answers: list[str] = []
    for start in range(0, len(questions), config.batch_size):
        chosen = range(start, min(start + config.batch_size, len(questions)))
        images = {
            int(image): questions.images.load(int(image)) for image in questions.image[chosen.start : chosen.stop]
        }
        answers += generator.answer(
            [images[int(questions.image[number])] for number in chosen],
            [questions.question[number] for number in chosen],
            num_beams=config.num_beams,
            max_new_tokens=config.max_new_tokens,
            batch_size=config.batch_size,
            template=config.prompt,
        )
        done(len(chosen))
    return answers


def told(splits: Splits, choice: Choice) -> list[str]:
    """What has to be said of the data before a figure on them: rows left out, cells, leaks, a score that fits only some."""
    return [
        *(f"skipped   {line}" for line in splits.skipped),
        *(f"note      {line}" for line in splits.notes),
        *(f"leaks     {line}" for line in splits.leaks),
        *([f"score     {choice.mixed}"] if choice.mixed else []),
    ]


def show_metrics(metrics: dict[str, Any], priors: dict[str, float], kind: str = "official", mark: str = "") -> str:
    """The score with its interval beside the priors, in a line.

    Args:
        mark: what stands behind the figure, with a space before it.
    """
    baselines = " · ".join(f"{name} {100 * value:.1f}" for name, value in priors.items())
    return (
        f"{label(kind)} {100 * metrics['accuracy']:.1f} %{mark} (n {metrics['n']:,}, 95 % {100 * metrics['accuracy_low']:.1f} to "
        f"{100 * metrics['accuracy_high']:.1f}){' · ' + baselines if baselines else ''}"
    )
