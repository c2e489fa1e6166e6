"""`tool train vqa`: data, labels, model, the loop, and what a run leaves behind."""

from __future__ import annotations

import functools
import hashlib
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from recipes import training
from recipes.loop.loop import Outcome
from recipes.loop.optimizers import decay_groups
from recipes.session import Session, close
from recipes.terminal.progress import print_line
from recipes.vqa import artefacts
from recipes.vqa.config import Train, with_defaults
from recipes.vqa.inference import forward, predict_ids, show_metrics
from recipes.vqa.parts import Parts, prepare
from recipes.work import Batch, Evaluator, Work
from tasks.vqa import evaluation
from tasks.vqa.data import Splits

RECIPE = "vqa"


def train(config: Train) -> dict[str, Any]:
    """Trains, evaluates and writes the run; returns what the command prints.

    Raises:
        ToolError: see the exit codes of `tool --help`.
    """
    stages = training.Stages(
        RECIPE, prepare, say_header, lambda config, parts, session: make_work(config, parts), finish
    )
    return training.train(stages, with_defaults(config))


def make_work(config: Train, parts: Parts) -> Work:
    """What the loop needs to know of this task."""
    assert config.learning_rate is not None
    images, rate = parts.train.images, config.learning_rate

    def loss(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        logits = forward(model, batch, images)
        # The library's loss: the mean over questions and answers, times the number of answers.
        return F.binary_cross_entropy_with_logits(logits, batch["labels"], reduction="none").sum(1)

    def evaluate(model: torch.nn.Module, evaluator: Evaluator) -> dict[str, Any]:
        found = predict_ids(model, parts.evaluation, parts.evaluation.in_order(evaluator.batch_size), evaluator)
        answers = [parts.vocabulary.answers[number] for number in found.label]
        accuracy = evaluation.accuracy(answers, parts.eval_questions)
        summary = evaluation.summarise(accuracy, parts.eval_questions)
        loss = float(found.loss.mean())
        return {**summary, "loss": loss, "predictions": answers, "confidence": found.confidence, "scores": accuracy}

    if config.gradient_checkpointing:
        parts.model.gradient_checkpointing_enable()
    return Work(
        model=parts.model,
        plan=lambda size, epoch: parts.train.plan(size, config.seed, epoch),
        collate=parts.train.collate,
        loss=loss,
        evaluate=evaluate,
        metric=config.metric_for_best,
        greater_is_better=config.metric_for_best != "loss",
        parameter_groups=lambda model: decay_groups(
            model,
            learning_rate=rate,
            weight_decay=config.weight_decay,
            head=("classifier",),
            head_factor=config.head_learning_rate_factor or 1.0,
        ),
        heaviest=parts.train.heaviest,
        examples=len(parts.train_questions),
        data=digest(parts.splits),
        host_bytes=lambda: parts.train.cache_growth() + parts.evaluation.cache_growth(),
        unit="questions",
        eval_examples=len(parts.eval_questions),
        describe=lambda metrics: show_metrics(metrics, parts.priors),
        layers=lambda model: list(parts.model.vilt.encoder.layer),
    )


def digest(splits: Splits) -> str:
    """Of the questions, their answers and which image each is about, in order."""
    found = hashlib.sha256()
    for questions in (splits.train, splits.evaluation):
        assert questions is not None
        for text, answers in zip(questions.question, evaluation.given_answers(questions), strict=True):
            found.update(repr((text, answers)).encode())
        found.update(np.ascontiguousarray(questions.image).tobytes())
    return found.hexdigest()


def say_header(config: Train, parts: Parts, session: Session) -> None:
    """The first lines of a run: what is trained on what."""
    if not session.accelerator.is_main_process:
        return
    count = sum(parameter.numel() for parameter in parts.model.parameters())
    size = f"{count / 1e6:.1f} M" if count < 1e9 else f"{count / 1e9:.1f} B"
    print_line(f"vqa · {config.model}, {size} parameters · {parts.splits.description}")
    kept = len(parts.vocabulary.answers)
    print_line(
        f"answers   {kept} with frequency >= {parts.vocabulary.min_frequency} · ceiling {100 * parts.ceiling:.1f} % on "
        f"{len(parts.eval_questions):,} evaluation questions · measured by {evaluation.NAMES[evaluation.kind_of(parts.eval_questions)]}"
    )
    for line in parts.splits.skipped:
        print_line(f"skipped   {line}")


def finish(config: Train, parts: Parts, session: Session, outcome: Outcome) -> dict[str, Any]:
    """Writes model, predictions, card and report; uploads where asked; closes the run."""
    score = f"accuracy {100 * outcome.metrics['accuracy']:.1f} %"
    write = functools.partial(artefacts.write, config, parts, session.run, outcome)
    summary = close(config, session, outcome, write, score)
    if summary:
        summary["text"] = artefacts.closing_text(parts, session.run, outcome, summary)
    return summary
