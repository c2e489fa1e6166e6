"""Informer's decoder with its sparse attention (Zhou and others 2021, "Informer", section 3).

Each step the library decodes the whole prefix anew, and chooses the u = factor x ceil(ln(1 + L)) queries of the L so far that
attend; the others take the running sum of the values. What is chosen depends on random keys, drawn anew in every step
and layer, and on keys that come after a query. So a position's output may change with every later step. What can be
kept, exactly:

- while u >= L all queries attend (for a factor of 5 the first 15 steps): plain causal attention, cached as the transformer's;
- in the first layer the inputs never change, so queries, keys, values, their products, each position's attention and
  running sum are computed once; a step only chooses between the two;
- of the last layer only the newest position is wanted: whether it attends, and its one row of attention.

What follows the choice in the first layer, and all of the layers between first and last, is computed for the prefix in each step,
but once a window for the encoder's keys and values and for all samples at once.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from tasks.forecast.sampling.cached import CachedDecoder, Layer
from tasks.forecast.sampling.inputs import Inputs


def active_queries(factor: int, length: int) -> int:
    """How many of `length` queries attend."""
    return min(factor * math.ceil(math.log1p(length)), length)


def drawn_keys(factor: int, length: int, generator: torch.Generator) -> torch.Tensor:
    """The keys that queries are measured by, with repetition, int64 [at most length]."""
    count = min(factor * length * math.ceil(math.log1p(length)), length)
    return torch.randint(0, length, (count,), generator=generator)


class SparseDecoder(CachedDecoder):
    """The decoder of an Informer with ProbSparse attention, for a chunk of windows.

    Args:
        generator: of the random keys, on the CPU; all chunks of a call get one of the same seed.
    """

    def __init__(
        self, model: Any, inputs: Inputs, hidden: torch.Tensor, num_samples: int, generator: torch.Generator
    ) -> None:
        super().__init__(model, inputs, hidden, num_samples)
        self.factor = model.config.sampling_factor
        self.generator = generator
        steps = inputs.features.shape[1]
        sparse = [step for step in range(steps) if active_queries(self.factor, step + 1) <= step]
        self.dense_steps = sparse[0] if sparse else steps
        self.first = FirstAttention(self.layers[0], (len(inputs), steps, num_samples), hidden) if sparse else None

    def step(self, step: int) -> torch.Tensor:
        x = self.input(step)
        if self.first is not None:
            self.first.append(x, step)
        # The library draws keys where they decide nothing too; here it is left out.
        if step < self.dense_steps:
            for layer in self.layers:
                x = layer(x, step)
            return self.head(x)
        return self.head(self._sparse(step + 1))

    def _sparse(self, length: int) -> torch.Tensor:
        """The last layer's output at the newest position, [b, d, S]."""
        assert self.first is not None
        last = len(self.layers) - 1
        active = active_queries(self.factor, length)
        x, branch = self.first.prefix(length, active, self._keys(length), only_newest=last == 0)
        x = _after_attention(self.layers[0], x, branch)
        for number, layer in enumerate(self.layers[1:], 1):
            x, branch = _attend(layer, x, length, active, self._keys(length), only_newest=number == last)
            x = _after_attention(layer, x, branch)
        return x

    def _keys(self, length: int) -> torch.Tensor:
        return drawn_keys(self.factor, length, self.generator)


def _after_attention(layer: Layer, x: torch.Tensor, branch: torch.Tensor) -> torch.Tensor:
    """The layer but for its self-attention; x and branch are [b, d, L x S]: positions are just more samples to it."""
    x = layer.join(x, branch, layer.attention.out, 0)
    x = layer.join(x, layer.cross(x), layer.cross.out, 1)
    return layer.join(x, layer.activation(layer.first(x)), layer.second, 2)


class FirstAttention:
    """The first layer's self-attention: of each position its input, its attention, running sum, and products with others."""

    def __init__(self, layer: Layer, shape: tuple[int, int, int], like: torch.Tensor) -> None:
        batch, steps, samples = shape
        self.layer, self.heads = layer, layer.attention.heads
        self.width = self.heads * layer.attention.size
        wide = (batch, self.width, steps, samples)
        self.inputs, self.queries, self.keys, self.values, self.attended, self.sums = (
            like.new_empty(wide) for _ in range(6)
        )
        # [b, heads, key, query, S]
        self.products = like.new_empty(batch, self.heads, steps, steps, samples)

    def append(self, x: torch.Tensor, step: int) -> None:
        """Takes in the input [b, d, S] of a position."""
        query, key, value = self.layer.attention.project(x).unflatten(1, (3, self.width)).unbind(1)
        for buffer, part in ((self.inputs, x), (self.queries, query), (self.keys, key), (self.values, value)):
            buffer[:, :, step] = part
        self.sums[:, :, step] = value if step == 0 else self.sums[:, :, step - 1] + value
        end = step + 1
        row = self._by_head(self.keys[:, :, :end] * query[:, :, None]).sum(2)
        self.products[:, :, :end, step] = row
        self.products[:, :, step, :end] = self._by_head(self.queries[:, :, :end] * key[:, :, None]).sum(2)
        values = self._by_head(self.values[:, :, :end])
        self.attended[:, :, step] = (values * row.softmax(2).unsqueeze(2)).sum(3).flatten(1, 2)

    def prefix(
        self, length: int, active: int, keys: torch.Tensor, only_newest: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Input and attention of all positions [b, d, L x S], or of the newest one."""
        first = length - 1 if only_newest else 0
        chosen = chosen_queries(self.products[:, :, :length, :length], keys, active)[:, :, None, first:]
        attended, sums = (self._by_head(buffer[:, :, first:length]) for buffer in (self.attended, self.sums))
        branch = torch.where(chosen, attended, sums).flatten(1, 2).flatten(2)
        return self.inputs[:, :, first:length].flatten(2), branch

    def _by_head(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(1, (self.heads, -1))


def chosen_queries(products: torch.Tensor, keys: torch.Tensor, active: int) -> torch.Tensor:
    """Which queries attend, bool [b, heads, L, S]: those whose products with the drawn keys stand out most.

    Args:
        products: [b, heads, keys, queries, S].
    """
    length = products.shape[3]
    if active >= length:
        return torch.ones_like(products[:, :, 0], dtype=torch.bool)
    distinct, times = keys.unique(return_counts=True)
    drawn = products.index_select(2, distinct.to(products.device))
    share = (times / length).to(drawn)[:, None, None]
    return _largest(drawn.amax(2) - (drawn * share).sum(2), active)


def _largest(measure: torch.Tensor, count: int) -> torch.Tensor:
    rows = measure.transpose(2, 3).contiguous()
    least = rows.topk(count, dim=-1).values[..., -1]
    return measure >= least[:, :, None]


def _attend(
    layer: Layer, x: torch.Tensor, length: int, active: int, keys: torch.Tensor, only_newest: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Input and self-attention of all positions, or of the newest one alone, from the inputs x [b, d, L x S]."""
    attention = layer.attention
    parts = attention.project(x).view(len(x), 3, attention.heads, attention.size, length, -1)
    query, key, value = parts.unbind(1)
    products = torch.einsum("bhdks,bhdqs->bhkqs", key, query)
    first = length - 1 if only_newest else 0
    chosen = chosen_queries(products, keys, active)[:, :, None, first:]
    later = torch.ones(length, length, dtype=torch.bool, device=x.device).tril(-1)[:, first:, None]
    weights = products[:, :, :, first:].masked_fill(later, -torch.inf).softmax(2)
    attended = torch.einsum("bhkqs,bhdks->bhdqs", weights, value)
    branch = torch.where(chosen, attended, value.cumsum(3)[:, :, :, first:]).flatten(1, 2).flatten(2)
    return x.unflatten(2, (length, -1))[:, :, first:].flatten(2), branch
