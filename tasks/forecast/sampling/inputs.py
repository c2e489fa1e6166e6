"""Inputs of transformers' time-series models, prepared once for all samples and steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from tasks.errors import ConfigError
from tasks.forecast.windows import Batch


@dataclass(frozen=True)
class Inputs:
    """Prepared windows.

    Attributes:
        encoder: float32 [b, context, features], what the encoder reads.
        past: float32 [b, past_length, dims], scaled.
        features: float32 [b, H, static + time features], what the decoder reads besides lags.
        loc, scale: float32 [b, dims, 1].
    """

    encoder: torch.Tensor
    past: torch.Tensor
    features: torch.Tensor
    loc: torch.Tensor
    scale: torch.Tensor

    def __len__(self) -> int:
        return len(self.encoder)

    def part(self, first: int, last: int) -> Inputs:
        return Inputs(*(getattr(self, name)[first:last] for name in self.__dataclass_fields__))


def prepare(model: Any, batch: Batch) -> Inputs:
    """The library's own scaling and features. Over the whole batch: a mean-scaled window without observations takes the batch's scale.

    Raises:
        ConfigError: more steps ahead than the model was made for.
    """
    config = model.config
    future = batch["future_time_features"]
    if future.shape[1] > config.prediction_length:
        raise ConfigError(
            f"--horizon: {future.shape[1]} steps ahead, but the model was trained for {config.prediction_length}; "
            "forecast fewer or train with a longer --prediction-length"
        )
    made = model.model.create_network_inputs(
        past_values=batch["past_values"],
        past_time_features=batch["past_time_features"],
        past_observed_mask=batch["past_observed_mask"],
        static_categorical_features=batch.get("static_categorical_features"),
        static_real_features=batch.get("static_real_features"),
    )
    loc, scale, static = made[-3:]
    past = (batch["past_values"] - loc) / scale
    univariate = past.dim() == 2
    return Inputs(
        encoder=torch.cat(made[:-3], dim=-1),
        past=past[..., None] if univariate else past,
        features=torch.cat([static[:, None].expand(-1, future.shape[1], -1), future], dim=-1),
        loc=loc[..., None] if univariate else loc.transpose(1, 2),
        scale=scale[..., None] if univariate else scale.transpose(1, 2),
    )


def unscale(inputs: Inputs, base: torch.Tensor, counts: bool) -> torch.Tensor:
    """Samples [b, S, H] or [b, S, H, dims] from scaled ones [b, H, dims, S]; counts have their scale already."""
    values = base if counts else base * inputs.scale[:, None] + inputs.loc[:, None]
    values = values.permute(0, 3, 1, 2)
    return (values[..., 0] if values.shape[-1] == 1 else values).contiguous()
