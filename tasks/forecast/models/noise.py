"""Samplers of the models' distributions, driven by a given generator.

`torch.distributions` draws from the global generator only. The laws are those of transformers.time_series_utils: Student-t and
normal are shifted and scaled by the window's location and scale, the negative binomial has its rate scaled.
"""

from __future__ import annotations

import math
from typing import Any

import torch

# Poisson numbers are made as 64-bit integers.
MOST = 1e15


class SamplingError(ValueError):
    """A distribution that can't be drawn from; the message says why."""


class Sampler:
    """Draws the steps of `count` windows with `num_samples` paths each, one step after the other.

    Student-t and normal: by the Box-Muller method and Bailey's form of it for Student-t (Bailey 1994, "Polar generation of random
    variates with the t-distribution"), from two uniform numbers a value, drawn for all steps at the start. So a window's
    noise does not depend on its chunk where the generator is the CPU's. Negative binomial: a Poisson number of a
    Gamma rate, drawn step by step; there the noise depends on the chunk.

    Args:
        output: the model's `distribution_output`.
        scale: float32 [b, dims, 1], the windows' scale.
        horizon: the number of steps.
    """

    def __init__(
        self, output: Any, scale: torch.Tensor, num_samples: int, horizon: int, generator: torch.Generator
    ) -> None:
        self.kind = type(output).__name__
        self.domain_map = output.domain_map
        self.arguments = len(output.args_dim)
        self.dims = scale.shape[1]
        self.generator = generator
        self.num_samples = num_samples
        self.counts = self.kind == "NegativeBinomialOutput"
        self.log_scale = scale.log()
        if self.kind not in ("StudentTOutput", "NormalOutput", "NegativeBinomialOutput"):
            raise SamplingError(f"forecast: no sampler for the distribution {self.kind}")
        if not self.counts:
            # [b, H, dims, S]: a window's numbers lie together, so that chunks draw what the whole batch would.
            self.exponential, self.cosine = _polar(
                (len(scale), horizon, self.dims, num_samples), scale.device, generator
            )

    def parameters(self, unbounded: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The distribution's parameters [..., dims, S] from their projection [..., arguments x dims, S]."""
        parts = unbounded.unflatten(-2, (self.arguments, self.dims)).unbind(-3)
        return self.domain_map(*(part.unsqueeze(-1) for part in parts))

    def draw(self, parameters: tuple[torch.Tensor, ...], step: int | slice = slice(None)) -> torch.Tensor:
        """[b, dims, S] at a step: in units of the window's scale, but for counts, which are the counts themselves.

        Without a step [b, H, dims, S], from the parameters of all steps at once, [b, H, dims, 1].
        """
        if self.counts:
            return self._count(*parameters)
        exponential, cosine = self.exponential[:, step], self.cosine[:, step]
        if self.kind == "NormalOutput":
            location, scale = parameters
            return torch.addcmul(location, scale, exponential.sqrt() * cosine)
        freedom, location, scale = parameters
        radius = (exponential / freedom).expm1_().mul_(freedom).sqrt_()
        return torch.addcmul(location, scale, radius.mul_(cosine))

    def _count(self, total: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """A Gamma rate, then a Poisson number; made where the generator lives."""
        device = self.generator.device
        log_scale = self.log_scale if logits.dim() == 3 else self.log_scale[:, None]
        shape = (*logits.shape[:-1], self.num_samples)
        gamma = torch._standard_gamma(total.expand(shape).contiguous().to(device), generator=self.generator)
        rate = gamma.mul_((logits + log_scale).exp_().to(device))
        if not bool((rate < MOST).all()):
            raise SamplingError(
                f"forecast: the negative binomial's rate is not a number or beyond {MOST:.0e}; the model was not trained well: "
                "train with a lower --learning-rate, or look for extreme values in the data"
            )
        return torch.poisson(rate, generator=self.generator).to(logits.device)


def sample_paths(
    output: Any,
    parameters: tuple[torch.Tensor, ...],
    loc: torch.Tensor,
    scale: torch.Tensor,
    num_samples: int,
    generator: torch.Generator,
) -> torch.Tensor:
    """[b, S, H, dims] from parameters [b, H, dims] of the scaled values, and their loc and scale [b, 1, dims]."""
    loc, scale = loc.transpose(1, 2), scale.transpose(1, 2)
    sampler = Sampler(output, scale, num_samples, parameters[0].shape[1], generator)
    values = sampler.draw(tuple(parameter[..., None] for parameter in parameters))
    if not sampler.counts:
        values = values * scale[:, None] + loc[:, None]
    return values.permute(0, 3, 1, 2).contiguous()


def _polar(
    shape: tuple[int, ...], device: torch.device, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """-2 ln u and cos(2 pi v) of uniform u, v. In float64: a float32's u is a multiple of 2**-24 and cuts the tail off."""
    uniform = torch.rand((*shape, 2), generator=generator, device=generator.device, dtype=torch.float64)
    exponential = uniform[..., 0].neg().log1p().mul_(-2.0)
    cosine = uniform[..., 1].mul(2.0 * math.pi).cos_()
    return exponential.to(device, torch.float32), cosine.to(device, torch.float32)
