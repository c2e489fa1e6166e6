"""Memory and time probe: batches are tried before the first step, without taking one, to find what fits and how long a run takes."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import torch
from accelerate import Accelerator

from recipes.checkpoints import format as checkpoint
from recipes.distributed import collectives
from recipes.distributed.fsdp import ShardedModel
from recipes.loop.estimate import OUTPUT_BYTES, Estimate
from recipes.loop.timing import StepTiming
from recipes.loop.trial_step import TrialStep
from recipes.options import TrainOptions
from recipes.process import dtensor
from recipes.process.dtensor import local
from recipes.process.memory import (
    OPTIMIZER_OUT_OF_MEMORY,
    OUT_OF_MEMORY,
    begin_peak,
    recent_peak,
    release,
    room,
    used_memory,
)
from recipes.process.worker import SmallerPieces, ask_for
from recipes.work import Work
from tasks.errors import OutOfMemory, is_out_of_memory

# What the end of a run takes beside the loop: the best weights loaded again, the report with its pictures.
END_SECONDS = 1.5
# Bytes a second that a checkpoint takes from training on a CPU: copied, hashed and written beside it.
SAVE_RATE = 1.0e9
# Host memory is kept free to this share: what is left is never all ours.
HOST_SHARE = 0.9


class Probe:
    """Tries batches with gradients and the optimizer's state in place, as in training, and leaves all as it was.

    Args:
        model: as the accelerator prepared it.
        optimizer: the plain one.
        fresh: it has taken no step yet, so that its state may be made and thrown away.
        shards: where the model is in shards, all processes try together: a pass through it is an exchange.
    """

    def __init__(
        self,
        work: Work,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        accelerator: Accelerator,
        options: TrainOptions,
        *,
        fresh: bool,
        shards: ShardedModel | None = None,
    ) -> None:
        self.work, self.options, self.accelerator, self.shards = work, options, accelerator, shards
        self.optimizer, self.fresh = optimizer, fresh
        self.trial = TrialStep(work, model, accelerator, shards)
        self.times = StepTiming(self.trial, options)
        self.device, self.model = accelerator.device, self.trial.model
        self.state_bytes = self.peak = self._examples = 0

    def __enter__(self) -> Probe:
        self._buffers = {name: value.detach().clone() for name, value in self.model.named_buffers()}
        self._rates = [group["lr"] for group in self.optimizer.param_groups]
        begin_peak(self.device)
        try:
            self._step_of_nothing()
        except (RuntimeError, MemoryError) as error:
            self.__exit__()
            if is_out_of_memory(error):
                raise OutOfMemory(OPTIMIZER_OUT_OF_MEMORY) from None
            raise
        tensors, _ = checkpoint.flatten(self.optimizer)
        self.state_bytes = checkpoint.count_bytes(tensors)
        if self.options.ema_decay and self.fresh:
            self.state_bytes += checkpoint.count_bytes(dtensor.trained_weights(self.model))
        return self

    def __exit__(self, *error: object) -> None:
        if self.fresh:
            _reset(self.optimizer)
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate
        self.model.zero_grad(set_to_none=True)
        for name, value in self.model.named_buffers():
            value.copy_(self._buffers[name])
        release(self.device)  # of a larger batch, or of the evaluation's

    def accumulation(self, batch_size: int, accumulation: int) -> int:
        """Into how many micro-batches a process must cut its share so that the heaviest batch fits, on every process.

        Times typical batches, too, once that one fits.

        Raises:
            OutOfMemory: not even one example does.
        """
        heaviest = self.work.heaviest(batch_size)
        self._examples = len(heaviest)
        while not (self._all_fit(heaviest, accumulation) and self._all_timed(batch_size, accumulation)):
            accumulation = self._smaller(accumulation)
        return accumulation

    def _smaller(self, accumulation: int) -> int:
        if accumulation * self.accelerator.num_processes >= self._examples:
            raise OutOfMemory(OUT_OF_MEMORY)
        return 2 * accumulation

    def largest_batch(self, examples: int) -> int:
        """The most examples an optimizer step whose heaviest batch fits at once, over all processes.

        Doubled until it doesn't fit, then narrowed to an eighth.
        """
        world = self.accelerator.num_processes
        limit = max(1, examples // world)
        good, step, growing = 0, 1, True
        while good < limit and step >= max(1, 0 if growing else good // 8):
            tried = min(limit, good + step)
            if self._all_fit(self.work.heaviest(tried * world), 1):
                good = tried
                step = good if growing else step // 2
            else:
                growing, step = False, step // 2
        if not good:
            raise OutOfMemory(OUT_OF_MEMORY)
        return good * world

    def estimate(
        self, batch_size: int, accumulation: int, steps: int, evaluations: int, seconds_so_far: float
    ) -> Estimate:
        """What `steps` more and `evaluations` take, from the batches timed."""
        with self.shards.whole() if self.shards else nullcontext():
            self.times.time_evaluation()
            self._note_peak()
            closing = self.work.closing_seconds(self.model)
            evaluating = self.work.evaluation_seconds(self.model) if evaluations else 0.0
        evaluation = self.times.evaluated * self.work.eval_examples + evaluating
        weights = checkpoint.count_bytes(dtensor.weights(self.model))
        whole = checkpoint.count_bytes(dtensor.trained_weights(self.model)) + self.state_bytes
        saving = whole / SAVE_RATE if self.device.type == "cpu" else 0.0
        step = self.times.step + self.times.optimizer
        end = END_SECONDS + closing
        seconds = seconds_so_far + steps * step + self.times.fill + evaluations * (evaluation + saving) + end
        on_disk = (self.options.keep_checkpoints + 2) * whole
        batch_size = min(batch_size, self.work.examples)
        memory = self._note_peak()
        if self.device.type == "cpu":
            memory += whole + self.work.host_bytes()
        return Estimate(
            steps,
            seconds,
            memory,
            on_disk + weights + OUTPUT_BYTES,
            checkpoint_bytes=whole,
            model_bytes=weights,
            batch_size=batch_size,
            micro_batch_size=math.ceil(batch_size / accumulation / self.accelerator.num_processes),
        )

    def _step_of_nothing(self) -> None:
        """Makes gradients and, where it is fresh, the optimizer's state; times clipping and a step at rate 0, which moves no weight."""
        for parameter in self.model.parameters():
            parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
        if not self.fresh:
            return
        for group in self.optimizer.param_groups:
            group["lr"] = torch.zeros_like(group["lr"]) if isinstance(group["lr"], torch.Tensor) else 0.0
        self.times.time_optimizer(self.optimizer)

    def _all_fit(self, batch: np.ndarray, accumulation: int) -> bool:
        """Whether the first micro-batch goes through forward and backward, on every process."""
        numbers = self.trial.mine(batch, accumulation)[0]

        def attempt() -> bool:
            if self.device.type == "cpu" and not self._has_room(numbers):
                return False
            self.trial.lay_gradients(accumulation)
            self.trial.through(self.trial.load(numbers), len(numbers))
            return True

        return self._everywhere(attempt, accumulation)

    def _all_timed(self, batch_size: int, accumulation: int) -> bool:
        def attempt() -> bool:
            self.times.time_steps(batch_size, accumulation)
            return True

        return self._everywhere(attempt, accumulation)

    def _everywhere(self, attempt: Callable[[], bool], accumulation: int) -> bool:
        """Whether an attempt succeeds within memory on every process."""
        fits = self._fits(attempt)
        if fits is None and self.shards:
            # The others wait for this one within the pass: all begin anew.
            needed = self._smaller(accumulation)
            ask_for(needed)
            raise SmallerPieces(needed, 0)
        return not collectives.any_of(self.accelerator, not fits)[0]

    def _fits(self, attempt: Callable[[], bool]) -> bool | None:
        """What the attempt says; None where it ran out of memory."""
        try:
            return attempt()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        finally:
            self._note_peak()
        # Outside the handler: the error holds on to what the pass had made.
        self.model.zero_grad(set_to_none=False)
        release(self.device)
        return None

    def _has_room(self, numbers: np.ndarray) -> bool:
        """Whether the host can hold it, by the rise of an eighth: Linux kills a process that takes too much, without an error."""
        piece = numbers[: max(1, len(numbers) // 8)]
        if len(piece) == len(numbers) and not self.shards:
            return True
        self._note_peak()
        begin_peak(self.device)
        before = used_memory(self.device)
        self.trial.through(self.trial.load(piece), len(piece))
        rise = max(0, recent_peak(self.device) - before)
        here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        fits = rise * (len(numbers) / len(piece) - 1) < HOST_SHARE * room(self.device, here)
        return not collectives.any_of(self.accelerator, not fits)[0] if self.shards else fits

    def _note_peak(self) -> int:
        self.peak = max(self.peak, recent_peak(self.device))
        return self.peak


def _reset(optimizer: torch.optim.Optimizer) -> None:
    """The state as before the first step. Where steps of nothing have left zeros, as AdamW's, they stay where they are: laid out
    again among what the tries have freed, they would leave a host's memory in pieces."""
    states = list(optimizer.state.values())
    moments = [value for state in states for name, value in state.items() if name != "step"]
    if not all(isinstance(value, torch.Tensor) and not local(value).any() for value in moments):
        optimizer.state.clear()
        return
    for state in states:
        if isinstance(state.get("step"), torch.Tensor):
            state["step"].zero_()
        elif "step" in state:
            state["step"] = 0
