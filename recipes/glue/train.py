"""`tool train glue`: texts, labels, model, the loop, and what a run leaves behind."""

from __future__ import annotations

import functools
import re
from typing import Any

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
from recipes.loop.optimizers import decay_groups
from recipes.session import Session, close
from recipes.terminal.progress import print_line
from recipes.work import Batch, Evaluator, Work
from tasks.glue import evaluation

RECIPE = "glue"


def train(config: Train) -> dict[str, Any]:
    """Trains, evaluates and writes the run; returns what the command prints.

    Raises:
        ToolError: see the exit codes of `tool --help`.
    """
    stages = training.Stages(
        RECIPE,
        prepare,
        say_header,
        lambda config, parts, session: make_work(config, parts),
        finish,
        lambda parts: re.sub(r"[^a-z0-9]+", "-", parts.splits.name.lower()).strip("-")[:24],
    )
    return training.train(stages, with_defaults(config))


def make_work(config: Train, parts: Parts) -> Work:
    """What the loop needs to know of this task."""
    assert config.learning_rate is not None
    metric, rate = config.metric_for_best or parts.splits.metrics[0], config.learning_rate

    def loss(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        if config.r_drop:
            return r_drop_losses(forward(model, doubled(batch)), batch["labels"], config.r_drop)
        return losses(forward(model, batch), batch["labels"])

    def evaluate(model: torch.nn.Module, evaluator: Evaluator) -> dict[str, Any]:
        logits, mean = {}, {}
        for name, batches in parts.evaluation.items():
            logits[name], mean[name] = predict_logits(lambda batch: forward(model, batch), batches, evaluator)
        return {**evaluation.summarise(parts.splits, logits, mean), "logits": logits}

    if config.gradient_checkpointing:
        parts.model.gradient_checkpointing_enable()
    return Work(
        model=parts.model,
        plan=lambda size, epoch: parts.train.plan(size, config.seed, epoch),
        collate=parts.train.collate,
        loss=loss,
        evaluate=evaluate,
        metric=metric,
        greater_is_better=metric != "loss",
        parameter_groups=lambda model: decay_groups(
            model, learning_rate=rate, weight_decay=config.weight_decay, layer_decay=config.layer_decay
        ),
        heaviest=parts.train.heaviest,
        examples=len(parts.train),
        data=digest(parts.splits.labels, parts.train_texts, *parts.splits.evaluation.values()),
        unit="texts" if parts.train_texts.second is None else "pairs",
        eval_examples=sum(len(batches) for batches in parts.evaluation.values()),
        describe=lambda metrics: evaluation.describe(parts.splits, metrics, parts.baselines),
        layers=layers,
    )


def layers(model: Any) -> list[torch.nn.Module]:
    """Those that a model in shards may gather by themselves: none where each process leaves out other layers at random."""
    drops = [value for name, value in vars(model.config).items() if name.endswith("layerdrop")]
    return [] if any(drops) else listed_layers(model)


def say_header(config: Train, parts: Parts, session: Session) -> None:
    """The first lines of a run: what is trained on what."""
    if not session.accelerator.is_main_process:
        return
    count = sum(parameter.numel() for parameter in parts.model.parameters())
    size = f"{count / 1e6:.1f} M" if count < 1e9 else f"{count / 1e9:.1f} B"
    print_line(f"glue · {config.model}, {size} parameters · {parts.splits.description}")
    labels = parts.splits.labels
    kind = (
        "a number"
        if labels is None
        else f"{len(labels)} classes: {', '.join(labels[:6])}{' ...' if len(labels) > 6 else ''}"
    )
    held = ", held out of the training data" if parts.splits.held_out else ""
    measured = " and ".join(evaluation.title(name) for name in parts.splits.metrics)
    print_line(f"labels    {kind} · measured by {measured} on {' and '.join(parts.splits.evaluation)}{held}")
    if parts.head:
        print_line(f"model     {parts.head}")
    if parts.cut:
        print_line(
            f"note      {parts.cut:,} of {len(parts.train):,} training texts reach --max-length {config.max_length} and may be cut"
        )
    for line in parts.splits.skipped:
        print_line(f"skipped   {line}")


def finish(config: Train, parts: Parts, session: Session, outcome: Outcome) -> dict[str, Any]:
    """Writes model, predictions, card and report; uploads where asked; closes the run."""
    first = parts.splits.metrics[0]
    score = f"{evaluation.title(first)} {evaluation.text_of(first, outcome.metrics[first])}"
    write = functools.partial(artefacts.write, config, parts, session.run, outcome)
    summary = close(config, session, outcome, write, score)
    if summary:
        summary["text"] = artefacts.closing_text(parts, session.run, outcome, summary)
    return summary
