"""What the processes of a run tell each other; nothing where there is one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object

from recipes.checkpoint import Content
from recipes.shards import Shards
from recipes.work import Evaluator


def any_of(accelerator: Accelerator, *mine: bool) -> list[bool]:
    """For each question, whether any process says yes."""
    if accelerator.num_processes == 1:
        return list(mine)
    flags = torch.tensor([int(flag) for flag in mine], device=accelerator.device)
    return [bool(flag) for flag in accelerator.reduce(flags, reduction="sum").tolist()]


def share_first(accelerator: Accelerator, tensors: list[torch.Tensor]) -> None:
    """Gives all processes the first one's values, in place."""
    if accelerator.num_processes > 1:
        for value in tensors:
            dist.broadcast(value, 0)


def evaluator(
    accelerator: Accelerator,
    batch_size: int,
    check: Callable[[], None],
    progress: Callable[[int], None] = lambda count: None,
    step: int | None = None,
) -> Evaluator:
    """What an evaluation over all processes works with; `check`, `progress` and `step` as `Evaluator` has them."""
    return Evaluator(
        accelerator.process_index,
        accelerator.num_processes,
        accelerator.device,
        batch_size,
        check,
        gather_object,
        accelerator.autocast,
        progress,
        step,
    )


def share(accelerator: Accelerator, content: Content | None, shards: Shards | None = None) -> Content | None:
    """A checkpoint that the main process has read, on all: the other machines need not see its disk.

    Args:
        shards: where the model is in shards, each process keeps its own pieces.
    """
    if accelerator.num_processes == 1:
        return content
    outline: list[Any] = [
        None
        if content is None
        else (_shapes(content.weights), _shapes(content.optimizer), content.scalars, content.state)
    ]
    broadcast_object_list(outline)
    if outline[0] is None:
        return None
    weights, optimizer, scalars, state = outline[0]
    return Content(
        _send(accelerator, weights, content.weights if content else {}, shards.weight if shards else _on_host),
        _send(accelerator, optimizer, content.optimizer if content else {}, shards.state if shards else _on_host),
        scalars,
        state,
    )


def _shapes(tensors: dict[str, torch.Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}


def _on_host(name: str, tensor: torch.Tensor) -> torch.Tensor:
    return tensor.cpu()


def _send(
    accelerator: Accelerator,
    shapes: dict[str, tuple[torch.Size, torch.dtype]],
    mine: dict[str, torch.Tensor],
    keep: Callable[[str, torch.Tensor], torch.Tensor],
) -> dict[str, torch.Tensor]:
    found = {}
    for name, (shape, dtype) in shapes.items():
        tensor = mine[name] if mine else torch.empty(shape, dtype=dtype)
        moved = tensor.to(accelerator.device).contiguous()
        dist.broadcast(moved, 0)
        found[name] = keep(name, moved)
    return found
