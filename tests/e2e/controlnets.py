"""Small Stable Diffusions and pairs on the disk for the runs of the ControlNet recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from untrained import random_base

from tasks.controlnet import draws
from tasks.controlnet.models import pretrained
from tasks.controlnet.sample import sample

RESOLUTION = 32


def base(folder: Path, **changes: Any) -> Path:
    """An untrained Stable Diffusion with pictures of four times its latents' size."""
    return random_base(folder, **{"vae_factor": 4, **changes})


def pairs(folder: Path, train: int = 24, validation: int = 8) -> Path:
    """Circles in files, in fill50k's form."""
    sample.write_sample(folder, seed=3, train=train, validation=validation, size=RESOLUTION)
    return folder


def reference_losses(model: Path, examples: Any, steps: int, batch: int, rate: float, seed: int = 0) -> list[float]:
    """Losses of training as a straight line over diffusers' own parts, without a line of ours but what chance gives.

    Args:
        examples: the run's `PairBatches`, asked for the order and the pictures alone.
    """
    from diffusers import AutoencoderKL, ControlNetModel, DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    vae = AutoencoderKL.from_pretrained(model, subfolder="vae")
    unet = UNet2DConditionModel.from_pretrained(model, subfolder="unet")
    text = CLIPTextModel.from_pretrained(model, subfolder="text_encoder")
    tokenizer = CLIPTokenizer.from_pretrained(model, subfolder="tokenizer")
    scheduler = DDPMScheduler.from_pretrained(model, subfolder="scheduler")
    torch.manual_seed(seed)
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    net = ControlNetModel.from_unet(
        unet, conditioning_embedding_out_channels=pretrained.embedding_channels(factor)
    ).train()
    for part in (vae, unet, text):
        part.requires_grad_(False)
    decayed = [one for one in net.parameters() if one.ndim > 1]
    rest = [one for one in net.parameters() if one.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}], lr=rate
    )
    found, epoch, plan = [], 0, examples.plan(batch, 0)
    for _ in range(steps):
        if not plan:
            epoch += 1
            plan = examples.plan(batch, epoch)
        numbers = plan.pop(0)
        images, conditions, captions, noise, posterior, times = [], [], [], [], [], []
        for number in map(int, numbers):
            row, given = int(examples.pairs.rows[number]), examples.pairs.captions[number]
            size = RESOLUTION // factor
            drawn = draws.draw(
                seed, epoch, number, (4, size, size), timesteps=1000, captions=len(given), variants=1, empty_prompts=0
            )
            images.append(np.asarray(examples.pairs.images.load(row)))
            conditions.append(np.asarray(examples.pairs.conditions.load(row)))
            captions.append(given[drawn.caption])
            noise.append(drawn.noise)
            posterior.append(drawn.posterior)
            times.append(drawn.timestep)
        pixels = torch.tensor(np.stack(images)).permute(0, 3, 1, 2) / 127.5 - 1
        condition = torch.tensor(np.stack(conditions)).permute(0, 3, 1, 2) / 255.0
        ids = tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
        timesteps = torch.tensor(times)
        with torch.no_grad():
            latent = vae.encode(pixels).latent_dist
            latents = (latent.mean + latent.std * torch.stack(posterior)) * vae.config.scaling_factor
            hidden = text(ids)[0]
        noisy = scheduler.add_noise(latents, torch.stack(noise), timesteps)
        down, mid = net(noisy, timesteps, encoder_hidden_states=hidden, controlnet_cond=condition, return_dict=False)
        prediction = unet(
            noisy,
            timesteps,
            encoder_hidden_states=hidden,
            down_block_additional_residuals=down,
            mid_block_additional_residual=mid,
        ).sample
        if scheduler.config.prediction_type == "epsilon":
            target = torch.stack(noise)
        else:
            target = scheduler.get_velocity(latents, torch.stack(noise), timesteps)
        loss = torch.nn.functional.mse_loss(prediction, target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        found.append(float(loss.detach()))
    return found
