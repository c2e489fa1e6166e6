"""Autoformer's layers, compiled, with their gradients; hidden states are float32 [groups, steps, d, lanes]."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from tasks.forecast.lanes import library as native
from tasks.forecast.lanes.layers import Draws, gradients, once, point
from tasks.forecast.lanes.library import Space, address


def autocorrelation(
    module: Any, x: Tensor, source: Tensor | None, draws: Draws, dropout: float, windows: int
) -> Tensor:
    """x and what dropout leaves of `AutoformerAttention` to the source's first steps (to itself where None)."""
    steps = x.shape[1]
    layers = (module.q_proj, module.k_proj, module.v_proj)
    v, correlation = _Correlation.apply(x, source, *(w for layer in layers for w in (layer.weight, layer.bias)))
    choice = native.Choice(
        windows=windows, steps=steps, heads=module.num_heads, count=int(module.autocorrelation_factor * math.log(steps)),
        together=draws.training,
    )  # fmt: skip
    weights = _Choice.apply(correlation, choice)
    out = module.out_proj
    return _Rolling.apply(x, v, weights, draws.next(dropout), out.weight, out.bias)


class _Correlation(torch.autograd.Function):
    """The values, and the correlation of queries and keys at each delay, [groups, delays, lanes]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, source: Tensor | None, *weights: Tensor) -> tuple[Tensor, Tensor]:
        groups, steps, d, lanes = x.shape
        a = native.Correlation(
            groups=groups, threads=torch.get_num_threads(), d=d, steps=steps,
            keys=steps if source is None else source.shape[1], itself=source is None,
        )  # fmt: skip
        ctx.space, v, correlation = (
            Space(q=x.numel(), k=x.numel()),
            torch.empty_like(x),
            x.new_empty(groups, steps, lanes),
        )
        a.x, a.source, a.v = address(x), address(x if source is None else source), address(v)
        a.correlation = address(correlation)
        point(a, ctx.space, ("wq", "bq", "wk", "bk", "wv", "bv"), weights)
        native.call("correlation_forward", a)
        ctx.save_for_backward(x, source, *weights)
        ctx.settings = a
        return v, correlation

    @staticmethod
    @once
    def backward(ctx: Any, dv: Tensor, dcorrelation: Tensor) -> tuple[Tensor | None, ...]:
        x, source, *weights = ctx.saved_tensors
        a, dv, dcorrelation, dx = ctx.settings, dv.contiguous(), dcorrelation.contiguous(), torch.empty_like(x)
        dsource = None if source is None else torch.empty_like(source)
        a.dv, a.dcorrelation, a.dx, a.dsource = address(dv), address(dcorrelation), address(dx), address(dsource)
        return dx, dsource, *gradients("correlation_backward", a, weights)


class _Choice(torch.autograd.Function):
    """The weights of rolls, [groups, heads, delays, lanes]: the softmax of the largest correlations, 0 for the rest."""

    @staticmethod
    def forward(ctx: Any, correlation: Tensor, a: native.Choice) -> Tensor:
        groups, steps, lanes = correlation.shape
        ctx.delays, ctx.shares = torch.empty(a.windows, a.count, dtype=torch.int64), torch.empty(a.windows, a.count)
        weight = torch.empty(groups, a.heads, steps, lanes)
        a.correlation, a.weight = address(correlation), address(weight)
        a.delays, a.shares = address(ctx.delays), address(ctx.shares)
        native.call("choice_forward", a)
        ctx.settings, ctx.shape = a, correlation.shape
        return weight

    @staticmethod
    @once
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        a, grad, found = ctx.settings, grad.contiguous(), torch.empty(ctx.shape)
        a.dweight, a.dcorrelation = address(grad), address(found)
        native.call("choice_backward", a)
        return found, None


class _Rolling(torch.autograd.Function):
    """x and what dropout leaves of a linear layer of the sums of rolled values.

    Args:
        weight: of each roll, [groups, heads, delays, lanes].
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, v: Tensor, weight: Tensor, branch: native.Dropout, wo: Tensor, bo: Tensor
    ) -> Tensor:
        groups, steps, d, _ = x.shape
        a = native.Rolling(
            groups=groups, threads=torch.get_num_threads(), d=d, heads=weight.shape[1], steps=steps, branch=branch
        )
        ctx.space, y = Space(rolled=x.numel()), torch.empty_like(x)
        a.x, a.v, a.weight, a.y = address(x), address(v), address(weight), address(y)
        point(a, ctx.space, ("wo", "bo"), (wo, bo))
        native.call("rolling_forward", a)
        ctx.save_for_backward(x, v, weight, wo, bo)
        ctx.settings = a
        return y

    @staticmethod
    @once
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, v, weight, *weights = ctx.saved_tensors
        a, grad, dx, dv, dweight = ctx.settings, grad.contiguous(), *(torch.empty_like(one) for one in (x, v, weight))
        a.dy, a.dx, a.dv, a.dweight = address(grad), address(dx), address(dv), address(dweight)
        return dx, dv, dweight, None, *gradients("rolling_backward", a, weights)


def decompose(
    norm: torch.nn.LayerNorm, x: Tensor, kernel: int, *, norm_first: bool = False, demean: bool = False
) -> tuple[Tensor, Tensor]:
    """The rest and the trend of x, or of its norm; of the first the norm, without its mean over the steps where asked for."""
    a = native.Decomposition(
        groups=x.shape[0], threads=torch.get_num_threads(), d=x.shape[2], steps=x.shape[1], kernel=kernel, norm_first=norm_first,
        demean=demean, eps=norm.eps,
    )  # fmt: skip
    found: tuple[Tensor, Tensor] = _Decomposition.apply(x, a, norm.weight, norm.bias)
    return found


class _Decomposition(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, a: native.Decomposition, *weights: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        trend, y = torch.empty_like(x), torch.empty_like(x)
        ctx.space = Space(normed=x.numel(), deviation=x.numel() // a.d)
        a.x, a.trend, a.y = address(x), address(trend), address(y)
        point(a, ctx.space, ("gamma", "beta"), weights)
        native.call("decomposition_forward", a)
        ctx.save_for_backward(*weights)
        ctx.settings, ctx.shape = a, x.shape
        return y, trend

    @staticmethod
    @once
    def backward(ctx: Any, dy: Tensor | None, dtrend: Tensor | None) -> tuple[Tensor | None, ...]:
        a, dx = ctx.settings, torch.empty(ctx.shape)
        dy = torch.zeros(ctx.shape) if dy is None else dy.contiguous()
        dtrend = None if dtrend is None else dtrend.contiguous()
        a.dy, a.dtrend, a.dx = address(dy), address(dtrend), address(dx)
        return dx, None, *gradients("decomposition_backward", a, list(ctx.saved_tensors))


def moving_average(x: Tensor, kernel: int) -> Tensor:
    """Of inputs [groups, steps, features, lanes], the first and the last step repeated beyond the ends; no gradient."""
    found, x = torch.empty(x.shape), x.contiguous()
    native.average(found, x, kernel)
    return found
