"""The compiled layers with their gradients; hidden states are float32 [groups, steps, d, lanes], a window in each lane."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from tasks.forecast.lanes import library as native
from tasks.forecast.lanes.library import Dropout, Space, address

once = torch.autograd.function.once_differentiable


class Draws:
    """The dropout of a forward: a seed for each use, from one that torch's generator gives at the first.

    A probability is rounded to a multiple of 2**-16, and what is kept is scaled by its chance of being kept.
    """

    def __init__(self, training: bool) -> None:
        self.training = training
        self._seed: int | None = None

    def next(self, probability: float) -> Dropout:
        """The next use's."""
        steps = round(probability * 2**16)
        if not self.training or steps == 0:
            return Dropout(0, 0, 1.0)
        if self._seed is None:
            self._seed = int(torch.randint(2**63 - 1, ()))
        self._seed = (self._seed + 1) % 2**64
        return Dropout(self._seed, steps, 1.0 / (1.0 - steps / 2**16))


class ToLanes(torch.autograd.Function):
    """[b, ...] to [groups, ..., lanes]; lanes beyond the windows hold 0."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape = x.shape
        return _into_lanes(x.contiguous())

    @staticmethod
    @once
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _out_of_lanes(grad.contiguous(), ctx.shape[0])


class FromLanes(torch.autograd.Function):
    """The way back, of the first `windows`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, windows: int) -> Tensor:
        return _out_of_lanes(x.contiguous(), windows)

    @staticmethod
    @once
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _into_lanes(grad.contiguous()), None


def _into_lanes(x: Tensor) -> Tensor:
    lanes, count = native.lanes(), math.prod(x.shape[1:])
    found = torch.empty(-(-len(x) // lanes), *x.shape[1:], lanes)
    native.transpose("to_lanes", found, x, len(x), count)
    return found


def _out_of_lanes(x: Tensor, windows: int) -> Tensor:
    found = torch.empty(windows, *x.shape[1:-1])
    native.transpose("from_lanes", found, x, windows, math.prod(x.shape[1:-1]))
    return found


def attend(
    module: Any,
    norm: torch.nn.LayerNorm,
    x: Tensor,
    source: Tensor | None,
    draws: Draws,
    dropout: float,
    causal: bool = False,
) -> Tensor:
    """The norm of x and what dropout leaves of attention to the source (to itself where None), full or Informer's sparse one."""
    steps, chosen, drawn = x.shape[1], 0, None
    if hasattr(module, "factor"):
        logarithm = math.ceil(math.log1p(steps))
        drawn = torch.randint(0, steps, (min(module.factor * steps * logarithm, steps),))
        chosen = min(module.factor * logarithm, steps)
    layers = (module.q_proj, module.k_proj, module.v_proj, module.out_proj, norm)
    settings = native.Attention(
        groups=x.shape[0], threads=torch.get_num_threads(), d=x.shape[2], heads=module.num_heads, queries=steps,
        keys=steps if source is None else source.shape[1], itself=source is None, causal=causal,
        chosen=chosen, scaling=module.scaling, eps=norm.eps, chances=draws.next(module.dropout), branch=draws.next(dropout),
    )  # fmt: skip
    weights = [weight for layer in layers for weight in (layer.weight, layer.bias)]
    return _Attention.apply(x, source, drawn, settings, *weights)


class _Attention(torch.autograd.Function):
    """
    Args:
        drawn: for sparse attention, the keys that choose the queries, int64.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, source: Tensor | None, drawn: Tensor | None, a: native.Attention, *weights: Tensor
    ) -> Tensor:
        attending, rows = a.chosen or a.queries, len(x) * x.shape[3]
        q, k, some = rows * a.queries * a.d, rows * a.keys * a.d, rows * a.heads * attending
        ctx.space = Space(
            q=q, k=k, v=k, out=q, normed=q, most=some, share=some, deviation=rows * a.queries, where=some * (a.chosen > 0)
        )  # fmt: skip
        y = torch.empty_like(x)
        if drawn is not None:
            times = torch.bincount(drawn, minlength=a.keys)
            seen = times.nonzero()[:, 0]
            times = times[seen].float() / a.keys
            a.drawn, a.seen, a.times = len(seen), address(seen), address(times)
        a.x, a.source, a.y = address(x), address(x if source is None else source), address(y)
        point(a, ctx.space, ("wq", "bq", "wk", "bk", "wv", "bv", "wo", "bo", "gamma", "beta"), weights)
        native.call("attention_forward", a)
        ctx.save_for_backward(x, source, *weights)
        ctx.settings = a
        return y

    @staticmethod
    @once
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, source, *weights = ctx.saved_tensors
        a, grad, dx = ctx.settings, grad.contiguous(), torch.empty_like(x)
        dsource = None if source is None else torch.empty_like(source)
        a.dy, a.dx, a.dsource = address(grad), address(dx), address(dsource)
        return dx, dsource, None, None, *gradients("attention_backward", a, weights)


def point(a: Any, space: Space, names: tuple[str, ...], weights: tuple[Tensor, ...]) -> None:
    """Sets the addresses of buffers and weights."""
    for name, place in space.at.items():
        setattr(a, name, place)
    for name, weight in zip(names, weights, strict=True):
        setattr(a, name, address(weight))


def gradients(name: str, a: Any, weights: list[Tensor]) -> list[Tensor]:
    """Calls a backward and returns the weights' gradients."""
    count = sum(weight.numel() for weight in weights)
    slots, flat = torch.empty(a.groups * count), torch.empty(count)
    a.slots, a.gradients = address(slots), address(flat)
    native.call(name, a)
    return native.split(flat, weights)


def feed_forward(layer: Any, norm: torch.nn.LayerNorm | None, x: Tensor, draws: Draws) -> Tensor:
    """x and what dropout leaves of the two linear layers with GELU between, and the norm of that where there is one."""
    settings = native.FeedForward(
        groups=x.shape[0], threads=torch.get_num_threads(), d=x.shape[2], steps=x.shape[1], inner=len(layer.fc1.bias),
        normed_after=norm is not None, eps=norm.eps if norm else 0.0, activation=draws.next(layer.activation_dropout),
        branch=draws.next(layer.dropout),
    )  # fmt: skip
    weights = [layer.fc1.weight, layer.fc1.bias, layer.fc2.weight, layer.fc2.bias]
    weights += [norm.weight, norm.bias] if norm else []
    return _FeedForward.apply(x, settings, *weights)


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, a: native.FeedForward, *weights: Tensor) -> Tensor:
        rows, y = len(x) * x.shape[1] * x.shape[3], torch.empty_like(x)
        ctx.space = Space(hidden=rows * a.inner, normed=rows * a.d, deviation=rows)
        a.x, a.y = address(x), address(y)
        point(a, ctx.space, ("w1", "b1", "w2", "b2", "gamma", "beta")[: len(weights)], weights)
        native.call("feed_forward", a)
        ctx.save_for_backward(x, *weights)
        ctx.settings = a
        return y

    @staticmethod
    @once
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, *weights = ctx.saved_tensors
        a, grad, dx = ctx.settings, grad.contiguous(), torch.empty_like(x)
        a.dy, a.dx = address(grad), address(dx)
        return dx, None, *gradients("feed_backward", a, weights)


class Embed(torch.autograd.Function):
    """The norm of a linear layer without bias plus positions, with dropout, [groups, steps, d, lanes].

    Args:
        fixed: the static features, [groups, static features, lanes]; its gradient is the only one beside the weights'.
        others: whatever else the settings point at.
        weights: of the linear layer, and weight and bias of the norm.
    """

    @staticmethod
    def forward(
        ctx: Any, fixed: Tensor, a: native.Embedding, others: tuple[Any, ...], positions: Tensor, *weights: Tensor
    ) -> Tensor:
        lanes = fixed.shape[-1]
        rows = len(fixed) * a.steps * lanes
        y = torch.empty(len(fixed), a.steps, a.d, lanes)
        ctx.space, ctx.others = Space(normed=rows * a.d, deviation=rows), others
        a.fixed, a.positions, a.y = address(fixed), address(positions), address(y)
        point(a, ctx.space, ("w", "gamma", "beta"), weights)
        native.call("embed_forward", a)
        ctx.save_for_backward(fixed, positions, *weights)
        ctx.settings = a
        return y

    @staticmethod
    @once
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        fixed, _, *weights = ctx.saved_tensors
        a, grad, dfixed = ctx.settings, grad.contiguous(), torch.empty_like(fixed)
        a.dy, a.dfixed = address(grad), address(dfixed)
        return dfixed, None, None, None, *gradients("embed_backward", a, weights)


def linear(weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    """A linear layer of [groups, steps, in, lanes]."""
    return _Linear.apply(x, weight, bias)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        groups, steps, width, lanes = x.shape
        y = torch.empty(groups, steps, len(weight), lanes)
        a = native.Linear(groups=groups, threads=torch.get_num_threads(), out=len(weight), steps=steps)
        setattr(a, "in", width)
        a.x, a.w, a.b, a.y = address(x), address(weight), address(bias), address(y)
        native.call("linear_forward", a)
        ctx.save_for_backward(x, weight, bias)
        ctx.settings = a
        return y

    @staticmethod
    @once
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        x, weight, bias = ctx.saved_tensors
        a, grad, dx = ctx.settings, grad.contiguous(), torch.empty_like(x)
        a.dy, a.dx = address(grad), address(dx)
        return dx, *gradients("linear_backward", a, [weight, bias])
