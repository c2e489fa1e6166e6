"""Models that give all steps in one pass: DLinear, N-BEATS and PatchTST."""

from __future__ import annotations

from typing import Any

import torch

from tasks.forecast.models.losses import context_only
from tasks.forecast.sampling.drawn import Drawn
from tasks.forecast.sampling.noise import Sampler
from tasks.forecast.windows import Batch


def draw_own(model: Any, batch: Batch, num_samples: int, generator: torch.Generator) -> Drawn:
    given = {name: value for name, value in batch.items() if not name.startswith(("future_values", "future_observed"))}
    output = model(**given)
    if output.quantiles is not None:
        return Drawn(quantiles=output.quantiles, levels=tuple(model.config.quantile_levels))
    if output.prediction is not None:
        return Drawn(samples=output.prediction[:, None], mean=output.prediction)
    univariate = output.params[0].dim() == 2
    parameters, loc, scale = (
        tuple(part[..., None] for part in parts) if univariate else parts
        for parts in (output.params, (output.loc,), (output.scale,))
    )
    samples = _draw(model, parameters, loc[0], scale[0], num_samples, generator)
    return Drawn(samples=samples[..., 0] if univariate else samples)


def draw_patchtst(model: Any, batch: Batch, num_samples: int, generator: torch.Generator) -> Drawn:
    output = model(**context_only(model, batch))
    univariate = batch["past_values"].dim() == 2
    if model.distribution_output is None:
        point = output.prediction_outputs[..., 0] if univariate else output.prediction_outputs
        return Drawn(samples=point[:, None], mean=point)
    samples = _draw(model, output.prediction_outputs, output.loc, output.scale, num_samples, generator)
    return Drawn(samples=samples[..., 0] if univariate else samples)


def _draw(
    model: Any,
    parameters: tuple[torch.Tensor, ...],
    loc: torch.Tensor,
    scale: torch.Tensor,
    num_samples: int,
    generator: torch.Generator,
) -> torch.Tensor:
    """[b, S, H, dims] from parameters [b, H, dims] of the scaled values, and their loc and scale [b, 1, dims]."""
    loc, scale = loc.transpose(1, 2), scale.transpose(1, 2)
    sampler = Sampler(model.distribution_output, scale, num_samples, parameters[0].shape[1], generator)
    values = sampler.draw_all(tuple(parameter[..., None] for parameter in parameters))
    if not sampler.counts:
        values = values * scale[:, None] + loc[:, None]
    return values.permute(0, 3, 1, 2).contiguous()
