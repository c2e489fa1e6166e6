"""`tool train vqa`: data, labels, model, the loop, and what a run leaves behind."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from recipes import training
from recipes.loop import Outcome
from recipes.optimizers import decay_groups
from recipes.progress import print_line
from recipes.session import Session, close
from recipes.vqa import artefacts
from recipes.vqa.config import Train, with_defaults
from recipes.vqa.inference import forward, predict_ids, show_metrics
from recipes.work import Batch, Evaluator, Work
from tasks.vqa import evaluation
from tasks.vqa.augment import Augmentation
from tasks.vqa.batches import ImageFormat, VqaBatches
from tasks.vqa.data import Splits, load_splits
from tasks.vqa.model import ViltForQuestionAnswering
from tasks.vqa.questions import Questions
from tasks.vqa.vocabulary import Vocabulary, build_vocabulary, ceiling, targets

RECIPE = "vqa"


@dataclass
class Parts:
    """Everything that a VQA run is made of."""

    splits: Splits
    vocabulary: Vocabulary
    model: ViltForQuestionAnswering
    processor: Any
    train: VqaBatches
    evaluation: VqaBatches
    priors: dict[str, float]
    ceiling: float

    @property
    def train_questions(self) -> Questions:
        assert self.splits.train is not None
        return self.splits.train

    @property
    def eval_questions(self) -> Questions:
        assert self.splits.evaluation is not None
        return self.splits.evaluation


def train(config: Train) -> dict[str, Any]:
    """Trains, evaluates and writes the run; returns what the command prints.

    Raises:
        ToolError: see the exit codes of `tool --help`.
    """
    stages = training.Stages(
        RECIPE, prepare, say_header, lambda config, parts, session: make_work(config, parts), finish
    )
    return training.train(stages, with_defaults(config))


def prepare(config: Train) -> Parts:
    """Reads and checks the data, builds labels, processor and model."""
    splits = load_splits(config.data, **config.load_arguments())
    assert splits.train is not None
    assert splits.evaluation is not None
    vocabulary = build_vocabulary(
        splits.train, min_frequency=config.min_answer_frequency, max_answers=config.max_answers
    )
    model, processor = build(config, splits.train, vocabulary.answers)
    images = ImageFormat.of(processor)
    longest = min(config.max_question_length, model.config.max_position_embeddings)
    cache = config.image_cache_mb << 20
    kinds = tuple(kind for kind in config.augment if kind != "none")
    augmentation = Augmentation.of(kinds, config.seed, splits.train.question, evaluation.given_answers(splits.train))
    shared = {"max_length": longest, "num_labels": len(vocabulary.answers), "cache_bytes": cache}
    return Parts(
        splits,
        vocabulary,
        model,
        processor,
        VqaBatches(
            splits.train,
            processor.tokenizer,
            images,
            targets=targets(splits.train, vocabulary),
            augmentation=augmentation,
            **shared,
        ),
        VqaBatches(
            splits.evaluation,
            processor.tokenizer,
            images,
            targets=targets(splits.evaluation, vocabulary),
            **shared,
        ),
        evaluation.priors(splits.train, splits.evaluation),
        ceiling(splits.evaluation, vocabulary),
    )


def build(config: Train, questions: Questions, answers: list[str]) -> tuple[ViltForQuestionAnswering, Any]:
    """The model with a head for the answers, and its processor."""
    from tasks.vqa import pretrained, tiny

    if config.model == "tiny":
        tokenizer = tiny.build_tokenizer(questions.question)
        processor = tiny.build_processor(tokenizer)
        model = tiny.build_model(tokenizer, answers, config.seed, tiny.patch_sample(questions, processor, config.seed))
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            model, known = pretrained.load_for_training(config.model, answers, config.revision, config.token)
        processor = pretrained.load_processor(config.model, config.revision, config.token)
        if known:
            print_line(
                f"          {known} of {len(answers)} answers were known to {config.model} and keep what it learnt"
            )
    if config.dropout is not None:
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = config.dropout
        model.config.hidden_dropout_prob = model.config.attention_probs_dropout_prob = config.dropout
    return model, processor


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
