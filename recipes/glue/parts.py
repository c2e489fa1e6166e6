"""The components of a text classification run (splits, tokenizer, model, batches) and their preparation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from recipes.data_sets import data_options
from recipes.glue.config import Train
from recipes.glue.inference import check_length
from tasks.errors import ConfigError
from tasks.glue import evaluation, pretrained, tiny
from tasks.glue.batches import TextBatches
from tasks.glue.data import Options, Splits, load_splits
from tasks.glue.texts import Texts


@dataclass
class Parts:
    """Everything that a run of this recipe is made of."""

    splits: Splits
    model: Any
    tokenizer: Any
    train: TextBatches
    evaluation: dict[str, TextBatches]
    baselines: dict[str, float]
    head: str
    cut: int

    @property
    def train_texts(self) -> Texts:
        assert self.splits.train is not None
        return self.splits.train


def prepare(config: Train) -> Parts:
    """Reads and checks the data, builds tokenizer and model, cuts texts into tokens."""
    splits = load_splits(data_options(Options, config))
    assert splits.train is not None
    if config.metric_for_best not in (None, "loss", *splits.metrics):
        raise ConfigError(f"--metric-for-best: these data are measured by {', '.join((*splits.metrics, 'loss'))}")
    model, tokenizer, head = build(config, splits)
    check_length(config.max_length, pretrained.longest(model.config, tokenizer), config.model)
    train = TextBatches(splits.train, tokenizer, max_length=config.max_length)
    held = {
        name: TextBatches(texts, tokenizer, max_length=config.max_length) for name, texts in splits.evaluation.items()
    }
    cut = int((train.lengths == config.max_length).sum())
    return Parts(splits, model, tokenizer, train, held, evaluation.baselines(splits), head, cut)


def build(config: Train, splits: Splits) -> tuple[Any, Any, str]:
    """The model with a head for the labels, its tokenizer, and what became of the head."""
    assert splits.train is not None
    if config.model == "tiny":
        tokenizer = tiny.build_tokenizer(splits.train)
        return tiny.build_model(tokenizer, splits.labels, config.seed, config.dropout or 0.0), tokenizer, ""
    model, head = pretrained.load_for_training(config.model, splits.labels, config.seed, config.revision, config.token)
    tokenizer = pretrained.load_tokenizer(config.model, config.revision, config.token)
    model.config.pad_token_id = tokenizer.pad_token_id
    if config.dropout is not None:
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = config.dropout
    return model, tokenizer, head
