"""Optimizers and schedules by name; schedules count optimizer steps."""

from __future__ import annotations

from typing import Any

import torch

from recipes.loop.muon import Muon
from recipes.options import TrainOptions
from tasks.errors import ConfigError


def make_optimizer(groups: list[dict[str, Any]], options: TrainOptions, device: torch.device) -> torch.optim.Optimizer:
    """AdamW over the recipe's parameter groups, fused on CPU and CUDA, or bitsandbytes' 8-bit one."""
    settings: dict[str, Any] = {
        "lr": options.learning_rate,
        "betas": (options.adam_beta1, options.adam_beta2),
        "eps": options.adam_epsilon,
        "weight_decay": options.weight_decay,
    }
    if options.optimizer == "adamw-8bit":
        try:
            import bitsandbytes
        except (ImportError, RuntimeError) as error:
            raise ConfigError(
                f"--optimizer adamw-8bit needs bitsandbytes: pip install 'modeltool[bnb]' ({error})"
            ) from None
        optimizer: torch.optim.Optimizer = bitsandbytes.optim.AdamW8bit(groups, **settings)
        return optimizer
    fused = device.type in {"cpu", "cuda"}
    if options.optimizer == "muon":
        return MuonWithAdamW(groups, settings, fused)
    return torch.optim.AdamW(groups, fused=fused, **settings)


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon for the groups marked `matrices`, AdamW for the rest, as one optimizer with one state.

    Muon's step is scaled to AdamW's size (`match_rms_adamw`, Liu et al. 2025), so that one learning rate serves both.
    """

    def __init__(self, groups: list[dict[str, Any]], settings: dict[str, Any], fused: bool) -> None:
        decay = {"lr": settings["lr"], "weight_decay": settings["weight_decay"]}
        matrices = [{**group} for group in groups if group.get("matrices")]
        rest = [{**group} for group in groups if not group.get("matrices")]
        self.parts: list[torch.optim.Optimizer] = []
        if matrices:
            self.parts.append(Muon(matrices, adjust_lr_fn="match_rms_adamw", **decay))
        if rest:
            self.parts.append(torch.optim.AdamW(rest, fused=fused, **settings))
        # Some schedules ask the optimizer, not its groups, for the rate.
        super().__init__([group for part in self.parts for group in part.param_groups], {"lr": settings["lr"]})
        self._share()

    def _share(self) -> None:
        """The parts work on this optimizer's groups and state, so that saving, loading and schedules see one optimizer."""
        start = 0
        for part in self.parts:
            end = start + len(part.param_groups)
            part.param_groups, part.state = self.param_groups[start:end], self.state
            start = end

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step of each part."""
        for part in self.parts:
            part.step()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch's; the parts follow."""
        super().load_state_dict(state_dict)
        self._share()


def make_scheduler(
    optimizer: torch.optim.Optimizer, options: TrainOptions, total: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """transformers' schedule of that name over `total` optimizer steps, warm-up included."""
    from transformers import get_scheduler

    name = "constant_with_warmup" if options.lr_scheduler == "constant" else options.lr_scheduler
    warmup = options.warmup_steps if options.warmup_steps is not None else round(options.warmup_ratio * total)
    training = None if name == "constant_with_warmup" else total
    shape = {
        "cosine_with_restarts": {"num_cycles": options.lr_num_cycles},
        "polynomial": {"power": options.lr_power},
    }.get(name, {})
    scheduler: torch.optim.lr_scheduler.LRScheduler = get_scheduler(
        name, optimizer, num_warmup_steps=warmup, num_training_steps=training, scheduler_specific_kwargs=shape
    )
    return scheduler
