"""`tool data inspect controlnet` and `tool data sample controlnet`."""

from __future__ import annotations

from typing import Any

from recipes.controlnet.config import Data, Sample
from recipes.data_sets import data_options, inspected, written
from recipes.distributed.device import silence


def inspect(config: Data) -> dict[str, Any]:
    """What a data set holds, and what is wrong with it."""
    from tasks.controlnet.data import Options, load_splits
    from tasks.controlnet.inspection import inspect as look
    from tasks.controlnet.models.pretrained import tokenizer_of

    silence()
    options = data_options(Options, config)
    tokenizer = tokenizer_of(config.model, config.token) if config.model else None
    return inspected(look(options, tokenizer), lambda: load_splits(options, decode=None))


def sample(config: Sample) -> dict[str, Any]:
    """Writes the sample data as fill50k is laid out."""
    from tasks.controlnet.sample.sample import write_sample

    return written("controlnet", write_sample, config.output, config.seed)
