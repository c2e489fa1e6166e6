"""Broadcast of a checkpoint from the main process, which has read it, to all others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from recipes.checkpoints.format import Content
from recipes.distributed.fsdp import ShardedModel


def share(accelerator: Accelerator, content: Content | None, shards: ShardedModel | None = None) -> Content | None:
    """A checkpoint that the main process has read, on all: the other machines need not see its disk.

    Args:
        shards: where the model is in shards, each process keeps its own pieces.
    """
    if accelerator.num_processes == 1:
        return content
    outline: Any = None
    if content is not None:
        outline = _shapes(content.weights), _shapes(content.optimizer), content.scalars, content.state
    [outline] = broadcast_object_list([outline])
    if outline is None:
        return None
    weights, optimizer, scalars, state = outline
    mine = content or Content({}, {}, {}, {})
    return Content(
        _send(accelerator, weights, mine.weights, shards.weight if shards else _on_host),
        _send(accelerator, optimizer, mine.optimizer, shards.state if shards else _on_host),
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
