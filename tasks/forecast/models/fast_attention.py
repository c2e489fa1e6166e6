"""Attention of small heads on the CPU, by the weights of transformers' modules.

Queries, keys and values lie with their channels before time, [windows * heads, head_dim, steps]: a product of matrices with 8
columns takes MKL four times as long as one with 8 rows.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from tasks.forecast.models import workspace
from tasks.forecast.models.dropout import Masks

_LN2 = math.log(2.0)
_LARGEST = 60.0  # 2**60, summed over any window, is far from float32's end; so is 2**-60 from its smallest number


class _Attention(torch.autograd.Function):
    """Softmax attention with dropout; the queries come scaled by log2(e), for 2**x takes half the time of e**x.

    The probabilities are never made: with e = 2**scores, kept = mask * e and r = 1 / (a row's sum of e), the output is r times the
    product of kept and the values, and the gradient of the scores is kept * d(kept) - e * r * (d(out) . out), since the product
    of a row's probabilities and their gradients is that of its output and the output's gradient.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, kv: Tensor, bias: Tensor | None, mask: Tensor | None, keep: float) -> Tensor:
        channels = q.shape[1]
        k, v = kv[:, :channels], kv[:, channels:]
        scores = torch.bmm(q.transpose(1, 2), k, out=workspace.take((len(q), q.shape[2], k.shape[2])))
        if bias is not None:
            scores += bias
        # No score is larger than the longest query times the longest key; what is that small needs no maximum taken off.
        if q.square().sum(1).max() * k.square().sum(1).max() > _LARGEST**2:
            scores -= scores.amax(-1, keepdim=True)
        powers = scores.exp2_()
        share = 1.0 / powers.sum(-1)
        kept = powers if mask is None else mask.mul_(powers)
        out = torch.bmm(v, kept.transpose(1, 2)).mul_((share / keep)[:, None])
        ctx.save_for_backward(q, kv, share, out)
        ctx.buffers, ctx.keep = (powers, kept), keep
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.buffers is None:
            raise RuntimeError("this attention's buffers were given back in the first backward; there is no second one")
        (q, kv, share, out), (powers, kept), ctx.buffers = ctx.saved_tensors, ctx.buffers, None
        channels = q.shape[1]
        row = (grad * out).sum(1).mul_(share)
        grad = grad * (share / ctx.keep)[:, None]
        scores = torch.bmm(grad.transpose(1, 2), kv[:, channels:], out=workspace.take(tuple(kept.shape)))
        scores.mul_(kept).addcmul_(powers, row[:, :, None], value=-1.0)
        # d(2**x)/dx = ln(2) 2**x; the queries' own scaling takes it back for them.
        of_q = torch.bmm(kv[:, :channels], scores.transpose(1, 2)).mul_(_LN2)
        of_kv = torch.cat((torch.bmm(q, scores).mul_(_LN2), torch.bmm(grad, kept)), dim=1)
        for buffer in (powers, scores) if kept is powers else (powers, kept, scores):
            workspace.give(buffer)
        return of_q, of_kv, None, None, None


def full(module: Any, x: Tensor, source: Tensor, masks: Masks, causal: bool = False) -> Tensor:
    """What `TimeSeriesTransformerAttention` and `InformerAttention` give for x [b, steps, d] that attends to `source`."""
    q, kv = _project(module, x, source)
    bias = _future(x.shape[1]) if causal else None
    mask, keep = masks.draw((q.shape[0], q.shape[2], kv.shape[2]), module.dropout)
    return _back(module, _Attention.apply(q, kv, bias, mask, keep), x.shape)


def sparse(module: Any, x: Tensor, masks: Masks, causal: bool = False) -> Tensor:
    """What `InformerProbSparseAttention` gives for x [b, steps, d] that attends to itself.

    The queries whose scores stand out attend, among keys drawn by torch's generator as the library draws them; the others
    take the mean of the values (in a decoder the sum of those so far).
    """
    q, kv = _project(module, x, x)
    channels, steps = q.shape[1], q.shape[2]
    logarithm = math.ceil(math.log1p(steps))
    drawn = torch.randint(0, steps, (min(module.factor * steps * logarithm, steps),))
    with torch.no_grad():
        chosen = _standing_out(q, kv[:, :channels], drawn, min(module.factor * logarithm, steps))
    wide = chosen[:, None].expand(-1, channels, -1)
    bias = _future(steps)[chosen] if causal else None
    mask, keep = masks.draw((q.shape[0], chosen.shape[1], steps), module.dropout)
    attended = _Attention.apply(q.gather(2, wide), kv, bias, mask, keep)
    values = kv[:, channels:]
    # The library asks for the sum wherever it is a decoder's module, which is where it is causal.
    lazy = values.cumsum(2) if causal else values.mean(2, keepdim=True).expand_as(values)
    return _back(module, lazy.scatter(2, wide, attended), x.shape)


def _standing_out(q: Tensor, k: Tensor, drawn: Tensor, count: int) -> Tensor:
    """For each head the `count` queries with the largest (largest score - mean score) over drawn keys, int64 [n, count].

    A key may be drawn twice: it counts twice in the mean, which is over all keys' number.
    """
    times = torch.bincount(drawn, minlength=k.shape[2]).to(k.dtype)
    scores = torch.bmm(q.transpose(1, 2), k)
    total = torch.matmul(scores, times)
    scores += torch.where(times > 0, 0.0, -math.inf)
    return (scores.amax(-1) - total / k.shape[2]).topk(count, dim=-1, sorted=False).indices


def autocorrelation(module: Any, x: Tensor, source: Tensor, training: bool) -> Tensor:
    """What `AutoformerAttention` gives for x [b, steps, d] and a source that is no shorter (it is cut to x's length).

    The library takes the inverse transform of each channel's spectrum, then their mean, and sums rolled copies of the values; here
    the mean is taken of the spectra, and the sum of rolled copies is one product in the frequency domain.
    """
    steps = x.shape[1]
    source = source[:, :steps]
    q, k, v = (
        _spectrum(_channels_first(x if layer is module.q_proj else source, layer.weight, layer.bias))
        for layer in (module.q_proj, module.k_proj, module.v_proj)
    )
    correlation = torch.fft.irfft((q * k.conj()).mean(1), n=steps)
    count = int(module.autocorrelation_factor * math.log(steps))
    if training:
        delays = correlation.mean(0).topk(count).indices.expand(len(x), -1)
    else:
        delays = correlation.topk(count, dim=1).indices
    weights = torch.softmax(correlation.gather(1, delays), dim=-1)
    kernel = torch.zeros_like(correlation).scatter(1, delays, weights)
    # The library repeats the weights as [heads, windows] over values that lie as [windows, heads]: with several heads a window is
    # rolled by the weights of others in its batch. Its trained models are made so, and this gives what it gives.
    tiled = torch.fft.rfft(kernel).conj().repeat(module.num_heads, 1).view(len(x), module.num_heads, 1, -1)
    rolled = torch.fft.irfft(v.view(len(x), module.num_heads, module.head_dim, -1) * tiled, n=steps)
    return _back(module, rolled, x.shape)


def _spectrum(x: Tensor) -> Tensor:
    """The Fourier transform over the last dimension, with a gradient that lies densely.

    As torch gives it, every second number of a complex tensor, `bmm` would take one matrix of the batch after the other.
    """
    if x.requires_grad:
        x.register_hook(Tensor.contiguous)
    return torch.fft.rfft(x)


def _project(module: Any, x: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
    """Queries times log2(e) / sqrt(head_dim), [b * heads, head_dim, steps]; keys and values, [b * heads, 2 * head_dim, steps]."""
    heads, size = module.num_heads, module.head_dim
    scaling = module.scaling / _LN2
    q = _channels_first(x, module.q_proj.weight * scaling, module.q_proj.bias * scaling)
    k_proj, v_proj = module.k_proj, module.v_proj
    weight = torch.stack((k_proj.weight.view(heads, size, -1), v_proj.weight.view(heads, size, -1)), dim=1)
    bias = torch.stack((k_proj.bias.view(heads, size), v_proj.bias.view(heads, size)), dim=1)
    kv = _channels_first(source, weight.view(2 * heads * size, -1), bias.view(-1))
    return q.view(-1, size, q.shape[2]), kv.view(-1, 2 * size, kv.shape[2])


def _channels_first(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A linear layer, [b, steps, in] to [b, out, steps]."""
    return torch.baddbmm(bias[None, :, None], weight.expand(len(x), -1, -1), x.transpose(1, 2))


def _back(module: Any, out: Tensor, shape: torch.Size) -> Tensor:
    """The output projection, [b * heads, head_dim, steps] to [b, steps, d]."""
    out = out.reshape(shape[0], shape[2], shape[1]).transpose(1, 2)
    return torch.baddbmm(module.out_proj.bias, out, module.out_proj.weight.t().expand(shape[0], -1, -1))


def _future(steps: int) -> Tensor:
    """-inf where a step (row) would see a later one (column), 0 elsewhere."""
    return torch.full((steps, steps), -math.inf).triu(1)
