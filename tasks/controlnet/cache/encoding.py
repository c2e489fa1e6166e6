"""Encoding of pictures and prompts: the VAE's moments and the text encoder's hidden states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

# What is done to captions beyond the text encoder's length: cut, or encoded in pieces.
CUT, CHUNK = "cut", "chunk"
NO_PIECE = -1


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


def tokenize(tokenizer: Any, captions: list[str], long_captions: str = CUT) -> torch.Tensor:
    """Token ids int64 [b, length]: padded to the model's length, and cut to it.

    Args:
        long_captions: with `CHUNK`, and where any caption is longer, all of them in pieces, each with its own start and end token:
            [b, pieces, length], with `NO_PIECE` where a caption has fewer.
    """
    if long_captions == CHUNK:
        # Never by the tokenizer's own padding: it keeps its settings between calls, which come from several threads.
        whole = contents(tokenizer, captions)
        count = max(map(len, starts := [_starts(tokenizer, content) for content in whole]), default=1)
        rows = [_chunked(tokenizer, *given, count) for given in zip(whole, starts, strict=True)]
        return torch.tensor(rows).reshape(len(rows), count, -1).squeeze(1)
    found = tokenizer(
        captions,
        max_length=tokenizer.model_max_length,
        padding="max_length",
        truncation=True,
        return_tensors="pt",
    )
    ids: torch.Tensor = found.input_ids
    return ids


def contents(tokenizer: Any, captions: list[str]) -> list[list[int]]:
    """The ids of whole captions, without start, end and padding."""
    if not captions:
        return []
    found: list[list[int]] = tokenizer(captions, add_special_tokens=False, verbose=False).input_ids
    return found


def pieces(tokenizer: Any, captions: list[str]) -> list[int]:
    """How many times the model's length each caption takes, 1 at least."""
    return [len(_starts(tokenizer, content)) for content in contents(tokenizer, captions)]


def _starts(tokenizer: Any, content: list[int]) -> range:
    return range(0, max(1, len(content)), tokenizer.model_max_length - 2)


def _chunked(tokenizer: Any, content: list[int], starts: range, count: int) -> list[list[int]]:
    length = tokenizer.model_max_length
    rows = [[tokenizer.bos_token_id, *content[at : at + length - 2], tokenizer.eos_token_id] for at in starts]
    rows = [row + [tokenizer.pad_token_id] * (length - len(row)) for row in rows]
    return rows + [[NO_PIECE] * length] * (count - len(rows))


def prompt_lengths(ids: torch.Tensor) -> torch.Tensor:
    """int64 [b]: how many hidden states each row of `tokenize` has."""
    return (ids.reshape(len(ids), -1) != NO_PIECE).sum(dim=1)


@torch.no_grad()
def encode_prompts(text_encoder: Any, ids: torch.Tensor) -> torch.Tensor:
    """Hidden states [b, length, hidden size] after the last norm, in the encoder's precision and on its device.

    Args:
        ids: int64 [b, length] of `tokenize`. No mask: Stable Diffusion was trained to look at the padding too. Of [b, pieces,
            length] each piece is encoded by itself, and their states are joined: [b, pieces * length, hidden size], zeros beyond
            `prompt_lengths`.
    """
    if ids.ndim == 3:
        there = (ids[..., 0] != NO_PIECE).to(text_encoder.device)
        states = encode_prompts(text_encoder, ids.to(text_encoder.device)[there])
        joined = states.new_zeros(*ids.shape, states.shape[-1])
        joined[there] = states
        return joined.flatten(1, 2)
    found: torch.Tensor = text_encoder(ids.to(text_encoder.device)).last_hidden_state
    return found


def encode_captions(
    text_encoder: Any, tokenizer: Any, captions: Sequence[str], long_captions: str = CUT, at_once: int = 32
) -> list[torch.Tensor]:
    """The hidden states of each caption, [tokens, hidden size] on the CPU."""
    found = []
    for start in range(0, len(captions), at_once):
        ids = tokenize(tokenizer, list(captions[start : start + at_once]), long_captions)
        states = encode_prompts(text_encoder, ids).cpu()
        found += [row[:length] for row, length in zip(states, prompt_lengths(ids).tolist(), strict=True)]
    return found
