"""Forecasts by a model's own calls: DLinear, N-BEATS and PatchTST, which give all steps in one pass, and transformers' `generate`."""

from __future__ import annotations

from typing import Any

import torch

from tasks.forecast.models.losses import context_only
from tasks.forecast.models.noise import sample_paths
from tasks.forecast.models.spec import PARAMETRIC
from tasks.forecast.sampling.drawn import Drawn
from tasks.forecast.windows import Batch


def _without_truth(batch: Batch) -> Batch:
    return {name: value for name, value in batch.items() if not name.startswith(("future_values", "future_observed"))}


def draw_own(model: Any, batch: Batch, num_samples: int, generator: torch.Generator) -> Drawn:
    given = _without_truth(batch)
    if model.config.distribution_output in PARAMETRIC:
        return Drawn(samples=model.generate(num_parallel_samples=num_samples, generator=generator, **given).sequences)
    output = model(**given)
    if output.quantiles is not None:
        return Drawn(quantiles=output.quantiles, levels=tuple(model.config.quantile_levels))
    return Drawn(samples=output.prediction_outputs[:, None], mean=output.prediction_outputs)


def draw_patchtst(model: Any, batch: Batch, num_samples: int, generator: torch.Generator) -> Drawn:
    output = model(**context_only(model, batch))
    univariate = batch["past_values"].dim() == 2
    if model.distribution_output is None:
        point = output.prediction_outputs[..., 0] if univariate else output.prediction_outputs
        return Drawn(samples=point[:, None], mean=point)
    samples = sample_paths(
        model.distribution_output, output.prediction_outputs, output.loc, output.scale, num_samples, generator
    )
    return Drawn(samples=samples[..., 0] if univariate else samples)


def draw_by_library(model: Any, batch: Batch, num_samples: int, generator: torch.Generator, windows: int) -> Drawn:
    """Samples by the model's `generate`, a number of windows at a time, where ours are other numbers (`tasks.forecast.self_checks`)."""
    given = _without_truth(batch)
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
    return Drawn(samples=torch.cat(parts))
