"""`tool train vqa`: the recipe, and what the loop trains."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from recipes import training
from recipes.loop.loop import Outcome
from recipes.runs import summary as run_summary
from recipes.terminal.progress import parameters_text
from recipes.vqa import artefacts
from recipes.vqa.config import Train, with_defaults
from recipes.vqa.inference import forward, predict_ids, show_metrics, told
from recipes.vqa.parts import Parts, prepare
from recipes.work import Batch, Evaluator, Work, decay_groups
from tasks.vqa import evaluation
from tasks.vqa.data import Splits

LABEL_ANSWERS = {"heaviest": "each question's heaviest answer, as in ViLT", "all": "all answers"}


def train(config: Train) -> dict[str, Any]:
    """Trains, evaluates and writes the run; returns what the command prints.

    Raises:
        ToolError: see the exit codes of `tool --help`.
    """
    return training.train(VisualQuestionAnswering(with_defaults(config)))


class VisualQuestionAnswering(training.Recipe[Train, Parts]):
    """ViLT fine-tuned to choose among the answers of the training data."""

    name = "vqa"

    def prepare(self) -> Parts:
        return prepare(self.config)

    def header(self) -> list[str]:
        parts, vocabulary, questions = self.parts, self.parts.vocabulary, self.parts.eval_questions
        size = parameters_text(parts.model)
        return [
            f"vqa · {self.config.model}, {size} parameters · {parts.splits.description}",
            f"answers   {len(vocabulary.answers)} with frequency >= {vocabulary.min_frequency} "
            f"({LABEL_ANSWERS[self.config.label_answers]}) · "
            f"ceiling {100 * parts.ceiling:.1f} % on {len(questions):,} evaluation questions · "
            f"measured by {evaluation.NAMES[parts.choice.kind]}: {parts.choice.why}",
            *told(parts.splits, parts.choice),
            *(f"cut       {line}" for line in self.cut() if line),
            # The pictures that the splits share are told of as leaks.
            *([parts.seen.line()] if parts.seen.count > parts.splits.shared_count else []),
        ]

    def cut(self) -> list[str]:
        """What the limit on a question's length does to each split, in words."""
        parts = self.parts
        longer = self.config.max_question_length < parts.model.config.max_position_embeddings
        hint = "; keep them with a greater --max-question-length" if longer else ""
        splits = ((parts.train, "training questions"), (parts.evaluation, "evaluation questions"))
        return [batches.truncation.line(what, hint) for batches, what in splits]

    def make_work(self) -> Work:
        return AnswerWork(self.config, self.parts)

    def score(self, outcome: Outcome) -> str:
        return f"{evaluation.label(self.parts.choice.kind)} {100 * outcome.metrics['accuracy']:.1f} %{self.parts.seen.mark()}"

    def write(self, outcome: Outcome) -> dict[str, Any]:
        return artefacts.write(self.config, self.parts, self.session.run, outcome)

    def summary(self, outcome: Outcome, summary: dict[str, Any]) -> str:
        metrics = outcome.metrics
        score = (
            f"{self.score(outcome)} ({100 * metrics['accuracy_low']:.1f} to "
            f"{100 * metrics['accuracy_high']:.1f}, n {metrics['n']:,}) · "
        ) + " · ".join(f"{name} {100 * value:.1f}" for name, value in self.parts.priors.items())
        answers = artefacts.sample_answers(self.parts.eval_questions, metrics["predictions"])
        following = 'tool predict vqa photo.jpg "What colour is it?"'
        return run_summary.text(self.session.run, summary, score, following, answers)


class AnswerWork(Work):
    """ViLT with a score for each answer, over batches of questions and their pictures."""

    unit = "questions"

    def __init__(self, config: Train, parts: Parts) -> None:
        if config.gradient_checkpointing:
            parts.model.gradient_checkpointing_enable()
        super().__init__(
            parts.model,
            config,
            examples=len(parts.train_questions),
            eval_examples=len(parts.eval_questions),
            metric=config.metric_for_best,
            data=digest(parts.splits),
        )
        self.config, self.parts = config, parts
        self.greater_is_better = config.metric_for_best != "loss"

    def plan(self, batch_size: int, epoch: int) -> list[np.ndarray]:
        return self.parts.train.plan(batch_size, self.config.seed, epoch)

    def collate(self, numbers: np.ndarray, epoch: int) -> Batch:
        return self.parts.train.collate(numbers, epoch)

    def heaviest(self, batch_size: int) -> np.ndarray:
        return self.parts.train.heaviest(batch_size)

    def training_step(self, model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, int]:
        logits = forward(model, batch, self.parts.train.images)
        # The library's loss: the mean over questions and answers, times the number of answers.
        each = F.binary_cross_entropy_with_logits(logits, batch["labels"], reduction="none").sum(1)
        return each.float().sum(), len(each)

    def evaluate(self, model: torch.nn.Module, evaluator: Evaluator) -> dict[str, Any]:
        parts, batches = self.parts, self.parts.evaluation
        predicted = predict_ids(model, batches, batches.in_order(evaluator.batch_size), evaluator)
        answers = [parts.vocabulary.answers[number] for number in predicted.label]
        accuracy = evaluation.accuracy(answers, parts.eval_questions, parts.choice.kind)
        summary = evaluation.summarise(accuracy, parts.eval_questions)
        loss = float(predicted.loss.mean())
        return {**summary, "loss": loss, "predictions": answers, "confidence": predicted.confidence, "scores": accuracy}

    def parameter_groups(self, model: torch.nn.Module) -> list[dict[str, Any]]:
        config = self.config
        assert config.learning_rate is not None
        return decay_groups(
            model,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            head=("classifier",),
            head_factor=config.head_learning_rate_factor or 1.0,
        )

    def describe(self, metrics: dict[str, Any]) -> str:
        return show_metrics(metrics, self.parts.priors, self.parts.choice.kind, self.parts.seen.mark())

    def fsdp_layers(self, model: Any) -> list[torch.nn.Module]:
        return list(model.vilt.encoder.layer)

    def host_bytes(self) -> int:
        return self.parts.train.cache_growth() + self.parts.evaluation.cache_growth()


def digest(splits: Splits) -> str:
    """Of the questions, their answers and which image each is about, in order."""
    hasher = hashlib.sha256()
    for questions in (splits.train, splits.evaluation):
        assert questions is not None
        for text, answers in zip(questions.question, evaluation.given_answers(questions), strict=True):
            hasher.update(repr((text, answers)).encode())
        hasher.update(np.ascontiguousarray(questions.image).tobytes())
    return hasher.hexdigest()
