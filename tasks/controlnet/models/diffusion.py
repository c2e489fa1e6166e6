"""The denoising objective of Stable Diffusion 1 and 2 under a ControlNet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

EPSILON = "epsilon"


@dataclass
class Diffusion:
    """The training schedule of a base model.

    Attributes:
        alphas_cumprod: float32 [timesteps], on any device.
        prediction_type: `epsilon` or `v_prediction`.
        scaling_factor: what latents are multiplied by before noise is added.
    """

    alphas_cumprod: torch.Tensor
    prediction_type: str
    scaling_factor: float

    @classmethod
    def of(cls, scheduler: Any, scaling_factor: float) -> Diffusion:
        """From the base's own `DDPMScheduler`."""
        return cls(scheduler.alphas_cumprod.clone(), scheduler.config.prediction_type, scaling_factor)

    def to(self, device: torch.device) -> Diffusion:
        """The same with its table on the device."""
        self.alphas_cumprod = self.alphas_cumprod.to(device)
        return self

    @property
    def timesteps(self) -> int:
        """How many there are, 1,000 in all published ones."""
        return len(self.alphas_cumprod)

    def latents(self, mean: torch.Tensor, std: torch.Tensor, posterior: torch.Tensor) -> torch.Tensor:
        """A draw from the VAE's distribution, scaled: [b, c, h, w]."""
        return (mean + std * posterior) * self.scaling_factor

    def noisy(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """Latents at their timesteps (Ho et al. 2020, eq. 4), [b, c, h, w]."""
        signal, spread = self._shares(timesteps, latents.dtype)
        return signal * latents + spread * noise

    def target(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """What the network is to give: the noise, or the velocity (Salimans & Ho 2022)."""
        if self.prediction_type == EPSILON:
            return noise
        signal, spread = self._shares(timesteps, latents.dtype)
        return signal * noise - spread * latents

    def weights(self, timesteps: torch.Tensor, snr_gamma: float | None) -> torch.Tensor:
        """The weight of each example's loss [b]: 1, or min-SNR's (Hang et al. 2023) for what the network predicts."""
        alphas = self.alphas_cumprod[timesteps].float()
        if snr_gamma is None:
            return torch.ones_like(alphas)
        snr = alphas / (1 - alphas)
        clipped = snr.clamp(max=snr_gamma)
        # With zero terminal SNR the noise says nothing of the picture: epsilon's weight there is 1, the limit.
        return torch.where(snr > 0, clipped / snr, 1.0) if self.prediction_type == EPSILON else clipped / (snr + 1)

    def _shares(self, timesteps: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Of signal and of noise [b, 1, 1, 1]; as `DDPMScheduler.add_noise` computes them."""
        alphas = self.alphas_cumprod.to(dtype)[timesteps]
        return (alphas**0.5)[:, None, None, None], ((1 - alphas) ** 0.5)[:, None, None, None]


def predict(
    unet: Any,
    controlnet: Any,
    noisy: torch.Tensor,
    timesteps: torch.Tensor,
    hidden: torch.Tensor,
    condition: torch.Tensor | None,
    tokens: torch.Tensor | None = None,
) -> torch.Tensor:
    """The base's prediction under the ControlNet's residuals, [b, c, h, w].

    Args:
        unet: frozen, in any precision; inputs are cast to it.
        controlnet: None for the base alone.
        hidden: the text encoder's output [b, tokens, d].
        condition: float [b, 3, H, W] in 0..1.
        tokens: int64 [b], how many of the hidden states are each example's own; None: all.
    """
    if tokens is not None:
        # Prompts of unlike lengths apart: cross attention knows no padding, and a short one is to meet what it meets alone.
        groups = [(tokens == length).nonzero()[:, 0] for length in tokens.unique()]
        apart = [
            predict(
                unet,
                controlnet,
                noisy[rows],
                timesteps[rows],
                hidden[rows, : int(tokens[rows[0]])],
                None if condition is None else condition[rows],
            )
            for rows in groups
        ]
        return torch.cat(apart)[torch.cat(groups).argsort()]
    dtype = unet.dtype
    extra: dict[str, Any] = {}
    if controlnet is not None:
        down, mid = controlnet(
            noisy,
            timesteps,
            encoder_hidden_states=hidden,
            controlnet_cond=condition,
            return_dict=False,
        )
        extra = {
            "down_block_additional_residuals": [part.to(dtype) for part in down],
            "mid_block_additional_residual": mid.to(dtype),
        }
    found: torch.Tensor = unet(
        noisy.to(dtype), timesteps, encoder_hidden_states=hidden.to(dtype), return_dict=False, **extra
    )[0]
    return found


def losses(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The mean squared error of each example, float32 [b]."""
    return (prediction.float() - target.float()).square().mean(dim=(1, 2, 3))


def as_condition(pixels: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """uint8 [b, 3, H, W] as the ControlNet takes it: 0..1."""
    return pixels.to(dtype) / 255
