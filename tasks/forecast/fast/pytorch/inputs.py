"""What the encoder and decoder of transformers' time-series models read, channels first, and their embedding of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tasks.forecast.fast.pytorch.dropout import Masks
from tasks.forecast.fast.pytorch.layers import drop, norm

Batch = dict[str, Tensor]


@dataclass
class Inputs:
    """Of context and future together.

    Attributes:
        values: float32 [dims, b, past and future], scaled; static: [static features, b]; times: [time features, b, steps].
        lags: how many steps before its own each of a step's inputs lies.
        loc, scale: the windows' scaling, [b, 1] or [b, 1, dims].
    """

    values: Tensor
    static: Tensor
    times: Tensor
    lags: list[int]
    loc: Tensor
    scale: Tensor

    @property
    def windows(self) -> int:
        return len(self.loc)

    def lagged(self, first: int, steps: int, out: Tensor | None = None) -> Tensor:
        """The values at the lags of `steps` steps from the `first` of the context on, [dims, lags, b, steps]."""
        begin = self.values.shape[2] - self.times.shape[2] + first
        runs = [self.values[:, :, begin - lag : begin - lag + steps] for lag in self.lags]
        return torch.stack(runs, dim=1, out=out)


def network_inputs(model: Any, batch: Batch) -> Inputs:
    """The parts of `create_network_inputs` of transformers' models.

    Args:
        model: the inner model (`.model` of the one for prediction).
    """
    config, past = model.config, batch["past_values"]
    context = config.context_length
    observed = batch.get("past_observed_mask")
    observed = torch.ones_like(past) if observed is None else observed
    _, loc, scale = model.scaler(past[:, -context:], observed[:, -context:])
    values = torch.cat((past, batch["future_values"]), dim=1).sub_(loc).div_(scale)
    values = values[None] if values.dim() == 2 else values.permute(2, 0, 1).contiguous()
    times = torch.cat((batch["past_time_features"][:, -context:], batch["future_time_features"]), dim=1)
    return Inputs(values, _static(model, batch, loc, scale), times.permute(2, 0, 1), config.lags_sequence, loc, scale)


def _static(model: Any, batch: Batch, loc: Tensor, scale: Tensor) -> Tensor:
    """The embedded categories, the real features, log(1 + |loc|) and log(scale)."""
    size = len(loc)
    parts = [loc.view(size, -1).abs().log1p(), scale.view(size, -1).log()]
    if batch.get("static_real_features") is not None:
        parts.insert(0, batch["static_real_features"])
    if batch.get("static_categorical_features") is not None:
        parts.insert(0, model.embedder(batch["static_categorical_features"]))
    return torch.cat(parts, dim=1).t()


def embed(stack: Any, inputs: Inputs, first: int, steps: int, masks: Masks, seasonal: Tensor | None = None) -> Tensor:
    """The value and position embeddings, their norm and dropout, [d, b, steps].

    Args:
        stack: an encoder or decoder of transformers.
        first, steps: which steps it reads, counted from the context's first.
        seasonal: to be read instead of the lagged values, [dims * lags, b, steps].
    """
    weight = stack.value_embedding.value_projection.weight
    dims, windows, static = len(inputs.values), inputs.values.shape[1], len(inputs.static)
    lags = dims * len(inputs.lags)
    features = torch.empty(weight.shape[1], windows, steps)
    if seasonal is None:
        inputs.lagged(first, steps, features[:lags].view(dims, -1, windows, steps))
    else:
        features[:lags] = seasonal
    features[lags + static :] = inputs.times[:, :, first : first + steps]
    positions = stack.embed_positions.weight[first : first + steps].detach()
    hidden = _Embedding.apply(features, inputs.static, weight, positions, lags)
    return drop(norm(stack.layernorm_embedding, hidden), masks, stack.dropout)


class _Embedding(torch.autograd.Function):
    """A linear layer without bias of lagged values, static and time features, and the steps' positions; [d, b, steps].

    Args:
        features: [features, b, steps] without gradient; the rows from `lags` on are written here for the static features.
        static: [static features, b].
        weight: [d, features]; positions: [steps, d], without gradient.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, static: Tensor, weight: Tensor, positions: Tensor, lags: int) -> Tensor:
        features[lags : lags + len(static)] = static[:, :, None]
        ctx.save_for_backward(features, weight)
        ctx.rows = slice(lags, lags + len(static))
        return torch.mm(weight, features.flatten(1)).view(-1, *features.shape[1:]).add_(positions.t()[:, None])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        features, weight = ctx.saved_tensors
        of_static = weight[:, ctx.rows].t() @ grad.sum(2) if ctx.needs_input_grad[1] else None
        return None, of_static, grad.flatten(1) @ features.flatten(1).t(), None, None
