"""Dropout for the CPU from 16-bit random numbers: torch draws a mask with 8 ns an element, this with 1 ns."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from tasks.forecast.fast.pytorch import workspace

_WORDS = 2**15  # 64-bit words at a time: they stay in the cache


class Masks:
    """The dropout masks of a forward. Torch's own generator gives the seed of a faster one, numpy's SFC64, at the first mask.

    A probability is rounded to a multiple of 2**-16, and what is kept is scaled by exactly its chance of being kept.
    """

    def __init__(self, training: bool) -> None:
        self.training = training
        self._words: np.random.SFC64 | None = None

    def draw(self, shape: tuple[int, ...], probability: float) -> tuple[Tensor | None, float]:
        """A float32 mask of 0 and 1 (from `workspace`), and the chance of a 1; no mask where nothing is to be dropped."""
        steps = round(probability * 2**16)
        if not self.training or steps == 0:
            return None, 1.0
        if self._words is None:
            self._words = np.random.SFC64(int(torch.randint(2**63 - 1, ())))
        mask = workspace.take((math.prod(shape),))
        for first in range(0, len(mask), 4 * _WORDS):
            part = mask[first : first + 4 * _WORDS]
            words = self._words.random_raw(-(-len(part) // 4)).view(np.int16)
            part.copy_(torch.from_numpy(words)[: len(part)].ge_(steps - 2**15))
        return mask.view(shape), 1.0 - steps / 2**16
