"""The frozen parts of Stable Diffusion on their device, and the losses of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from recipes.process.memory import to_device
from recipes.work import Batch, Evaluator
from tasks.controlnet.batches import PairBatches
from tasks.controlnet.cache.encoding import encode_pixels, encode_prompts, prompt_lengths
from tasks.controlnet.models.diffusion import Diffusion, as_condition, losses, predict
from tasks.controlnet.score import gain


@dataclass
class Frozen:
    """What is not trained, on the device.

    Attributes:
        vae, text_encoder: only where batches come with pixels and token ids.
    """

    unet: Any
    diffusion: Diffusion
    device: torch.device
    vae: Any = None
    text_encoder: Any = None
    snr_gamma: float | None = None

    def encoded(self, batch: Batch) -> Batch:
        """The batch with the encoders' output in the place of pixels and ids."""
        if "pixels" not in batch:
            return batch
        mean, std = encode_pixels(self.vae, batch["pixels"])
        ids = batch["ids"]
        tokens = {"tokens": prompt_lengths(ids)} if ids.ndim == 3 else {}
        return {**batch, "mean": mean, "std": std, "hidden": encode_prompts(self.text_encoder, ids), **tokens}

    def loss(self, controlnet: Any, batch: Batch) -> torch.Tensor:
        """The weighted denoising loss of each example, float32 [b]."""
        batch = self.encoded(batch)
        timesteps = batch["timesteps"]
        latents = self.diffusion.latents(batch["mean"].float(), batch["std"].float(), batch["posterior"])
        noisy = self.diffusion.noisy(latents, batch["noise"], timesteps)
        condition = as_condition(batch["condition"], noisy.dtype)
        prediction = predict(self.unet, controlnet, noisy, timesteps, batch["hidden"], condition, batch.get("tokens"))
        found = losses(prediction, self.diffusion.target(latents, batch["noise"], timesteps))
        return found * self.diffusion.weights(timesteps, self.snr_gamma)

    def measure(self, controlnet: Any, batch: Batch) -> np.ndarray:
        """The losses of an evaluation batch on the CPU, by band and kind of condition: float64 [b, bands, 3]."""
        moved = self.encoded(to_device(batch, self.device))
        moved = {**moved, "mean": moved["mean"].float(), "std": moved["std"].float()}
        return gain.measure_batch(self.diffusion, self.unet, controlnet, moved)

    def figures(self, controlnet: Any, batches: PairBatches, evaluator: Evaluator) -> dict[str, Any]:
        """Denoising loss and conditioning gain of a split, as `gain.summarise` gives them."""
        rows: list[tuple[int, list[list[float]]]] = []
        for numbers in evaluator.mine(batches.in_order(evaluator.batch_size)):
            with evaluator.autocast():
                measured = self.measure(controlnet, batches.collate_evaluation(numbers))
            evaluator.progress(len(numbers))
            rows += zip(numbers.tolist(), measured.tolist(), strict=True)
        losses_of = dict(evaluator.gather(rows))
        return gain.summarise(np.array([losses_of[number] for number in range(len(batches))]), batches.bands)
