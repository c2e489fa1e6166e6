"""The components of a text classification run (splits, tokenizer, model, batches) and their preparation."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch

from recipes.data_sets import data_options
from recipes.glue.config import Train
from recipes.glue.inference import check_length
from tasks.errors import ConfigError
from tasks.glue import evaluation, pretrained, thresholds, tiny
from tasks.glue.batches import TextBatches
from tasks.glue.cuts import Cuts, cuts
from tasks.glue.data import Options, Splits, load_splits
from tasks.glue.holdout import hold_out
from tasks.glue.texts import Texts


@dataclass
class Parts:
    """Everything that a run of this recipe is made of.

    Attributes:
        train: the training texts, without those of `tuning`.
        tuning: the training texts held out to choose thresholds of several labels; None where there are none to choose.
        cut: what --max-length takes from the texts, by split.
    """

    splits: Splits
    model: Any
    tokenizer: Any
    train: TextBatches
    tuning: TextBatches | None
    evaluation: dict[str, TextBatches]
    baselines: dict[str, float]
    head: str
    cut: dict[str, Cuts]

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
    fitted, tuned = without_tuning(config, splits)
    model, tokenizer, head = build(config, dataclasses.replace(splits, train=fitted))
    check_length(config.max_length, pretrained.longest(model.config, tokenizer), config.model)

    def batches(texts: Texts) -> TextBatches:
        return TextBatches(texts, tokenizer, max_length=config.max_length)

    train, tuning = batches(fitted), None if tuned is None else batches(tuned)
    held = {name: batches(texts) for name, texts in splits.evaluation.items()}
    lost = {name: cuts(held[name], texts, tokenizer, config.max_length) for name, texts in splits.evaluation.items()}
    lost = {"training": cuts(train, fitted, tokenizer, config.max_length), **lost}
    return Parts(splits, model, tokenizer, train, tuning, held, evaluation.baselines(splits), head, lost)


def without_tuning(config: Train, splits: Splits) -> tuple[Texts, Texts | None]:
    """(the training texts to fit, those to choose thresholds of several labels by; None where there is nothing to choose)."""
    assert splits.train is not None
    if splits.thresholds is None or splits.train.label is None:
        return splits.train, None
    if config.threshold_fraction * splits.train.label.sum() < thresholds.LEAST:
        return splits.train, None
    return hold_out(splits.train, config.threshold_fraction, config.seed + 1, splits.name)


def build(config: Train, splits: Splits) -> tuple[Any, Any, str]:
    """The model with a head for the labels, its tokenizer, and what became of the head."""
    assert splits.train is not None
    if config.model == "tiny":
        tokenizer = tiny.build_tokenizer(splits.train)
        dropout, multi_label = config.dropout or 0.0, splits.thresholds is not None
        model = tiny.build_model(tokenizer, splits.labels, config.seed, dropout, multi_label=multi_label)
        return model, tokenizer, ""
    model, head = pretrained.load_for_training(
        config.model,
        splits.labels,
        config.seed,
        config.revision,
        config.token,
        multi_label=splits.thresholds is not None,
    )
    tokenizer = pretrained.load_tokenizer(config.model, config.revision, config.token)
    model.config.pad_token_id = tokenizer.pad_token_id
    if config.dropout is not None:
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = config.dropout
    return model, tokenizer, head
