"""Differentiable steps of a diffusion network that keep their input alone and recompute what is cheap.

Autograd keeps every intermediate: of `conv(silu(group_norm(x)))` it keeps x, the normalised x and the activated one, and of a
convolution with frozen weights still its input, which only their gradient would need. Each function here is one such
chain; backwards it recomputes norms, activations and, where told to, projections, never a convolution or an attention. The
operations and their precision, under autocast too, are those of torch's own modules.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

Tensor = torch.Tensor
Grads = tuple[Tensor | None, ...]
aten = torch.ops.aten


class Precision:
    """What autocast, where it is on, makes of products and of norms: read once, before a function begins.

    Attributes:
        products: the type of matrix products and convolutions; None: that of their input.
        norms: that of norms.
    """

    def __init__(self, device: torch.device) -> None:
        on = torch.is_autocast_enabled(device.type)
        self.products = torch.get_autocast_dtype(device.type) if on else None
        self.norms = torch.float32 if on else None


def cast(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """The tensor in another type; None: as it is."""
    return tensor if dtype is None else tensor.to(dtype)


def add(fresh: Tensor, other: Tensor) -> Tensor:
    """The sum, written over `fresh` where its type holds it. Nothing else may need `fresh`."""
    if torch.promote_types(fresh.dtype, other.dtype) == fresh.dtype:
        return fresh.add_(other)
    return fresh + other


def plainly(function: Callable[..., Any]) -> Callable[..., Any]:
    """Without autocast: the functions cast by themselves."""

    def call(ctx: Any, *arguments: Any) -> Any:
        device = next(one for one in arguments if isinstance(one, Tensor)).device
        with torch.autocast(device.type, enabled=False):
            return function(ctx, *arguments)

    return call


# -- convolutions ----------------------------------------------------------------------------------------------------


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    """A 2-d convolution, everything in the type of x; one of single pixels is a matrix product."""
    if _pointwise(weight, stride):
        return _pixels(x, weight.flatten(1).to(x.dtype), bias)
    return functional.conv2d(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype), stride, padding)


def convolve_back(
    grad: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int, wanted: tuple[bool, bool, bool]
) -> Grads:
    """Gradients by input, weight and bias, those wanted; x may be any tensor of its shape where the weight's isn't wanted."""
    weight_ = weight.to(grad.dtype)
    if _pointwise(weight, stride):
        grads = grad.permute(0, 2, 3, 1)
        found = by_weight(grads, x.permute(0, 2, 3, 1), weight, wanted[1])
        return (
            _pixels(grad, weight_.flatten(1).t(), None) if wanted[0] else None,
            None if found is None else found.view_as(weight),
            grads.sum((0, 1, 2)).to(weight.dtype) if wanted[2] else None,
        )

    def part(grad: Tensor, x: Tensor, wanted: list[bool]) -> Any:
        sizes = [weight.shape[0]], [stride, stride], [padding, padding], [1, 1], False, [0, 0], 1
        return aten.convolution_backward(grad, x, weight_, *sizes, wanted)

    by_input = part(grad, x, [True, False, False])[0] if wanted[0] else None
    if not (wanted[1] or wanted[2]):
        return by_input, None, None
    if grad.device.type == "cpu":  # oneDNN's gradient by the weight is slower with channels last
        grad, x = grad.contiguous(), x.contiguous()
    _, found, by_bias = part(grad, x, [False, *wanted[1:]])
    return by_input, _like(found, weight), None if by_bias is None else by_bias.to(weight.dtype)


def _pointwise(weight: Tensor, stride: int) -> bool:
    return stride == 1 and weight.shape[2:] == (1, 1)


def _pixels(x: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
    """The matrix [c', c] times each pixel of x [b, c, h, w], in x's order of memory; no view of another tensor."""
    count, _, height, width = x.shape
    found = torch.empty(
        count, matrix.shape[0], height, width, dtype=x.dtype, device=x.device, memory_format=torch.channels_last
    )
    pixels, out = (one.permute(0, 2, 3, 1).flatten(0, 2) for one in (x, found))
    if bias is None:
        torch.mm(pixels, matrix.t(), out=out)
    else:
        torch.addmm(bias.to(x.dtype), pixels, matrix.t(), out=out)
    return found if x.is_contiguous(memory_format=torch.channels_last) else found.contiguous()


def _like(grad: Tensor | None, parameter: Tensor) -> Tensor | None:
    """In the parameter's type and order of memory, as DDP and fused optimizers like it."""
    if grad is None:
        return None
    grad = grad.to(parameter.dtype)
    return grad if grad.stride() == parameter.stride() else torch.empty_like(parameter).copy_(grad)


class Convolution(torch.autograd.Function):
    """A convolution that keeps its input only where its weight is trained."""

    @staticmethod
    @plainly
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int, precision: Precision
    ) -> Tensor:
        """x [b, c, h, w] -> [b, c', h', w']."""
        ctx.settings = (stride, padding, precision, x.shape, x.dtype)
        trained = weight.requires_grad
        ctx.save_for_backward(x if trained else None, weight)
        return convolve(cast(x, precision.products), weight, bias, stride, padding)

    @staticmethod
    @plainly
    def backward(ctx: Any, grad: Tensor) -> Grads:
        """Gradients by x, weight and bias."""
        stride, padding, precision, shape, dtype = ctx.settings
        x, weight = ctx.saved_tensors
        # The shape is all that the gradient by the input asks of it.
        x = grad.new_empty(1).expand(shape) if x is None else cast(x, precision.products)
        found = convolve_back(grad, x, weight, stride, padding, ctx.needs_input_grad[:3])
        by_x = None if found[0] is None else found[0].to(dtype)
        return by_x, found[1], found[2], None, None, None


class NormConvolution(torch.autograd.Function):
    """Group norm, SiLU where asked for, and a convolution, of which only the input is kept."""

    @staticmethod
    @plainly
    def forward(
        ctx: Any,
        x: Tensor,
        norm_weight: Tensor,
        norm_bias: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        groups: int,
        eps: float,
        activate: bool,
        padding: int,
        precision: Precision,
    ) -> Tensor:
        """x [b, c, h, w] -> [b, c', h, w]."""
        ctx.settings = (groups, eps, activate, padding, precision)
        ctx.save_for_backward(x, norm_weight, norm_bias, weight)
        normed = group_norm(cast(x, precision.norms), norm_weight, norm_bias, groups, eps)[0]
        if activate:
            functional.silu(normed, inplace=True)
        return convolve(cast(normed, precision.products), weight, bias, 1, padding)

    @staticmethod
    @plainly
    def backward(ctx: Any, grad: Tensor) -> Grads:
        """Gradients by x, the norm's weight and bias, the convolution's weight and bias."""
        groups, eps, activate, padding, precision = ctx.settings
        x, norm_weight, norm_bias, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        x_ = cast(x, precision.norms)
        normed, mean, deviation = group_norm(x_, norm_weight, norm_bias, groups, eps)
        fed = functional.silu(normed) if activate and wanted[3] else normed
        by_fed, found, by_bias = convolve_back(
            grad, cast(fed, precision.products), weight, 1, padding, (any(wanted[:3]), *wanted[3:5])
        )
        del fed
        if by_fed is None:
            return None, None, None, found, by_bias, *[None] * 5
        by_normed = by_fed.to(normed.dtype)
        if activate:
            by_normed = aten.silu_backward(by_normed, normed)
        del normed, by_fed
        if not by_normed.is_contiguous(memory_format=_order(x_)):
            by_normed = by_normed.contiguous(memory_format=_order(x_))
        sizes = x.shape[0], x.shape[1], x.shape[2] * x.shape[3], groups
        by_x, by_norm_weight, by_norm_bias = aten.native_group_norm_backward(
            by_normed, x_, mean, deviation, norm_weight.to(x_.dtype), *sizes, list(wanted[:3])
        )
        by_x = None if by_x is None else by_x.to(x.dtype)
        return (
            by_x, _like(by_norm_weight, norm_weight), _like(by_norm_bias, norm_bias), found, by_bias, *[None] * 5,
        )  # fmt: skip


def group_norm(x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """x [b, c, h, w] normalised, with mean and inverse deviation [b, groups]."""
    if not x.is_contiguous(memory_format=_order(x)):
        x = x.contiguous(memory_format=_order(x))
    count, channels, height, width = x.shape
    found: tuple[Tensor, Tensor, Tensor] = aten.native_group_norm(
        x, weight.to(x.dtype), bias.to(x.dtype), count, channels, height * width, groups, eps
    )
    return found


def _order(x: Tensor) -> torch.memory_format:
    last = x.is_contiguous(memory_format=torch.channels_last) and x.device.type == "cpu"
    return torch.channels_last if last else torch.contiguous_format


# -- attention -------------------------------------------------------------------------------------------------------


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """x [..., c] normalised, with mean and inverse deviation."""
    found: tuple[Tensor, Tensor, Tensor] = aten.native_layer_norm(
        x, [x.shape[-1]], weight.to(x.dtype), bias.to(x.dtype), eps
    )
    return found


def layer_norm_back(
    grad: Tensor, x: Tensor, mean: Tensor, deviation: Tensor, weight: Tensor, bias: Tensor, wanted: tuple[bool, ...]
) -> Grads:
    """Gradients by x, weight and bias."""
    by_x, by_weight, by_bias = aten.native_layer_norm_backward(
        grad.to(x.dtype), x, [x.shape[-1]], mean, deviation, weight.to(x.dtype), bias.to(x.dtype), list(wanted)
    )
    return by_x, _like(by_weight, weight), _like(by_bias, bias)


def project(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A linear layer, everything in the type of x."""
    return functional.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))


def by_weight(grad: Tensor, x: Tensor, weight: Tensor, wanted: bool) -> Tensor | None:
    """The gradient of a linear layer's weight from those of its output and its input, both [..., features]."""
    if not wanted:
        return None
    return (grad.flatten(0, -2).t() @ x.flatten(0, -2)).to(weight.dtype)


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


class FeedForward(torch.autograd.Function):
    """x + linear(geglu(linear(layer_norm(x)))), of which x is kept, and the first projection if told to."""

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
        precision: Precision,
    ) -> Tensor:
        """x [b, tokens, c] -> the same."""
        normed = layer_norm(cast(x, precision.norms), norm_weight, norm_bias, eps)[0]
        projected = project(cast(normed, precision.products), first, first_bias)
        del normed
        ctx.settings = (eps, precision)
        ctx.save_for_backward(x, norm_weight, norm_bias, first, first_bias, second, projected if keep else None)
        value, gate = projected.chunk(2, dim=-1)
        gated = functional.gelu(gate).mul_(value)
        del projected, value, gate
        return add(project(gated, second, second_bias), x)

    @staticmethod
    @plainly
    def backward(ctx: Any, grad: Tensor) -> Grads:
        """Gradients by all tensors."""
        eps, precision = ctx.settings
        x, norm_weight, norm_bias, first, first_bias, second, projected = ctx.saved_tensors
        wanted = ctx.needs_input_grad
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
            part.flatten(0, -2).sum(0).to(first.dtype) if asked else None
            for part, asked in ((by_projected, wanted[4]), (by_out, wanted[6]))
        ]
        by_normed = by_projected @ first.to(by_out.dtype)
        del by_projected
        by_x, by_norm_weight, by_norm_bias = layer_norm_back(
            by_normed, x_, mean, deviation, norm_weight, norm_bias, wanted[:3]
        )
        by_x = None if by_x is None else add(by_x.to(x.dtype), grad)
        return (
            by_x, by_norm_weight, by_norm_bias, found_first, biases[0], found_second, biases[1], None, None, None,
        )  # fmt: skip


# -- attention kernels -----------------------------------------------------------------------------------------------


def sdpa(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """torch's own, each [b, tokens, heads, d]."""
    query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
    return functional.scaled_dot_product_attention(query, key, value).transpose(1, 2)


def xformers(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """xformers' memory-efficient attention, each [b, tokens, heads, d]."""
    found: Tensor = importlib.import_module("xformers.ops").memory_efficient_attention(query, key, value)
    return found


def recomputed(function: Callable[..., Tensor], *arguments: Any) -> Tensor:
    """The function without any of its intermediates kept; for what is cheap as a whole."""
    found: Tensor = checkpoint(function, *arguments, use_reentrant=False, preserve_rng_state=False)
    return found
