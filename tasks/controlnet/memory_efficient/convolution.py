"""Memory-efficient convolutions, alone and behind group norm and SiLU: only the input is kept for the backward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from tasks.controlnet.memory_efficient.common import Grads, Precision, Tensor, aten, by_weight, cast, like, plainly


class Convolution(torch.autograd.Function):
    """A convolution that keeps its input only where its weight is trained."""

    @staticmethod
    @plainly
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int, precision: Precision
    ) -> Tensor:
        """x [b, c, h, w] -> [b, c', h', w']."""
        ctx.settings = (stride, padding, precision, x.shape, x.dtype)
        trained = weight.requires_grad
        ctx.save_for_backward(x if trained else None, weight)
        return convolve(cast(x, precision.products), weight, bias, stride, padding)

    @staticmethod
    @plainly
    def backward(ctx: Any, grad: Tensor) -> Grads:
        """Gradients by x, weight and bias."""
        stride, padding, precision, shape, dtype = ctx.settings
        x, weight = ctx.saved_tensors
        # The shape is all that the gradient by the input asks of it.
        x = grad.new_empty(1).expand(shape) if x is None else cast(x, precision.products)
        found = convolve_back(grad, x, weight, stride, padding, ctx.needs_input_grad[:3])
        by_x = None if found[0] is None else found[0].to(dtype)
        return by_x, found[1], found[2], None, None, None


class NormConvolution(torch.autograd.Function):
    """Group norm, SiLU where asked for, and a convolution, of which only the input is kept."""

    @staticmethod
    @plainly
    def forward(
        ctx: Any,
        x: Tensor,
        norm_weight: Tensor,
        norm_bias: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        groups: int,
        eps: float,
        activate: bool,
        padding: int,
        precision: Precision,
    ) -> Tensor:
        """x [b, c, h, w] -> [b, c', h, w]."""
        ctx.settings = (groups, eps, activate, padding, precision)
        ctx.save_for_backward(x, norm_weight, norm_bias, weight)
        normed = group_norm(cast(x, precision.norms), norm_weight, norm_bias, groups, eps)[0]
        if activate:
            functional.silu(normed, inplace=True)
        return convolve(cast(normed, precision.products), weight, bias, 1, padding)

    @staticmethod
    @plainly
    def backward(ctx: Any, grad: Tensor) -> Grads:
        """Gradients by x, the norm's weight and bias, the convolution's weight and bias."""
        groups, eps, activate, padding, precision = ctx.settings
        x, norm_weight, norm_bias, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        x_ = cast(x, precision.norms)
        normed, mean, deviation = group_norm(x_, norm_weight, norm_bias, groups, eps)
        fed = functional.silu(normed) if activate and wanted[3] else normed
        by_fed, found, by_bias = convolve_back(
            grad, cast(fed, precision.products), weight, 1, padding, (any(wanted[:3]), *wanted[3:5])
        )
        del fed
        if by_fed is None:
            return None, None, None, found, by_bias, *[None] * 5
        by_normed = by_fed.to(normed.dtype)
        if activate:
            by_normed = aten.silu_backward(by_normed, normed)
        del normed, by_fed
        if not by_normed.is_contiguous(memory_format=_order(x_)):
            by_normed = by_normed.contiguous(memory_format=_order(x_))
        sizes = x.shape[0], x.shape[1], x.shape[2] * x.shape[3], groups
        by_x, by_norm_weight, by_norm_bias = aten.native_group_norm_backward(
            by_normed, x_, mean, deviation, norm_weight.to(x_.dtype), *sizes, list(wanted[:3])
        )
        by_x = None if by_x is None else by_x.to(x.dtype)
        return (
            by_x, like(by_norm_weight, norm_weight), like(by_norm_bias, norm_bias), found, by_bias, *[None] * 5,
        )  # fmt: skip


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    """A 2-d convolution, everything in the type of x; one of single pixels is a matrix product."""
    if _pointwise(weight, stride):
        return _pixels(x, weight.flatten(1).to(x.dtype), bias)
    return functional.conv2d(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype), stride, padding)


def convolve_back(
    grad: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int, wanted: tuple[bool, bool, bool]
) -> Grads:
    """Gradients by input, weight and bias, those wanted; x may be any tensor of its shape where the weight's isn't wanted."""
    weight_ = weight.to(grad.dtype)
    if _pointwise(weight, stride):
        grads = grad.permute(0, 2, 3, 1)
        found = by_weight(grads, x.permute(0, 2, 3, 1), weight, wanted[1])
        return (
            _pixels(grad, weight_.flatten(1).t(), None) if wanted[0] else None,
            None if found is None else found.view_as(weight),
            grads.sum((0, 1, 2)).to(weight.dtype) if wanted[2] else None,
        )

    def part(grad: Tensor, x: Tensor, wanted: list[bool]) -> Any:
        sizes = [weight.shape[0]], [stride, stride], [padding, padding], [1, 1], False, [0, 0], 1
        return aten.convolution_backward(grad, x, weight_, *sizes, wanted)

    by_input = part(grad, x, [True, False, False])[0] if wanted[0] else None
    if not (wanted[1] or wanted[2]):
        return by_input, None, None
    if grad.device.type == "cpu":  # oneDNN's gradient by the weight is slower with channels last
        grad, x = grad.contiguous(), x.contiguous()
    _, found, by_bias = part(grad, x, [False, *wanted[1:]])
    return by_input, like(found, weight), None if by_bias is None else by_bias.to(weight.dtype)


def _pointwise(weight: Tensor, stride: int) -> bool:
    return stride == 1 and weight.shape[2:] == (1, 1)


def _pixels(x: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
    """The matrix [c', c] times each pixel of x [b, c, h, w], in x's order of memory; no view of another tensor."""
    count, _, height, width = x.shape
    found = torch.empty(
        count, matrix.shape[0], height, width, dtype=x.dtype, device=x.device, memory_format=torch.channels_last
    )
    pixels, out = (one.permute(0, 2, 3, 1).flatten(0, 2) for one in (x, found))
    if bias is None:
        torch.mm(pixels, matrix.t(), out=out)
    else:
        torch.addmm(bias.to(x.dtype), pixels, matrix.t(), out=out)
    return found if x.is_contiguous(memory_format=torch.channels_last) else found.contiguous()


def group_norm(x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """x [b, c, h, w] normalised, with mean and inverse deviation [b, groups]."""
    if not x.is_contiguous(memory_format=_order(x)):
        x = x.contiguous(memory_format=_order(x))
    count, channels, height, width = x.shape
    found: tuple[Tensor, Tensor, Tensor] = aten.native_group_norm(
        x, weight.to(x.dtype), bias.to(x.dtype), count, channels, height * width, groups, eps
    )
    return found


def _order(x: Tensor) -> torch.memory_format:
    last = x.is_contiguous(memory_format=torch.channels_last) and x.device.type == "cpu"
    return torch.channels_last if last else torch.contiguous_format
