"""Check of the memory-efficient modules against diffusers' own: forward pass and gradients of a small batch, in float32.

It runs copies of a ControlNet's first block with attention and of its embedding of conditions, in float32 and on the CPU whatever
the run computes in: autocast does the same to both, and rounding in bfloat16 (4e-3) or float16 (5e-4), added up over the block's
layers, would hide a small difference. In float32 rounding leaves them apart by 1e-5; allowed is 1e-3, each tensor as a share of its
largest number.
"""

from __future__ import annotations

import copy
from itertools import product
from typing import Any

import torch
from torch import nn

from tasks.controlnet.memory_efficient import attention
from tasks.controlnet.memory_efficient.prepare import MemoryEfficientTransformerBlock, restore
from tasks.self_check import difference

Tensor = torch.Tensor
BATCH, LATENTS, PIXELS, WORDS = 2, 8, 16, 5
# Of the largest number of all tensors: below it a gradient is what rounding leaves of larger ones.
FLOOR = 1e-3


def keep_if_equal(unet: Any, controlnet: Any, *, gradient_checkpointing: bool) -> str | None:
    """Puts diffusers' own modules back into both networks where the memory-efficient ones give other results.

    Args:
        unet, controlnet: as `prepare` leaves them; their modes, gradients and torch's random state stay.
        gradient_checkpointing: diffusers' own then has to do it.

    Returns:
        A sentence for the reader, or None where the memory-efficient modules stay.
    """
    generator = torch.Generator().manual_seed(0)
    block = next(block for block in controlnet.down_blocks if hasattr(block, "attentions"))
    tested = [_copied(part, generator) for part in (block, controlnet.controlnet_cond_embedding)]
    # Of weights there is one copy.
    library = [restore(copy.deepcopy(part, {id(one): one for one in part.parameters()})) for part in tested]
    pictures = torch.rand(BATCH, controlnet.config.conditioning_channels, PIXELS, PIXELS, generator=generator)
    inputs = [_block_inputs(block, generator), [pictures]]
    expected = _results(library, inputs)
    largest = [float(one.abs().max()) for one in expected]
    scales = [max(one, FLOOR * max(largest)) for one in largest]

    def scaled(tensors: list[Tensor]) -> Tensor:
        return torch.cat([(one / scale).flatten() for one, scale in zip(tensors, scales, strict=True)])

    sentence = difference(
        lambda: scaled(_results(tested, inputs)),
        lambda: scaled(expected),
        what="the memory-efficient forward or backward pass",
        library="diffusers",
    )
    if sentence is not None:
        for network in (unet, controlnet):
            restore(network)
            if gradient_checkpointing:
                network.enable_gradient_checkpointing()
    return sentence


def _copied(part: nn.Module, generator: torch.Generator) -> nn.Module:
    """In float32, with PyTorch's attention; weights that are zero at first get values, or no gradient went through them."""
    from diffusers.models.attention_processor import Attention, AttnProcessor2_0

    found = copy.deepcopy(part).float().cpu().eval()
    for module in found.modules():
        if isinstance(module, Attention):
            module.set_processor(AttnProcessor2_0())
        if isinstance(module, MemoryEfficientTransformerBlock):
            module.attention_kernel = attention.sdpa
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.grad = None
            if not parameter.any():
                parameter.normal_(0, 0.1, generator=generator)
    return found


def _block_inputs(block: Any, generator: torch.Generator) -> list[Tensor]:
    """Hidden states, the time's embedding and the prompt."""
    resnet, prompt = block.resnets[0], block.attentions[0].transformer_blocks[0].attn2.to_k
    sizes = (
        (BATCH, resnet.in_channels, LATENTS, LATENTS),
        (BATCH, resnet.time_emb_proj.in_features),
        (BATCH, WORDS, prompt.in_features),
    )
    return [torch.randn(size, generator=generator) for size in sizes]


def _results(parts: list[nn.Module], inputs: list[list[Tensor]]) -> list[Tensor]:
    """Of both parts, with trained weights and with frozen ones: the last output, and the gradients of inputs but the prompt, and of
    trained weights."""
    results: list[Tensor] = []
    for (part, tensors), trained in product(zip(parts, inputs, strict=True), (True, False)):
        part.requires_grad_(trained)
        wanted = [one.clone().requires_grad_() for one in tensors[:2]]
        with torch.enable_grad():
            out = part(*wanted, *tensors[2:])
            last: Tensor = out[0] if isinstance(out, tuple) else out
            by_last = torch.linspace(-1, 1, last.numel()).view_as(last)
            wanted += [one for one in part.parameters() if one.requires_grad]
            results += [last.detach(), *torch.autograd.grad(last, wanted, by_last)]
    return results
