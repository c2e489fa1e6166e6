"""Collective operations between the processes of a run; they do nothing where there is one process."""

from __future__ import annotations

import torch
import torch.distributed as dist
from accelerate import Accelerator


def any_of(accelerator: Accelerator, *mine: bool) -> list[bool]:
    """For each question, whether any process says yes."""
    if accelerator.num_processes == 1:
        return list(mine)
    flags = torch.tensor([int(flag) for flag in mine], device=accelerator.device)
    return [bool(flag) for flag in accelerator.reduce(flags, reduction="sum").tolist()]


def broadcast_from_first(accelerator: Accelerator, tensors: list[torch.Tensor]) -> None:
    """Gives all processes the first one's values, in place."""
    if accelerator.num_processes > 1:
        for value in tensors:
            dist.broadcast(value, 0)
