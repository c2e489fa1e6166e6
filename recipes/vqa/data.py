"""`tool data inspect vqa` and `tool data sample vqa`."""

from __future__ import annotations

from typing import Any

from recipes.data_sets import data_options, inspected, written
from recipes.distributed.device import silence
from recipes.vqa.config import Data, Sample


def inspect(config: Data) -> dict[str, Any]:
    """What a data set holds, and what is wrong with it."""
    from tasks.vqa.data import Options, load_splits
    from tasks.vqa.inspection import inspect as look
    from tasks.vqa.vocabulary import build_vocabulary

    silence()
    options = data_options(Options, config)

    def prepare() -> None:
        train = load_splits(options).train
        assert train is not None
        build_vocabulary(train)

    return inspected(look(options), prepare)


def sample(config: Sample) -> dict[str, Any]:
    """Writes the sample data in the official VQA v2 layout."""
    from tasks.vqa.sample.sample import write_sample

    return written("vqa", write_sample, config.output, config.seed)
