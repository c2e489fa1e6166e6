"""Informer's distilling layer, compiled, with its gradient; hidden states are float32 [groups, steps, d, lanes]."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tasks.forecast.lanes import library as native
from tasks.forecast.lanes.layers import FromLanes, ToLanes, gradients, once, point
from tasks.forecast.lanes.library import Space, address


def shrink(module: Any, x: Tensor, windows: int) -> Tensor:
    """What `InformerConvLayer` makes of x, [groups, half the steps, d, lanes]; batch norm's record moves on as in the module."""
    norm = module.norm
    if norm.momentum is None or not norm.track_running_stats or not norm.affine or windows * x.shape[1] < 2:
        return ToLanes.apply(module(FromLanes.apply(x, windows)))
    weight = module.downConv.weight.permute(0, 2, 1).contiguous()
    return _Shrink.apply(x, norm, windows, weight, module.downConv.bias, norm.weight, norm.bias)


class _Shrink(torch.autograd.Function):
    """
    Args:
        weights: of the convolution as [d, 3, d], its bias, and the norm's two.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, norm: Any, windows: int, *weights: Tensor) -> Tensor:
        groups, steps, d, lanes = x.shape
        a = native.Shrink(
            groups=groups, threads=torch.get_num_threads(), windows=windows, d=d, steps=steps, training=norm.training,
            eps=norm.eps,
        )  # fmt: skip
        mean, deviation, sums = norm.running_mean.clone(), norm.running_var.clone(), torch.empty(groups, 2 * d)
        y = torch.empty(groups, (steps - 1) // 2 + 1, d, lanes)
        ctx.space, ctx.others = Space(normed=x.numel()), (mean, deviation, sums)
        a.x, a.mean, a.deviation, a.sums, a.y = (address(one) for one in (x, mean, deviation, sums, y))
        point(a, ctx.space, ("w", "b", "gamma", "beta"), weights)
        native.call("shrink_forward", a)
        if norm.training:
            count = windows * steps
            norm.running_mean.lerp_(mean, norm.momentum)
            norm.running_var.lerp_(sums.view(-1)[:d] * (count / (count - 1)), norm.momentum)
            norm.num_batches_tracked += 1
        ctx.save_for_backward(x, *weights)
        ctx.settings = a
        return y

    @staticmethod
    @once
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, *weights = ctx.saved_tensors
        a, grad, between, dx = ctx.settings, grad.contiguous(), torch.empty_like(x), torch.empty_like(x)
        a.dy, a.between, a.dx = address(grad), address(between), address(dx)
        return dx, None, None, *gradients("shrink_backward", a, weights)
