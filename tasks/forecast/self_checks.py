"""Checks of the fast training forward and the fast sampling against transformers' own, once a process and model.

Where they differ, the model is marked, and the library computes for the rest of the process.
"""

from __future__ import annotations

import copy
import functools
from typing import Any

import torch
from torch import Tensor

from tasks.forecast.fast import interface as fast
from tasks.forecast.models.build import CLASSES
from tasks.forecast.models.likelihood import OUTPUTS, library_negative_log_likelihood, negative_log_likelihood
from tasks.forecast.models.noise import Sampler
from tasks.forecast.sampling import autoformer, autoregressive, informer
from tasks.forecast.sampling.inputs import Inputs, prepare
from tasks.forecast.windows import Batch
from tasks.self_check import difference

# Steps that are decoded, where no longer prefix shows more.
STEPS = 16
# Of the weights; Informer's sampling draws its keys from generators with this seed and the next one.
SEED = 0


def check_training(model: Any) -> str | None:
    """Compares the loss's parts with transformers'; at the first call for a model, the line that says that they differ.

    Args:
        model: any forecasting model, on the device and in the type that it trains in.
    """
    if hasattr(model, "library_trains"):
        return None
    model.library_trains = False
    candidates = fast.candidates(model)
    twin = _twin(model).train() if candidates else None
    for name, forward in candidates.items():
        line = difference(
            functools.partial(_loss_parts, twin, forward, negative_log_likelihood),
            functools.partial(_loss_parts, twin, fast.library_parameters, library_negative_log_likelihood),
            what=name,
            library="transformers",
        )
        if line:
            model.library_trains = True
            return line
    return None


def _twin(model: Any) -> Any:
    """A model of the same config without dropout, whose weights are such that every layer shows in the output.

    With those of an untrained model all queries attend alike, and with some of a trained one rounding grows.
    """
    config = copy.deepcopy(model.config)
    for name in ("dropout", "attention_dropout", "activation_dropout", "encoder_layerdrop", "decoder_layerdrop"):
        setattr(config, name, 0.0)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(SEED)
        twin = CLASSES[config.model_type](config)
        for weight in twin.parameters():
            if weight.requires_grad and weight.dim() > 1:
                weight.normal_(std=weight[0].numel() ** -0.5)
            elif weight.requires_grad:
                weight.add_(torch.randn_like(weight), alpha=0.2)
    return twin.to(model.device)


def _loss_parts(model: Any, forward: fast.Forward, likelihood: Any) -> Tensor:
    """The distribution's parameters by a forward, and the likelihood of values under others that no weights decide."""
    batch, config = small_batch(model, 2), model.config
    future, name = batch["future_values"], config.distribution_output
    output = OUTPUTS[name](dim=1)
    given = output.domain_map(*(torch.randn(*future.shape, 1) for _ in output.args_dim))
    params, loc, scale = forward(model, batch)
    return _joined(*params, loc, scale, likelihood(name, given, future, loc, scale))


def check_sampling(model: Any) -> str | None:
    """Compares the parameters that samples are drawn from with those of transformers' decoder; returns as `check_training`.

    Args:
        model: any forecasting model, on the device that it forecasts on.
    """
    if hasattr(model, "library_samples") or model.config.model_type not in fast.KINDS:
        return None
    ours, theirs = _last_step, _library_last_step
    if model.config.model_type == "autoformer":
        ours, theirs = _all_steps, _library_all_steps
    twin = _twin(model).eval()
    line = difference(
        functools.partial(ours, twin),
        functools.partial(theirs, twin),
        what="fast sampling",
        library="transformers",
        tolerance=1e-3 if model.device.type == "cpu" else 5e-2,  # a GPU may multiply in TF32
    )
    model.library_samples = line is not None
    return line


def _all_steps(model: Any) -> Tensor:
    return _joined(*autoformer.parameters(model, prepare(model, small_batch(model, 1))))


def _library_all_steps(model: Any) -> Tensor:
    # Of one window: the library gives those of a batch each other's delays.
    return _joined(*fast.library_parameters(model, small_batch(model, 1))[0])


def _last_step(model: Any) -> Tensor:
    inputs, drawn = _decoded(model)
    decoder = autoregressive.decoder_for(model, inputs, 1, SEED)
    for step in range(drawn.shape[1]):
        unbounded = decoder.step(step)
        decoder.input.drawn[:, step] = drawn[:, step, :, None]
    sampler = Sampler(model.distribution_output, inputs.scale, 1, 1, torch.Generator())
    return _joined(*sampler.parameters(unbounded))


def _library_last_step(model: Any) -> Tensor:
    """With the calls that `generate` makes, and Informer's keys drawn as ours are."""
    inputs, drawn = _decoded(model)
    inner, steps = model.model, drawn.shape[1]
    torch.default_generator.manual_seed(SEED)
    hidden = inner.encoder(inputs_embeds=inputs.encoder).last_hidden_state
    values = torch.cat([inputs.past, drawn[:, :-1]], dim=1)
    lagged = inner.get_lagged_subsequences(values, subsequences_length=steps, shift=1).reshape(1, steps, -1)
    torch.default_generator.manual_seed(SEED + 1)
    embedded = torch.cat([lagged, inputs.features], dim=-1)
    output = inner.decoder(inputs_embeds=embedded, encoder_hidden_states=hidden, use_cache=False)
    return _joined(*model.parameter_projection(output.last_hidden_state[:, -1:]))


def _decoded(model: Any) -> tuple[Inputs, Tensor]:
    """A window, and scaled values [1, steps, dims] to decode: for Informer up to the first step at which some queries don't attend."""
    config = model.config
    steps = min(config.prediction_length, STEPS)
    if config.model_type == "informer" and config.attention_type == "prob":
        horizon = config.prediction_length
        steps = min(informer.dense_steps(config.sampling_factor, horizon) + 1, horizon)
    batch = small_batch(model, 1)
    batch["future_time_features"] = batch["future_time_features"][:, :steps]
    return prepare(model, batch), torch.randn(1, steps, config.input_size).to(model.device)


def small_batch(model: Any, windows: int) -> Batch:
    """Random windows as the model takes them, on its device; some of the past is missing."""
    config = model.config
    past, horizon = config.context_length + max(config.lags_sequence), config.prediction_length
    dims = (config.input_size,) if config.input_size > 1 else ()
    # Counts, which every distribution takes.
    values = torch.randn(windows, past + horizon, *dims).cumsum(1).mul(2.0).add(20.0).abs().round()
    observed = (torch.rand(windows, past, *dims) > 0.1).float()
    times = torch.randn(windows, past + horizon, config.num_time_features + config.num_dynamic_real_features)
    batch = {
        "past_values": values[:, :past] * observed,
        "past_observed_mask": observed,
        "past_time_features": times[:, :past],
        "future_values": values[:, past:],
        "future_time_features": times[:, past:],
    }
    if config.num_static_categorical_features:
        columns = [torch.randint(0, count, (windows,)) for count in config.cardinality]
        batch["static_categorical_features"] = torch.stack(columns, dim=1)
    if config.num_static_real_features:
        batch["static_real_features"] = torch.randn(windows, config.num_static_real_features)
    return {name: value.to(model.device) for name, value in batch.items()}


def _joined(*tensors: Tensor) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])
