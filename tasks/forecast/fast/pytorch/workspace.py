"""Buffers for the largest intermediate results of a training step, kept from one step to the next.

Memory that the C library has given back to the system comes again page by page, which costs more than what is computed in it.
"""

from __future__ import annotations

import math
from collections import defaultdict

import torch
from torch import Tensor

_KEPT = 16  # of each size: what the layers of a common model hold at once
_free: dict[int, list[Tensor]] = defaultdict(list)


def take(shape: tuple[int, ...]) -> Tensor:
    """A float32 tensor on the CPU that holds anything. Not giving it back costs no more than an ordinary one."""
    count = math.prod(shape)
    waiting = _free[count]
    return (waiting.pop() if waiting else torch.empty(count)).view(shape)


def give(tensor: Tensor) -> None:
    """Takes back what `take` gave; nobody may read it any more."""
    waiting = _free[tensor.numel()]
    if len(waiting) < _KEPT:
        waiting.append(tensor.view(-1))


def clear() -> None:
    """Lets go of all buffers, as between two trainings of unlike shapes."""
    _free.clear()
