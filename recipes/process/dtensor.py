"""Tensors of which each process holds a piece (torch's `DTensor`): the piece, the whole, and back. Plain tensors pass through."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypeGuard

import torch
from torch import nn

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def local(tensor: torch.Tensor) -> torch.Tensor:
    """This process's piece, in the memory where the tensor has it."""
    return tensor.to_local() if _is_sharded(tensor) else tensor


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The whole tensor, on the device that the processes talk through; all must ask together."""
    if not _is_sharded(tensor):
        return tensor
    from torch.distributed.tensor import DTensor

    mesh, placements = tensor.device_mesh, tensor.placements
    # A piece that is kept on the host is exchanged on the device.
    here = tensor.to_local().detach().to(mesh.device_type)
    moved = DTensor.from_local(here, mesh, placements, run_check=False, shape=tensor.shape, stride=tensor.stride())
    return moved.full_tensor()


def shard_like(tensor: torch.Tensor, like: torch.Tensor | None) -> torch.Tensor | None:
    """A whole tensor, which every process has, in pieces as `like` is; None where that has another shape or is no such tensor."""
    if like is None or not _is_sharded(like) or like.shape != tensor.shape:
        return None
    from torch.distributed.tensor import distribute_tensor

    cut = distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)
    return cut.to(like.device)


def _is_sharded(tensor: torch.Tensor) -> TypeGuard[DTensor]:
    return hasattr(tensor, "device_mesh")


def statistics_of(model: torch.nn.Module) -> list[torch.Tensor]:
    """The running means of normalisation: what passes change without the optimizer."""
    return [
        value
        for module in model.modules()
        if isinstance(module, torch.nn.modules.batchnorm._NormBase)
        for value in module.buffers(recurse=False)
    ]


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """The model's state by name; of tied tensors the first name alone."""
    found: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, value in model.state_dict(keep_vars=True).items():
        if isinstance(value, torch.Tensor) and id(value) not in seen:
            seen.add(id(value))
            found[name] = value.detach()
    return found


def trained_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """The part of `weights` that training changes: without frozen parameters, and what a quantized one keeps beside itself."""
    frozen = {name for name, value in model.named_parameters(remove_duplicate=False) if not value.requires_grad}
    if not frozen:
        return weights(model)
    known = {name for name, _ in (*model.named_parameters(), *model.named_buffers())}
    return {name: value for name, value in weights(model).items() if name in known - frozen}


def frozen_digest(model: nn.Module) -> str:
    """sha256 of the parameters that are not trained, in the order of their names; "" where all are."""
    frozen = {name: value for name, value in model.named_parameters() if not value.requires_grad}
    digest = hashlib.sha256()
    for name, value in sorted(frozen.items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest() if frozen else ""
