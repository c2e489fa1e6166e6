"""Sample paths of any forecasting model.

The autoregressive models keep what transformers' `generate` computes again for every sample and step; see `cached` and
`informer` for what can be kept. The law of the samples is the library's.
"""

from __future__ import annotations

from typing import Any

import torch

from tasks.errors import ConfigError, ToolError
from tasks.forecast.models.noise import SamplingError
from tasks.forecast.sampling import autoformer, autoregressive, direct
from tasks.forecast.sampling.drawn import Drawn, combine
from tasks.forecast.sampling.inputs import Inputs, prepare
from tasks.forecast.windows import Batch

__all__ = ["Drawn", "combine", "draw"]

_STEPWISE = {
    "time_series_transformer": autoregressive.sample_chunk,
    "informer": autoregressive.sample_chunk,
    "autoformer": autoformer.sample_chunk,
}
_DIRECT = {"dlinear": direct.draw_own, "nbeats": direct.draw_own, "patchtst": direct.draw_patchtst}

# Samples x channels x steps that a chunk keeps at once, so that a decoder's buffers are some 100 MB.
_ROOM = 6_000_000


@torch.inference_mode()
def draw(model: Any, batch: Batch, num_samples: int, generator: torch.Generator, *, chunk: int | None = None) -> Drawn:
    """What the model forecasts for the windows of a batch.

    The same call gives the same draws. On the CPU a window's noise depends on the generator and on the window's place in the
    batch, not on `chunk`, but for negative binomial heads; there, and beyond float rounding, it depends on both.

    Args:
        model: any of `tasks.forecast.models`, on the batch's device; what dropout it has is off.
        batch: as `Windows.take` gives it; future values are not read.
        num_samples: paths a window; models with a point head give one, models with a quantile head none.
        chunk: windows at a time; by default as many as fit into some 100 MB.

    Raises:
        ConfigError: no forecasting model, less than one sample, or more steps than the model was trained for.
        ToolError: the model gives something else than finite numbers.
    """
    kind = model.config.model_type
    if num_samples < 1:
        raise ConfigError(f"--num-samples {num_samples}: has to be at least 1")
    if kind not in _STEPWISE and kind not in _DIRECT:
        raise ConfigError(f"a {kind} is no forecasting model; there are {', '.join([*_STEPWISE, *_DIRECT])}")
    training = model.training
    model.eval()
    try:
        if kind in _DIRECT:
            drawn = _DIRECT[kind](model, batch, num_samples, generator)
        else:
            inputs = prepare(model, batch)
            size = chunk or chunk_size(model, inputs, num_samples)
            if getattr(model, "library_samples", False):  # set by `tasks.forecast.self_checks`
                drawn = direct.draw_by_library(model, batch, num_samples, generator, size)
            else:
                drawn = _in_chunks(model, inputs, num_samples, generator, size)
    except SamplingError as error:
        raise ToolError(str(error)) from error
    finally:
        model.train(training)
    _check(drawn)
    return drawn


def _in_chunks(model: Any, inputs: Inputs, num_samples: int, generator: torch.Generator, size: int) -> Drawn:
    sample = _STEPWISE[model.config.model_type]
    seed = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
    parts = [inputs.part(first, first + size) for first in range(0, len(inputs), size)]
    return Drawn(samples=torch.cat([sample(model, part, num_samples, generator, seed) for part in parts]))


def chunk_size(model: Any, inputs: Inputs, num_samples: int) -> int:
    """Windows at a time: a function of the sizes alone, so that it never changes a result."""
    config, steps = model.config, inputs.features.shape[1]
    if config.model_type == "autoformer":
        return max(1, _ROOM // (config.feature_size * 2 * inputs.encoder.shape[1]))
    width = config.d_model * config.decoder_layers
    if config.model_type == "informer" and config.attention_type == "prob":
        width = 4 * width + 2 * config.decoder_attention_heads * steps
    return max(1, _ROOM // (num_samples * steps * width))


def _check(drawn: Drawn) -> None:
    values = drawn.samples if drawn.samples is not None else drawn.quantiles
    assert values is not None
    finite = values.isfinite().flatten(1).all(1)
    if not bool(finite.all()):
        wrong = (~finite).nonzero()[:, 0]
        raise ToolError(
            f"forecast: the model gives no finite values for {len(wrong)} of {len(finite)} windows, the first is window "
            f"{int(wrong[0])} of the batch; look there for extreme values, or train with a lower --learning-rate"
        )
