"""Time Series Transformer and Informer: one step after the other, each from the samples drawn before."""

from __future__ import annotations

from typing import Any

import torch

from tasks.forecast.models.noise import Sampler
from tasks.forecast.sampling.cached import CachedDecoder
from tasks.forecast.sampling.informer import SparseDecoder
from tasks.forecast.sampling.inputs import Inputs, unscale


def sample_chunk(model: Any, inputs: Inputs, num_samples: int, generator: torch.Generator, seed: int) -> torch.Tensor:
    """Samples [b, S, H] or [b, S, H, dims].

    Args:
        seed: of Informer's random keys, the same for all chunks of a call.
    """
    decoder = decoder_for(model, inputs, num_samples, seed)
    steps = inputs.features.shape[1]
    sampler = Sampler(model.distribution_output, inputs.scale, num_samples, steps, generator)
    drawn = decoder.input.drawn
    raw = torch.empty_like(drawn) if sampler.counts else drawn
    for step in range(steps):
        values = sampler.draw(sampler.parameters(decoder.step(step)), step)
        if sampler.counts:
            raw[:, step] = values
            values = (values - inputs.loc) / inputs.scale
        drawn[:, step] = values
    return unscale(inputs, raw, sampler.counts)


def decoder_for(model: Any, inputs: Inputs, num_samples: int, seed: int) -> CachedDecoder:
    """The encoder's pass, and a decoder that reads it."""
    if model.config.model_type != "informer":
        return CachedDecoder(model, inputs, _encode(model, inputs), num_samples)
    # Informer's encoder draws its keys from the global generator.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        hidden = _encode(model, inputs)
    if model.config.attention_type != "prob":
        return CachedDecoder(model, inputs, hidden, num_samples)
    return SparseDecoder(model, inputs, hidden, num_samples, torch.Generator().manual_seed(seed + 1))


def _encode(model: Any, inputs: Inputs) -> torch.Tensor:
    return model.model.encoder(inputs_embeds=inputs.encoder).last_hidden_state
