"""One optimizer step: forward and backward over a batch's micro-batches, clipping, and the optimizer."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer

from recipes.distributed import collectives
from recipes.distributed.fsdp import ShardedModel
from recipes.loop.loader import seed_everything
from recipes.options import TrainOptions
from recipes.process.dtensor import local, statistics_of, whole
from recipes.process.interrupts import Interrupts
from recipes.process.memory import OPTIMIZER_OUT_OF_MEMORY, to_device
from recipes.work import Batch, Work
from tasks.errors import OutOfMemory, Preempted, is_out_of_memory


@dataclass
class OptimizerStep:
    """Takes the steps of a run; what half a step has moved is put back.

    Args:
        model: as the accelerator prepared it.
        shards: where the model is in shards.
    """

    work: Work
    model: torch.nn.Module
    optimizer: AcceleratedOptimizer
    accelerator: Accelerator
    options: TrainOptions
    interrupts: Interrupts
    shards: ShardedModel | None

    def __post_init__(self) -> None:
        self.statistics = statistics_of(self.model)

    def take(
        self, step: int, size: int, micro_batches: list[tuple[Batch, int]]
    ) -> tuple[torch.Tensor, torch.Tensor | None] | None:
        """The step after `step` others, over a batch of `size` examples: its loss and the norm of its gradient.

        Returns:
            None where it didn't fit into memory; nothing has moved then.

        Raises:
            Preempted: asked to stop between two micro-batches; nothing has moved.
        """
        seed_everything(self.options.seed, step, self.accelerator.process_index)
        kept = [value.clone() for value in self.statistics]
        loss = None
        try:
            loss = self._passes(size, micro_batches)
        except Preempted:
            self._put_back(kept)
            raise
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        if loss is None:  # outside the handler: the error holds on to what the step had made
            self._put_back(kept)
            self.optimizer.zero_grad()
            return None
        norm = self._clip()
        try:
            self.optimizer.step()
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                # Some weights may have moved: the last checkpoint is what counts.
                raise OutOfMemory(OPTIMIZER_OUT_OF_MEMORY) from None
            raise
        self.optimizer.zero_grad()
        if self.shards is not None:
            collectives.broadcast_from_first(self.accelerator, self.statistics)
        return loss, norm

    def _passes(self, size: int, micro_batches: list[tuple[Batch, int]]) -> torch.Tensor:
        loss = torch.zeros((), device=self.accelerator.device)
        weights: int | torch.Tensor = 0
        for number, (batch, count) in enumerate(micro_batches):
            if self.accelerator.num_processes == 1:
                self.interrupts.check()  # a large batch on a slow device takes long; half a step is dropped
            share, weight = self._backward(batch, count, size, last=number == len(micro_batches) - 1)
            loss, weights = loss + share, weights + weight
        return self._divide(loss, weights, size) if isinstance(weights, torch.Tensor) else loss

    def _backward(self, batch: Batch, count: int, size: int, *, last: bool) -> tuple[torch.Tensor, int | torch.Tensor]:
        """The loss of a micro-batch over the step's `size` examples, and its weight; 0 and 0 where none of it counts."""
        world = self.accelerator.num_processes
        batch = to_device(batch, self.accelerator.device)
        # Shards exchange in each: whole gradients, kept for the last exchange, would take what they save. DDP chooses in its forward
        # pass whether to exchange, and processes may have unlike numbers of pieces: each exchanges in its last one.
        exchange = last or self.shards is not None
        with nullcontext() if exchange else self.accelerator.no_sync(self.model):
            with self.accelerator.autocast():
                total, weight = self.work.training_step(self.model, batch)
            # DDP averages over processes; the factor makes it the mean over the whole batch, however it is cut.
            share = total.float() * ((1.0 if count else 0.0) / size)
            self.accelerator.backward(share * world)
        return share.detach(), weight if count else weight * 0

    @torch.no_grad()
    def _divide(self, loss: torch.Tensor, weights: torch.Tensor, size: int) -> torch.Tensor:
        """Makes gradients and loss, which are sums over `size` examples, the mean over the weights of all processes."""
        weight = self.accelerator.reduce(weights.detach().float(), reduction="sum")
        factor = torch.where(weight > 0, size / weight, 0.0)
        for parameter in self.model.parameters():
            if parameter.grad is not None:
                local(parameter.grad).mul_(factor)
        return loss * factor

    def _clip(self) -> torch.Tensor | None:
        if self.options.max_grad_norm <= 0:
            return None
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.options.max_grad_norm)
        return whole(norm.detach()) if norm is not None else None

    def _put_back(self, statistics: list[torch.Tensor]) -> None:
        """What the passes of half a step have moved without the optimizer: the running means of normalisation."""
        for value, before in zip(self.statistics, statistics, strict=True):
            value.copy_(before)
