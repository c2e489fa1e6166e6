"""Encoding of pictures and prompts: the VAE's moments and the text encoder's hidden states."""

from __future__ import annotations

from typing import Any

import torch


@torch.no_grad()
def encode_pixels(vae: Any, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of the latents, not yet scaled.

    Args:
        vae: an `AutoencoderKL`; works on its device and in its precision.
        pixels: uint8 [b, 3, height, width].

    Returns:
        Two float32 [b, channels, height / factor, width / factor] on the VAE's device.
    """
    values = pixels.to(vae.device).to(torch.float32) / 127.5 - 1
    found = vae.encode(values.to(vae.dtype)).latent_dist
    return found.mean.float(), torch.exp(0.5 * found.logvar.float())


def tokenize(tokenizer: Any, captions: list[str]) -> torch.Tensor:
    """Token ids int64 [b, length]: padded to the model's length, and cut to it."""
    found = tokenizer(
        captions,
        max_length=tokenizer.model_max_length,
        padding="max_length",
        truncation=True,
        return_tensors="pt",
    )
    ids: torch.Tensor = found.input_ids
    return ids


@torch.no_grad()
def encode_prompts(text_encoder: Any, ids: torch.Tensor) -> torch.Tensor:
    """Hidden states [b, length, hidden size] after the last norm, in the encoder's precision and on its device.

    Args:
        ids: int64 [b, length] of `tokenize`. No mask: Stable Diffusion was trained to look at the padding too.
    """
    found: torch.Tensor = text_encoder(ids.to(text_encoder.device)).last_hidden_state
    return found
