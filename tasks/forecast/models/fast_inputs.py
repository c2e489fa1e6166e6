"""What the encoder and decoder of transformers' time-series models read, without building it.

Their input joins lagged values, static features and time features for each step, and a linear layer takes it to the model's
width. The layer is split instead: each part goes through its own columns of the weights, and the static part once a window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Batch = dict[str, Tensor]


@dataclass
class Inputs:
    """Of context and future together.

    Attributes:
        lagged: float32 [b, steps, dims * lags]; static: [b, static features]; times: [b, steps, time features].
        loc, scale: the windows' scaling, [b, 1] or [b, 1, dims].
    """

    lagged: Tensor
    static: Tensor
    times: Tensor
    loc: Tensor
    scale: Tensor


def network_inputs(model: Any, batch: Batch) -> Inputs:
    """The parts of `create_network_inputs` of transformers' models.

    Args:
        model: the inner model (`.model` of the one for prediction).
    """
    config, past = model.config, batch["past_values"]
    context, steps = config.context_length, config.context_length + config.prediction_length
    observed = batch.get("past_observed_mask")
    observed = torch.ones_like(past) if observed is None else observed
    _, loc, scale = model.scaler(past[:, -context:], observed[:, -context:])
    values = (torch.cat((past, batch["future_values"]), dim=1) - loc) / scale
    static = _static(model, batch, loc, scale)
    times = torch.cat((batch["past_time_features"][:, -context:], batch["future_time_features"]), dim=1)
    return Inputs(_lagged(values, steps, config.lags_sequence), static, times, loc, scale)


def _lagged(values: Tensor, steps: int, lags: list[int]) -> Tensor:
    """The last `steps` steps, each with its values `lags` steps before: [b, steps, dims * lags], a dimension's lags together."""
    first = values.shape[1] - steps
    rows = torch.arange(first, values.shape[1])[:, None] - torch.tensor(lags)
    taken = values.index_select(1, rows.view(-1)).view(len(values), steps, len(lags), -1)
    return taken.transpose(2, 3).reshape(len(values), steps, -1)


def _static(model: Any, batch: Batch, loc: Tensor, scale: Tensor) -> Tensor:
    """The embedded categories, the real features, log(1 + |loc|) and log(scale)."""
    size = len(loc)
    parts = [loc.view(size, -1).abs().log1p(), scale.view(size, -1).log()]
    if batch.get("static_real_features") is not None:
        parts.insert(0, batch["static_real_features"])
    if batch.get("static_categorical_features") is not None:
        parts.insert(0, model.embedder(batch["static_categorical_features"]))
    return torch.cat(parts, dim=1)


def embed(stack: Any, inputs: Inputs, steps: slice, first_position: int, lagged: Tensor | None = None) -> Tensor:
    """The value and position embeddings and their norm, [b, steps, d].

    Args:
        stack: an encoder or decoder of transformers.
        steps: which of the inputs' steps it reads.
        first_position: the position of the first of them.
        lagged: to be read instead of the inputs' own.
    """
    lagged = inputs.lagged[:, steps] if lagged is None else lagged
    times = inputs.times[:, steps]
    weight = stack.value_embedding.value_projection.weight
    lags, static = lagged.shape[2], inputs.static.shape[1]
    hidden = F.linear(lagged, weight[:, :lags])
    if times.shape[2]:
        hidden = hidden + F.linear(times, weight[:, lags + static :])
    hidden = hidden + F.linear(inputs.static, weight[:, lags : lags + static])[:, None]
    positions = stack.embed_positions.weight[first_position : first_position + times.shape[1]]
    return stack.layernorm_embedding(hidden + positions)
