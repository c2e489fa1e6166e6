"""The components of a VQA run (splits, answers, model, processor, batches) and their preparation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from recipes.data_sets import data_options
from recipes.terminal.progress import print_line
from recipes.vqa.config import Train
from recipes.vqa.inference import checked
from recipes.vqa.seen_questions import SeenQuestions, will_be_seen
from tasks.vqa import baselines, evaluation
from tasks.vqa.augment import Augmentation
from tasks.vqa.batches import ImageFormat, VqaBatches
from tasks.vqa.data import Options, Splits, load_splits
from tasks.vqa.evaluation import Choice, choose_score
from tasks.vqa.models.vilt import ViltForQuestionAnswering
from tasks.vqa.questions import Questions
from tasks.vqa.vocabulary import Vocabulary, build_vocabulary, ceiling, targets


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
    choice: Choice
    seen: SeenQuestions

    @property
    def train_questions(self) -> Questions:
        assert self.splits.train is not None
        return self.splits.train

    @property
    def eval_questions(self) -> Questions:
        assert self.splits.evaluation is not None
        return self.splits.evaluation


def prepare(config: Train) -> Parts:
    """Reads and checks the data, builds labels, processor and model."""
    splits = load_splits(data_options(Options, config))
    assert splits.train is not None
    assert splits.evaluation is not None
    choice = choose_score(splits.evaluation, config.score)
    vocabulary = build_vocabulary(
        splits.train,
        min_frequency=config.min_answer_frequency,
        max_answers=config.max_answers,
        every=config.label_answers == "all",
    )
    model, processor = build(config, splits.train, vocabulary.answers)
    images = ImageFormat.of(processor)
    kinds = tuple(kind for kind in config.augment if kind != "none")
    augmentation = Augmentation.of(kinds, config.seed, splits.train.question, evaluation.given_answers(splits.train))

    limit = min(config.max_question_length, model.config.max_position_embeddings)
    # Whoever opens the model cuts questions as its training did.
    processor.tokenizer.model_max_length = limit

    def batches(questions: Questions, augmentation: Augmentation | None = None) -> VqaBatches:
        return VqaBatches(
            questions,
            processor.tokenizer,
            images,
            max_length=limit,
            targets=targets(questions, vocabulary),
            num_labels=len(vocabulary.answers),
            augmentation=augmentation,
            cache_bytes=config.image_cache_mb << 20,
        )

    train, held = batches(splits.train, augmentation), batches(splits.evaluation)
    priors = baselines.priors(splits.train, splits.evaluation, choice.kind)
    reachable = ceiling(splits.evaluation, vocabulary, choice.kind)
    return Parts(
        splits, vocabulary, model, processor, train, held, priors, reachable, choice, will_be_seen(config.model, splits)
    )


def build(config: Train, questions: Questions, answers: list[str]) -> tuple[ViltForQuestionAnswering, Any]:
    """The model with a head for the answers, and its processor."""
    from tasks.vqa import tiny
    from tasks.vqa.models import pretrained

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
    return checked(model), processor
