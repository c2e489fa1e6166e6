"""Do both sides of the ControlNet benchmark compute the same? Writes one JSON object.

    python -m benchmarks.controlnet_checks --inputs FOLDER --pixels 256 --batch-size 4 --output FILE

For each way of gradient checkpointing: the loss and the norm of its gradients of one batch under the same weights, latents, noise
and timesteps, by the script's networks and by those that the tool trains; then the losses of a few training steps of each.
Float32, on the CPU.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from benchmarks import controlnet_peer as peer

STEPS = 2
# Large enough that a step shows in the next one's loss.
LEARNING_RATE = 1e-4


def batch_of(inputs: Path, pixels: int, batch_size: int) -> dict[str, Any]:
    """The first pictures and captions as both sides' loaders give them."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(inputs / "model", subfolder="tokenizer", use_fast=False)
    rows = peer.dataset_of(str(inputs / "data"), tokenizer, pixels)
    return peer.collate([rows[number] for number in range(batch_size)])


def draws(like: torch.Tensor, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise and timesteps of a step, the same for both sides."""
    chance = torch.Generator().manual_seed(step)
    return torch.randn(like.shape, generator=chance), torch.randint(0, 1000, (len(like),), generator=chance)


def by_script(inputs: Path, batch: dict[str, Any], *, checkpointed: bool) -> dict[str, Any]:
    """Losses, the first one's gradient norm, and what the VAE made of the pictures."""
    networks = peer.Networks(str(inputs / "model"), str(inputs / "controlnet"), checkpointed)
    networks.place(torch.device("cpu"), torch.float32)
    torch.manual_seed(0)
    latents = networks.latents(batch["pixel_values"])

    def loss(step: int) -> torch.Tensor:
        noise, timesteps = draws(latents, step)
        return networks.loss(networks.controlnet, latents, noise, timesteps, batch)

    return {**trained(networks.controlnet, loss, fused=False), "latents": latents}


def by_tool(inputs: Path, batch: dict[str, Any], latents: torch.Tensor, *, checkpointed: bool) -> dict[str, Any]:
    """The same of `tool train controlnet`, by its own loading, preparation and loss."""
    from recipes.controlnet.config import Train, with_defaults
    from recipes.controlnet.step import Frozen
    from recipes.controlnet.train import load_nets
    from tasks.controlnet.cache.encoding import encode_prompts
    from tasks.controlnet.models import pretrained
    from tasks.controlnet.models.diffusion import Diffusion

    config = with_defaults(
        Train(
            model=str(inputs / "model"),
            controlnet=str(inputs / "controlnet"),
            gradient_checkpointing=checkpointed,
            mixed_precision="no",
            cpu=True,
        )
    )
    base = pretrained.find_base(config.model, None, None, None)
    diffusion = Diffusion.of(pretrained.load_scheduler(base), base.scaling_factor)
    hidden = encode_prompts(pretrained.load_text_encoder(base, torch.float32), batch["input_ids"])
    unet, controlnet = load_nets(config, base, torch.float32)
    frozen = Frozen(unet, diffusion, torch.device("cpu"))

    def loss(step: int) -> torch.Tensor:
        noise, timesteps = draws(latents, step)
        given = {
            "mean": latents / base.scaling_factor,
            "std": torch.zeros_like(latents),
            "posterior": torch.zeros_like(latents),
            "hidden": hidden,
            "condition": batch["conditioning_pixel_values"] * 255,
            "noise": noise,
            "timesteps": timesteps,
        }
        return frozen.loss(controlnet.train(), given).mean()

    return trained(controlnet, loss, fused=True)


def trained(controlnet: Any, loss: Any, *, fused: bool) -> dict[str, Any]:
    """The loss of each of the first steps, and the norm of the first one's gradients."""
    optimizer = torch.optim.AdamW(controlnet.parameters(), lr=LEARNING_RATE, fused=fused)
    losses, norms = [], []
    for step in range(STEPS):
        value = loss(step)
        value.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(controlnet.parameters(), 1.0)))
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(value.detach()))
    return {"losses": losses, "norm": norms[0]}


def main() -> None:
    """Writes what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=Path, required=True)
    parser.add_argument("--pixels", type=int, required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    batch = batch_of(options.inputs, options.pixels, options.batch_size)
    found: dict[str, Any] = {"operations": json.loads((options.inputs / "operations.json").read_text(encoding="utf-8"))}
    for kind, checkpointed in (("plain", False), ("checkpointed", True)):
        script = by_script(options.inputs, batch, checkpointed=checkpointed)
        ours = by_tool(options.inputs, batch, script["latents"], checkpointed=checkpointed)
        found[kind] = {
            "loss": [script["losses"][0], ours["losses"][0]],
            "norm": [script["norm"], ours["norm"]],
            "steps": list(zip(script["losses"], ours["losses"], strict=True)),
        }
    options.output.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
