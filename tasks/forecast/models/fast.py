"""The training forward of Transformer, Informer and Autoformer on the CPU, several times as fast as transformers' own.

It reads the weights where transformers' modules keep them, so saving, loading and optimizing know nothing of it, and it gives the
same loss and gradients (tests/tasks/test_forecast_training_step.py). What is faster: dropout masks (`dropout`), attention
(`fast_attention`), inputs (`fast_inputs`), the moving averages of Autoformer as one matrix, and no objects of outputs and
distributions. Random layers, keys and masks are drawn with the library's law.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor

from tasks.forecast.models import fast_attention as attention
from tasks.forecast.models.dropout import Masks
from tasks.forecast.models.fast_inputs import Batch, Inputs, embed, network_inputs

_CLASSES = (
    transformers.TimeSeriesTransformerForPrediction,
    transformers.InformerForPrediction,
    transformers.AutoformerForPrediction,
)


def applies(model: Any) -> bool:
    """Whether `parameters` takes the model: one of transformers' three, float32, on the CPU, without autocast."""
    if type(model) not in _CLASSES or torch.is_autocast_enabled("cpu"):
        return False
    weight, config = model.parameter_projection.proj[0].weight, model.config
    if weight.device.type != "cpu" or weight.dtype != torch.float32 or model.is_activation_checkpointing:
        return False
    # Autoformer cuts its queries where they are longer than the encoder's output; that is left to the library.
    longer = (
        config.model_type == "autoformer" and config.label_length + config.prediction_length > config.context_length
    )
    return not longer and max(config.dropout, config.attention_dropout, config.activation_dropout) < 1


def parameters(model: Any, batch: Batch) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
    """The distribution's parameters for each future step, [b, H] or [b, H, dims] each, and the windows' loc and scale."""
    inner, masks = model.model, Masks(model.training)
    inputs = network_inputs(inner, batch)
    decode = _autoformer if model.config.model_type == "autoformer" else _transformer
    return model.output_params(decode(inner, inputs, masks)), inputs.loc, inputs.scale


def _transformer(model: Any, inputs: Inputs, masks: Masks) -> Tensor:
    """The decoder's last hidden state of Transformer and Informer, [b, H, d]."""
    context, total = model.config.context_length, inputs.lagged.shape[1]
    encoder, decoder = model.encoder, model.decoder
    memory = masks(embed(encoder, inputs, slice(0, context), 0), encoder.dropout)
    distil = getattr(encoder, "conv_layers", [None] * len(encoder.layers))
    for layer, shrink in _kept(list(zip(encoder.layers, distil, strict=True)), encoder):
        memory = layer.self_attn_layer_norm(memory + masks(_self(layer, memory, masks), layer.dropout))
        memory = layer.final_layer_norm(_feed_forward(layer, memory, masks))
        memory = memory if shrink is None else shrink(memory)
    hidden = masks(embed(decoder, inputs, slice(context, total), context), decoder.dropout)
    for layer in _kept(list(decoder.layers), decoder):
        hidden = layer.self_attn_layer_norm(hidden + masks(_self(layer, hidden, masks, True), layer.dropout))
        seen = attention.full(layer.encoder_attn, hidden, memory, masks)
        hidden = layer.encoder_attn_layer_norm(hidden + masks(seen, layer.dropout))
        hidden = layer.final_layer_norm(_feed_forward(layer, hidden, masks))
    return hidden


def _self(layer: Any, x: Tensor, masks: Masks, causal: bool = False) -> Tensor:
    """Attention to itself, Informer's sparse or the full one."""
    if hasattr(layer.self_attn, "factor"):
        return attention.sparse(layer.self_attn, x, masks, causal)
    return attention.full(layer.self_attn, x, x, masks, causal)


def _feed_forward(layer: Any, x: Tensor, masks: Masks) -> Tensor:
    inner = masks(layer.activation_fn(layer.fc1(x)), layer.activation_dropout)
    return x + masks(layer.fc2(inner), layer.dropout)


def _kept(layers: list[Any], stack: Any) -> Iterator[Any]:
    """The layers without those that layer dropout leaves out."""
    for layer in layers:
        if not (stack.training and stack.layerdrop > 0.0 and torch.rand([]) < stack.layerdrop):
            yield layer


def _autoformer(model: Any, inputs: Inputs, masks: Masks) -> Tensor:
    """The sum of Autoformer's seasonal and trend part, [b, H, features]."""
    config, training = model.config, model.training
    context, label, horizon = config.context_length, config.label_length, config.prediction_length
    encoder, decoder, kernel = model.encoder, model.decoder, config.moving_average
    memory = masks(embed(encoder, inputs, slice(0, context), 0), encoder.dropout)
    rest = torch.eye(context) - _average(context, kernel)
    for layer in _kept(list(encoder.layers), encoder):
        seen = attention.autocorrelation(layer.self_attn, memory, memory, training)
        memory = torch.matmul(rest, layer.self_attn_layer_norm(memory + masks(seen, layer.dropout)))
        memory = layer.final_layer_norm(torch.matmul(rest, _feed_forward(layer, memory, masks)))
    past = inputs.lagged[:, :context]
    average = torch.matmul(_average(context, kernel)[context - label :], past)
    seasonal = F.pad(past[:, context - label :] - average, (0, 0, 0, horizon))
    steps = slice(context - label, context + horizon)
    hidden = masks(embed(decoder, inputs, steps, context - label, seasonal), decoder.dropout)
    average = _average(label + horizon, kernel)
    rest, trends = torch.eye(label + horizon) - average, _trend_start(inputs, context, horizon)
    for layer in _kept(list(decoder.layers), decoder):
        hidden, whole = _autoformer_decoder_layer(layer, hidden, memory, rest, masks, training)
        trends = trends + _trend(layer.trend_projection.weight, torch.matmul(average, whole), horizon)
    return decoder.seasonality_projection(hidden[:, label:]) + trends


def _autoformer_decoder_layer(
    layer: Any, x: Tensor, memory: Tensor, rest: Tensor, masks: Masks, training: bool
) -> tuple[Tensor, Tensor]:
    """The layer's output, and the sum of what it splits into trend and rest: averages are linear, so one is enough."""
    seen = attention.autocorrelation(layer.self_attn, x, x, training)
    first = x + masks(seen, layer.dropout)
    x = layer.self_attn_layer_norm(torch.matmul(rest, first))
    seen = attention.autocorrelation(layer.encoder_attn, x, memory, training)
    second = x + masks(seen, layer.dropout)
    x = layer.encoder_attn_layer_norm(torch.matmul(rest, second))
    third = _feed_forward(layer, x, masks)
    return layer.final_layer_norm(torch.matmul(rest, third)), first + second + third


def _trend_start(inputs: Inputs, context: int, horizon: int) -> Tensor:
    """What Autoformer's trend starts from in the future: the context's mean of each lagged input, and the other features."""
    mean = inputs.lagged[:, :context].mean(1, keepdim=True).expand(-1, horizon, -1)
    static = inputs.static[:, None].expand(-1, horizon, -1)
    return torch.cat((mean, static, inputs.times[:, context:]), dim=2)


def _trend(weight: Tensor, trend: Tensor, horizon: int) -> Tensor:
    """The circular convolution of three taps, [b, steps, d] to the last `horizon` steps, [b, horizon, features].

    Args:
        weight: [features, d, 3].
    """
    ahead = trend.roll(-1, 1)[:, -horizon:]
    taps = torch.cat((trend.roll(1, 1)[:, -horizon:], trend[:, -horizon:], ahead), dim=2)
    return F.linear(taps, weight.transpose(1, 2).reshape(len(weight), -1))


def _average(steps: int, kernel: int) -> Tensor:
    """The moving average as a matrix [steps, steps]: row t averages around t, with the first and last value repeated beyond."""
    near = torch.arange(steps)[:, None] + torch.arange(-(kernel // 2), kernel // 2 + 1)
    counts = torch.zeros(steps, steps).scatter_add_(1, near.clamp(0, steps - 1), torch.ones(steps, kernel))
    return counts / kernel
