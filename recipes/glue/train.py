"""`tool train glue`: the recipe, and what the loop trains."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import torch

from recipes import training
from recipes.distributed.fsdp import listed_layers
from recipes.glue import artefacts
from recipes.glue.config import Train, with_defaults
from recipes.glue.data import digest
from recipes.glue.inference import forward, losses, predict_logits
from recipes.glue.parts import Parts, prepare
from recipes.glue.r_drop import doubled, r_drop_losses
from recipes.loop.loop import Outcome
from recipes.runs import summary as run_summary
from recipes.terminal.progress import parameters_text
from recipes.work import Batch, Evaluator, Work, decay_groups
from tasks.glue import evaluation, thresholds
from tasks.glue.batches import TextBatches
from tasks.glue.cuts import cut_notes


def train(config: Train) -> dict[str, Any]:
    """Trains, evaluates and writes the run; returns what the command prints.

    Raises:
        ToolError: see the exit codes of `tool --help`.
    """
    return training.train(TextClassification(with_defaults(config)))


class TextClassification(training.Recipe[Train, Parts]):
    """Text classification and regression."""

    name = "glue"

    def prepare(self) -> Parts:
        return prepare(self.config)

    def label(self) -> str:
        return re.sub(r"[^a-z0-9]+", "-", self.parts.splits.name.lower()).strip("-")[:24]

    def header(self) -> list[str]:
        config, parts, splits = self.config, self.parts, self.parts.splits
        lines = [f"glue · {config.model}, {parameters_text(parts.model)} parameters · {splits.description}"]
        labels = splits.labels
        kind = "a number"
        if labels is not None:
            noun = "classes" if splits.thresholds is None else "labels, any number of them a text"
            kind = f"{len(labels)} {noun}: {', '.join(labels[:6])}{' ...' if len(labels) > 6 else ''}"
        held = ", held out of the training data" if splits.held_out else ""
        *names, last = (evaluation.title(name) for name in splits.metrics)
        measured = f"{', '.join(names)} and {last}" if names else last
        lines.append(f"labels    {kind} · measured by {measured} on {' and '.join(splits.evaluation)}{held}")
        if parts.head:
            lines.append(f"model     {parts.head}")
        if splits.thresholds is not None:
            lines.append(f"threshold {self.threshold_text()}")
        lines += [f"note      {line}" for line in (*splits.notes, *cut_notes(parts.cut, config.max_length))]
        lines += [f"leaks     {line}" for line in splits.leaks]
        return [*lines, *(f"skipped   {line}" for line in splits.skipped)]

    def threshold_text(self) -> str:
        """How it is decided from which probability on a text has a label."""
        tuning = self.parts.tuning
        if tuning is None:
            why = "too few training texts to choose by" if self.config.threshold_fraction else "--threshold-fraction 0"
            return f"0.5 for each label ({why})"
        return (
            f"chosen for each label on {len(tuning):,} training texts that are held out, neither trained on nor scored "
            "(--threshold-fraction)"
        )

    def make_work(self) -> Work:
        return ClassificationWork(self.config, self.parts)

    def score(self, outcome: Outcome) -> str:
        first = self.parts.splits.metrics[0]
        return f"{evaluation.title(first)} {evaluation.text_of(first, outcome.metrics[first])}"

    def write(self, outcome: Outcome) -> dict[str, Any]:
        return artefacts.write(self.config, self.parts, self.session.run, outcome)

    def summary(self, outcome: Outcome, summary: dict[str, Any]) -> str:
        parts = self.parts
        score = evaluation.describe(parts.splits, outcome.metrics, parts.baselines)
        answers = artefacts.sample_answers(parts.splits, outcome.metrics["logits"])
        return run_summary.text(self.session.run, summary, score, "tool quantize --approach dynamic", answers)


class ClassificationWork(Work):
    """A text classifier or regression, over batches of tokens."""

    def __init__(self, config: Train, parts: Parts) -> None:
        if config.gradient_checkpointing:
            parts.model.gradient_checkpointing_enable()
        splits, texts = parts.splits, parts.train_texts
        metric = config.metric_for_best or splits.metrics[0]
        super().__init__(
            parts.model,
            config,
            examples=len(parts.train),
            eval_examples=sum(len(batches) for batches in (*parts.evaluation.values(), *self.tuning(parts))),
            metric=metric,
            data=digest(splits.labels, texts, *splits.evaluation.values()),
        )
        self.config, self.parts = config, parts
        self.greater_is_better = metric != "loss"
        self.unit = "texts" if texts.second is None else "pairs"

    @staticmethod
    def tuning(parts: Parts) -> list[TextBatches]:
        """The texts to choose thresholds by, where there are any."""
        return [] if parts.tuning is None else [parts.tuning]

    def collate(self, numbers: np.ndarray, epoch: int) -> Batch:
        return self.parts.train.collate(numbers, epoch)

    def heaviest(self, batch_size: int) -> np.ndarray:
        return self.parts.train.heaviest(batch_size)

    def plan(self, batch_size: int, epoch: int) -> list[np.ndarray]:
        return self.parts.train.plan(batch_size, self.config.seed, epoch)

    def training_step(self, model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, int]:
        labels = batch["labels"]
        if self.config.r_drop:
            each = r_drop_losses(forward(model, doubled(batch)), labels, self.config.r_drop)
        else:
            each = losses(forward(model, batch), labels)
        return each.float().sum(), len(labels)

    def evaluate(self, model: torch.nn.Module, evaluator: Evaluator) -> dict[str, Any]:
        logits, mean = {}, {}
        for name, batches in self.parts.evaluation.items():
            logits[name], mean[name] = predict_logits(lambda batch: forward(model, batch), batches, evaluator)
        splits = self.parts.splits
        if splits.thresholds is None:
            return {**evaluation.summarise(splits, logits, mean), "logits": logits}
        levels = splits.thresholds
        for batches in self.tuning(self.parts):
            given, _ = predict_logits(lambda batch: forward(model, batch), batches, evaluator)
            assert batches.label is not None
            levels = thresholds.choose(evaluation.sigmoid(given), batches.label)
        scored = evaluation.summarise(dataclasses.replace(splits, thresholds=levels), logits, mean)
        return {**scored, "logits": logits, "thresholds": levels}

    def parameter_groups(self, model: torch.nn.Module) -> list[dict[str, Any]]:
        config = self.config
        assert config.learning_rate is not None
        return decay_groups(
            model,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            layer_decay=config.layer_decay,
        )

    def describe(self, metrics: dict[str, Any]) -> str:
        return evaluation.describe(self.parts.splits, metrics, self.parts.baselines)

    def fsdp_layers(self, model: Any) -> list[torch.nn.Module]:
        # None where each process leaves out other layers at random.
        drops = [value for name, value in vars(model.config).items() if name.endswith("layerdrop")]
        return [] if any(drops) else listed_layers(model)
