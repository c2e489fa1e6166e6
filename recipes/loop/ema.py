"""Exponential moving average of the weights (Polyak & Juditsky 1992), kept in the optimizer's state and so in checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from recipes.process.dtensor import local

NAME = "ema"


class Ema:
    """The average of an optimizer's parameters. Until the first update it is the parameters themselves.

    Args:
        optimizer: the plain one.
        decay: what an update keeps of the average; less in the first steps, where (1 + step) / (10 + step) is less.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, decay: float) -> None:
        self.optimizer, self.decay = optimizer, decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes in the weights after optimizer step `step`, from 1 on."""
        weights: list[torch.Tensor] = []
        averages: list[torch.Tensor] = []
        for parameter in self._parameters():
            state = self.optimizer.state.get(parameter)
            if not state:  # a step that was left out makes no state, and the optimizer must find none
                continue
            if NAME not in state:
                state[NAME] = parameter.detach().clone()
                continue
            weights.append(parameter)
            averages.append(state[NAME])
        if weights:
            torch._foreach_lerp_(averages, weights, 1 - min(self.decay, (1 + step) / (10 + step)))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within it the parameters are the average."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def take(self) -> None:
        """Makes the average the weights for good."""
        for parameter in self._parameters():
            average = self.optimizer.state.get(parameter, {}).get(NAME)
            if average is not None:
                parameter.copy_(average)

    @torch.no_grad()
    def _swap(self) -> None:
        for parameter in self._parameters():
            average = self.optimizer.state.get(parameter, {}).get(NAME)
            if average is None:
                continue
            here, there = local(parameter), local(average)
            if here is not parameter:  # a shard's memory is known to those who gather it
                before = here.clone()
                here.copy_(there)
                there.copy_(before)
            else:
                parameter.data, self.optimizer.state[parameter][NAME] = average, parameter.data

    def _parameters(self) -> Iterator[torch.nn.Parameter]:
        for group in self.optimizer.param_groups:
            yield from group["params"]
