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
        results = {name: torch.empty(shape) for name, shape in outputs.items()}
        pointers = {name: x for name, x in zip(inputs + weights, tensors, strict=True) if x is not None}
        a.point(pointers | results)
        native.call(f"{type(a).__name__.lower()}_forward", a)
        ctx.arguments, ctx.inputs, ctx.outputs = a, inputs, outputs
        ctx.shapes = [None if x is None else x.shape for x in tensors[: len(inputs)]]
        ctx.save_for_backward(*tensors[0 if a.saves_inputs else len(inputs) :])
        return tuple(results.values()) if len(results) > 1 else next(iter(results.values()))

    @staticmethod
    @_once
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        a, weights = ctx.arguments, ctx.saved_tensors[len(ctx.inputs) if ctx.arguments.saves_inputs else 0 :]
        pointers: dict[str, Tensor | None] = {}
        for (name, shape), grad in zip(ctx.outputs.items(), grads, strict=True):
            if grad is not None or name not in a.optional:
                pointers[f"d{name}"] = torch.zeros(shape) if grad is None else grad.contiguous()
        of_inputs = [None if shape is None else torch.empty(shape) for shape in ctx.shapes]
        pointers |= {f"d{name}": grad for name, grad in zip(ctx.inputs, of_inputs, strict=True)}
        pointers |= {name: torch.empty(ctx.shapes[0]) for name in a.scratch}
        of_weights = torch.empty(sum(weight.numel() for weight in weights))
        if weights:
            pointers |= {"slots": torch.empty(a.groups * len(of_weights)), "gradients": of_weights}
        a.point(pointers)
        native.call(f"{type(a).__name__.lower()}_backward", a)
        parts = of_weights.split([weight.numel() for weight in weights])
        split = (part.view(weight.shape) for part, weight in zip(parts, weights, strict=True))
        return None, None, None, None, *of_inputs, *split


class ToLanes(torch.autograd.Function):
    """[b, ...] to [groups, ..., lanes]; lanes beyond the windows hold 0."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.windows = len(x)
        return _into_lanes(x.contiguous())

    @staticmethod
    @_once
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _out_of_lanes(grad.contiguous(), ctx.windows)


class FromLanes(torch.autograd.Function):
    """The way back, of the first `windows`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, windows: int) -> Tensor:
        return _out_of_lanes(x.contiguous(), windows)

    @staticmethod
    @_once
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _into_lanes(grad.contiguous()), None


def _into_lanes(x: Tensor) -> Tensor:
    lanes = native.lanes()
    result = torch.empty(-(-len(x) // lanes), *x.shape[1:], lanes)
    native.call_plain("to_lanes", result, x, len(x), math.prod(x.shape[1:]))
    return result


def _out_of_lanes(x: Tensor, windows: int) -> Tensor:
    result = torch.empty(windows, *x.shape[1:-1])
    native.call_plain("from_lanes", result, x, windows, math.prod(x.shape[1:-1]))
    return result
