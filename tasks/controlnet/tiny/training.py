"""How the base of `--model tiny` learns to draw circles from captions, in about a minute: first the VAE's decoder, then the UNet.

It sees no condition: where the circle is, is left to the ControlNet.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
import torch.nn.functional as F

from tasks.controlnet.cache.encoding import encode_pixels, encode_prompts, tokenize
from tasks.controlnet.cache.store import cache_root
from tasks.controlnet.models.diffusion import Diffusion, losses
from tasks.controlnet.sample import circles
from tasks.controlnet.tiny import pipeline
from tasks.controlnet.tiny.vae import start_linear
from tasks.files import disk_errors, write_folder

# Raised where the same seed would give another model.
VERSION = 2
SIZE = 64
FIRST_SCENE = 1_000_000  # beyond those of the sample
VAE_CHANNELS, UNET_CHANNELS, HIDDEN = (8, 16, 32), (32, 64), 64
VAE_SCENES, VAE_STEPS, VAE_BATCH, VAE_RATE, CROP = 500, 350, 16, 3e-3, 32
SCENES, STEPS, BATCH, RATE = 2500, 700, 16, 2e-3
WARMUP, EMPTY_PROMPTS = 50, 0.1
SAY_SECONDS = 10.0

Say = Callable[[str], None]


def train(seed: int, say: Say) -> pipeline.Parts:
    """The whole base, from the seed alone."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        tokenizer = build_tokenizer()
        parts = pipeline.Parts(
            pipeline.build_vae(VAE_CHANNELS, groups=1),
            pipeline.build_unet(UNET_CHANNELS, HIDDEN, groups=8, fine_attention=False),
            pipeline.build_text_encoder(tokenizer, HIDDEN, layers=1),
            tokenizer,
            pipeline.build_scheduler(),
        )
        chance = torch.Generator().manual_seed(seed)
        _train_decoder(parts.vae, seed, chance, lambda step: say(f"learning to decode pictures · {step}"))
        _train_unet(parts, seed, chance, lambda step: say(f"learning to draw circles · {step}"))
    for part in (parts.vae, parts.unet):
        part.to(memory_format=torch.contiguous_format)  # as it is written
    return parts


def build_tokenizer() -> Any:
    """Knows the words of the sample's captions."""
    return pipeline.build_tokenizer(
        word for name in circles.COLOURS for word in f"{name} circle with background".split()
    )


def _fit(
    model: Any,
    optimizer: torch.optim.Optimizer,
    highest: float,
    loss: Callable[[], torch.Tensor],
    steps: int,
    note: Say,
) -> None:
    """Trains: the learning rate goes up in a few steps, then down along a cosine; `note` hears of it in between."""
    shown = time.monotonic()
    model.train().requires_grad_(True)
    for step in range(steps):
        if time.monotonic() - shown > SAY_SECONDS:
            shown = time.monotonic()
            note(f"step {step} of {steps}")
        rate = highest * min(1.0, (step + 1) / WARMUP) * (0.51 + 0.49 * math.cos(math.pi * step / steps))
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        loss().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval().requires_grad_(False)


def pictures(seed: int, first: int, count: int) -> torch.Tensor:
    """uint8 [count, 3, 64, 64] of scenes that the sample doesn't show."""
    drawn = [np.asarray(circles.scene(seed, FIRST_SCENE + first + number, SIZE).image) for number in range(count)]
    return torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2)


def _train_decoder(vae: Any, seed: int, chance: torch.Generator, note: Say) -> None:
    start_linear(vae)
    vae.to(memory_format=torch.channels_last)
    shown = pictures(seed, 0, VAE_SCENES)
    places = (SIZE - CROP) // 4 + 1
    optimizer = torch.optim.AdamW(vae.decoder.parameters(), weight_decay=0.0, betas=(0.9, 0.99))

    def loss() -> torch.Tensor:
        which = torch.randint(0, len(shown), (VAE_BATCH,), generator=chance)
        top, left = (4 * torch.randint(0, places, (2,), generator=chance)).tolist()
        seen = shown[which, :, top : top + CROP, left : left + CROP]
        mean, std = encode_pixels(vae, seen)
        decoded = vae.decode(mean + std * torch.randn(mean.shape, generator=chance)).sample
        wanted = seen / 127.5 - 1
        return F.l1_loss(decoded, wanted) + F.mse_loss(decoded, wanted)

    _fit(vae.decoder, optimizer, VAE_RATE, loss, VAE_STEPS, note)


def _train_unet(parts: pipeline.Parts, seed: int, chance: torch.Generator, note: Say) -> None:
    unet = parts.unet.to(memory_format=torch.channels_last)
    mean, std = _moments(parts.vae, seed)
    parts.vae.register_to_config(scaling_factor=1.0 / float(mean.std()))
    diffusion = Diffusion.of(parts.scheduler, parts.vae.config.scaling_factor)
    hidden, empty = _prompts(parts, seed)
    optimizer = torch.optim.AdamW(unet.parameters(), weight_decay=0.01, betas=(0.9, 0.99))
    strata = (torch.arange(BATCH) / BATCH)[:, None]

    def loss() -> torch.Tensor:
        which = torch.randint(0, len(mean), (BATCH,), generator=chance)
        latents = diffusion.latents(mean[which], std[which], torch.randn(mean[which].shape, generator=chance))
        noise = torch.randn(latents.shape, generator=chance)
        # One timestep in each part of the schedule, so that batches weigh alike.
        times = (diffusion.timesteps * (strata[:, 0] + torch.rand(BATCH, generator=chance) / BATCH)).long()
        without = torch.rand(BATCH, generator=chance) < EMPTY_PROMPTS
        prompts = torch.where(without[:, None, None], empty, hidden[which])
        noisy = diffusion.noisy(latents, noise, times).contiguous(memory_format=torch.channels_last)
        predicted = unet(noisy, times, encoder_hidden_states=prompts, return_dict=False)[0]
        # Weighted towards much noise, where colours are decided and errors are small.
        weights = diffusion.alphas_cumprod[times] ** -0.5
        return (weights * losses(predicted, diffusion.target(latents, noise, times))).mean()

    _fit(unet, optimizer, RATE, loss, STEPS, note)


def _moments(vae: Any, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of all scenes: two float32 [n, 4, 16, 16]."""
    means, deviations = zip(
        *(encode_pixels(vae, pictures(seed, first, 50)) for first in range(0, SCENES, 50)), strict=True
    )
    return torch.cat(means), torch.cat(deviations)


def _prompts(parts: pipeline.Parts, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states of every scene's caption [n, tokens, d], and of the empty prompt [tokens, d]."""
    captions = [circles.scene(seed, FIRST_SCENE + number, SIZE).caption for number in range(SCENES)]
    distinct = ["", *sorted(set(captions))]
    hidden = encode_prompts(parts.text_encoder, tokenize(parts.tokenizer, distinct))
    number = {caption: row for row, caption in enumerate(distinct)}
    return hidden[torch.tensor([number[caption] for caption in captions])], hidden[0]


def made(
    seed: int = 0,
    *,
    cache_dir: str | Path | None = None,
    say: Say = lambda line: None,
) -> Path:
    """The folder of `--model tiny` for a seed; trained where it is not there yet, by one process while others wait.

    Args:
        say: told how far it is; where it raises, nothing is left.
    """
    versions = f"torch{torch.__version__.partition('+')[0]}-diffusers{diffusers.__version__}"
    folder = cache_root(cache_dir) / "tiny" / f"controlnet-{VERSION}-seed{seed}-{versions}"
    if not folder.is_dir():
        with _alone(folder.with_name(f"{folder.name}.lock"), say):
            if not folder.is_dir():  # another process made it meanwhile
                write_folder(folder, train(seed, say).save)
    return folder


@contextmanager
def _alone(lock: Path, say: Say) -> Iterator[None]:
    """Within it this process holds the lock, which the system takes back when it ends; without locks, all go on at once."""
    import fcntl

    with disk_errors(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = open(lock, "w")  # noqa: SIM115
    with file:
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    say("another process makes it; waiting")
                told = True
                time.sleep(0.5)
            except OSError:
                # Some network disks know no locks; the folder is renamed whole, and the same from any process.
                break
        yield
