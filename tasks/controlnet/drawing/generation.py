"""Pictures drawn under a ControlNet by diffusers' own pipeline, from modules that are in memory already.

Nothing is read from disk, so that a training run draws between two steps with the very modules that it trains.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from tasks.controlnet.geometry import Frame, pixels, view
from tasks.deferred import SCIPY, deferred
from tasks.errors import ConfigError

MULTIPLE = 8
SCHEDULERS = {
    "unipc": "UniPCMultistepScheduler",
    "ddim": "DDIMScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler-ancestral": "EulerAncestralDiscreteScheduler",
    "dpm++": "DPMSolverMultistepScheduler",
    "pndm": "PNDMScheduler",
}


def nothing(*_: Any) -> None:
    """Where nobody wants to hear."""


class Decoder(nn.Module):
    """The half of a VAE that makes pictures; its encoder may then leave memory."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.post_quant_conv, self.decoder = vae.post_quant_conv, vae.decoder
        self.config = vae.config
        self.requires_grad_(False)

    @property
    def factor(self) -> int:
        """Pixels a latent."""
        return int(2 ** (len(self.config.block_out_channels) - 1))

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """Scaled latents [b, c, h, w] as pixels [b, 3, H, W], about -1 to 1."""
        dtype = next(self.decoder.parameters()).dtype
        unscaled = (latents / self.config.scaling_factor).to(dtype)
        found: torch.Tensor = self.decoder(unscaled if self.post_quant_conv is None else self.post_quant_conv(unscaled))
        return found

    def pictures(self, latents: torch.Tensor) -> list[Image.Image]:
        """The same as RGB pictures, decoded one by one: the decoder is what takes the most memory."""
        return [as_picture(self(latents[at : at + 1])[0]) for at in range(len(latents))]


def as_picture(decoded: torch.Tensor) -> Image.Image:
    """[3, H, W] in -1..1 as an RGB picture; what is no number is black."""
    levels = (decoded.float() / 2 + 0.5).nan_to_num(0.0).clamp(0, 1).permute(1, 2, 0).cpu().numpy()
    return Image.fromarray((levels * 255).round().astype(np.uint8))


def make_scheduler(name: str, config: dict[str, Any], prediction_type: str) -> Any:
    """A sampler of `SCHEDULERS` for a base's training schedule.

    Args:
        config: the base's own scheduler's, of whatever class.
    """
    import diffusers

    # Latents are no pixels: cutting them to -1..1, the default of some of these classes, spoils the picture.
    given = {**config, "prediction_type": prediction_type, "clip_sample": False}
    if name == "pndm":
        given["skip_prk_steps"] = True
    with deferred(*SCIPY):
        return getattr(diffusers, SCHEDULERS[name]).from_config(given)


def check_steps(base: Any, steps: int, flag: str = "--steps") -> None:
    """Raises where a base can't be sampled in so many steps.

    Raises:
        ConfigError: says how many it can.
    """
    most = int(base.scheduler_config.get("num_train_timesteps", 1000))
    if steps > most:
        raise ConfigError(f"{flag} {steps:,}: the base has {most:,} timesteps; take no more steps than that")


def frame_for(size: tuple[int, int], resolution: int | None = None) -> Frame:
    """A frame of a condition's own shape, its sides multiples of 8.

    Args:
        size: (width, height).
        resolution: the shorter side; None: as it is.
    """
    shorter = min(size)
    scale = 1.0 if resolution is None else resolution / shorter
    width, height = (max(MULTIPLE, int(side * scale + 1e-6) // MULTIPLE * MULTIPLE) for side in size)
    return Frame(width, height)


def fit(image: Image.Image, frame: Frame) -> Image.Image:
    """A picture resized to cover the frame, its middle cut out."""
    return Image.fromarray(pixels(image, view(image.size, frame)))


def picture_seed(seed: int, pair: int, picture: int) -> int:
    """The seed of one picture, which depends on nothing but these."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{pair}/{picture}".encode(), digest_size=7).digest())


@dataclass
class _Item:
    """One picture to be drawn."""

    pair: int
    picture: int
    condition: np.ndarray
    seed: int


class Painter:
    """Draws with the modules handed over and leaves them as they were.

    Args:
        base: has `scheduler_config` and `prediction_type`.
        unet, controlnet: plain modules, on the device, each in any precision.
        vae: the base's, or its `Decoder`; on any device, it is on `device` only while it decodes.
        scheduler: a name of `SCHEDULERS`.
        autocast: -> the context that the networks run in.
        batch_size: pictures at once; it changes a picture by rounding alone.
    """

    def __init__(
        self,
        base: Any,
        unet: Any,
        controlnet: Any,
        vae: Any,
        device: torch.device,
        scheduler: str = "unipc",
        *,
        autocast: Callable[[], Any] = contextlib.nullcontext,
        batch_size: int = 4,
    ) -> None:
        self.base, self.unet, self.controlnet = base, unet, controlnet
        self.decoder = vae if isinstance(vae, Decoder) else Decoder(vae)
        self.device, self.scheduler = device, scheduler
        self.autocast, self.batch_size = autocast, batch_size

    def draw(
        self,
        conditions: Sequence[Image.Image],
        hidden: torch.Tensor,
        empty: torch.Tensor,
        *,
        steps: int,
        guidance: float,
        seed: int = 0,
        n: int = 1,
        scale: float = 1.0,
        check: Callable[[], None] = nothing,
        done: Callable[[int], None] = nothing,
        seeds: Sequence[Sequence[int]] | None = None,
        numbers: Sequence[int] | None = None,
    ) -> list[list[Image.Image]]:
        """`n` pictures for each condition, of the condition's size.

        Args:
            conditions: k RGB pictures; sides that are no multiples of 8 are cut.
            hidden: the prompts' hidden states [k, tokens, d].
            empty: [1, tokens, d] or [k, tokens, d], of the empty or the negative prompt.
            steps: of the sampler.
            guidance: classifier-free; up to 1 there is no second pass without the prompt.
            scale: how much the condition counts.
            check: called between denoising steps; what it raises ends the drawing.
            done: hears after each denoising step how many pictures took it.
            seeds: of each picture, k times n, in place of those from (seed, pair, picture).
            numbers: each condition's number for its seeds; 0, 1, ... by default.

        Raises:
            ConfigError: more steps than the base has.
        """
        check_steps(self.base, steps)
        numbers = list(range(len(conditions))) if numbers is None else numbers
        fitted = [fit(image, frame_for(image.size)) for image in conditions]
        items = [
            _Item(
                pair,
                picture,
                np.asarray(fitted[pair]),
                picture_seed(seed, numbers[pair], picture) if seeds is None else seeds[pair][picture],
            )
            for pair in range(len(conditions))
            for picture in range(n)
        ]
        found: list[list[Image.Image]] = [[] for _ in conditions]
        # Not in inference mode, should the caller be: the decoder's weights move, and are to stay ordinary tensors.
        with self._at_rest(), torch.inference_mode(False), torch.no_grad():
            for batch in _alike(items, self.batch_size):
                rows = [item.pair for item in batch]
                unconditional = empty[rows] if len(empty) == len(conditions) else empty.expand(len(rows), -1, -1)
                latents = self._denoise(batch, hidden[rows], unconditional, steps, guidance, scale, check, done)
                check()
                for item, picture in zip(batch, self._decode(latents), strict=True):
                    found[item.pair].append(picture)
        return found

    def _denoise(
        self,
        batch: list[_Item],
        hidden: torch.Tensor,
        empty: torch.Tensor,
        steps: int,
        guidance: float,
        scale: float,
        check: Callable[[], None],
        done: Callable[[int], None],
    ) -> torch.Tensor:
        """Scaled latents float32 [b, c, h, w]."""
        height, width = batch[0].condition.shape[:2]
        pipeline = self._pipeline()
        # On the CPU, so that every device draws the same noise.
        generators = [torch.Generator().manual_seed(item.seed) for item in batch]
        shape = (self.unet.config.in_channels, height // self.decoder.factor, width // self.decoder.factor)
        noise = torch.stack([torch.randn(shape, generator=generator) for generator in generators])
        condition = torch.from_numpy(np.stack([item.condition for item in batch])).permute(0, 3, 1, 2).float() / 255

        def after_step(_pipeline: Any, _step: int, _timestep: Any, _values: dict[str, Any]) -> dict[str, Any]:
            done(len(batch))
            check()
            return {}

        with self.autocast():
            latents: torch.Tensor = pipeline(
                image=condition,
                height=height,
                width=width,
                prompt_embeds=hidden.to(self.device, torch.float32),
                negative_prompt_embeds=empty.to(self.device, torch.float32) if guidance > 1 else None,
                num_inference_steps=steps,
                guidance_scale=guidance,
                controlnet_conditioning_scale=float(scale),
                generator=generators,
                latents=noise.to(self.device),
                output_type="latent",
                callback_on_step_end=after_step,
                callback_on_step_end_tensor_inputs=["latents"],
            ).images
        return latents

    def _decode(self, latents: torch.Tensor) -> list[Image.Image]:
        home = next(self.decoder.parameters()).device
        try:
            with self.autocast():
                return self.decoder.to(self.device).pictures(latents)
        finally:
            self.decoder.to(home)

    def _pipeline(self) -> Any:
        from diffusers import StableDiffusionControlNetPipeline

        scheduler = make_scheduler(self.scheduler, self.base.scheduler_config, self.base.prediction_type)
        pipeline = StableDiffusionControlNetPipeline(
            vae=_Vae(self.decoder.config),
            text_encoder=None,
            tokenizer=None,
            unet=_Unet(self.unet),
            controlnet=self.controlnet,
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    @contextlib.contextmanager
    def _at_rest(self) -> Iterator[None]:
        """Evaluation mode, and no compiling for shapes that come up here alone."""
        modules = [part for net in (self.unet, self.controlnet, self.decoder) for part in net.modules()]
        training = [part for part in modules if part.training]
        compiled = any(getattr(part, "_compiled_call_impl", None) is not None for part in modules)
        for part in training:
            part.training = False
        try:
            with torch.compiler.set_stance("force_eager") if compiled else contextlib.nullcontext():
                yield
        finally:
            for part in training:
                part.training = True


@dataclass
class _Vae:
    """What the pipeline has to know of a VAE that it doesn't call."""

    config: Any


class _Unet:
    """The base for the pipeline: latents stay in float32 between the steps, whatever the base computes in."""

    def __init__(self, unet: Any) -> None:
        self.unet, self.config, self.dtype = unet, unet.config, torch.float32

    def __call__(self, sample: torch.Tensor, timestep: torch.Tensor, **given: Any) -> tuple[torch.Tensor]:
        dtype = self.unet.dtype
        given["encoder_hidden_states"] = given["encoder_hidden_states"].to(dtype)
        given["down_block_additional_residuals"] = [part.to(dtype) for part in given["down_block_additional_residuals"]]
        given["mid_block_additional_residual"] = given["mid_block_additional_residual"].to(dtype)
        return (self.unet(sample.to(dtype), timestep, **given)[0].float(),)


def _alike(items: list[_Item], size: int) -> Iterator[list[_Item]]:
    """Batches of pictures of one size, in order of the sizes' first appearance."""
    groups: dict[tuple[int, ...], list[_Item]] = {}
    for item in items:
        groups.setdefault(item.condition.shape, []).append(item)
    for group in groups.values():
        for start in range(0, len(group), size):
            yield group[start : start + size]
