"""Memory-efficient attention behind a layer norm: only input and output are kept for the backward pass."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from tasks.controlnet.memory_efficient.common import (
    Grads,
    Precision,
    Tensor,
    add,
    by_weight,
    cast,
    layer_norm,
    layer_norm_back,
    plainly,
    project,
)


class Attention(torch.autograd.Function):
    """x + attention(layer_norm(x)), of which x and the attention's result are kept, and queries, keys and values if told to."""

    @staticmethod
    @plainly
    def forward(
        ctx: Any,
        x: Tensor,
        context: Tensor | None,
        norm_weight: Tensor,
        norm_bias: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        out: Tensor,
        out_bias: Tensor | None,
        eps: float,
        heads: int,
        kernel: Callable[..., Tensor],
        keep: bool,
        precision: Precision,
    ) -> Tensor:
        """x [b, tokens, c] and context [b, words, d] (None: x itself) -> [b, tokens, c]."""
        normed = cast(layer_norm(cast(x, precision.norms), norm_weight, norm_bias, eps)[0], precision.products)
        source = normed if context is None else cast(context, precision.products)
        parts = [
            _split(project(one, weight), heads) for one, weight in ((normed, query), (source, key), (source, value))
        ]
        del normed, source
        needed = any(ctx.needs_input_grad)
        if needed:
            ctx.attended = Attended(parts, kernel, keep)
            mixed = ctx.attended.out.detach()
        else:
            mixed = kernel(*parts)
        ctx.settings = (eps, heads, keep, precision)
        ctx.save_for_backward(x, context, norm_weight, norm_bias, query, key, value, out)
        return add(project(mixed.flatten(2), out, out_bias), x)

    @staticmethod
    @plainly
    def backward(ctx: Any, grad: Tensor) -> Grads:
        """Gradients by all tensors but the context."""
        eps, heads, keep, precision = ctx.settings
        x, context, norm_weight, norm_bias, query, key, value, out = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        attended, ctx.attended = ctx.attended, None
        by_out = cast(grad, precision.products)
        mixed = attended.out.detach().flatten(2)
        found_out = by_weight(by_out, mixed, out, wanted[7])
        found_bias = by_out.flatten(0, -2).sum(0).to(out.dtype) if wanted[8] else None
        by_mixed = _split(by_out @ out.to(by_out.dtype), heads)
        del mixed

        x_ = cast(x, precision.norms)
        normed, mean, deviation = layer_norm(x_, norm_weight, norm_bias, eps)
        normed = cast(normed, precision.products)
        source = normed if context is None else cast(context, precision.products)
        pairs = ((normed, query), (source, key), (source, value))
        parts = None if keep else [_split(project(one, weight), heads) for one, weight in pairs]
        gradients = [part.flatten(2) for part in attended.back(by_mixed, parts)]
        del parts, by_mixed, attended
        found = [
            by_weight(part, one, weight, wanted[number])
            for number, part, (one, weight) in zip((4, 5, 6), gradients, pairs, strict=True)
        ]
        del pairs, source, normed
        by_normed = gradients[0] @ query.to(by_out.dtype)
        if context is None:
            for part, weight in zip(gradients[1:], (key, value), strict=True):
                by_normed.flatten(0, -2).addmm_(part.flatten(0, -2), weight.to(by_out.dtype))
        del gradients
        by_x, by_norm_weight, by_norm_bias = layer_norm_back(
            by_normed, x_, mean, deviation, norm_weight, norm_bias, (wanted[0], wanted[2], wanted[3])
        )
        by_x = None if by_x is None else add(by_x.to(x.dtype), grad)
        return by_x, None, by_norm_weight, by_norm_bias, *found, found_out, found_bias, *[None] * 5


def _split(x: Tensor, heads: int) -> Tensor:
    """[b, tokens, heads * d] -> [b, tokens, heads, d]."""
    return x.unflatten(-1, (heads, -1))


class Attended:
    """Attention whose queries, keys and values can be let go and given again for the backward pass; all kernels have it so.

    Args:
        kernel: (q, k, v), each [b, tokens, heads, d] -> the same of q's shape.
    """

    def __init__(self, parts: list[Tensor], kernel: Callable[..., Tensor], keep: bool) -> None:
        self.parts = [part.detach().requires_grad_() for part in parts]
        self.given: list[Tensor] | None = None
        places = {_memory(part): number for number, part in enumerate(parts)}

        def pack(saved: Tensor) -> Any:
            number = places.get(_memory(saved))
            if keep or number is None:
                return saved
            return number, saved.shape, saved.stride(), saved.storage_offset()

        def unpack(packed: Any) -> Tensor:
            if isinstance(packed, Tensor):
                return packed
            assert self.given is not None
            return self.given[packed[0]].as_strided(*packed[1:])  # of the same layout: it comes from the same product

        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, unpack):
            self.out = kernel(*self.parts)
        if not keep:
            for part in self.parts:  # autograd holds on to the tensors themselves, so their memory has to go
                part.untyped_storage().resize_(0)

    def back(self, grad: Tensor, parts: list[Tensor] | None) -> tuple[Tensor, ...]:
        """Gradients by queries, keys and values, given these again where they weren't kept."""
        if parts is not None:
            self.given = parts
        found = torch.autograd.grad(self.out, self.parts, grad)
        self.given, self.parts = None, []
        del self.out
        return found


def _memory(tensor: Tensor) -> int:
    """Which piece of memory it lies in."""
    return int(tensor.untyped_storage()._cdata)


def sdpa(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """torch's own, each [b, tokens, heads, d]."""
    query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
    return functional.scaled_dot_product_attention(query, key, value).transpose(1, 2)


def xformers(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """xformers' memory-efficient attention, each [b, tokens, heads, d]."""
    found: Tensor = importlib.import_module("xformers.ops").memory_efficient_attention(query, key, value)
    return found
