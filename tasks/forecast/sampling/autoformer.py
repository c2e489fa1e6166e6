"""Autoformer: one decode, then draws from the distribution of every step.

Nothing that is drawn is fed back, so the library's decodes of identical copies of a window all give the same distribution.

The library's attention, in evaluation, gives row r = window x heads + head the delays of window r modulo b: with several
windows and heads, a window is forecast with the delays of others, and another batch gives another forecast. Here each
window has its own delays, which is what the library gives for a batch of one window.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from tasks.forecast.fast.interface import averaging
from tasks.forecast.models.noise import Sampler
from tasks.forecast.sampling.inputs import Inputs, unscale


def sample_chunk(model: Any, inputs: Inputs, num_samples: int, generator: torch.Generator, _: int) -> torch.Tensor:
    """Samples [b, S, H] or [b, S, H, dims]."""
    scale = inputs.scale
    steps = inputs.features.shape[1]
    sampler = Sampler(model.distribution_output, scale, num_samples, steps, generator)
    shape = (len(inputs), steps, scale.shape[1], 1)
    given = tuple(parameter.reshape(shape) for parameter in parameters(model, inputs))
    return unscale(inputs, sampler.draw(given), sampler.counts)


def parameters(model: Any, inputs: Inputs) -> tuple[torch.Tensor, ...]:
    """The distribution's parameters of the scaled values, each [b, H] or [b, H, dims]."""
    config, inner = model.config, model.model
    lagged = inputs.past.shape[2] * len(config.lags_sequence)
    known = config.context_length - config.label_length
    lags = inputs.encoder[..., :lagged]
    steps = inputs.features.shape[1]
    features = torch.cat([inputs.encoder[:, known:, lagged:], inputs.features], dim=1)
    mean = lags.mean(1, keepdim=True).expand(-1, steps, -1)
    with own_layers(model):
        seasonal, trend = inner.decomposition_layer(lags)
        output = inner.decoder(
            trend=torch.cat([torch.cat([trend[:, known:], mean], dim=1), features], dim=-1),
            inputs_embeds=torch.cat(
                [torch.cat([seasonal[:, known:], torch.zeros_like(mean)], dim=1), features], dim=-1
            ),
            encoder_hidden_states=inner.encoder(inputs_embeds=inputs.encoder).last_hidden_state,
            use_cache=False,
        )
    return model.output_params(output.last_hidden_state + output.trend)


@contextmanager
def own_layers(model: Any) -> Iterator[None]:
    """Within it, the model's attention gives every window its own delays, and its moving averages are products."""
    averages = functools.cache(averaging)  # of this call alone: tensors of inference are no good for training
    ours: dict[str, Callable[..., Any]] = {
        "AutoformerAttention": auto_correlation,
        "AutoformerSeriesDecompositionLayer": functools.partial(decompose, averages),
    }
    modules = [module for module in model.modules() if type(module).__name__ in ours]
    for module in modules:
        module.forward = functools.partial(ours[type(module).__name__], module)
    try:
        yield
    finally:
        for module in modules:
            del module.forward


def decompose(
    averages: Callable[[int, int], torch.Tensor], module: Any, x: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """x [b, T, d] -> its remainder and its moving average over `kernel_size` steps, both [b, T, d]."""
    trend = torch.einsum("ts,bsd->btd", averages(x.shape[1], module.kernel_size).to(x), x)
    return x - trend, trend


def auto_correlation(
    module: Any, hidden_states: torch.Tensor, key_value_states: torch.Tensor | None = None, **_: object
) -> tuple[torch.Tensor, None]:
    """Wu and others 2021, "Autoformer", section 3.2, with the library's lengths and the mean over heads and channels.

    Args:
        hidden_states: [b, T, d]; key_value_states: [b, L, d], or None for self-attention.

    Returns:
        [b, T, d], and None for the weights.
    """
    source = hidden_states if key_value_states is None else key_value_states
    query, key, value = module.q_proj(hidden_states), module.k_proj(source), module.v_proj(source)
    length = query.shape[1]
    if length > source.shape[1]:
        # The library cuts the queries to as many as are missing; the transform fills them up with zeros.
        missing = length - source.shape[1]
        query, key = query[:, :missing], nn.functional.pad(key, (0, 0, 0, missing))
        value = nn.functional.pad(value, (0, 0, 0, missing))
    else:
        key, value = key[:, :length], value[:, :length]
    spectrum = torch.fft.rfft(query, n=length, dim=1) * torch.fft.rfft(key, n=length, dim=1).conj()
    correlation = torch.fft.irfft(spectrum.mean(-1), n=length, dim=1)
    weights, delays = correlation.topk(int(module.autocorrelation_factor * math.log(length)), dim=1)
    weights = weights.softmax(-1)
    return module.out_proj(rolled(value, weights, delays)), None


def rolled(value: torch.Tensor, weights: torch.Tensor, delays: torch.Tensor) -> torch.Tensor:
    """The sum of value [b, L, d] rolled back by each of delays [b, k], times its weight [b, k].

    As one product: row t of the matrix holds at column s the weight of the delay (s - t) mod L. With its columns reversed it is
    constant along its other diagonals, and so a view of a vector.
    """
    count, length = value.shape[:2]
    at = (length - 1 - delays) % length
    diagonals = value.new_zeros(count, length).scatter_add_(1, at, weights)
    twice = torch.cat((diagonals, diagonals), dim=1)
    matrices = twice.as_strided((count, length, length), (2 * length, 1, 1))
    return matrices.contiguous() @ value.flip(1)  # on a view the product would go one by one
