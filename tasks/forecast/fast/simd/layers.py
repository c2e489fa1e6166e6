"""The layers that all three models have, compiled; hidden states are float32 [groups, steps, d, lanes], a window in each lane."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from tasks.forecast.fast.simd import native
from tasks.forecast.fast.simd.kernels import run
from tasks.forecast.fast.simd.native import Dropout


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


def weights_of(**layers: Any) -> dict[str, Tensor]:
    """Weight and bias of each linear layer "q" as "wq" and "bq", those of a norm as "gamma" and "beta"."""
    norm = layers.pop("norm", None)
    weights = {kind + name: w for name, layer in layers.items() for kind, w in (("w", layer.weight), ("b", layer.bias))}
    return weights if norm is None else weights | {"gamma": norm.weight, "beta": norm.bias}


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
    groups, steps, d, lanes = x.shape
    keys = x if source is None else source
    a = native.Attention(
        groups=groups, d=d, heads=module.num_heads, queries=steps, keys=keys.shape[1], itself=source is None, causal=causal,
        scaling=module.scaling, eps=norm.eps,
    )  # fmt: skip
    attending = steps
    if hasattr(module, "factor"):
        attending = a.chosen = choose_keys(module, a, steps)
    a.chances, a.branch = draws.next(module.dropout), draws.next(dropout)
    rows, some = groups * lanes, groups * lanes * module.num_heads * attending
    a.allocate(
        q=x.numel(), k=keys.numel(), v=keys.numel(), out=x.numel(), normed=x.numel(), most=some, share=some,
        deviation=rows * steps, where=some * (a.chosen > 0),
    )  # fmt: skip
    a.source = keys.data_ptr()
    weights = weights_of(q=module.q_proj, k=module.k_proj, v=module.v_proj, o=module.out_proj, norm=norm)
    return run(a, {"x": x, "source": source}, weights, {"y": x.shape})


def choose_keys(module: Any, a: native.Arguments, steps: int) -> int:
    """Draws the keys that choose the queries, and returns how many of these attend."""
    logarithm = math.ceil(math.log1p(steps))
    drawn = torch.randint(0, steps, (min(module.factor * steps * logarithm, steps),))
    times = torch.bincount(drawn, minlength=steps)
    seen = times.nonzero()[:, 0]
    a.drawn = len(seen)
    a.hold(seen=seen, times=times[seen].float() / steps)
    return min(module.factor * logarithm, steps)


def feed_forward(layer: Any, norm: torch.nn.LayerNorm | None, x: Tensor, draws: Draws) -> Tensor:
    """x and what dropout leaves of the two linear layers with GELU between, and the norm of that where there is one."""
    groups, steps, d, lanes = x.shape
    inner, rows = len(layer.fc1.bias), groups * steps * lanes
    a = native.Feed(
        groups=groups, d=d, steps=steps, inner=inner, normed_after=norm is not None, eps=norm.eps if norm else 0.0,
        activation=draws.next(layer.activation_dropout), branch=draws.next(layer.dropout),
    )  # fmt: skip
    a.allocate(hidden=rows * inner, normed=rows * d, deviation=rows)
    weights = {"w1": layer.fc1.weight, "b1": layer.fc1.bias, "w2": layer.fc2.weight, "b2": layer.fc2.bias}
    return run(a, {"x": x}, weights | weights_of(norm=norm), {"y": x.shape})


def linear(weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    """A linear layer of [groups, steps, in, lanes]."""
    groups, steps, width, lanes = x.shape
    a = native.Linear(groups=groups, out=len(weight), steps=steps, **{"in": width})
    return run(a, {"x": x}, {"w": weight, "b": bias}, {"y": (groups, steps, len(weight), lanes)})
