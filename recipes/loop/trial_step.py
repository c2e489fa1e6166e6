"""A trial training step: forward and backward of a batch, without the optimizer's step."""

from __future__ import annotations

import numpy as np
import torch
from accelerate import Accelerator

from recipes.distributed.fsdp import ShardedModel
from recipes.loop.loader import micro_batches
from recipes.process.memory import to_device
from recipes.work import Batch, Work


class TrialStep:
    """Forward and backward passes of this process over its share of a batch.

    Args:
        model: as the accelerator prepared it. It is called unwrapped: no exchange between processes, so that one that runs out of
            memory hangs nobody; in shards, all must call together.
    """

    def __init__(
        self, work: Work, model: torch.nn.Module, accelerator: Accelerator, shards: ShardedModel | None
    ) -> None:
        self.work, self.accelerator, self.shards = work, accelerator, shards
        self.model = accelerator.unwrap_model(model, keep_torch_compile=False)
        self.device = accelerator.device

    def mine(self, batch: np.ndarray, accumulation: int) -> list[np.ndarray]:
        """The example numbers of this process's micro-batches."""
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        return [
            numbers for numbers, _ in micro_batches(batch, rank, world, accumulation, alike=self.shards is not None)
        ]

    def lay_gradients(self, accumulation: int) -> None:
        """As a step finds them: none before its only micro-batch, those of the earlier ones before the last of several."""
        for parameter in self.model.parameters():
            if accumulation == 1:
                parameter.grad = None
            elif parameter.requires_grad and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)

    def load(self, numbers: np.ndarray) -> Batch:
        """The examples' tensors, on the CPU."""
        return self.work.collate(numbers, 0)

    def through(self, loaded: Batch, count: int) -> None:
        """Forward and backward, the sum of the losses over `count`."""
        batch = to_device(loaded, self.device)
        with self.accelerator.autocast():
            total, _ = self.work.training_step(self.model, batch)
        (total.float() / count).backward()

    def finish(self) -> None:
        """Waits for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
