"""`tool data inspect vqa` and `tool data sample vqa`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from recipes.data_sets import data_options, inspected, written
from recipes.distributed.device import silence
from recipes.vqa.config import Data, Sample

if TYPE_CHECKING:
    from tasks.vqa.inspection import Reading


def inspect(config: Data) -> dict[str, Any]:
    """What a data set holds, and what is wrong with it."""
    from tasks.vqa.data import Options, load_splits
    from tasks.vqa.inspection import inspect as look
    from tasks.vqa.vocabulary import build_vocabulary

    silence()
    options = data_options(Options, config)

    def prepare() -> None:
        train = load_splits(options, decode=None).train
        assert train is not None
        build_vocabulary(train)

    return inspected(look(options, partial(reading, config)), prepare)


def reading(config: Data, questions: list[str]) -> Reading:
    """How the model asked for reads questions; by default that which `tiny` makes of them."""
    from tasks.vqa import tiny
    from tasks.vqa.inspection import Reading
    from tasks.vqa.models import pretrained
    from tasks.weights import load_config

    if config.model == "tiny":
        return Reading(tiny.build_tokenizer(questions), tiny.MAX_TEXT, "tiny")
    tokenizer = pretrained.load_processor(config.model, None, config.token).tokenizer
    positions = load_config(config.model, None, config.token).max_position_embeddings
    return Reading(tokenizer, min(positions, tokenizer.model_max_length), config.model)


def sample(config: Sample) -> dict[str, Any]:
    """Writes the sample data in the official VQA v2 layout."""
    from tasks.vqa.sample.sample import write_sample

    return written("vqa", write_sample, config.output, config.seed)
