"""Random draws of an example (timestep, noise, crop, flip), a function of seed, epoch and example alone.

So a batch may be cut into pieces, spread over processes, interrupted and resumed, and each example still meets the same noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

TRAINING, EVALUATION = 0, 1


@dataclass
class Draw:
    """One example's draws.

    Attributes:
        timestep: 0 to the schedule's last.
        noise, posterior: standard normal [c, h, w]; `posterior` places the latents within the VAE's distribution.
        caption: which of the captions; -1: the empty prompt.
        variant: which of the views.
    """

    timestep: int
    noise: torch.Tensor
    posterior: torch.Tensor
    caption: int
    variant: int


def normals(shape: tuple[int, int, int], *keys: int) -> torch.Tensor:
    """Standard normal numbers [2, c, h, w] that depend on the keys alone."""
    state = int(np.random.SeedSequence(list(keys)).generate_state(1, np.uint64)[0])
    return torch.randn((2, *shape), generator=torch.Generator().manual_seed(state % 2**63))


def draw(
    seed: int,
    epoch: int,
    example: int,
    shape: tuple[int, int, int],
    *,
    timesteps: int,
    captions: int,
    variants: int,
    empty_prompts: float,
) -> Draw:
    """The draws of an example in an epoch.

    Args:
        shape: the latents' [c, h, w].
        timesteps, captions, variants: how many there are to choose from, each alike likely; without captions the prompt is empty.
        empty_prompts: the share of examples trained with the empty prompt.
    """
    chance = np.random.default_rng([seed, TRAINING, epoch, example])
    timestep = int(chance.integers(timesteps))
    empty = chance.random() < empty_prompts
    caption = int(chance.integers(captions)) if captions else -1
    variant = int(chance.integers(variants))
    noise, posterior = normals(shape, seed, TRAINING, epoch, example)
    return Draw(timestep, noise, posterior, -1 if empty else caption, variant)


def evaluation_timesteps(seed: int, example: int, bands: list[tuple[int, int]]) -> list[int]:
    """One timestep in each band (first, behind the last) for an evaluation pair, the same at every evaluation."""
    chance = np.random.default_rng([seed, EVALUATION, example])
    return [int(chance.integers(first, behind)) for first, behind in bands]
