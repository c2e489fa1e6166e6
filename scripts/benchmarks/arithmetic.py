"""How far a training step is from its matrix products: they are recorded in one real step, then run alone, back to back."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
# One product after another reads other memory, as in a model: as many operands of a shape are kept as a step has, up to this.
COPY_BYTES = 512 << 20


class Operand(NamedTuple):
    """Shape and strides of a float32 matrix, or of a batch of them."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def make(self) -> Tensor:
        """Such a matrix, filled."""
        return torch.empty_strided(self.shape, self.strides).fill_(0.01)

    @property
    def size(self) -> int:
        """Bytes."""
        return 4 * torch.Size(self.shape).numel()


Product = tuple[Operand, Operand]


class Recorder(TorchDispatchMode):
    """Counts the matrix products of whatever runs within it: linear layers, convolutions as the products they are, attention."""

    def __init__(self) -> None:
        super().__init__()
        self.products: Counter[Product] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        op = func.overloadpacket
        if op in (aten.mm, aten.bmm):
            self._add(args[0], args[1])
        elif op is aten.addmm:
            self._add(args[1], args[2])
        elif op is aten.convolution:
            self._convolution(args[0], args[1], result)
        elif op is aten.convolution_backward:
            self._convolution_backward(args, result)
        elif op is aten._scaled_dot_product_flash_attention_for_cpu:
            self._attention(*args[:3])
        elif op is aten._scaled_dot_product_flash_attention_for_cpu_backward:
            self._attention_backward(*args[1:4])
        return result

    def _add(self, left: Tensor, right: Tensor) -> None:
        operands = [Operand(tuple(part.shape), tuple(part.stride())) for part in (left, right)]
        self.products[operands[0], operands[1]] += 1

    def _plain(self, *shapes: tuple[int, ...]) -> None:
        """A product of contiguous matrices of these shapes."""
        left, right = (Operand(shape, torch.empty(shape, device="meta").stride()) for shape in shapes)
        self.products[left, right] += 1

    def _convolution(self, source: Tensor, weight: Tensor, result: Tensor) -> None:
        places, features = result.numel() // weight.shape[0], weight[0].numel()
        self._plain((places, features), (features, weight.shape[0]))

    def _convolution_backward(self, args: Any, result: Any) -> None:
        gradient, weight = args[0], args[2]
        places, features = gradient.numel() // weight.shape[0], weight[0].numel()
        if result[1] is not None:
            self._plain((weight.shape[0], places), (places, features))
        if result[0] is not None:
            self._plain((places, weight.shape[0]), (weight.shape[0], features))

    def _attention(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        asked, seen, width, batch = query.shape[-2], key.shape[-2], query.shape[-1], query.shape[:-2].numel()
        self._plain((batch, asked, width), (batch, width, seen))
        self._plain((batch, asked, seen), (batch, seen, width))

    def _attention_backward(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        # The four products of the gradients; that the kernel computes the scores once more is no arithmetic of the model.
        asked, seen, width, batch = query.shape[-2], key.shape[-2], query.shape[-1], query.shape[:-2].numel()
        self._plain((batch, seen, asked), (batch, asked, width))
        self._plain((batch, asked, width), (batch, width, seen))
        self._plain((batch, asked, seen), (batch, seen, width))
        self._plain((batch, seen, asked), (batch, asked, width))


def record(step: Callable[[], Any]) -> Counter[Product]:
    """The products of one call."""
    with Recorder() as recorder:
        step()
    return recorder.products


def flops(products: Counter[Product]) -> int:
    """Multiplications and additions, two for each multiply-add."""
    return sum(
        2 * count * torch.Size(left.shape).numel() * right.shape[-1] for (left, right), count in products.items()
    )


def seconds_alone(products: Counter[Product], repeats: int = 2) -> float:
    """Time of the products run back to back; the best of the repeats."""
    return sum(_time(left, right, count, repeats) for (left, right), count in products.items())


def _time(left: Operand, right: Operand, count: int, repeats: int) -> float:
    copies = max(1, min(count, COPY_BYTES // (left.size + right.size)))
    lefts, rights = [left.make() for _ in range(copies)], [right.make() for _ in range(copies)]
    out = torch.matmul(lefts[0], rights[0])
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        for number in range(count):
            torch.matmul(lefts[number % copies], rights[number % copies], out=out)
        best = min(best, time.perf_counter() - began)
    return best


def median_seconds(step: Callable[[], Any], repeats: int, seconds: float = 6.0) -> float:
    """Of a step's repeats, at least so many and for at least so long, after one that isn't counted."""
    step()
    times: list[float] = []
    while len(times) < repeats or sum(times) < seconds:
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 2]


def profile(step: Callable[[], Any], steps: int, rows: int = 14) -> list[tuple[str, float, int]]:
    """(operator, share of the CPU time spent in itself, calls) of the heaviest operators over some steps."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    step()
    with profiler(activities=[ProfilerActivity.CPU]) as record_of:
        for _ in range(steps):
            step()
    events = record_of.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    heaviest = sorted(events, key=lambda event: -event.self_cpu_time_total)[:rows]
    return [(event.key, event.self_cpu_time_total / total, event.count // steps) for event in heaviest]
