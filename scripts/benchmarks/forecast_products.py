"""The matrix products of a forecast: recorded while it is made, then run alone, back to back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.arithmetic import Operand, Product, Recorder, aten


class Strided(Operand):
    """A matrix, or a batch of them, whose rows may lie on top of each other, as an expanded weight's do."""

    def make(self) -> Tensor:
        """Such a matrix, filled."""
        last = sum((count - 1) * stride for count, stride in zip(self.shape, self.strides, strict=True))
        return torch.full((last + 1,), 0.01).as_strided(self.shape, self.strides)


class Products(Recorder):
    """Counts matrix products within inference mode too, where torch gives linear layers whole."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        op, kwargs = func.overloadpacket, kwargs or {}
        if op in (aten.linear, aten.matmul, aten.einsum):
            with self:
                whole = func.decompose(*args, **kwargs)
            if whole is not NotImplemented:
                return whole
        if op in (aten.baddbmm, aten.baddbmm_):
            self._add(args[1], args[2])
            return func(*args, **kwargs)
        return super().__torch_dispatch__(func, types, args, kwargs)

    def _add(self, left: Tensor, right: Tensor) -> None:
        operands = [Strided(tuple(part.shape), tuple(part.stride())) for part in (left, right)]
        self.products[operands[0], operands[1]] += 1


def record(call: Callable[[], Any]) -> Counter[Product]:
    """The products of one call."""
    with Products() as recorder:
        call()
    return recorder.products


def self_attention(windows: int, samples: int, horizon: int, layers: int, heads: int, size: int) -> Counter[Product]:
    """The products of a decoder's attention to itself, one position at a time: the query with all keys, the weights with all values.

    A cached decoder has them as sums along samples, and no recorder sees these.
    """
    found: Counter[Product] = Counter()
    batch = windows * samples * heads
    for length in range(1, horizon + 1):
        for shapes in (((batch, 1, size), (batch, size, length)), ((batch, 1, length), (batch, length, size))):
            left, right = (Strided(shape, torch.empty(shape, device="meta").stride()) for shape in shapes)
            found[left, right] += layers
    return found
