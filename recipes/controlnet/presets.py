"""Memory presets (`--memory`): settings for a GPU's size, and the check that a run fits it."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from recipes.controlnet.config import FULL, Train
from recipes.distributed.device import DTYPES
from recipes.options import AUTO
from recipes.terminal.progress import size
from tasks.controlnet.models import footprint
from tasks.errors import ConfigError

# A CUDA context, cuDNN's workspaces and the allocator's gaps: an allowance, not counted.
BESIDES = 1_000_000_000


@dataclasses.dataclass(frozen=True)
class Preset:
    """What it sets, for Stable Diffusion 1.5 at 512 px.

    Attributes:
        pictures: that go through at once; a batch is cut into as many micro-batches as that takes.
        half: whether products are computed in 16 bits.
    """

    pictures: int
    half: bool
    gradient_checkpointing: bool = False
    optimizer: str = "adamw"
    eval_batch_size: int = 4


PRESETS = {
    "8gb": Preset(1, True, True, "adamw-8bit", eval_batch_size=1),
    "12gb": Preset(2, True, True, eval_batch_size=2),
    "16gb": Preset(4, True),
    "24gb": Preset(4, False, eval_batch_size=8),
    "40gb": Preset(16, False, eval_batch_size=16),
}


def apply(config: Train) -> tuple[Train, list[str]]:
    """The config with the preset's settings in the place of defaults, and a line that says which.

    An option that differs from its default was given by the user and stays.
    """
    if config.memory is None:
        return config, []
    preset, changed, kept = PRESETS[config.memory], {}, []
    for name, value in _settings(preset, config).items():
        default = next(field.default for field in dataclasses.fields(Train) if field.name == name)
        if getattr(config, name) != default:
            kept.append(name)
        else:
            changed[name] = value
    said = " · ".join(_said(name, value) for name, value in changed.items())
    lines = [f"{config.memory}: {said or 'nothing left to set'}"]
    if kept:
        lines.append("as given: " + " · ".join(_said(name, getattr(config, name)) for name in kept))
    return dataclasses.replace(config, **changed), lines


def _settings(preset: Preset, config: Train) -> dict[str, Any]:
    """Option -> value; the batch itself stays."""
    found: dict[str, Any] = {
        "mixed_precision": _half() if preset.half else "no",
        "gradient_checkpointing": preset.gradient_checkpointing,
        "optimizer": preset.optimizer,
        "eval_batch_size": preset.eval_batch_size,
        "cache": "disk",
    }
    if config.batch_size != AUTO:
        batch = int(config.batch_size or FULL["batch_size"])
        found["gradient_accumulation_steps"] = max(1, -(-batch // preset.pictures))
    return found


def _half() -> str:
    """bf16, but for GPUs that only have fp16."""
    if torch.cuda.is_available() and not torch.cuda.is_bf16_supported(including_emulation=False):
        return "fp16"
    return "bf16"


def _said(name: str, value: Any) -> str:
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return flag if value else f"--no-{flag[2:]}"
    return f"{flag} {value}"


def estimate_bytes(config: Train, unet_config: dict[str, Any] | None = None) -> int:
    """The most that a step of these settings holds on the card, counted tensor by tensor, plus an allowance for what isn't tensors.

    Args:
        config: with a preset's settings and the recipe's defaults.
        unet_config: the base's; None: Stable Diffusion 1.5's.
    """
    pixels = int(config.resolution or FULL["resolution"])
    batch = 1 if config.batch_size == AUTO else int(config.batch_size or FULL["batch_size"])
    accumulation = config.gradient_accumulation_steps
    counted = footprint.footprint(
        unet_config,
        height=pixels,
        width=pixels,
        batch_size=-(-batch // accumulation),
        accumulated=accumulation > 1,
        gradient_checkpointing=config.gradient_checkpointing,
        precision=DTYPES.get(config.mixed_precision, torch.bfloat16),
        eight_bit=config.optimizer == "adamw-8bit",
    )
    return counted.total + BESIDES


def card_bytes() -> int | None:
    """The GPU's memory; None where there is none."""
    if not torch.cuda.is_available():
        return None
    return int(torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory)


def check(preset: str, needed: int, card: int | None) -> str:
    """A line on whether what is needed fits.

    Args:
        needed: bytes, as `estimate_bytes` gives them.
        card: bytes of the card; None: there is none.

    Raises:
        ConfigError: it doesn't; names the largest preset that is made for less than the card has, where there is one.
    """
    if card is None:
        return "there is no GPU here to check it against"
    if needed <= card:
        return f"about {size(needed)} of the card's {size(card)}"
    smaller = [name for name in PRESETS if int(name[:-2]) * 1_000_000_000 <= card and name != preset]
    advice = f"take --memory {smaller[-1]}" if smaller else "lower --resolution, or take a larger card"
    raise ConfigError(f"--memory {preset}: needs about {size(needed)}, the card has {size(card)}; {advice}")
