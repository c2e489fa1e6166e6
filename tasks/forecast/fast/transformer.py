"""The encoder and decoder of Transformer and Informer, over the layers of either fast path."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layers:
    """A fast path's layers; how a hidden state lies is its own affair."""

    embed: Callable[..., Tensor]
    attend: Callable[..., Tensor]
    feed_forward: Callable[..., Tensor]
    shrink: Callable[..., Tensor]


def last_hidden_state(model: Any, inputs: Any, draws: Any, layers: Layers) -> Tensor:
    """The decoder's last hidden state of a `TimeSeriesTransformerModel` or `InformerModel`.

    Args:
        inputs: as the path's `embed` reads them.
        draws: the dropout of the forward.
    """
    context, horizon = model.config.context_length, model.config.prediction_length
    encoder, decoder = model.encoder, model.decoder
    memory = layers.embed(encoder, inputs, 0, context, draws)
    distil = getattr(encoder, "conv_layers", [None] * len(encoder.layers))
    for layer, module in kept(list(zip(encoder.layers, distil, strict=True)), encoder):
        memory = layers.attend(layer.self_attn, layer.self_attn_layer_norm, memory, None, draws, layer.dropout)
        memory = layers.feed_forward(layer, layer.final_layer_norm, memory, draws)
        memory = memory if module is None else layers.shrink(module, memory, inputs.windows)
    hidden = layers.embed(decoder, inputs, context, horizon, draws)
    for layer in kept(list(decoder.layers), decoder):
        hidden = layers.attend(
            layer.self_attn, layer.self_attn_layer_norm, hidden, None, draws, layer.dropout, causal=True
        )
        hidden = layers.attend(layer.encoder_attn, layer.encoder_attn_layer_norm, hidden, memory, draws, layer.dropout)
        hidden = layers.feed_forward(layer, layer.final_layer_norm, hidden, draws)
    return hidden


def kept(layers: list[Any], stack: Any) -> Iterator[Any]:
    """The layers without those that layer dropout leaves out."""
    for layer in layers:
        if not (stack.training and stack.layerdrop > 0.0 and torch.rand([]) < stack.layerdrop):
            yield layer
