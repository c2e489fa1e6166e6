"""Memory-efficient feed-forward part of an attention block."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from tasks.controlnet.memory_efficient.common import (
    Grads,
    Precision,
    Tensor,
    add,
    aten,
    by_weight,
    cast,
    layer_norm,
    layer_norm_back,
    plainly,
    project,
)

# Of the wide intermediate: what a CPU works on at once, and the fewest rows that keep its cores busy.
PIECE_BYTES, PIECE_ROWS = 4 << 20, 256


class FeedForward(torch.autograd.Function):
    """x + linear(geglu(linear(layer_norm(x)))), of which x is kept and, where told to, what the first linear layer gives.

    On a CPU tokens are worked on in pieces: its wide intermediates are the largest tensors of a step, and where they were, the
    host's allocator leaves holes that fit nothing else.
    """

    @staticmethod
    @plainly
    def forward(
        ctx: Any,
        x: Tensor,
        norm_weight: Tensor,
        norm_bias: Tensor,
        first: Tensor,
        first_bias: Tensor,
        second: Tensor,
        second_bias: Tensor,
        eps: float,
        keep: bool,
        pieces: bool,
        precision: Precision,
    ) -> Tensor:
        """x [b, tokens, c] -> the same."""
        ctx.settings = (eps, pieces, precision)
        keep = keep and any(ctx.needs_input_grad)
        kept: list[Tensor] = []

        def one(rows: Tensor) -> Tensor:
            normed = layer_norm(cast(rows, precision.norms), norm_weight, norm_bias, eps)[0]
            projected = project(cast(normed, precision.products), first, first_bias)
            del normed
            if keep:
                kept.append(projected)
            value, gate = projected.chunk(2, dim=-1)
            gated = functional.gelu(gate).mul_(value)
            del projected, value, gate
            return add(project(gated, second, second_bias), rows)

        found = _joined([one(rows) for rows in _pieces(x, first, pieces)]).view_as(x)
        ctx.save_for_backward(x, norm_weight, norm_bias, first, first_bias, second, *kept)
        return found

    @staticmethod
    @plainly
    def backward(ctx: Any, grad: Tensor) -> Grads:
        """Gradients by all tensors."""
        x, *weights = ctx.saved_tensors
        weights, kept = weights[:5], weights[5:]
        eps, pieces, precision = ctx.settings
        by_x: list[Any] = []
        total: list[Any] = []
        parts = _pieces(x, weights[2], pieces)
        by_parts = grad.flatten(0, -2).split(len(parts[0]))
        for rows, by_out, projected in zip(parts, by_parts, kept or [None] * len(parts), strict=True):
            by_rows, *found = _back(
                by_out, rows, projected, *weights, eps=eps, precision=precision, wanted=ctx.needs_input_grad
            )
            by_x.append(by_rows)
            total = [
                one if sum_ is None else sum_.add_(one) for sum_, one in zip(total or [None] * 6, found, strict=True)
            ]
        return None if by_x[0] is None else _joined(by_x).view_as(x), *total, *[None] * 4


def _back(
    grad: Tensor,
    x: Tensor,
    projected: Tensor | None,
    norm_weight: Tensor,
    norm_bias: Tensor,
    first: Tensor,
    first_bias: Tensor,
    second: Tensor,
    *,
    eps: float,
    precision: Precision,
    wanted: tuple[bool, ...],
) -> Grads:
    """Gradients by rows x [n, c] and all weights, those wanted; `projected` [n, 2 wide], where it was kept."""
    x_ = cast(x, precision.norms)
    normed, mean, deviation = layer_norm(x_, norm_weight, norm_bias, eps)
    normed = cast(normed, precision.products)
    if projected is None:
        projected = project(normed, first, first_bias)
    by_out = cast(grad, precision.products)
    value, gate = projected.chunk(2, dim=-1)
    active = functional.gelu(gate)
    by_gated = by_out @ second.to(by_out.dtype)
    by_projected = torch.empty_like(projected)
    by_value, by_gate = by_projected.chunk(2, dim=-1)
    torch.mul(by_gated, active, out=by_value)
    found_second = by_weight(by_out, active.mul_(value), second, wanted[5])
    del active
    by_gate.copy_(aten.gelu_backward(by_gated.mul_(value), gate))
    del by_gated, projected, value, gate, by_value, by_gate
    found_first = by_weight(by_projected, normed, first, wanted[3])
    del normed
    biases = [
        part.sum(0).to(first.dtype) if asked else None
        for part, asked in ((by_projected, wanted[4]), (by_out, wanted[6]))
    ]
    by_normed = by_projected @ first.to(by_out.dtype)
    del by_projected
    by_x, by_norm_weight, by_norm_bias = layer_norm_back(
        by_normed, x_, mean, deviation, norm_weight, norm_bias, wanted[:3]
    )
    by_x = None if by_x is None else add(by_x.to(x.dtype), grad)
    return by_x, by_norm_weight, by_norm_bias, found_first, biases[0], found_second, biases[1]


def _pieces(x: Tensor, first: Tensor, pieces: bool) -> tuple[Tensor, ...]:
    """The tokens of x [b, tokens, c] as rows, so many at once as are worked on."""
    rows = x.flatten(0, -2)
    if not pieces or x.device.type != "cpu":
        return (rows,)
    return rows.split(max(PIECE_ROWS, PIECE_BYTES // (first.shape[0] * x.element_size())))


def _joined(parts: list[Any]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
