"""The training loss of every forecasting model, window by window."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tasks.forecast.fast import interface as fast
from tasks.forecast.models.likelihood import library_negative_log_likelihood, negative_log_likelihood, window_means
from tasks.forecast.models.spec import OWN

Batch = dict[str, Tensor]


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
    params, loc, scale = fast.parameters(model, batch)
    by_library = getattr(model, "library_trains", False)
    likelihood = library_negative_log_likelihood if by_library else negative_log_likelihood
    elements = likelihood(model.config.distribution_output, params, batch["future_values"], loc, scale)
    return window_means(elements, _observed(batch))


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
