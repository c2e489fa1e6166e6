"""Attention of small heads on the CPU, by the weights of transformers' modules; hidden states are [d, b, steps] (`layers`)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from tasks.forecast.fast.pytorch import workspace
from tasks.forecast.fast.pytorch.dropout import Masks
from tasks.forecast.fast.pytorch.layers import add_norm, linear

_LN2 = math.log(2.0)
_SAFE = 2.0**60  # sums of 2**scores up to here, and down to its inverse, are far from where float32 ends
_NEVER = 1e30


def attend(
    module: Any,
    norm: torch.nn.LayerNorm,
    x: Tensor,
    source: Tensor | None,
    masks: Masks,
    dropout: float,
    causal: bool = False,
) -> Tensor:
    """The norm of x and what dropout leaves of attention to the source (to itself where None), full or Informer's sparse one."""
    if hasattr(module, "factor"):
        branch = sparse(module, x, masks, causal)
    else:
        branch = full(module, x, source, masks, causal)
    return add_norm(norm, x, branch, masks, dropout)


def full(module: Any, x: Tensor, source: Tensor | None, masks: Masks, causal: bool = False) -> Tensor:
    """What `TimeSeriesTransformerAttention` and `InformerAttention` give for x [d, b, steps].

    Args:
        source: what it attends to, [d, b, keys]; itself where None.
    """
    layers = (module.q_proj, module.k_proj, module.v_proj)
    if source is None:
        first, second = _project(layers, x), None
    else:
        first, second = _project(layers[:1], x), _project(layers[1:], source)
    steps = x.shape[2]
    bias = _future(steps) if causal else None
    keys = steps if source is None else source.shape[2]
    mask, keep = masks.draw((module.num_heads, x.shape[1], keys, steps), module.dropout)
    out = _Full.apply(first, second, module.num_heads, module.scaling, bias, mask, keep)
    return linear(module.out_proj.weight, module.out_proj.bias, out)


def sparse(module: Any, x: Tensor, masks: Masks, causal: bool = False) -> Tensor:
    """What `InformerProbSparseAttention` gives for x [d, b, steps] that attends to itself.

    The queries whose scores stand out attend, among keys drawn by torch's generator as the library draws them; the others
    take the mean of the values (in a decoder the sum of those so far).
    """
    steps, heads = x.shape[2], module.num_heads
    logarithm = math.ceil(math.log1p(steps))
    drawn = torch.randint(0, steps, (min(module.factor * steps * logarithm, steps),))
    qkv = _project((module.q_proj, module.k_proj, module.v_proj), x)
    with torch.no_grad():
        q, k, _ = qkv.chunk(3)
        chosen = _standing_out(q, k, drawn, min(module.factor * logarithm, steps), heads)
    mask, keep = masks.draw((heads, x.shape[1], steps, chosen.shape[2]), module.dropout)
    out = _Sparse.apply(qkv, chosen, heads, module.scaling, causal, mask, keep)
    return linear(module.out_proj.weight, module.out_proj.bias, out)


def _project(layers: tuple[Any, ...], x: Tensor) -> Tensor:
    """Several linear layers of the same input, one below the other."""
    if len(layers) == 1:
        return linear(layers[0].weight, layers[0].bias, x)
    return linear(torch.cat([layer.weight for layer in layers]), torch.cat([layer.bias for layer in layers]), x)


def _standing_out(q: Tensor, k: Tensor, drawn: Tensor, count: int, heads: int) -> Tensor:
    """For each head the `count` queries with the largest (largest score - mean score) over drawn keys, int64 [heads, b, count].

    A key may be drawn twice: it counts twice in the mean, which is over all keys' number.
    """
    times = torch.bincount(drawn, minlength=k.shape[2])
    seen = times.nonzero()[:, 0]
    q, k = _by_head(q, heads), _by_head(k.index_select(2, seen), heads)
    some = k.matmul(times[seen].to(k.dtype) / len(times))
    whole = workspace.take((*q.shape[:2], len(times), q.shape[3]))
    scores = whole.view(-1)[: whole.numel() // len(times) * len(seen)].view(*q.shape[:2], len(seen), -1)
    _products(k.transpose(2, 3), q, scores)
    largest = _largest(scores)
    workspace.give(whole)
    return (largest - (q * some[..., None]).sum(2)).topk(count, dim=-1, sorted=False).indices


def _largest(scores: Tensor) -> Tensor:
    """The maximum over dimension 2 of [heads, b, keys, queries], which are overwritten: torch's own goes one by one there."""
    rows = scores.shape[2]
    while rows > 1:
        half = rows // 2
        torch.maximum(scores[:, :, :half], scores[:, :, rows - half : rows], out=scores[:, :, :half])
        rows -= half
    return scores[:, :, 0].clone()


class _Full(torch.autograd.Function):
    """Softmax attention with dropout, [d, b, queries].

    Args:
        q: [d, b, queries], or with keys and values below, [3 d, b, steps], where `kv` is None.
        kv: keys and values, [2 d, b, keys].
        bias: added to the scores, [keys, queries]; mask: of dropout, [heads, b, keys, queries].
    """

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        kv: Tensor | None,
        heads: int,
        scaling: float,
        bias: Tensor | None,
        mask: Tensor | None,
        keep: float,
    ) -> Tensor:
        of, k, v = q.chunk(3) if kv is None else (q, *kv.chunk(2))
        ctx.itself = kv is None
        return _attend(ctx, of, k, v, heads, scaling, bias, mask, keep)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, _ = ctx.saved_tensors[:3]
        of_q = torch.empty(len(q) * (3 if ctx.itself else 1), *q.shape[1:])
        of_kv = None if ctx.itself else torch.empty(2 * len(k), *k.shape[1:])
        _attend_back(ctx, grad, *(of_q.chunk(3) if of_kv is None else (of_q, *of_kv.chunk(2))))
        return of_q, of_kv, None, None, None, None, None


class _Sparse(torch.autograd.Function):
    """Attention of the chosen queries, with the mean or the sum of the values for the others, [d, b, steps].

    Args:
        qkv: queries, keys and values, [3 d, b, steps].
        chosen: int64 [heads, b, count]; mask: of dropout, [heads, b, steps, count].
    """

    @staticmethod
    def forward(
        ctx: Any,
        qkv: Tensor,
        chosen: Tensor,
        heads: int,
        scaling: float,
        causal: bool,
        mask: Tensor | None,
        keep: float,
    ) -> Tensor:
        q, k, v = qkv.chunk(3)
        steps, split = q.shape[2], (heads, -1, *q.shape[1:])
        ctx.causal, ctx.index = causal, chosen[:, None].expand(-1, len(q) // heads, -1, -1)
        asking = q.view(split).gather(3, ctx.index).view(len(q), len(q[0]), -1)
        # Steps that a query lies before a key, times what leaves no power of 2.
        bias = (
            (chosen[:, :, None] - torch.arange(steps)[:, None]).clamp_(max=0).float().mul_(_NEVER) if causal else None
        )
        attended = _attend(ctx, asking, k, v, heads, scaling, bias, mask, keep)
        # The library asks for the sum wherever it is a decoder's module, which is where it is causal.
        lazy = v.cumsum(2) if causal else v.mean(2, keepdim=True).expand_as(v).contiguous()
        return lazy.view(split).scatter_(3, ctx.index, attended.view(ctx.index.shape)).view(v.shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        shape = grad.shape
        of_qkv = torch.empty(3 * shape[0], *shape[1:])
        of_q, of_k, of_v = of_qkv.chunk(3)
        split = (len(ctx.index), -1, *shape[1:])
        asked = grad.reshape(split).gather(3, ctx.index).view(shape[0], shape[1], -1)
        of_asking = torch.empty_like(asked)
        _attend_back(ctx, asked, of_asking, of_k, of_v)
        of_q.zero_().view(split).scatter_(3, ctx.index, of_asking.view(ctx.index.shape))
        others = torch.ones(split[0], *shape[1:]).scatter_(2, ctx.index[:, 0], 0.0)
        lazy = (grad.reshape(split) * others[:, None]).view(shape)
        total = lazy.sum(2, keepdim=True)
        of_v += total - lazy.cumsum(2) + lazy if ctx.causal else total / shape[2]
        return of_qkv, None, None, None, None, None, None


def _attend(
    ctx: Any,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    heads: int,
    scaling: float,
    bias: Tensor | None,
    mask: Tensor | None,
    keep: float,
) -> Tensor:
    """Softmax attention of [d, b, queries] to [d, b, keys] in powers of 2: 2**x takes half the time of e**x.

    The probabilities are never made: with e = 2**scores, kept = mask * e and r = 1 / (a query's sum of e), the output is r times the
    product of the values and kept, and the gradient of the scores is kept * d(kept) - e * r * (d(out) . out), since the product
    of a query's probabilities and their gradients is that of its output and the output's gradient.
    """
    q = q * (scaling / _LN2)
    asking, answering = _by_head(q, heads), _by_head(k, heads).transpose(2, 3)
    powers = workspace.take((heads, q.shape[1], k.shape[2], q.shape[2]))
    _scores(asking, answering, bias, powers).exp2_()
    total = powers.sum(2)
    least, most = torch.aminmax(total)
    if not (least > 1.0 / _SAFE and most < _SAFE):
        _scores(asking, answering, bias, powers)
        total = powers.sub_(powers.amax(2, keepdim=True)).exp2_().sum(2)
    share = total.reciprocal_()
    kept = powers if mask is None else mask.mul_(powers)
    out = torch.empty_like(q)
    _joined(_by_head(v, heads), kept, share / keep, out)
    ctx.save_for_backward(q, k, v, share, out)
    ctx.buffers, ctx.scaling, ctx.keep = (powers, kept), scaling, keep
    return out


def _attend_back(ctx: Any, grad: Tensor, of_q: Tensor, of_k: Tensor, of_v: Tensor) -> None:
    """Writes the gradients of the queries (before scaling), keys and values to [d, b, steps]."""
    if ctx.buffers is None:
        raise RuntimeError("this attention's buffers were given back in the first backward; there is no second one")
    (q, k, v, share, out), (powers, kept), ctx.buffers = ctx.saved_tensors, ctx.buffers, None
    heads = len(powers)
    split = (heads, -1, *q.shape[1:])
    row = (grad * out).view(split).sum(1).mul_(share)
    grad = (grad.reshape(split) * (share / ctx.keep)[:, None]).transpose(1, 2)
    scores = workspace.take(tuple(kept.shape))
    _products(_by_head(v, heads).transpose(2, 3), grad, scores)
    scores.mul_(kept).addcmul_(powers, row[:, :, None], value=-1.0)
    _joined(_by_head(k, heads), scores, ctx.scaling, of_q)
    # d(2**x)/dx = ln(2) 2**x; the queries' own scaling takes it back for them.
    _joined(_by_head(q, heads), scores.transpose(2, 3), _LN2, of_k)
    _joined(grad, kept.transpose(2, 3), 1.0, of_v)
    for buffer in (powers, scores) if kept is powers else (powers, kept, scores):
        workspace.give(buffer)


def _by_head(x: Tensor, heads: int) -> Tensor:
    """[d, b, steps] as [heads, b, head_dim, steps]."""
    return x.view(heads, -1, *x.shape[1:]).transpose(1, 2)


def _scores(q: Tensor, k: Tensor, bias: Tensor | None, out: Tensor) -> Tensor:
    """[heads, b, keys, queries] of queries [heads, b, head_dim, queries] and keys [heads, b, keys, head_dim]."""
    _products(k, q, out)
    return out if bias is None else out.add_(bias)


def _products(left: Tensor, right: Tensor, out: Tensor) -> None:
    """The products of matrices [heads, b, ., .], a head at a time: what `torch.bmm` reads where it lies has one leading dimension."""
    for one, other, product in zip(left.unbind(), right.unbind(), out.unbind(), strict=True):
        torch.bmm(one, other, out=product)


def _joined(left: Tensor, right: Tensor, factor: Tensor | float, out: Tensor) -> None:
    """The products of [heads, b, head_dim, .] and [heads, b, ., steps] times a factor ([heads, b, steps] or one), to [d, b, steps]."""
    factors: list[Any] = [factor] * len(left) if isinstance(factor, float) else list(factor.unbind())
    by_head = out.view(len(left), -1, *out.shape[1:]).unbind()
    for one, other, times, product in zip(left.unbind(), right.unbind(), factors, by_head, strict=True):
        torch.mul(torch.bmm(one, other).transpose(0, 1), times, out=product)


def _future(steps: int) -> Tensor:
    """-inf where a step (column) would see a later one (row), 0 elsewhere."""
    return torch.full((steps, steps), -math.inf).tril(-1)
