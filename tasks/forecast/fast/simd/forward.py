"""The forward of Transformer, Informer and Autoformer through the compiled layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tasks.forecast.fast.pytorch.inputs import Batch, Inputs, network_inputs
from tasks.forecast.fast.simd import native
from tasks.forecast.fast.simd.autoformer import autocorrelation, decompose, moving_average
from tasks.forecast.fast.simd.informer import shrink
from tasks.forecast.fast.simd.kernels import from_lanes, run, to_lanes
from tasks.forecast.fast.simd.layers import Draws, attend, feed_forward, linear, weights_of
from tasks.forecast.fast.transformer import Layers, kept, last_hidden_state


def applies(model: Any) -> bool:
    """Whether the compiled layers are there and take the model, which `pytorch.forward.applies` to."""
    if torch.compiler.is_compiling() or type(model.parameter_projection.proj[0].weight) is not torch.nn.Parameter:
        return False  # a graph of operators is wanted, or the weights lie scattered over processes
    config = model.config
    heads = min(config.encoder_attention_heads, config.decoder_attention_heads)
    return config.d_model // heads <= native.WIDEST_HEAD and native.library() is not None


def parameters(model: Any, batch: Batch) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
    """As `pytorch.forward.parameters`."""
    inputs, draws = network_inputs(model.model, batch), Draws(model.training)
    head, lanes = model.parameter_projection, LaneInputs(inputs)
    if model.config.model_type == "autoformer":
        unbounded = _autoformer(model.model, lanes, draws, head)
    else:
        hidden = last_hidden_state(model.model, lanes, draws, _LAYERS)
        unbounded = linear(torch.cat([p.weight for p in head.proj]), torch.cat([p.bias for p in head.proj]), hidden)
    parts = from_lanes(unbounded, lanes.windows).chunk(len(head.proj), dim=2)
    return head.domain_map(*parts), inputs.loc, inputs.scale


class LaneInputs:
    """The inputs in lanes.

    Attributes:
        values: [groups, dims, past and future, lanes]; times: [groups, steps, features, lanes]; static: [groups, features, lanes].
    """

    def __init__(self, inputs: Inputs) -> None:
        self.values = to_lanes(inputs.values.transpose(0, 1))
        self.times = to_lanes(inputs.times.permute(1, 2, 0))
        self.static = to_lanes(inputs.static.t())
        self.lags = torch.tensor(inputs.lags)
        self.windows = len(inputs.loc)

    def lagged(self, first: int, steps: int) -> Tensor:
        """The values at the lags of `steps` steps from the `first` of the context on, [groups, steps, dims * lags, lanes]."""
        begin = self.values.shape[2] - self.times.shape[1] + first
        at = begin + torch.arange(steps)[:, None] - self.lags
        return self.values[:, :, at].transpose(1, 2).flatten(2, 3)

    def features(self, past: Tensor, horizon: int) -> Tensor:
        """What Autoformer's trend starts from in the future: the context's mean of each lagged input, and the other features.

        Args:
            past: the lagged inputs of the context.
        """
        mean = past.mean(1, keepdim=True).expand(-1, horizon, -1, -1)
        static = self.static[:, None].expand(-1, horizon, -1, -1)
        return torch.cat((mean, static, self.times[:, -horizon:]), dim=2)


def embed(stack: Any, inputs: LaneInputs, first: int, steps: int, draws: Draws, given: Tensor | None = None) -> Tensor:
    """As `pytorch.inputs.embed`, [groups, steps, d, lanes]: the gradient is that of the static features and the weights."""
    weight, norm = stack.value_embedding.value_projection.weight, stack.layernorm_embedding
    groups, dims, length, lanes = inputs.values.shape
    time_steps, times = inputs.times.shape[1:3]
    d, rows = len(weight), groups * steps * lanes
    a = native.Embedding(
        groups=groups, d=d, steps=steps, dims=dims, lags=len(inputs.lags), statics=inputs.static.shape[1], times=times,
        length=length, first=first, begin=length - time_steps + first, time_steps=time_steps, eps=norm.eps,
        branch=draws.next(stack.dropout),
    )  # fmt: skip
    positions = stack.embed_positions.weight[first : first + steps].detach()
    a.hold(values=inputs.values, given=given, moving=inputs.times, lag=inputs.lags, positions=positions)
    a.allocate(normed=rows * d, deviation=rows)
    return run(a, {"fixed": inputs.static}, {"w": weight} | weights_of(norm=norm), {"y": (groups, steps, d, lanes)})


_LAYERS = Layers(embed=embed, attend=attend, feed_forward=feed_forward, shrink=shrink)


def _autoformer(model: Any, inputs: LaneInputs, draws: Draws, head: Any) -> Tensor:
    """What the head makes of the sum of Autoformer's seasonal and trend part, [groups, H, parameters, lanes].

    The last linear layers follow each other without anything between: their matrices are multiplied first.
    """
    config, windows = model.config, inputs.windows
    context, label, horizon, kernel = (
        config.context_length,
        config.label_length,
        config.prediction_length,
        config.moving_average,
    )
    encoder, decoder = model.encoder, model.decoder
    memory = embed(encoder, inputs, 0, context, draws)
    for layer in kept(list(encoder.layers), encoder):
        memory = autocorrelation(layer.self_attn, memory, None, draws, layer.dropout, windows)
        memory, _ = decompose(layer.self_attn_layer_norm, memory, kernel, norm_first=True)
        memory = feed_forward(layer, None, memory, draws)
        memory, _ = decompose(layer.final_layer_norm.layernorm, memory, kernel, demean=True)
    past = inputs.lagged(0, context)
    seasonal = past.new_zeros(len(past), label + horizon, *past.shape[2:])
    seasonal[:, :label] = (past - moving_average(past, kernel))[:, context - label :]
    hidden = embed(decoder, inputs, context - label, label + horizon, draws, seasonal)
    weight, bias = (torch.cat([getattr(p, name) for p in head.proj]) for name in ("weight", "bias"))
    last = decoder.seasonality_projection
    weights, parts = [weight], [inputs.features(past, horizon)]
    for layer in kept(list(decoder.layers), decoder):
        hidden, trend = _autoformer_decoder_layer(layer, hidden, memory, draws, kernel, windows)
        weights.append(torch.mm(weight, layer.trend_projection.weight.transpose(1, 2).flatten(1)))
        parts += [trend.roll(by, 1)[:, label:] for by in (1, 0, -1)]
    weights.append(weight @ last.weight)
    parts.append(hidden[:, label:])
    return linear(torch.cat(weights, dim=1), bias + weight @ last.bias, torch.cat(parts, dim=2))


def _autoformer_decoder_layer(
    layer: Any, x: Tensor, memory: Tensor, draws: Draws, kernel: int, windows: int
) -> tuple[Tensor, Tensor]:
    """The layer's output and the sum of its trends."""
    x = autocorrelation(layer.self_attn, x, None, draws, layer.dropout, windows)
    x, first = decompose(layer.self_attn_layer_norm, x, kernel)
    x = autocorrelation(layer.encoder_attn, x, memory, draws, layer.dropout, windows)
    x, second = decompose(layer.encoder_attn_layer_norm, x, kernel)
    x = feed_forward(layer, None, x, draws)
    x, third = decompose(layer.final_layer_norm.layernorm, x, kernel, demean=True)
    return x, first + second + third
