"""Element-wise losses of the heads, with transformers' parametrization and without its distribution objects.

`transformers.time_series_utils` builds a torch distribution for each batch, which checks all its arguments; its negative
binomial adds the scale to its caller's tensor in place, so that a second look at the same parameters is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.time_series_utils import NegativeBinomialOutput, NormalOutput, StudentTOutput

OUTPUTS = {"student_t": StudentTOutput, "normal": NormalOutput, "negative_binomial": NegativeBinomialOutput}


def negative_log_likelihood(name: str, params: Sequence[Tensor], values: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """-log p(values), element by element.

    Args:
        name: "student_t" (params: degrees of freedom, location, scale), "normal" (location, scale), "negative_binomial" (total
            count, logits), as transformers' outputs give them, of windows that were scaled.
        params: each of the shape of `values`.
        values: in their own units.
        loc, scale: the windows' scaling, broadcast to `values`. A negative binomial has no use for loc.
    """
    if name == "negative_binomial":
        return _negative_binomial(params[0], params[1] + scale.log(), values)
    standard = (values - loc) / scale
    if name == "normal":
        mean, deviation = params
        return 0.5 * ((standard - mean) / deviation).square() + (deviation * scale).log() + 0.5 * math.log(2 * math.pi)
    df, mean, width = params
    squared = ((standard - mean) / width).square()
    half, half_more = 0.5 * df, 0.5 * (df + 1.0)
    constant = torch.lgamma(half) - torch.lgamma(half_more) + 0.5 * df.log() + 0.5 * math.log(math.pi)
    return constant + (width * scale).log() + half_more * torch.log1p(squared / df)


def library_negative_log_likelihood(
    name: str, params: Sequence[Tensor], values: Tensor, loc: Tensor, scale: Tensor
) -> Tensor:
    """The same by transformers' distributions."""
    distribution = OUTPUTS[name](dim=1).distribution([param.clone() for param in params], loc=loc, scale=scale)
    return -distribution.log_prob(values)


def _negative_binomial(count: Tensor, logits: Tensor, values: Tensor) -> Tensor:
    """Failures before `count` successes; a success has the probability 1 - sigmoid(logits)."""
    chances = count * F.logsigmoid(-logits) + values * F.logsigmoid(logits)
    return torch.lgamma(count) + torch.lgamma(1.0 + values) - torch.lgamma(count + values) - chances


def pinball(quantiles: Tensor, levels: Tensor, values: Tensor, dim: int) -> Tensor:
    """Twice the mean pinball loss over the levels (so that the median's part is the absolute error).

    Args:
        quantiles: with a dimension `dim` of levels that `values` lacks.
    """
    shape = [1] * quantiles.dim()
    shape[dim] = -1
    error = values.unsqueeze(dim) - quantiles
    level = levels.reshape(shape)
    return 2.0 * torch.maximum(level * error, (level - 1.0) * error).mean(dim)


def window_means(elements: Tensor, observed: Tensor) -> Tensor:
    """The mean over what was observed of each window, times the dimensions: float32 [b]; 0 where nothing was.

    With everything observed it is the mean over steps of a step's sum over dimensions, as transformers has it.

    Args:
        elements: [b, steps] or [b, steps, dims]; where nothing was observed they count for nothing, NaN too.
        observed: 1 or 0, of the same shape.
    """
    elements = torch.where(observed != 0, elements, 0.0).flatten(1)
    dims = observed.shape[2] if observed.dim() == 3 else 1
    return elements.sum(1) * dims / observed.flatten(1).sum(1).clamp(min=1.0)
