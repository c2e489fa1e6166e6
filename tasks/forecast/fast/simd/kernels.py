"""Calls of the C library that autograd follows, and the way of tensors into the lanes of vectors and back."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from tasks.forecast.fast.simd import native
from tasks.forecast.fast.simd.native import Arguments

_once = torch.autograd.function.once_differentiable


def run(
    arguments: Arguments,
    inputs: dict[str, Tensor | None],
    weights: dict[str, Tensor],
    outputs: dict[str, tuple[int, ...]],
) -> Any:
    """The outputs of `NAME_forward`, one or a tuple, with `NAME_backward` as their gradient.

    Args:
        arguments: with all fields but those of the other three.
        inputs: contiguous tensors by field, each with a gradient; None where the function has a form without it.
        weights: the same; the C function adds their gradients up over the groups.
        outputs: shapes by field.
    """
    return _Kernel.apply(arguments, tuple(inputs), tuple(weights), outputs, *inputs.values(), *weights.values())


class _Kernel(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        a: Arguments,
        inputs: tuple[str, ...],
        weights: tuple[str, ...],
        outputs: dict[str, tuple[int, ...]],
        *tensors: Tensor | None,
    ) -> Any:
        ctx.set_materialize_grads(False)
        for name, x in zip(inputs + weights, tensors, strict=True):
            if x is not None:
                setattr(a, name, x.data_ptr())
        results = [a.output(name, shape) for name, shape in outputs.items()]
        native.call(a.forward, a)
        ctx.arguments, ctx.inputs, ctx.outputs = a, inputs, outputs
        ctx.shapes = [None if x is None else x.shape for x in tensors[: len(inputs)]]
        ctx.save_for_backward(*tensors[0 if a.saves_inputs else len(inputs) :])
        return tuple(results) if len(results) > 1 else results[0]

    @staticmethod
    @_once
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        a, alive = ctx.arguments, []
        for (name, shape), grad in zip(ctx.outputs.items(), grads, strict=True):
            if grad is not None or name not in a.optional:
                alive.append(torch.zeros(shape) if grad is None else grad.contiguous())
                setattr(a, f"d{name}", alive[-1].data_ptr())
        of_inputs = [
            None if shape is None else a.output(f"d{name}", shape)
            for name, shape in zip(ctx.inputs, ctx.shapes, strict=True)
        ]
        alive += [a.output(name, ctx.shapes[0]) for name in a.scratch]
        weights = ctx.saved_tensors[len(ctx.inputs) if a.saves_inputs else 0 :]
        of_weights: list[Tensor] = []
        if weights:
            sizes = [weight.numel() for weight in weights]
            alive.append(a.output("slots", (a.groups * sum(sizes),)))
            parts = a.output("gradients", (sum(sizes),)).split(sizes)
            of_weights = [part.view(weight.shape) for part, weight in zip(parts, weights, strict=True)]
        native.call(a.backward, a)
        return None, None, None, None, *of_inputs, *of_weights


class _Lanes(torch.autograd.Function):
    """Into lanes, or out of them where `into` is False; the gradient goes the other way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, windows: int, into: bool) -> Tensor:
        ctx.windows, ctx.into = windows, into
        return _moved(x, windows, into)

    @staticmethod
    @_once
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _moved(grad, ctx.windows, not ctx.into), None, None


def to_lanes(x: Tensor) -> Tensor:
    """[b, ...] to [groups, ..., lanes]; lanes beyond the windows hold 0."""
    return _Lanes.apply(x, len(x), True)


def from_lanes(x: Tensor, windows: int) -> Tensor:
    """The way back, of the first `windows`."""
    return _Lanes.apply(x, windows, False)


def _moved(x: Tensor, windows: int, into: bool) -> Tensor:
    lanes, inner = native.lanes(), x.shape[1:] if into else x.shape[1:-1]
    result = torch.empty(-(-windows // lanes), *inner, lanes) if into else torch.empty(windows, *inner)
    native.call_plain("to_lanes" if into else "from_lanes", result, x.contiguous(), windows, math.prod(inner))
    return result
