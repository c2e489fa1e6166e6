"""Autoformer's attention on the CPU; hidden states are [d, b, steps] (`layers`).

Fourier transforms are products with matrices of cosines and sines: over so few steps that takes less time than the fast one.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.forecast.fast.pytorch.layers import linear


def autocorrelation(module: Any, x: Tensor, source: Tensor, training: bool) -> Tensor:
    """What `AutoformerAttention` gives for x [d, b, steps] and a source that is no shorter (it is cut to x's length).

    The library takes the inverse transform of each channel's spectrum, then their mean, and sums rolled copies of the values; here
    the mean is taken of the spectra, and the sum of rolled copies is one product in the frequency domain.
    """
    windows, steps = x.shape[1:]
    forth, back = _transforms(steps)
    layers = (module.q_proj, module.k_proj, module.v_proj)
    # The layers and the transform change places, so that an input is transformed once for all of them.
    if source is x:
        q, k, v = _spectra(layers, x, forth).chunk(3)
    else:
        q, (k, v) = _spectra(layers[:1], x, forth), _spectra(layers[1:], source[:, :, :steps], forth).chunk(2)
    spectrum = _times_conjugate(q, k).mean(0)
    correlation = spectrum @ back
    count = int(module.autocorrelation_factor * math.log(steps))
    if training:
        delays = correlation.mean(0).topk(count).indices.expand(windows, -1)
    else:
        delays = correlation.topk(count, dim=1).indices
    weights = torch.softmax(correlation.gather(1, delays), dim=-1)
    kernel = torch.zeros_like(correlation).scatter(1, delays, weights) @ forth
    # The library repeats the weights as [heads, windows] over values that lie as [windows, heads]: with several heads a window is
    # rolled by the weights of others in its batch. Its trained models are made so, and this gives what it gives.
    tiled = kernel.repeat(module.num_heads, 1).view(windows, module.num_heads, 1, -1).permute(1, 2, 0, 3)
    rolled = _times_conjugate(v.view(module.num_heads, -1, windows, v.shape[2]), tiled).flatten(0, 2) @ back
    return linear(module.out_proj.weight, module.out_proj.bias, rolled.view(x.shape))


def _spectra(layers: tuple[Any, ...], x: Tensor, forth: Tensor) -> Tensor:
    """The spectra of linear layers' outputs, one below the other, [out, b, 2 m]; a bias is `steps` times itself at frequency 0."""
    weight, bias = (torch.cat([getattr(layer, name) for layer in layers]) for name in ("weight", "bias"))
    spectrum = (x.flatten(0, 1) @ forth).view(len(x), -1)
    constant = F.pad(bias[:, None] * len(forth), (0, forth.shape[1] - 1))
    return torch.mm(weight, spectrum).view(len(bias), -1, forth.shape[1]) + constant[:, None]


def _times_conjugate(a: Tensor, b: Tensor) -> Tensor:
    """a times the conjugate of b, [..., 2 m] each, their real parts before their imaginary ones."""
    half = a.shape[-1] // 2
    (ar, ai), (br, bi) = a.split(half, -1), b.split(half, -1)
    return torch.cat((ar * br + ai * bi, ai * br - ar * bi), dim=-1)


@functools.lru_cache(maxsize=8)
def _transforms(steps: int) -> tuple[Tensor, Tensor]:
    """The real Fourier transform [steps, 2 m] to m = steps // 2 + 1 real and then m imaginary parts, and its inverse [2 m, steps]."""
    half = steps // 2 + 1
    # Whole turns are taken out before the rounding to float.
    turns = torch.outer(torch.arange(steps), torch.arange(half)).remainder(steps).double() * (2 * math.pi / steps)
    forth = torch.cat((turns.cos(), -turns.sin()), dim=1)
    weight = torch.full((half,), 2.0 / steps, dtype=torch.float64)
    weight[0] = 1.0 / steps
    if steps % 2 == 0:
        weight[-1] = 1.0 / steps
    back = forth.t() * weight.repeat(2)[:, None]
    return forth.float(), back.float().contiguous()
