"""Memory-efficient modules for training a ControlNet: `prepare` swaps the classes of a UNet's and a ControlNet's modules in place.

The modules compute what diffusers' compute through autograd functions that save fewer intermediates (`common`). Names and values
of the weights stay; so do classes and configs of the networks themselves, so that `save_pretrained` writes plain diffusers models
and pipelines take them. Without gradients, under `torch.compile`, and for arguments that Stable Diffusion doesn't use,
diffusers' own code runs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from tasks.controlnet.memory_efficient import attention as attention_functions
from tasks.controlnet.memory_efficient.common import Precision, add
from tasks.controlnet.memory_efficient.convolution import Convolution, NormConvolution
from tasks.controlnet.memory_efficient.feed_forward import FeedForward
from tasks.deferred import SCIPY, deferred
from tasks.errors import ConfigError

with deferred(*SCIPY):
    from diffusers.models.activations import GEGLU
    from diffusers.models.attention import BasicTransformerBlock
    from diffusers.models.attention_processor import Attention
    from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding
    from diffusers.models.resnet import ResnetBlock2D
    from diffusers.models.transformers.transformer_2d import Transformer2DModel

Tensor = torch.Tensor


def prepare(
    unet: Any,
    controlnet: Any,
    *,
    gradient_checkpointing: bool = False,
    attention: str = "sdpa",
    channels_last: bool = True,
    pieces: bool = True,
) -> None:
    """Changes both in place; the UNet is frozen and put into evaluation mode.

    Args:
        unet, controlnet: as diffusers makes them for Stable Diffusion 1 and 2; `controlnet` None: the UNet alone.
        gradient_checkpointing: keep fewer intermediates still; queries, keys, values and the feed-forward's first products
            are recomputed, too.
        attention: `sdpa` or `xformers`.
        channels_last: order of the convolutions' memory.
        pieces: on a CPU the feed-forward works on some tokens at a time.

    Raises:
        ConfigError: xformers is asked for and not installed.
    """
    kernel = _kernel(attention)
    unet.requires_grad_(False).eval()
    for network in (unet, controlnet):
        if network is None:
            continue
        if attention == "xformers":
            network.enable_xformers_memory_efficient_attention()
        # oneDNN reorders weights in any case, and its gradients by them come in the plain order.
        if channels_last and (network is unet or network.device.type == "cuda"):
            network.to(memory_format=torch.channels_last)
        _let_go_of_file(network)
        for module in network.modules():
            if type(module) in MEMORY_EFFICIENT:
                module.__class__ = MEMORY_EFFICIENT[type(module)]
            if isinstance(module, MemoryEfficientTransformerBlock):
                module.attention_kernel, module.feed_forward_pieces = kernel, pieces
                module.keep_projections = not gradient_checkpointing
                # A byte kept spares the more operations, the wider the block; those of the highest resolution spare the fewest.
                module.keep_feed_forward = (
                    module.keep_projections and module.norm3.weight.numel() > network.config.block_out_channels[0]
                )


def restore(network: nn.Module) -> nn.Module:
    """Puts diffusers' own classes back, in place."""
    library = {ours: theirs for theirs, ours in MEMORY_EFFICIENT.items()}
    for module in network.modules():
        module.__class__ = library.get(type(module), type(module))
    return network


def _let_go_of_file(network: nn.Module) -> None:
    """Gives each weight on the CPU memory of its own: one that was read lies in a map of its file, which stays in memory as a whole
    while any of them does, beside the copies that the convolutions' order made."""
    for parameter in network.parameters():
        if parameter.device.type == "cpu":
            parameter.data = parameter.data.clone()


def _kernel(attention: str) -> Callable[..., Tensor]:
    if attention == "sdpa":
        return attention_functions.sdpa
    if find_spec("xformers") is None:
        raise ConfigError("--attention xformers: it is not installed; pip install xformers, or leave the flag out")
    return attention_functions.xformers


def _stock() -> bool:
    """Whether diffusers' own code is to run: nothing is kept then anyway, or the compiler sees to it."""
    return torch.compiler.is_compiling() or not torch.is_grad_enabled()


class MemoryEfficientConv2d(nn.Conv2d):
    """A convolution that keeps its input only if its weight is trained."""

    def forward(self, input: Tensor) -> Tensor:
        """[b, c, h, w] -> [b, c', h', w']."""
        plain = self.groups == 1 and self.dilation == (1, 1) and self.padding_mode == "zeros"
        if _stock() or not plain or self.stride[0] != self.stride[1] or self.padding[0] != self.padding[1]:
            return super().forward(input)
        found: Tensor = Convolution.apply(
            input, self.weight, self.bias, self.stride[0], self.padding[0], Precision(input.device)
        )
        return found


def norm_convolve(x: Tensor, norm: nn.GroupNorm, layer: nn.Conv2d | nn.Linear, activate: bool) -> Tensor:
    """The layer on the normalised x [b, c, h, w]; a linear layer is a convolution of one pixel."""
    weight, padding = layer.weight, 0
    if isinstance(layer, nn.Conv2d):
        padding = int(layer.padding[0])
    else:
        weight = weight[:, :, None, None]
    found: Tensor = NormConvolution.apply(
        x, norm.weight, norm.bias, weight, layer.bias, norm.num_groups, norm.eps, activate, padding, Precision(x.device)
    )
    return found


class MemoryEfficientResnetBlock(ResnetBlock2D):
    """Keeps its input and what the second norm gets."""

    def forward(self, input_tensor: Tensor, temb: Tensor | None, *args: Any, **kwargs: Any) -> Tensor:
        """[b, c, h, w] and the time's embedding [b, d] -> [b, c', h, w]."""
        if _stock() or args or kwargs or not self._plain():
            return super().forward(input_tensor, temb, *args, **kwargs)
        hidden = norm_convolve(input_tensor, self.norm1, self.conv1, True)
        if temb is not None and self.time_emb_proj is not None:
            time = self.time_emb_proj(functional.silu(temb))[:, :, None, None]
            hidden = add(hidden, time)
        found = norm_convolve(hidden, self.norm2, self.conv2, True)
        short = input_tensor if self.conv_shortcut is None else self.conv_shortcut(input_tensor)
        return add(found, short)

    def _plain(self) -> bool:
        """Whether it is as in Stable Diffusion 1 and 2."""
        return (
            self.upsample is None
            and self.downsample is None
            and self.time_embedding_norm == "default"
            and not self.skip_time_act
            and self.output_scale_factor == 1.0
            and isinstance(self.nonlinearity, nn.SiLU)
            and not (self.training and self.dropout.p)
        )


class MemoryEfficientTransformer(Transformer2DModel):
    """The frame around the attention blocks."""

    def forward(self, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **rest: Any) -> Any:
        """[b, c, h, w] and the prompt [b, words, d] -> ([b, c, h, w],)."""
        unused = all(value is None for name, value in rest.items() if name != "return_dict")
        if _stock() or not unused or rest.get("return_dict", True) or not self.is_input_continuous:
            return super().forward(hidden_states, encoder_hidden_states, **rest)
        size = hidden_states.shape[2:]
        tokens = norm_convolve(hidden_states, self.norm, self.proj_in, False).permute(0, 2, 3, 1).flatten(1, 2)
        for block in self.transformer_blocks:
            tokens = block(tokens, encoder_hidden_states=encoder_hidden_states)
        found = tokens.unflatten(1, size).permute(0, 3, 1, 2)
        if not hidden_states.is_contiguous(memory_format=torch.channels_last):
            found = found.contiguous()
        layer = self.proj_out
        weight = layer.weight if isinstance(layer, nn.Conv2d) else layer.weight[:, :, None, None]
        found = Convolution.apply(found, weight, layer.bias, 1, 0, Precision(found.device))
        return (add(found, hidden_states),)


class MemoryEfficientTransformerBlock(BasicTransformerBlock):
    """Keeps the input of each of its three parts, what attention gives, with `keep_projections` the products before it, and with
    `keep_feed_forward` the feed-forward's first one."""

    attention_kernel: Callable[..., Tensor] = staticmethod(attention_functions.sdpa)
    keep_projections = keep_feed_forward = feed_forward_pieces = True

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """[b, tokens, c], with the prompt as `encoder_hidden_states` -> the same."""
        context = kwargs.get("encoder_hidden_states")
        unused = all(value is None for name, value in kwargs.items() if name != "encoder_hidden_states")
        if _stock() or args or not unused or not self._plain() or (context is not None and context.requires_grad):
            return super().forward(hidden_states, *args, **kwargs)
        own = context if self.only_cross_attention else None
        hidden = self._attend(hidden_states, own, self.norm1, self.attn1)
        if self.attn2 is not None:
            hidden = self._attend(hidden, context, self.norm2, self.attn2)
        first, second = self.ff.net[0].proj, self.ff.net[2]
        norm = self.norm3
        found: Tensor = FeedForward.apply(
            hidden, norm.weight, norm.bias, first.weight, first.bias, second.weight, second.bias, norm.eps,
            self.keep_feed_forward, self.feed_forward_pieces, Precision(hidden.device),
        )  # fmt: skip
        return found

    def _attend(self, x: Tensor, context: Tensor | None, norm: nn.LayerNorm, layer: Attention) -> Tensor:
        out = layer.to_out[0]
        found: Tensor = attention_functions.Attention.apply(
            x, context, norm.weight, norm.bias, layer.to_q.weight, layer.to_k.weight, layer.to_v.weight, out.weight, out.bias,
            norm.eps, layer.heads, self.attention_kernel, self.keep_projections, Precision(x.device),
        )  # fmt: skip
        return found

    def _plain(self) -> bool:
        """Whether it is as in Stable Diffusion 1 and 2."""
        return (
            self.norm_type == "layer_norm"
            and self.pos_embed is None
            and self._chunk_size is None
            and isinstance(self.ff.net[0], GEGLU)
            and not (self.training and self.dropout)
            and all(_plain_attention(one) for one in (self.attn1, self.attn2) if one is not None)
        )


def _plain_attention(layer: Attention) -> bool:
    return (
        layer.to_q.bias is None
        and layer.norm_q is None
        and layer.norm_cross is None
        and layer.group_norm is None
        and layer.spatial_norm is None
        and not layer.residual_connection
        and layer.rescale_output_factor == 1.0
        and abs(layer.scale - (layer.inner_dim // layer.heads) ** -0.5) < 1e-12
    )


class MemoryEfficientConditionEmbedding(ControlNetConditioningEmbedding):
    """Recomputed as a whole, one picture after the other: few operations, on tensors of the picture's own size."""

    def forward(self, conditioning: Tensor) -> Tensor:
        """[b, 3, H, W] -> [b, c, h, w]."""
        if _stock():
            return super().forward(conditioning)
        again = partial(checkpoint, super().forward, use_reentrant=False, preserve_rng_state=False)
        return torch.cat([again(one) for one in conditioning.split(1)])


MEMORY_EFFICIENT: dict[type, type] = {
    nn.Conv2d: MemoryEfficientConv2d,
    ResnetBlock2D: MemoryEfficientResnetBlock,
    Transformer2DModel: MemoryEfficientTransformer,
    BasicTransformerBlock: MemoryEfficientTransformerBlock,
    ControlNetConditioningEmbedding: MemoryEfficientConditionEmbedding,
}
