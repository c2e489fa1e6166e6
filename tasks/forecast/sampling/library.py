"""transformers' own sampling: takes the place of ours where that gives other numbers (`tasks.forecast.self_checks`)."""

from __future__ import annotations

from typing import Any

import torch

from tasks.forecast.windows import Batch


def sample(model: Any, batch: Batch, num_samples: int, generator: torch.Generator, windows: int) -> torch.Tensor:
    """Samples [b, S, H] or [b, S, H, dims] by the model's `generate`, a number of windows at a time."""
    given = {name: value for name, value in batch.items() if not name.startswith(("future_values", "future_observed"))}
    config, steps = model.config, batch["future_time_features"].shape[1]
    before = config.num_parallel_samples, config.prediction_length
    device = generator.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator, device=device)))
        config.num_parallel_samples, config.prediction_length = num_samples, steps
        try:
            parts = [
                model.generate(**{name: value[first : first + windows] for name, value in given.items()}).sequences
                for first in range(0, len(batch["past_values"]), windows)
            ]
        finally:
            config.num_parallel_samples, config.prediction_length = before
    return torch.cat(parts)
