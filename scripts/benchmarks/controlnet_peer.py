"""The peer of the ControlNet benchmark: a step as diffusers' examples/controlnet/train_controlnet.py takes it.

The same components and the same calls in the same order: pictures through resize, crop and scaling whenever they are drawn, VAE
and text encoder in each step, UNet frozen but kept whole in autograd's graph, AdamW of torch's defaults, gradients zeroed in
place as the script's default has it, loss read back for the progress bar. Left out: trackers, checkpoints, validation. In place
of torchvision, which the script needs and these environments lack, PIL and numpy do the same resize (bilinear, shorter side),
centre crop and scaling.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from accelerate import Accelerator
from accelerate.utils import set_seed
from datasets import load_dataset
from diffusers import AutoencoderKL, ControlNetModel, DDPMScheduler, UNet2DConditionModel
from diffusers.optimization import get_scheduler
from PIL import Image
from torch.nn import functional
from tqdm.auto import tqdm
from transformers import AutoTokenizer, CLIPTextModel

Tensor = torch.Tensor


def to_tensor(image: Image.Image, pixels: int) -> Tensor:
    """Shorter side to `pixels`, centre cut out: float32 [3, pixels, pixels] in 0..1."""
    image = image.convert("RGB")
    width, height = image.size
    short = min(width, height)
    image = image.resize((int(pixels * width / short), int(pixels * height / short)), Image.Resampling.BILINEAR)
    left, top = round((image.width - pixels) / 2), round((image.height - pixels) / 2)
    image = image.crop((left, top, left + pixels, top + pixels))
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)


def dataset_of(folder: str, tokenizer: Any, pixels: int) -> Any:
    """What the script's loader draws from: everything is done anew for each row."""

    def transform(rows: dict[str, Any]) -> dict[str, Any]:
        ids = tokenizer(
            rows["text"], max_length=tokenizer.model_max_length, padding="max_length", truncation=True, return_tensors="pt"
        ).input_ids  # fmt: skip
        return {
            "pixel_values": [to_tensor(image, pixels) * 2 - 1 for image in rows["image"]],
            "conditioning_pixel_values": [to_tensor(image, pixels) for image in rows["conditioning_image"]],
            "input_ids": list(ids),
        }

    return load_dataset(folder, split="train").with_transform(transform)


def collate(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """One batch."""
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


class Networks:
    """The script's, loaded as it loads them."""

    def __init__(self, model: str, controlnet: str, gradient_checkpointing: bool = False) -> None:
        self.scheduler = DDPMScheduler.from_pretrained(model, subfolder="scheduler")
        self.text_encoder = CLIPTextModel.from_pretrained(model, subfolder="text_encoder")
        self.vae = AutoencoderKL.from_pretrained(model, subfolder="vae")
        self.unet = UNet2DConditionModel.from_pretrained(model, subfolder="unet")
        self.controlnet = ControlNetModel.from_pretrained(controlnet)
        for frozen in (self.vae, self.unet, self.text_encoder):
            frozen.requires_grad_(False)
        self.controlnet.train()
        if gradient_checkpointing:
            self.controlnet.enable_gradient_checkpointing()

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        """What isn't trained goes to the device in the precision of mixed precision."""
        for frozen in (self.vae, self.unet, self.text_encoder):
            frozen.to(device, dtype=dtype)
        self.dtype = dtype

    def latents(self, pixels: Tensor) -> Tensor:
        """A draw of each picture's latents."""
        return self.vae.encode(pixels.to(self.dtype)).latent_dist.sample() * self.vae.config.scaling_factor

    def loss(
        self, controlnet: Any, latents: Tensor, noise: Tensor, timesteps: Tensor, batch: dict[str, Tensor]
    ) -> Tensor:
        """The denoising loss; `controlnet` as accelerate prepared it."""
        noisy = self.scheduler.add_noise(latents, noise, timesteps)
        hidden = self.text_encoder(batch["input_ids"])[0]
        down, mid = controlnet(
            noisy,
            timesteps,
            encoder_hidden_states=hidden,
            controlnet_cond=batch["conditioning_pixel_values"].to(self.dtype),
            return_dict=False,
        )
        predicted = self.unet(
            noisy,
            timesteps,
            encoder_hidden_states=hidden,
            down_block_additional_residuals=[one.to(self.dtype) for one in down],
            mid_block_additional_residual=mid.to(self.dtype),
        ).sample
        return functional.mse_loss(predicted.float(), noise.float())


def train(options: argparse.Namespace) -> dict[str, Any]:
    """Runs the steps; gives the end of each and its loss."""
    precision = "bf16" if torch.cuda.is_available() and not options.cpu else "no"
    accelerator = Accelerator(mixed_precision=precision, cpu=options.cpu)
    set_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(options.model, subfolder="tokenizer", use_fast=False)
    networks = Networks(options.model, options.controlnet, options.gradient_checkpointing)
    optimizer = torch.optim.AdamW(networks.controlnet.parameters(), lr=options.learning_rate)
    loader = torch.utils.data.DataLoader(
        dataset_of(options.data, tokenizer, options.pixels), shuffle=True, collate_fn=collate, batch_size=options.batch_size
    )  # fmt: skip
    schedule = get_scheduler("constant", optimizer=optimizer, num_warmup_steps=500, num_training_steps=options.steps)
    controlnet, optimizer, loader, schedule = accelerator.prepare(networks.controlnet, optimizer, loader, schedule)
    networks.place(accelerator.device, torch.bfloat16 if precision == "bf16" else torch.float32)
    progress = tqdm(total=options.steps)
    ends: list[float] = []
    losses: list[float] = []
    while len(ends) < options.steps:
        for batch in loader:
            with accelerator.accumulate(controlnet):
                latents = networks.latents(batch["pixel_values"])
                noise = torch.randn_like(latents)
                last = networks.scheduler.config.num_train_timesteps
                timesteps = torch.randint(0, last, (len(latents),), device=latents.device)
                loss = networks.loss(controlnet, latents, noise, timesteps, batch)
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(controlnet.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad(set_to_none=False)
            progress.update(1)
            losses.append(loss.detach().item())
            progress.set_postfix(loss=losses[-1], lr=schedule.get_last_lr()[0])
            ends.append(time.time())
            if len(ends) == options.steps:
                break
    device_bytes = torch.cuda.max_memory_allocated() if accelerator.device.type == "cuda" else 0
    return {"ends": ends, "losses": losses, "device_bytes": device_bytes}


def main() -> None:
    """Trains and writes times and losses; with no steps it only imports."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--data", "--model", "--controlnet", "--report"):
        parser.add_argument(name, required=True)
    for name in ("--pixels", "--batch-size", "--steps"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("--learning-rate", type=float, required=True)
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--cpu", action="store_true")
    options = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    found = train(options) if options.steps else {}
    Path(options.report).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
