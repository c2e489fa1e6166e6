"""Informer's decoder with its sparse attention (Zhou and others 2021, "Informer", section 3).

Each step the library decodes the whole prefix anew, and chooses the u = factor x ceil(ln(1 + L)) queries of the L so far that
attend; the others take the running sum of the values. What is chosen depends on random keys, drawn anew in every step
and layer, and on keys that come after a query. So a position's output may change with every later step, and a cache of
the layers above the first one would be wrong. What can be kept, exactly:

- while u >= L all queries attend (for a factor of 5 the first 15 steps): plain causal attention, cached as the transformer's;
- in the first layer the inputs never change, so queries, keys, values, their products, each position's attention and
  running sum are computed once; a step only chooses between the two, for each head. With few heads the rest of the layer,
  and the next one's queries, keys and values, are computed once for each way to choose;
- of the last layer only the newest position is wanted: whether it attends, and its one row of attention.

Not kept: the products of the queries and keys above the first layer, all of the layers between first and last, and with more
than four heads the first layer's part after its attention. They are computed for the prefix in each step, but the encoder's keys and
values once a window, and for all samples at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

from tasks.forecast.fast import interface as fast
from tasks.forecast.sampling.cached import CachedDecoder, Layer, softmax2_
from tasks.forecast.sampling.inputs import Inputs

MOST_HEADS = 4


def active_queries(factor: int, length: int) -> int:
    """How many of `length` queries attend."""
    return min(factor * math.ceil(math.log1p(length)), length)


def dense_steps(factor: int, steps: int) -> int:
    """The steps, of `steps`, before the first one at which some queries don't attend."""
    return next((step for step in range(steps) if active_queries(factor, step + 1) <= step), steps)


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
        self.dense_steps = dense_steps(self.factor, steps)
        self.first = None
        if self.dense_steps < steps:
            following = self.layers[1] if len(self.layers) > 1 else None
            self.first = FirstLayer(self.layers[0], following, (len(inputs), steps, num_samples), hidden)

    def step(self, step: int) -> torch.Tensor:
        x = self.input(step)
        attended = None if self.first is None else self.first.append(x, step)
        # The library draws keys where they decide nothing too; here it is left out.
        if step >= self.dense_steps:
            return self.head(self._sparse(step + 1))
        if attended is not None:
            x = attended
        for layer in self.layers if attended is None else self.layers[1:]:
            x = layer(x, step)
        return self.head(x)

    def _sparse(self, length: int) -> torch.Tensor:
        """The last layer's output at the newest position, [b, d, S]."""
        assert self.first is not None
        active = active_queries(self.factor, length)
        keys = [drawn_keys(self.factor, length, self.generator) for _ in self.layers]
        if len(self.layers) == 2 and fast.newest_applies(self.first.table, self.layers[1].attention.size):
            return self._from_table(length, active, keys)
        prefix = self.first.prefix(length, active, keys[0])
        if len(self.layers) == 1:
            return prefix
        for number, layer in enumerate(self.layers[1:-1], 1):
            prefix = _whole(layer, prefix, active, keys[number], self.layers[number + 1], len(self.input.drawn))
        return _newest(self.layers[-1], prefix, active, keys[-1], len(self.input.drawn))

    def _from_table(self, length: int, active: int, keys: list[torch.Tensor]) -> torch.Tensor:
        """The same for two layers, the second of which reads the first one's table where it lies."""
        first, layer, batch = self.first, self.layers[1], len(self.input.drawn)
        assert first is not None
        assert first.table is not None
        way = first.way(length, active, keys[0])
        branch, x = fast.newest(first.table, way, layer.attention.heads, active, shares(keys[1], length))
        x, branch = (part.unflatten(0, (batch, -1)).transpose(1, 2).contiguous() for part in (x, branch))
        return layer.after_attention(x, branch)


def _rows(layer: Layer, x: torch.Tensor, length: int) -> torch.Tensor:
    """What a layer needs of its inputs x [b, d, L x S]: query, key, value, input, [b x S, L, 4 d]."""
    both = torch.cat([layer.attention.project(x), x], dim=1).unflatten(2, (length, -1))
    return both.permute(0, 3, 2, 1).flatten(0, 1).contiguous()


class FirstLayer:
    """The first layer: of each position its input, its attention, running sum, and products with the others.

    Where there are few heads, `table` holds what the second layer needs of each position, for each of the 2**heads ways in
    which its heads attend or not: bit h of the way's number is head h's.
    """

    def __init__(self, layer: Layer, following: Layer | None, shape: tuple[int, int, int], like: torch.Tensor) -> None:
        batch, steps, samples = shape
        self.layer, self.following, self.heads = layer, following, layer.attention.heads
        self.width = self.heads * layer.attention.size
        wide = (batch, self.width, steps, samples)
        self.inputs, self.queries, self.keys, self.values, self.attended, self.sums = (
            like.new_empty(wide) for _ in range(6)
        )
        # [b, heads, key, query, S]
        self.products = like.new_empty(batch, self.heads, steps, steps, samples)
        self.table = None
        if following is not None and self.heads <= MOST_HEADS:
            self.table = like.new_empty(batch * samples, steps, 2**self.heads, 4 * self.width)

    def append(self, x: torch.Tensor, step: int) -> torch.Tensor | None:
        """Takes in the input [b, d, S] of a position; gives the layer's output where all heads attend, if it comes for free."""
        query, key, value = self.layer.attention.project(x).unflatten(1, (3, self.width)).unbind(1)
        self.inputs[:, :, step], self.queries[:, :, step] = x, query
        self.keys[:, :, step], self.values[:, :, step] = key, value
        self.sums[:, :, step] = value if step == 0 else self.sums[:, :, step - 1] + value
        end = step + 1
        row = self._by_head(self.keys[:, :, :end] * query[:, :, None]).sum(2)
        self.products[:, :, :end, step] = row
        self.products[:, :, step, :end] = self._by_head(self.queries[:, :, :end] * key[:, :, None]).sum(2)
        values = self._by_head(self.values[:, :, :end])
        self.attended[:, :, step] = (values * softmax2_(row, 2).unsqueeze(2)).sum(3).flatten(1, 2)
        if self.table is None or self.following is None:
            return None
        ways = self._ways(x, step)
        self.table[:, step] = _rows(self.following, ways, 2**self.heads)
        return ways[:, :, -x.shape[2] :]

    def _ways(self, x: torch.Tensor, step: int) -> torch.Tensor:
        """The layer's output for each way, [b, d, ways x S]; in the last one all heads attend."""
        ways = 2**self.heads
        attends = torch.arange(ways, device=x.device) >> torch.arange(self.heads, device=x.device)[:, None] & 1
        attended, sums = (self._by_head(buffer[:, :, step])[:, :, :, None] for buffer in (self.attended, self.sums))
        branch = torch.where(attends.bool()[:, None, :, None], attended, sums).flatten(1, 2).flatten(2)
        return self.layer.after_attention(x.repeat(1, 1, ways), branch)

    def prefix(self, length: int, active: int, keys: torch.Tensor) -> torch.Tensor:
        """The rows of the second layer for all positions; without one, the output [b, d, S] at the newest."""
        if self.table is not None:
            way = self.way(length, active, keys)
            samples, steps, ways, width = self.table.shape
            first = torch.arange(samples, device=way.device)[:, None] * steps + torch.arange(length, device=way.device)
            return (
                self.table.view(-1, width).index_select(0, (first * ways + way).view(-1)).view(samples, length, width)
            )
        chosen = self._chosen(length, active, keys)
        start = 0 if self.following is not None else length - 1
        attended, sums = (self._by_head(buffer[:, :, start:length]) for buffer in (self.attended, self.sums))
        branch = torch.where(chosen[:, :, None, start:], attended, sums).flatten(1, 2).flatten(2)
        x = self.layer.after_attention(self.inputs[:, :, start:length].flatten(2), branch)
        return x if self.following is None else _rows(self.following, x, length)

    def way(self, length: int, active: int, keys: torch.Tensor) -> torch.Tensor:
        """Each position's way in the table, int64 [b x S, L]."""
        chosen = self._chosen(length, active, keys)
        weights = 2 ** torch.arange(self.heads, device=chosen.device)
        return (chosen * weights[:, None, None]).sum(1).permute(0, 2, 1).reshape(-1, length)

    def _chosen(self, length: int, active: int, keys: torch.Tensor) -> torch.Tensor:
        """Which queries attend, bool [b, heads, L, S]."""
        products = self.products[:, :, :length, :length]
        if active >= length:
            return torch.ones_like(products[:, :, 0], dtype=torch.bool)
        distinct, share = shares(keys, length)
        largest = products[:, :, distinct[0]].clone()
        total = largest * share[0]
        for key, part in zip(distinct[1:], share[1:], strict=True):
            torch.maximum(largest, products[:, :, key], out=largest)
            total.add_(products[:, :, key], alpha=part)
        measure = largest.sub_(total)
        least = measure.transpose(2, 3).topk(active, dim=-1).values[..., -1]
        return measure >= least[:, :, None]

    def _by_head(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(1, (self.heads, -1))


def shares(keys: torch.Tensor, length: int) -> tuple[list[int], list[float]]:
    """The distinct keys that were drawn, and how often each, over the number of all keys: a query measures its largest
    product with them less their sum over that number."""
    distinct, times = keys.unique(return_counts=True)
    return distinct.tolist(), (times / length).tolist()


def _heads(
    layer: Layer, rows: torch.Tensor, active: int, keys: torch.Tensor
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]]:
    """Of each head the queries, keys and values [n, L, size], and the queries' measure [n, L]; None where all attend."""
    heads, length = layer.attention.heads, rows.shape[1]
    queries, all_keys, values = (part.chunk(heads, dim=2) for part in rows.chunk(4, dim=2)[:3])
    distinct, shares_of = shares(keys, length)
    some, share = rows.index_select(1, torch.tensor(distinct, device=rows.device)), rows.new_tensor(shares_of)
    drawn = some.chunk(4, dim=2)[1].chunk(heads, dim=2)
    for query, key, value, few in zip(queries, all_keys, values, drawn, strict=True):
        measure = None
        if active < length:
            products = torch.bmm(few, query.transpose(1, 2))
            measure = products.amax(1) - torch.bmm(share.expand(len(few), 1, -1), products)[:, 0]
        yield query, key, value, measure


def _newest(layer: Layer, rows: torch.Tensor, active: int, keys: torch.Tensor, batch: int) -> torch.Tensor:
    """The layer's output at the newest position, [b, d, S], from its rows [b x S, L, 4 d]."""
    heads = []
    for query, key, value, measure in _heads(layer, rows, active, keys):
        weights = softmax2_(torch.bmm(key, query[:, -1, :, None]), 1)
        branch = (weights * value).sum(1)
        if measure is not None:
            attends = (measure > measure[:, -1:]).sum(1) < active
            branch = torch.where(attends[:, None], branch, value.sum(1))
        heads.append(branch)
    x = rows[:, -1].chunk(4, dim=1)[3]
    x, branch = (part.unflatten(0, (batch, -1)).transpose(1, 2).contiguous() for part in (x, torch.cat(heads, dim=1)))
    return layer.after_attention(x, branch)


def _whole(
    layer: Layer, rows: torch.Tensor, active: int, keys: torch.Tensor, following: Layer, batch: int
) -> torch.Tensor:
    """The following layer's rows for all positions, from the layer's own."""
    length = rows.shape[1]
    later = torch.ones(length, length, dtype=torch.bool, device=rows.device).triu(1)
    heads = []
    for query, key, value, measure in _heads(layer, rows, active, keys):
        weights = softmax2_(torch.bmm(query, key.transpose(1, 2)).masked_fill_(later, -torch.inf), 2)
        branch = torch.bmm(weights, value)
        if measure is not None:
            least = measure.topk(active, dim=1).values[:, -1:]
            branch = torch.where((measure >= least)[..., None], branch, value.cumsum(1))
        heads.append(branch)
    x = rows.chunk(4, dim=2)[3]
    x, branch = (part.unflatten(0, (batch, -1)).permute(0, 3, 2, 1).flatten(2) for part in (x, torch.cat(heads, dim=2)))
    return _rows(following, layer.after_attention(x, branch), length)
