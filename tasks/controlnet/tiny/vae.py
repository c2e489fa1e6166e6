"""A VAE that is right from the start: it takes the mean colour of each small square, and gives it back as a flat square.

Left to random weights, a VAE learns for minutes to pass a colour through its norms. Here each value travels as a pair, itself and
its negative, beside two large constants. The norms then divide by what the constants say, the same for all pictures, and
silu(x) - silu(-x) = x undoes the activation before the last convolution. What training adds are the edges.
"""

from __future__ import annotations

from typing import Any

import torch

# Channels: three colours, their negatives, and the constants; then a difference across the square, and its negative.
COLOURS, CONSTANTS, DETAIL = 3, (6, 7), (8, 9)
PASSED = 10
LARGE = 10.0
# log of the variance that the encoder gives for all latents: a standard deviation of 0.02.
LOG_VARIANCE = -8.0


@torch.no_grad()
def start_linear(vae: Any) -> None:
    """Sets the weights of an `AutoencoderKL` with four latent channels, one group a norm and no attention."""
    for name, module in vae.named_modules():
        if name.endswith(("norm1", "conv_norm_out")):
            _undo_norm(module)
        elif name.endswith("conv2"):  # residual blocks begin as nothing
            module.weight.zero_()
            module.bias.zero_()
        elif name.endswith(("conv_shortcut", "upsamplers.0.conv")):
            _pass(module)
        elif name.endswith("downsamplers.0.conv"):
            _pass(module)
            _average(module)
    encoder, decoder = vae.encoder, vae.decoder
    _differ([module for name, module in encoder.named_modules() if name.endswith("downsamplers.0.conv")][-1])
    _enter(encoder.conv_in)
    _enter(decoder.conv_in)
    _leave(encoder.conv_out)
    _leave(decoder.conv_out)
    plus, minus = DETAIL
    encoder.conv_out.weight[COLOURS:] = 0
    encoder.conv_out.weight[COLOURS, plus, 1, 1], encoder.conv_out.weight[COLOURS, minus, 1, 1] = 1.0, -1.0
    encoder.conv_out.bias[4:] = LOG_VARIANCE
    for conv in (vae.quant_conv, vae.post_quant_conv):
        conv.weight.copy_(torch.eye(len(conv.weight))[..., None, None])
        conv.bias.zero_()


def _undo_norm(norm: Any) -> None:
    """Scales by the spread of the constants, which is nearly that of all channels; hides the constants themselves."""
    norm.weight.fill_(LARGE * (len(CONSTANTS) / len(norm.weight)) ** 0.5)
    norm.weight[list(CONSTANTS)] = 0


def _pass(conv: Any) -> None:
    """The first channels go through as they are."""
    middle, count = conv.weight.shape[-1] // 2, min(PASSED, *conv.weight.shape[:2])
    conv.weight[:count] = 0
    conv.weight[:, list(CONSTANTS)] = 0  # in the other channels they would drown what those see
    conv.bias.zero_()
    for channel in range(count):
        conv.weight[channel, channel, middle, middle] = 1.0


def _average(conv: Any) -> None:
    """They become the mean of each two by two pixels; diffusers pads at the right and below, so those are the upper left ones."""
    count = min(PASSED, *conv.weight.shape[:2])
    for channel in range(count):
        conv.weight[channel] = 0
        conv.weight[channel, channel, :2, :2] = 0.25


def _differ(conv: Any) -> None:
    """The last halving also sees how much brighter the left half is than the right."""
    for channel, sign in zip(DETAIL, (1.0, -1.0), strict=True):
        conv.weight[channel] = 0
        conv.weight[channel, :COLOURS, :2, 0] = sign / COLOURS
        conv.weight[channel, :COLOURS, :2, 1] = -sign / COLOURS


def _enter(conv: Any) -> None:
    conv.weight[: CONSTANTS[-1] + 1] = 0
    conv.bias.zero_()
    for colour in range(COLOURS):
        conv.weight[colour, colour, 1, 1], conv.weight[COLOURS + colour, colour, 1, 1] = 1.0, -1.0
    conv.bias[CONSTANTS[0]], conv.bias[CONSTANTS[1]] = LARGE, -LARGE


def _leave(conv: Any) -> None:
    conv.weight[:COLOURS] = 0
    conv.bias.zero_()
    for colour in range(COLOURS):
        conv.weight[colour, colour, 1, 1], conv.weight[colour, COLOURS + colour, 1, 1] = 1.0, -1.0
