"""A Stable Diffusion of random weights on the disk, for the tests of ControlNets."""

from __future__ import annotations

from pathlib import Path

import torch

from tasks.controlnet.tiny import pipeline
from tasks.files import write_folder


def random_base(
    folder: str | Path,
    *,
    vae_factor: int = 8,
    prediction_type: str = "epsilon",
    cross_attention_dim: int = 16,
    channels: tuple[int, ...] = (8, 16),
    seed: int = 0,
) -> Path:
    """Writes an untrained Stable Diffusion of a few ten thousand parameters; gives its folder.

    Args:
        vae_factor: a power of two: pixels a latent, each way.
        channels: of the UNet's blocks, multiples of 4.
    """
    words = ["a", "burly", "wood", "circle", "with", "orange", "background"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer = pipeline.build_tokenizer(words, 16)
        parts = pipeline.Parts(
            pipeline.build_vae((4,) * (vae_factor.bit_length() - 1) + (8,), groups=2),
            pipeline.build_unet(channels, cross_attention_dim, groups=4),
            pipeline.build_text_encoder(tokenizer, cross_attention_dim, layers=1),
            tokenizer,
            pipeline.build_scheduler(prediction_type),
        )
    write_folder(folder, parts.save)
    return Path(folder)
