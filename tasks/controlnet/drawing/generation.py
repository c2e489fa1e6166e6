"""Pictures drawn under a ControlNet by diffusers' own pipeline, from modules that are in memory already.

Nothing is read from disk, so that a training run draws between two steps with the very modules that it trains.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import diffusers
import numpy as np
import torch
from PIL import Image
from torch import nn

from tasks.buckets import alike
from tasks.controlnet.geometry import Frame, pixels, view
from tasks.controlnet.models.pretrained import Base
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
    # Latents are no pixels: cutting them to -1..1, the default of some of these classes, spoils the picture.
    given = {**config, "prediction_type": prediction_type, "clip_sample": False}
    if name == "pndm":
        given["skip_prk_steps"] = True
    with deferred(*SCIPY):
        return getattr(diffusers, SCHEDULERS[name]).from_config(given)


def check_steps(base: Base, steps: int, flag: str = "--steps") -> None:
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
    scale = 1.0 if resolution is None else resolution / min(size)
    return Frame(*(max(MULTIPLE, int(side * scale + 1e-6) // MULTIPLE * MULTIPLE) for side in size))


def fit(image: Image.Image, frame: Frame) -> Image.Image:
    """A picture resized to cover the frame, its middle cut out."""
    return Image.fromarray(pixels(image, view(image.size, frame)))


def of_one_length(hidden: torch.Tensor, empty: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both with as many hidden states [b, tokens, d], as the pipeline wants them: each repeated as a whole, by which the
    attention's result stays what it was."""
    tokens = math.lcm(hidden.shape[1], empty.shape[1])
    return hidden.repeat(1, tokens // hidden.shape[1], 1), empty.repeat(1, tokens // empty.shape[1], 1)


def picture_seed(seed: int, pair: int, picture: int) -> int:
    """The seed of one picture, which depends on nothing but these."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{pair}/{picture}".encode(), digest_size=7).digest())


@dataclass
class Painter:
    """Draws with the modules handed over and leaves them as they were.

    Args:
        unet, controlnet: plain modules, on the device, each in any precision.
        decoder: of the base's VAE; on any device, it is on `device` only while it decodes.
        scheduler: a name of `SCHEDULERS`.
        autocast: -> the context that the networks run in.
        batch_size: pictures at once; it changes a picture by rounding alone.
    """

    base: Base
    unet: Any
    controlnet: Any
    decoder: Decoder
    device: torch.device
    scheduler: str = "unipc"
    autocast: Callable[[], Any] = contextlib.nullcontext
    batch_size: int = 4

    def draw(
        self,
        conditions: Sequence[Image.Image],
        hidden: Sequence[torch.Tensor],
        empty: torch.Tensor,
        *,
        seeds: Sequence[int],
        steps: int,
        guidance: float,
        scale: float = 1.0,
        check: Callable[[], None] = nothing,
        done: Callable[[int], None] = nothing,
    ) -> list[Image.Image]:
        """A picture for each condition, of the condition's size.

        Args:
            conditions: k RGB pictures; sides that are no multiples of 8 are cut.
            hidden: the k prompts' hidden states, each [tokens, d]; of any lengths.
            empty: [1, tokens, d], of the empty or the negative prompt.
            seeds: of the k pictures.
            guidance: classifier-free; up to 1 there is no second pass without the prompt.
            scale: how much the condition counts.
            check: called between denoising steps; what it raises ends the drawing.
            done: called after each denoising step with the number of pictures that took it.

        Raises:
            ConfigError: more steps than the base has.
        """
        check_steps(self.base, steps)
        inputs = [np.asarray(fit(image, frame_for(image.size))) for image in conditions]
        drawn: dict[int, Image.Image] = {}
        # Not in inference mode, should the caller be: the decoder's weights move, and are to stay ordinary tensors.
        with self._at_rest(), torch.inference_mode(False), torch.no_grad():
            for batch in alike(
                range(len(inputs)), lambda number: (inputs[number].shape, len(hidden[number])), self.batch_size
            ):
                prompts, negative = of_one_length(torch.stack([hidden[number] for number in batch]), empty)

                def after_step(*_: Any, count: int = len(batch)) -> dict[str, Any]:
                    done(count)
                    check()
                    return {}

                latents = self._denoise(
                    np.stack([inputs[number] for number in batch]),
                    [seeds[number] for number in batch],
                    prompt_embeds=prompts.to(self.device, torch.float32),
                    negative_prompt_embeds=(
                        negative.expand(len(batch), -1, -1).to(self.device, torch.float32) if guidance > 1 else None
                    ),
                    num_inference_steps=steps,
                    guidance_scale=guidance,
                    controlnet_conditioning_scale=float(scale),
                    callback_on_step_end=after_step,
                )
                check()
                drawn |= zip(batch, self._decode(latents), strict=True)
        return [drawn[number] for number in range(len(inputs))]

    def _denoise(self, pixels: np.ndarray, seeds: list[int], **options: Any) -> torch.Tensor:
        """Scaled latents float32 [b, c, h, w] under conditions uint8 [b, H, W, 3]; `options` are the pipeline's."""
        height, width = pixels.shape[1:3]
        # On the CPU, so that every device draws the same noise.
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        shape = (self.unet.config.in_channels, height // self.decoder.factor, width // self.decoder.factor)
        noise = torch.stack([torch.randn(shape, generator=generator) for generator in generators])
        pipeline = self._pipeline()
        with self.autocast():
            latents: torch.Tensor = pipeline(
                image=torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255,
                height=height,
                width=width,
                generator=generators,
                latents=noise.to(self.device),
                output_type="latent",
                callback_on_step_end_tensor_inputs=["latents"],
                **options,
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
        scheduler = make_scheduler(self.scheduler, self.base.scheduler_config, self.base.prediction_type)
        pipeline = diffusers.StableDiffusionControlNetPipeline(
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
