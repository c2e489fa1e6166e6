"""Dropout for the CPU from 16-bit random numbers: torch draws a mask with 8 ns an element, this with 1.5 ns."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tasks.forecast.models import workspace

_WORDS = 2**15  # 64-bit words at a time: they stay in the cache


class Masks:
    """The dropout masks of a forward, drawn from torch's own generator.

    A probability is rounded to a multiple of 2**-16, and what is kept is scaled by exactly its chance of being kept.
    """

    def __init__(self, training: bool) -> None:
        self.training = training
        self._words = torch.empty(_WORDS if training else 0, dtype=torch.int64)

    def draw(self, shape: tuple[int, ...], probability: float) -> tuple[Tensor | None, float]:
        """A float32 mask of 0 and 1 (from `workspace`), and the chance of a 1; no mask where nothing is to be dropped."""
        steps = round(probability * 2**16)
        if not self.training or steps == 0:
            return None, 1.0
        mask = workspace.take((math.prod(shape),))
        for first in range(0, len(mask), 4 * _WORDS):
            part = mask[first : first + 4 * _WORDS]
            words = self._words[: -(-len(part) // 4)].random_(-(2**63), None)
            torch.ge(words.view(torch.int16)[: len(part)], steps - 2**15, out=part)
        return mask.view(shape), 1.0 - steps / 2**16

    def __call__(self, x: Tensor, probability: float) -> Tensor:
        """x with some of its elements dropped and the others scaled up."""
        mask, keep = self.draw(tuple(x.shape), probability)
        return x if mask is None else x * mask.mul_(1.0 / keep)
