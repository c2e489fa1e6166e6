"""`--model tiny`: a BERT of under two million parameters with a vocabulary of its own, for any machine and no network."""

from __future__ import annotations

from typing import Any

import torch
import transformers

from tasks import word_pieces
from tasks.glue.texts import Texts
from tasks.weights import label_maps

MAX_WORDS = 8_000
MAX_TOKENS = 512
HIDDEN, LAYERS, HEADS, INTERMEDIATE = 128, 2, 4, 512
INITIALIZER_RANGE = 0.05


def build_tokenizer(texts: Texts) -> transformers.PreTrainedTokenizerBase:
    """A word-piece tokenizer from the training texts."""
    every = [*texts.first, *(texts.second or [])]
    return word_pieces.build_tokenizer(every, MAX_WORDS, MAX_TOKENS)


def build_model(
    tokenizer: Any, labels: list[str] | None, seed: int, dropout: float = 0.1, *, multi_label: bool = False
) -> Any:
    """A `BertForSequenceClassification` with random weights from the seed.

    Args:
        labels: names of the classes; None: a regression.
    """
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=INTERMEDIATE,
        max_position_embeddings=MAX_TOKENS,
        initializer_range=INITIALIZER_RANGE,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=0.0,
        pad_token_id=tokenizer.pad_token_id,
        **head(labels, multi_label),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return transformers.BertForSequenceClassification(config)


def head(labels: list[str] | None, multi_label: bool = False) -> dict[str, Any]:
    """What a config says of a head for these classes, of which a text has one or `multi_label` any number; or for a regression."""
    if labels is None:
        return {"num_labels": 1, "problem_type": "regression"}
    kind = "multi_label_classification" if multi_label else "single_label_classification"
    return {**label_maps(labels), "problem_type": kind}
