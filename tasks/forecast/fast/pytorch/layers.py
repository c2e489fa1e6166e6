"""Linear layers, feed-forward and norms of hidden states that lie with their channels first.

A hidden state is [d, b, steps]: each linear layer is then one product of matrices over all windows and steps, a norm adds up whole
rows, and the queries, keys and values of a head are slices that `torch.bmm` reads where they lie.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tasks.forecast.fast.pytorch.dropout import Masks


def linear(weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    """A linear layer, [in, b, steps] to [out, b, steps]."""
    return torch.addmm(bias[:, None], weight, x.flatten(1)).view(-1, *x.shape[1:])


def feed_forward(layer: Any, norm: torch.nn.LayerNorm | None, x: Tensor, masks: Masks) -> Tensor:
    """x and what dropout leaves of the two linear layers with GELU between, and the norm of that where there is one."""
    inner = linear(layer.fc1.weight, layer.fc1.bias, x)
    mask, keep = masks.draw(tuple(inner.shape), layer.activation_dropout)
    branch = linear(layer.fc2.weight, layer.fc2.bias, _Gelu.apply(inner, mask, keep))
    return add(x, branch, masks, layer.dropout) if norm is None else add_norm(norm, x, branch, masks, layer.dropout)


def add(x: Tensor, branch: Tensor, masks: Masks, probability: float) -> Tensor:
    """x and what dropout leaves of the branch."""
    mask, keep = masks.draw(tuple(branch.shape), probability)
    return x + branch if mask is None else torch.addcmul(x, branch, mask, value=1.0 / keep)


def add_norm(module: torch.nn.LayerNorm, x: Tensor, branch: Tensor, masks: Masks, probability: float) -> Tensor:
    """The norm over channels of x and what dropout leaves of the branch, [d, b, steps]."""
    mask, keep = masks.draw(tuple(branch.shape), probability)
    return _Norm.apply(x, branch, mask, keep, module.weight, module.bias, module.eps)


def norm(module: torch.nn.LayerNorm, x: Tensor) -> Tensor:
    """The norm over channels, [d, b, steps]."""
    return _Norm.apply(x, None, None, 1.0, module.weight, module.bias, module.eps)


def drop(x: Tensor, masks: Masks, probability: float) -> Tensor:
    """What dropout leaves of x."""
    mask, keep = masks.draw(tuple(x.shape), probability)
    return x if mask is None else x * mask.mul_(1.0 / keep)


class _Gelu(torch.autograd.Function):
    """GELU and dropout."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor | None, keep: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.mask = None if mask is None else mask.mul_(1.0 / keep)
        out = torch.nn.functional.gelu(x)
        return out if mask is None else out.mul_(mask)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        return torch.ops.aten.gelu_backward(grad if ctx.mask is None else grad * ctx.mask, x), None, None


class _Norm(torch.autograd.Function):
    """The norm over the first dimension of x + mask * branch / keep; sums over channels are products with a row of ones."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        branch: Tensor | None,
        mask: Tensor | None,
        keep: float,
        weight: Tensor,
        bias: Tensor,
        eps: float,
    ) -> Tensor:
        if branch is not None:
            x = x + branch if mask is None else torch.addcmul(x, branch, mask, value=1.0 / keep)
        shape, x = x.shape, x.flatten(1)
        mean = x.new_full((1, len(x)), 1.0 / len(x))
        normed = x - mean @ x
        share = (mean @ normed.square()).add_(eps).rsqrt_()
        normed *= share
        ctx.save_for_backward(normed, share, weight)
        ctx.branched, ctx.mask, ctx.keep = branch is not None, mask, keep
        return torch.mul(normed, weight[:, None]).add_(bias[:, None]).view(shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        normed, share, weight = ctx.saved_tensors
        shape, grad = grad.shape, grad.flatten(1)
        row = (weight / len(weight))[None]
        both = grad * normed
        of_weight, of_bias = both.sum(1), grad.sum(1)
        of_x = grad * weight[:, None]
        of_x.sub_(row @ grad).addcmul_(normed, row @ both, value=-1.0).mul_(share)
        of_x = of_x.view(shape)
        of_branch = of_x if ctx.branched else None
        if ctx.mask is not None:
            of_branch = torch.mul(of_x, ctx.mask).mul_(1.0 / ctx.keep)
        return of_x, of_branch, None, None, of_weight, of_bias, None


def averaging(steps: int, kernel: int) -> Tensor:
    """The moving average as a matrix [steps, steps]: row t averages around t, with the first and last value repeated beyond."""
    near = torch.arange(steps)[:, None] + torch.arange(-(kernel // 2), kernel // 2 + 1)
    counts = torch.zeros(steps, steps).scatter_add_(1, near.clamp(0, steps - 1), torch.ones(steps, kernel))
    return counts / kernel
