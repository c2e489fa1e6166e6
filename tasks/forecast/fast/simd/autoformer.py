"""Autoformer's layers, compiled; hidden states are float32 [groups, steps, d, lanes], a window in each lane."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from tasks.forecast.fast.simd import native
from tasks.forecast.fast.simd.kernels import run
from tasks.forecast.fast.simd.layers import Draws, weights_of


def autocorrelation(
    module: Any, x: Tensor, source: Tensor | None, draws: Draws, dropout: float, windows: int
) -> Tensor:
    """x and what dropout leaves of `AutoformerAttention` to the source's first steps (to itself where None)."""
    v, correlation = correlate(module, x, source)
    weight = roll_weights(module, correlation, windows, draws.training)
    return roll(module.out_proj, x, v, weight, draws.next(dropout))


def correlate(module: Any, x: Tensor, source: Tensor | None) -> tuple[Tensor, Tensor]:
    """The values, and the correlation of queries and keys at each delay, [groups, delays, lanes]."""
    groups, steps, d, lanes = x.shape
    keys = x if source is None else source
    a = native.Correlation(groups=groups, d=d, steps=steps, keys=keys.shape[1], itself=source is None)
    a.allocate(q=x.numel(), k=x.numel())
    a.source = keys.data_ptr()
    weights = weights_of(q=module.q_proj, k=module.k_proj, v=module.v_proj)
    return run(a, {"x": x, "source": source}, weights, {"v": x.shape, "correlation": (groups, steps, lanes)})


def roll_weights(module: Any, correlation: Tensor, windows: int, training: bool) -> Tensor:
    """The weights of rolls, [groups, heads, delays, lanes]: the softmax of the largest correlations, 0 for the rest.

    In training all windows have the same delays, by the mean of their correlations.
    """
    groups, steps, lanes = correlation.shape
    count = int(module.autocorrelation_factor * math.log(steps))
    a = native.Choice(windows=windows, steps=steps, heads=module.num_heads, count=count, together=training)
    a.hold(delays=torch.empty(windows, count, dtype=torch.int64), shares=torch.empty(windows, count))
    return run(a, {"correlation": correlation}, {}, {"weight": (groups, module.num_heads, steps, lanes)})


def roll(out: Any, x: Tensor, v: Tensor, weight: Tensor, branch: native.Dropout) -> Tensor:
    """x and what dropout leaves of a linear layer of the sums of rolled values v, each times its weight."""
    groups, steps, d, _ = x.shape
    a = native.Rolling(groups=groups, d=d, heads=weight.shape[1], steps=steps, branch=branch)
    a.allocate(rolled=x.numel())
    return run(a, {"x": x, "v": v, "weight": weight}, weights_of(o=out), {"y": x.shape})


def decompose(
    norm: torch.nn.LayerNorm, x: Tensor, kernel: int, *, norm_first: bool = False, demean: bool = False
) -> tuple[Tensor, Tensor]:
    """The rest and the trend of x, or of its norm; of the first the norm, without its mean over the steps where asked for."""
    groups, steps, d, lanes = x.shape
    a = native.Decomposition(
        groups=groups, d=d, steps=steps, kernel=kernel, norm_first=norm_first, demean=demean, eps=norm.eps
    )
    a.allocate(normed=x.numel(), deviation=groups * steps * lanes)
    return run(a, {"x": x}, weights_of(norm=norm), {"y": x.shape, "trend": x.shape})


def moving_average(x: Tensor, kernel: int) -> Tensor:
    """Of inputs [groups, steps, features, lanes], the first and the last step repeated beyond the ends; no gradient."""
    average, x = torch.empty(x.shape), x.contiguous()
    native.call_plain("moving_average", average, x, *x.shape[:3], kernel)
    return average
