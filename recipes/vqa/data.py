"""`tool data inspect vqa` and `tool data sample vqa`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recipes.device import silence
from recipes.vqa.config import Data, Sample


def inspect(config: Data) -> dict[str, Any]:
    """What a data set holds, and what is wrong with it."""
    import yaml

    from tasks.vqa.data import inspect as look

    silence()
    found = look(config.data, **config.load_arguments())
    return {**found, "text": yaml.safe_dump(found, sort_keys=False, allow_unicode=True).rstrip()}


def sample(config: Sample) -> dict[str, Any]:
    """Writes the sample data in the official VQA v2 layout."""
    from tasks.vqa.sample import write_sample

    folder = Path(config.output)
    write_sample(folder, seed=config.seed)
    return {"folder": str(folder), "text": f"{folder}\nnext      tool train vqa --model tiny --data {folder}"}
