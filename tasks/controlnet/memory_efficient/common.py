"""Building blocks of the memory-efficient autograd functions: precision under autocast, layer norms, linear layers.

Autograd keeps every intermediate: of `conv(silu(group_norm(x)))` it keeps x, the normalised x and the activated one, and of a
convolution with frozen weights still its input, which only their gradient would need. Each function of `convolution`,
`attention` and `feed_forward` is one such chain, and keeps its input alone; backwards it recomputes norms, activations
and, where told to, projections, never a convolution or an attention. The operations and their precision, under autocast too,
are those of torch's own modules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

Tensor = torch.Tensor
Grads = tuple[Tensor | None, ...]
aten = torch.ops.aten


class Precision:
    """What autocast, where it is on, makes of products and of norms: read once, before a function begins.

    Attributes:
        products: the type of matrix products and convolutions; None: that of their input.
        norms: that of norms.
    """

    def __init__(self, device: torch.device) -> None:
        on = torch.is_autocast_enabled(device.type)
        self.products = torch.get_autocast_dtype(device.type) if on else None
        self.norms = torch.float32 if on else None


def cast(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """The tensor in another type; None: as it is."""
    return tensor if dtype is None else tensor.to(dtype)


def add(fresh: Tensor, other: Tensor) -> Tensor:
    """The sum, written over `fresh` where its type holds it. Nothing else may need `fresh`."""
    if torch.promote_types(fresh.dtype, other.dtype) == fresh.dtype:
        return fresh.add_(other)
    return fresh + other


def plainly(function: Callable[..., Any]) -> Callable[..., Any]:
    """Without autocast: the functions cast by themselves."""

    def call(ctx: Any, *arguments: Any) -> Any:
        device = next(one for one in arguments if isinstance(one, Tensor)).device
        with torch.autocast(device.type, enabled=False):
            return function(ctx, *arguments)

    return call


def like(grad: Tensor | None, parameter: Tensor) -> Tensor | None:
    """In the parameter's type and order of memory, as DDP and fused optimizers like it."""
    if grad is None:
        return None
    grad = grad.to(parameter.dtype)
    return grad if grad.stride() == parameter.stride() else torch.empty_like(parameter).copy_(grad)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """x [..., c] normalised, with mean and inverse deviation."""
    found: tuple[Tensor, Tensor, Tensor] = aten.native_layer_norm(
        x, [x.shape[-1]], weight.to(x.dtype), bias.to(x.dtype), eps
    )
    return found


def layer_norm_back(
    grad: Tensor, x: Tensor, mean: Tensor, deviation: Tensor, weight: Tensor, bias: Tensor, wanted: tuple[bool, ...]
) -> Grads:
    """Gradients by x, weight and bias."""
    by_x, by_weight, by_bias = aten.native_layer_norm_backward(
        grad.to(x.dtype), x, [x.shape[-1]], mean, deviation, weight.to(x.dtype), bias.to(x.dtype), list(wanted)
    )
    return by_x, like(by_weight, weight), like(by_bias, bias)


def project(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A linear layer, everything in the type of x."""
    return functional.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))


def by_weight(grad: Tensor, x: Tensor, weight: Tensor, wanted: bool) -> Tensor | None:
    """The gradient of a linear layer's weight from those of its output and its input, both [..., features]."""
    if not wanted:
        return None
    return (grad.flatten(0, -2).t() @ x.flatten(0, -2)).to(weight.dtype)
