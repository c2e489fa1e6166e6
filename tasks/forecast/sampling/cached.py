"""A post-norm transformer decoder that computes one position at a time and keeps what it can.

The arrays have their samples last: [b, channels, S]. So the weights are small left factors of products over a whole window's
samples, all sums over channels and steps run along contiguous samples, and the keys and values of the encoder's output, one
set a window and layer, serve all its samples. With samples first, the self-attention would be b x S x heads products of
an 8-vector each, and a layer norm that many rows of 16.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from tasks.forecast.sampling.inputs import Inputs

# Queries are scaled by it, for powers of 2 are faster than those of e.
LOG2_E = math.log2(math.e)


def softmax2_(scores: torch.Tensor, dim: int) -> torch.Tensor:
    """The softmax to base 2, in place: torch's own, along a dimension that is not the last, takes twice the time."""
    scores.sub_(scores.amax(dim, keepdim=True)).exp2_()
    return scores.div_(scores.sum(dim, keepdim=True))


class Affine:
    """y = W x + c over the channels of x [b, in, S]."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        self.weight, self.bias = weight.contiguous(), bias[:, None].contiguous()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        size = (len(x), len(self.weight), x.shape[2])
        return torch.baddbmm(self.bias.expand(size), self.weight.expand(size[0], -1, -1), x)

    def added_to(self, total: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """total + W x in place; the bias is expected in `total` already."""
        return total.baddbmm_(self.weight.expand(len(x), -1, -1), x)


def affine(*layers: Any, scale: float = 1.0) -> Affine:
    """Several linear layers of one input as one; the first one's output times `scale`."""
    weights, biases = [layer.weight for layer in layers], [layer.bias for layer in layers]
    weights[0], biases[0] = weights[0] * scale, biases[0] * scale
    return Affine(torch.cat(weights), torch.cat(biases))


class Norm:
    """Layer norm over the channels of [b, d, S]; `after` is a bias that the residual carries on."""

    def __init__(self, layer: Any) -> None:
        self.eps = layer.eps
        self.weight, self.bias = layer.weight[:, None].contiguous(), layer.bias[:, None].contiguous()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Overwrites x."""
        x.sub_(x.mean(1, keepdim=True))
        x.mul_((x * x).mean(1, keepdim=True).add_(self.eps).rsqrt_())
        return torch.addcmul(self.bias, x, self.weight)


class CrossAttention:
    """Attention to the encoder's output, its keys and values projected once for all samples and steps."""

    def __init__(self, module: Any, hidden: torch.Tensor) -> None:
        self.heads, self.size = module.num_heads, module.head_dim
        self.query = affine(module.q_proj, scale=LOG2_E * self.size**-0.5)
        self.out = affine(module.out_proj)
        batch, length, _ = hidden.shape
        split = (batch, length, self.heads, self.size)
        self.keys = module.k_proj(hidden).view(split).transpose(1, 2).flatten(0, 1).contiguous()
        values = module.v_proj(hidden).view(split).permute(0, 2, 3, 1).flatten(0, 1)
        self.scratch = hidden.new_empty(0)
        # A last row of ones: the product with the weights gives their sum too.
        self.values = torch.nn.functional.pad(values, (0, 0, 0, 1), value=1.0)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """[b, d, S] before the output projection."""
        query = self.query(x).view(-1, self.size, x.shape[2])
        size = (*self.keys.shape[:2], x.shape[2])
        # One piece of memory for all steps: a new one of this size is fetched from the system, page by page, each time.
        if self.scratch.numel() < math.prod(size):
            self.scratch = x.new_empty(math.prod(size))
        weights = torch.bmm(self.keys, query, out=self.scratch[: math.prod(size)].view(size))
        weights.sub_(weights.amax(1, keepdim=True)).exp2_()
        summed = torch.bmm(self.values, weights)
        return summed[:, :-1].div(summed[:, -1:]).view(x.shape)


class SelfAttention:
    """Causal attention with the keys and values of earlier positions kept in buffers [b, H, d, S].

    Products and sums over arrays, for there is no matrix product in it: every sample has keys of its own and one query.
    """

    def __init__(self, module: Any, shape: tuple[int, int, int], like: torch.Tensor) -> None:
        batch, steps, samples = shape
        self.heads, self.size = module.num_heads, module.head_dim
        width = self.heads * self.size
        self.project = affine(module.q_proj, module.k_proj, module.v_proj, scale=LOG2_E * self.size**-0.5)
        self.out = affine(module.out_proj)
        self.keys = like.new_empty(batch, steps, width, samples)
        self.values = torch.empty_like(self.keys)
        self.scratch = like.new_empty(batch * steps * width * samples)

    def __call__(self, x: torch.Tensor, step: int) -> torch.Tensor:
        """[b, d, S] before the output projection."""
        batch, width, samples = x.shape
        query, key, value = self.project(x).unflatten(1, (3, width)).unbind(1)
        self.keys[:, step], self.values[:, step] = key, value
        if step == 0:
            return value
        shape = (batch, step + 1, width, samples)
        scratch = self.scratch[: math.prod(shape)].view(shape)
        torch.mul(self.keys[:, : step + 1], query[:, None], out=scratch)
        heads = scratch.unflatten(2, (self.heads, self.size))
        weights = softmax2_(heads.sum(3), 1)
        torch.mul(self.values[:, : step + 1].unflatten(2, (self.heads, self.size)), weights.unsqueeze(3), out=heads)
        return scratch.sum(1)


class Layer:
    def __init__(self, module: Any, hidden: torch.Tensor, shape: tuple[int, int, int]) -> None:
        self.attention = SelfAttention(module.self_attn, shape, hidden)
        self.cross = CrossAttention(module.encoder_attn, hidden)
        self.first, self.second = affine(module.fc1), affine(module.fc2)
        self.activation = module.activation_fn
        self.norms = [
            Norm(norm)
            for norm in (module.self_attn_layer_norm, module.encoder_attn_layer_norm, module.final_layer_norm)
        ]

    def __call__(self, x: torch.Tensor, step: int) -> torch.Tensor:
        return self.after_attention(x, self.attention(x, step))

    def after_attention(self, x: torch.Tensor, branch: torch.Tensor) -> torch.Tensor:
        """The layer but for its self-attention; x and branch are [b, d, n x S]: to it positions are just more samples."""
        x = self.join(x, branch, self.attention.out, 0)
        x = self.join(x, self.cross(x), self.cross.out, 1)
        return self.join(x, self.activation(self.first(x)), self.second, 2)

    def join(self, x: torch.Tensor, branch: torch.Tensor, project: Affine, norm: int) -> torch.Tensor:
        return self.norms[norm](project.added_to(x + project.bias, branch))


class LagInput:
    """The decoder's input: the projection of lags, static and time features, its position added.

    All that is known beforehand is projected once a window: the features, and the lags that reach into the past. What is
    left for a step are the lags of the samples drawn so far.
    """

    def __init__(self, decoder: Any, inputs: Inputs, num_samples: int) -> None:
        config = decoder.config
        batch, steps, _ = inputs.features.shape
        self.lags, dims = list(config.lags_sequence), inputs.past.shape[2]
        self.norm = Norm(decoder.layernorm_embedding)
        weight = decoder.value_embedding.value_projection.weight
        lagged = dims * len(self.lags)
        # The library lays lags out with the dimension first, then the lag.
        self.weight = weight[:, :lagged].unflatten(1, (dims, len(self.lags))).transpose(1, 2)
        past = inputs.past.shape[1]
        rows = past + torch.arange(steps)[:, None] - torch.tensor(self.lags)
        known = torch.nn.functional.pad(inputs.past, (0, 0, 0, steps))[:, rows.to(inputs.past.device)]
        positions = decoder.embed_positions.weight[config.context_length : config.context_length + steps]
        self.known = (
            torch.einsum("bklc,dlc->bkd", known, self.weight) + inputs.features @ weight[:, lagged:].T + positions
        )[..., None]
        # The scaled values of the steps so far, which a caller fills in for the lags of later ones.
        self.drawn = inputs.past.new_empty(batch, steps, dims, num_samples)

    def __call__(self, step: int) -> torch.Tensor:
        """[b, d, S] for a position whose earlier values are all in `drawn`."""
        batch, _, dims, samples = self.drawn.shape
        reach = [number for number, lag in enumerate(self.lags) if lag <= step]
        known = self.known[:, step].expand(-1, -1, samples)
        if not reach:
            return self.norm(known.clone())
        rows = torch.tensor([step - self.lags[number] for number in reach], device=self.drawn.device)
        lagged = self.drawn.index_select(1, rows).view(batch, len(reach) * dims, samples)
        weight = self.weight[:, reach].flatten(1)
        return self.norm(torch.baddbmm(known, weight.expand(batch, -1, -1), lagged))


class CachedDecoder:
    """The decoder of a Time Series Transformer, or of an Informer with full attention, for a chunk of windows.

    Args:
        hidden: the encoder's output, float32 [b, L, d].
    """

    def __init__(self, model: Any, inputs: Inputs, hidden: torch.Tensor, num_samples: int) -> None:
        decoder = model.model.decoder
        shape = (len(inputs), inputs.features.shape[1], num_samples)
        self.input = LagInput(decoder, inputs, num_samples)
        self.layers = [Layer(module, hidden, shape) for module in decoder.layers]
        self.head = affine(*model.parameter_projection.proj)

    def step(self, step: int) -> torch.Tensor:
        """The distribution's parameters of a step before their mapping, [b, arguments x dims, S]."""
        x = self.input(step)
        for layer in self.layers:
            x = layer(x, step)
        return self.head(x)
