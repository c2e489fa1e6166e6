"""The training forward of Transformer, Informer and Autoformer on the CPU, several times as fast as transformers' own.

It reads the weights where transformers' modules keep them, so saving, loading and optimizing know nothing of it, and it gives the
same loss and gradients (tests/tasks/forecast/test_forecast_training_step.py). What is faster: dropout masks (`dropout`), attention
(`attention`), inputs (`inputs`), the moving averages of Autoformer as one matrix, and no objects of outputs and
distributions. Random layers, keys and masks are drawn with the library's law.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers
from torch import Tensor

from tasks.forecast.fast.pytorch import attention
from tasks.forecast.fast.pytorch.autocorrelation import autocorrelation
from tasks.forecast.fast.pytorch.dropout import Masks
from tasks.forecast.fast.pytorch.inputs import Batch, Inputs, embed, network_inputs
from tasks.forecast.fast.pytorch.layers import add, add_norm, averaging, feed_forward, linear, norm
from tasks.forecast.fast.transformer import Layers, kept, last_hidden_state

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
    if config.activation_function != "gelu":
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
    if model.config.model_type == "autoformer":
        hidden = _autoformer(inner, inputs, masks)
    else:
        hidden = last_hidden_state(inner, inputs, masks, _LAYERS)
    head = model.parameter_projection
    unbounded = linear(torch.cat([p.weight for p in head.proj]), torch.cat([p.bias for p in head.proj]), hidden)
    return head.domain_map(*unbounded.permute(1, 2, 0).chunk(len(head.proj), dim=2)), inputs.loc, inputs.scale


def shrink(module: Any, x: Tensor, _: int) -> Tensor:
    """What `InformerConvLayer` makes of x: [d, b, half the steps]."""
    weight = module.downConv.weight.permute(0, 2, 1).flatten(1)
    taps = torch.cat([x.roll(by, 2) for by in (1, 0, -1)])
    x = module.norm(linear(weight, module.downConv.bias, taps).flatten(1)[None]).view(x.shape)
    return module.maxPool(module.activation(x))


_LAYERS = Layers(embed=embed, attend=attention.attend, feed_forward=feed_forward, shrink=shrink)


def _autoformer(model: Any, inputs: Inputs, masks: Masks) -> Tensor:
    """The sum of Autoformer's seasonal and trend part, [features, b, H]."""
    config, training = model.config, model.training
    context, label, horizon = config.context_length, config.label_length, config.prediction_length
    encoder, decoder, kernel = model.encoder, model.decoder, config.moving_average
    memory = embed(encoder, inputs, 0, context, masks)
    average = averaging(context, kernel)
    rest = torch.eye(context) - average
    for layer in kept(list(encoder.layers), encoder):
        seen = autocorrelation(layer.self_attn, memory, memory, training)
        memory = _filter(add_norm(layer.self_attn_layer_norm, memory, seen, masks, layer.dropout), rest)
        memory = _filter(feed_forward(layer, None, memory, masks), rest)
        memory = _seasonal_norm(layer.final_layer_norm, memory)
    past = inputs.lagged(0, context).flatten(0, 1)
    seasonal = past.new_zeros(*past.shape[:2], label + horizon)
    seasonal[:, :, :label] = past[:, :, context - label :] - past @ average[context - label :].t()
    hidden = embed(decoder, inputs, context - label, label + horizon, masks, seasonal)
    average = averaging(label + horizon, kernel)
    rest, trends = torch.eye(label + horizon) - average, _trend_start(inputs, past, horizon)
    for layer in kept(list(decoder.layers), decoder):
        hidden, whole = _autoformer_decoder_layer(layer, hidden, memory, rest, masks, training)
        trends = trends + _trend(layer.trend_projection.weight, _filter(whole, average), horizon)
    last = decoder.seasonality_projection
    return linear(last.weight, last.bias, hidden[:, :, label:]) + trends


def _autoformer_decoder_layer(
    layer: Any, x: Tensor, memory: Tensor, rest: Tensor, masks: Masks, training: bool
) -> tuple[Tensor, Tensor]:
    """The layer's output, and the sum of what it splits into trend and rest: averages are linear, so one is enough."""
    first = add(x, autocorrelation(layer.self_attn, x, x, training), masks, layer.dropout)
    x = norm(layer.self_attn_layer_norm, _filter(first, rest))
    second = add(x, autocorrelation(layer.encoder_attn, x, memory, training), masks, layer.dropout)
    x = norm(layer.encoder_attn_layer_norm, _filter(second, rest))
    third = feed_forward(layer, None, x, masks)
    return _seasonal_norm(layer.final_layer_norm, _filter(third, rest)), first + second + third


def _filter(x: Tensor, matrix: Tensor) -> Tensor:
    """A matrix [steps, steps] on the steps of x [d, b, steps]."""
    return torch.mm(x.flatten(0, 1), matrix.t()).view(x.shape)


def _seasonal_norm(module: Any, x: Tensor) -> Tensor:
    """Autoformer's norm: what is left of the ordinary one without its mean over the steps."""
    x = norm(module.layernorm, x)
    return x - x.mean(2, keepdim=True)


def _trend_start(inputs: Inputs, past: Tensor, horizon: int) -> Tensor:
    """What Autoformer's trend starts from in the future: the context's mean of each lagged input, and the other features.

    Args:
        past: the lagged inputs of the context, [dims * lags, b, context].
    """
    mean = past.mean(2, keepdim=True).expand(-1, -1, horizon)
    static = inputs.static[:, :, None].expand(-1, -1, horizon)
    return torch.cat((mean, static, inputs.times[:, :, -horizon:]))


def _trend(weight: Tensor, trend: Tensor, horizon: int) -> Tensor:
    """The circular convolution of three taps, [d, b, steps] to the last `horizon` steps, [features, b, horizon].

    Args:
        weight: [features, d, 3].
    """
    taps = torch.cat([trend.roll(by, 2)[:, :, -horizon:] for by in (1, 0, -1)])
    return torch.mm(weight.transpose(1, 2).flatten(1), taps.flatten(1)).view(-1, *taps.shape[1:])
