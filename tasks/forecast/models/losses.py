"""The training loss of every forecasting model, window by window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tasks.forecast.lanes import library, network
from tasks.forecast.models import fast
from tasks.forecast.models.likelihood import negative_log_likelihood, window_means
from tasks.forecast.models.spec import OWN

Batch = dict[str, Tensor]
_INPUTS = (
    "past_values",
    "past_time_features",
    "past_observed_mask",
    "static_categorical_features",
    "static_real_features",
    "future_values",
    "future_time_features",
)


def losses(model: Any, batch: Batch) -> Tensor:
    """The loss of each window, with its gradient.

    The negative log likelihood; for a quantile head the pinball loss, for a point head the squared error. Where everything is
    observed, their mean is transformers' own loss. A step of several dimensions counts for what it has observed; transformers
    leaves out the whole step.

    Args:
        batch: as `Windows.take` gives it, with the future values.

    Returns:
        float32 [b]: the mean over the observed future steps, 0 where there are none.
    """
    kind = model.config.model_type
    if kind in OWN:
        return model(**batch).losses
    if kind == "patchtst":
        return _patchtst(model, batch)
    params, loc, scale = _parameters_of(model)(model, batch)
    name, future = model.config.distribution_output, batch["future_values"]
    elements = negative_log_likelihood(name, params, future, loc, scale)
    return window_means(elements, _observed(batch))


def _parameters_of(model: Any) -> Callable[[Any, Batch], tuple[tuple[Tensor, ...], Tensor, Tensor]]:
    """The fastest way to the distribution's parameters: compiled layers, PyTorch's operators on the CPU, transformers' own forward."""
    if not fast.applies(model):
        return parameters
    return network.parameters if network.applies(model) else fast.parameters


def layers_of(model: Any) -> str:
    """Whose layers train the model where it lies: "transformers", "PyTorch" or "compiled, 16 lanes"; "" for other kinds."""
    if model.config.model_type in (*OWN, "patchtst"):
        return ""
    if not fast.applies(model):
        return "transformers"
    return library.in_use() if network.applies(model) else "PyTorch"


def parameters(model: Any, batch: Batch) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
    """The distribution's parameters for each future step by transformers' own forward, and the windows' loc and scale."""
    outputs = model.model(**{name: batch[name] for name in _INPUTS if name in batch}, use_cache=False)
    hidden = outputs.last_hidden_state
    if model.config.model_type == "autoformer":
        hidden = hidden + outputs.trend
    return model.output_params(hidden), outputs.loc, outputs.scale


def _observed(batch: Batch) -> Tensor:
    mask = batch.get("future_observed_mask")
    return torch.ones_like(batch["future_values"]) if mask is None else mask


def context_only(model: Any, batch: Batch) -> Batch:
    """What PatchTST takes of a batch: values and mask of its context, [b, context, dims]."""
    steps, dims = model.config.context_length, model.config.num_input_channels
    return {
        name: batch[name][:, -steps:].reshape(-1, steps, dims)
        for name in ("past_values", "past_observed_mask")
        if name in batch
    }


def _patchtst(model: Any, batch: Batch) -> Tensor:
    output = model(**context_only(model, batch))
    shape = output.loc.shape
    future = batch["future_values"].reshape(shape[0], -1, shape[2])
    observed = _observed(batch).reshape(future.shape)
    if model.config.loss == "mse":
        return window_means((output.prediction_outputs - future).square(), observed) / shape[2]
    name, params = model.config.distribution_output, output.prediction_outputs
    return window_means(negative_log_likelihood(name, params, future, output.loc, output.scale), observed)
