"""A trained ControlNet with the base that it steers, for `tool predict` and `tool eval`."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
import yaml
from huggingface_hub import ModelCard
from PIL import Image

from recipes.controlnet.config import UseOptions, uneven
from recipes.distributed.device import DTYPES, pick_device, resolve_precision, silence
from recipes.process.memory import release
from recipes.runs import folder as run_folder
from recipes.runs.select import choose_model
from recipes.terminal.progress import print_line
from tasks.controlnet.cache.encoding import CUT, encode_captions
from tasks.controlnet.drawing.generation import Decoder, Painter, nothing
from tasks.controlnet.models import pretrained
from tasks.controlnet.models.pretrained import Base
from tasks.controlnet.models.snapshot import Snapshot
from tasks.errors import ConfigError, OutOfMemory, is_out_of_memory
from tasks.weights import model_folder
from tasks.words import counted

RECIPE = "controlnet"
PROMPTS_AT_ONCE = 32


@dataclass
class Opened:
    """The nets on their device, in evaluation mode.

    Attributes:
        name: the ControlNet, as the user gave it.
        config: of the run that it belongs to, empty where it belongs to none.
        dtype: what the nets compute in.
    """

    name: str
    config: dict[str, Any]
    base: Base
    unet: Any
    controlnet: Any
    device: torch.device
    dtype: torch.dtype

    def autocast(self) -> Any:
        """The context that the nets run in."""
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def hidden(self, prompts: Sequence[str], long_captions: str = CUT) -> list[torch.Tensor]:
        """The hidden states [tokens, d] of each prompt on the host; the text encoder is in memory only meanwhile."""
        tokenizer = pretrained.load_tokenizer(self.base)
        encoder = pretrained.load_text_encoder(self.base).to(self.device)
        states = encode_captions(encoder, tokenizer, prompts, long_captions, PROMPTS_AT_ONCE)
        del encoder
        release(self.device)
        return states

    def painter(self, config: UseOptions) -> Painter:
        """Draws with these nets as the options say."""
        return Painter(
            self.base,
            self.unet,
            self.controlnet,
            Decoder(pretrained.load_vae(self.base)).to(self.device),
            self.device,
            config.scheduler,
            autocast=self.autocast,
            batch_size=config.batch_size,
        )


def quiet() -> None:
    """No words or bars of the libraries beside ours."""
    silence()
    transformers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()


def choose(config: UseOptions) -> tuple[str, dict[str, Any]]:
    """The ControlNet that is meant, and the config of the run that it belongs to, if to any.

    Raises:
        ConfigError: none given, and no finished run.
    """
    model, run = choose_model(config.model, config.output_dir, (RECIPE,))
    if run is None:
        above = run_folder.Run(Path(model).expanduser().absolute().parent)
        inside = Path(model).name == "model" and (above.path / "status.json").is_file()
        run = above if inside else None
    return model, run.config() if run is not None else {}


def open_nets(config: UseOptions, model: str, was: dict[str, Any]) -> Opened:
    """Loads UNet and ControlNet; `was` is the config of the ControlNet's run.

    Raises:
        ConfigError: no base is known, it is no Stable Diffusion 1 or 2, or the ControlNet isn't one or isn't for it.
    """
    device = pick_device(config.cpu, config.threads)
    dtype = DTYPES[resolve_precision(config.mixed_precision, gpu=device.type != "cpu")]
    base = find_base(config, model, was)
    controlnet = pretrained.load_controlnet(model, config.token, base, flag="--model")
    unet = pretrained.load_unet(base, dtype)
    return Opened(model, was, base, unet.to(device), controlnet.eval().requires_grad_(False).to(device), device, dtype)


def find_base(config: UseOptions, model: str, was: dict[str, Any]) -> Base:
    """The base that was asked for, else that of the run, else the one that the model card names.

    Revision and variant are the run's where the base is, unless others were asked for.

    Raises:
        ConfigError: none of them is there.
    """
    name = config.base or was.get("model")
    if not name:
        name = base_in_card(model, config.token)
        if name is None:
            pretrained.load_controlnet(model, config.token, flag="--model")  # what is none says so first
            raise ConfigError(
                f"--model {model}: nothing there says which Stable Diffusion it steers; give it: --base ID_OR_FOLDER"
            )
        print_line(f"base      {name}, by the card of {model}")
    same = name == was.get("model")
    try:
        return pretrained.find_base(
            name,
            config.revision or (was.get("revision") if same else None),
            config.token,
            config.variant or (was.get("variant") if same else None),
            int(was.get("seed") or 0),
            cache_dir=was.get("cache_dir"),
            say=print_line,
        )
    except ConfigError as error:  # it speaks of --model, which here is the ControlNet
        raise ConfigError(f"--base {name} can't be used: {error}") from None


def base_in_card(model: str, token: str | None) -> str | None:
    """What the header of a model's card calls its base; None where it has no card, or one that doesn't say."""
    snapshot = Snapshot.of(model_folder(model), None, token)
    if "README.md" not in snapshot.files:
        return None
    try:
        text = (snapshot.fetch(["README.md"]) / "README.md").read_text(encoding="utf-8")
        found = ModelCard(text, ignore_metadata_errors=True).data.to_dict().get("base_model")
    except (OSError, ValueError, yaml.YAMLError):
        return None
    first = found[0] if isinstance(found, list) and found else found
    return first if isinstance(first, str) else None


def paint(
    painter: Painter,
    conditions: list[Image.Image],
    hidden: Sequence[torch.Tensor],
    empty: torch.Tensor,
    config: UseOptions,
    **given: Any,
) -> list[Image.Image]:
    """One picture for each condition, all of one size; fewer at once where memory runs out.

    Args:
        given: further arguments of `Painter.draw`.

    Raises:
        OutOfMemory: not even one picture fits.
    """
    while True:
        try:
            return painter.draw(
                conditions,
                hidden,
                empty,
                steps=config.steps,
                guidance=config.guidance,
                scale=config.conditioning_scale,
                **given,
            )
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        if painter.batch_size == 1:
            width, height = conditions[0].size
            raise OutOfMemory(
                f"out of memory with one picture of {width} x {height}; lower --resolution, or try --mixed-precision bf16, or "
                "--guidance 1"
            )
        painter.batch_size = max(1, min(painter.batch_size, len(conditions)) // 2)
        release(painter.device)
        given["done"] = nothing  # the steps that were lost are counted already
        print_line(f"memory    didn't fit: {counted(painter.batch_size, 'picture')} at once from here on")


def check_resolution(resolution: int | None) -> None:
    """Raises where it is no multiple of 8.

    Raises:
        ConfigError: says the nearest ones.
    """
    for problem in uneven(resolution):
        raise ConfigError(problem)
