"""`tool data inspect controlnet` and `tool data sample controlnet`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recipes.controlnet.config import Data, Sample
from recipes.device import silence


def inspect(config: Data) -> dict[str, Any]:
    """What a data set holds, and what is wrong with it."""
    import yaml

    from tasks.controlnet.data import inspect as look

    silence()
    found = look(config.data, **config.load_arguments())
    return {**found, "text": yaml.safe_dump(found, sort_keys=False, allow_unicode=True).rstrip()}


def sample(config: Sample) -> dict[str, Any]:
    """Writes the sample data as fill50k is laid out."""
    from tasks.controlnet.sample import write_sample

    folder = Path(config.output)
    write_sample(folder, seed=config.seed)
    return {"folder": str(folder), "text": f"{folder}\nnext      tool train controlnet --model tiny --data {folder}"}
