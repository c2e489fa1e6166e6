"""Timing of a training step and of an evaluation, on a few of their batches."""

from __future__ import annotations

import time

import numpy as np
import torch

from recipes.distributed import collectives
from recipes.loop.loader import seed_everything
from recipes.loop.trial_step import TrialStep
from recipes.options import TrainOptions
from recipes.process.memory import EVALUATION_OUT_OF_MEMORY, release
from recipes.work import Evaluator, Work
from tasks.errors import OutOfMemory, is_out_of_memory

PROBES, EVALUATED = 3, 2


class StepTiming:
    """Times parts of a run; 0 until they were timed.

    Attributes:
        step: seconds of a step's passes and its loading.
        optimizer: of its clipping and the optimizer.
        fill: what loading all examples for the first time takes longer in all, where it fills a cache.
        evaluated: of an example's evaluation, over all processes.
    """

    def __init__(self, trial: TrialStep, options: TrainOptions) -> None:
        self.trial, self.options = trial, options
        self.step = self.optimizer = self.fill = self.evaluated = 0.0

    def time_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Twice, the first for what it makes. Gradients must be there, and the rates be 0."""
        for _ in range(2):
            began = time.monotonic()
            if self.options.max_grad_norm > 0:
                torch.nn.utils.clip_grad_norm_(self.trial.model.parameters(), self.options.max_grad_norm)
            optimizer.step()
            self.trial.finish()
            self.optimizer = time.monotonic() - began

    def time_steps(self, batch_size: int, accumulation: int) -> None:
        """A few typical batches, each as a step passes it."""
        work = self.trial.work
        waiting = work.host_bytes()
        each = [self._time(batch, accumulation) for batch in _typical(work, batch_size)]
        passes, first, again = np.transpose(each)
        filled = waiting - work.host_bytes()
        # What loading a batch for the first time takes longer is paid once for each byte that is cached, or else always.
        self.step = float(np.mean(passes) + np.mean(again if filled else first))
        self.fill = float(np.sum(first - again)) * waiting / filled if filled else 0.0

    def time_evaluation(self) -> None:
        """A few batches of it, once to fill caches and once for the time; what doesn't fit is cut when it comes to that."""
        batch_size = int(self.options.eval_batch_size or 1)
        for _ in range(2):
            seconds, examples, whole = self._begin_evaluation(batch_size)
            if examples:
                # The others take their share meanwhile.
                self.evaluated = seconds / examples / self.trial.accelerator.num_processes
            elif whole:
                self.evaluated = seconds / max(1, self.trial.work.eval_examples)
            else:  # one that tells of no progress; a forward pass takes about a third of forward and backward
                self.evaluated = self.step / 3 / batch_size
            if collectives.any_of(self.trial.accelerator, whole and seconds > 1.0)[0]:
                break  # one that asks for no stop is not run twice

    def _time(self, batch: np.ndarray, accumulation: int) -> tuple[float, float, float]:
        """Seconds that this process's share of a batch takes: forward and backward, loading, loading again."""
        seed_everything(self.options.seed, 0, self.trial.accelerator.process_index)
        self.trial.model.train()
        self.trial.lay_gradients(accumulation)
        passes = first = again = 0.0
        for numbers in self.trial.mine(batch, accumulation):
            times = [time.monotonic()]
            for _ in range(2):
                loaded = self.trial.load(numbers)
                times.append(time.monotonic())
            self.trial.through(loaded, len(batch))
            self.trial.finish()
            times.append(time.monotonic())
            loading, reloading, passing = np.diff(times)
            first, again, passes = first + loading, again + reloading, passes + passing
        return passes, first, again

    def _begin_evaluation(self, batch_size: int) -> tuple[float, int, bool]:
        """The evaluation's first rounds: (seconds, examples that it told of, whether it was whole)."""
        rounds, examples, whole = iter(range(EVALUATED)), [0], False

        def check() -> None:
            if next(rounds, None) is None:
                raise _Enough

        evaluator = Evaluator.over(self.trial.accelerator, batch_size, check, examples.append)
        self.trial.model.eval()
        began = time.monotonic()
        try:
            with torch.inference_mode():
                self.trial.work.evaluate(self.trial.model, evaluator)
            whole = True
        except _Enough:
            pass
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if self.trial.accelerator.num_processes > 1:  # the others wait for what it has found
                raise OutOfMemory(EVALUATION_OUT_OF_MEMORY) from None
            release(self.trial.device)
        return time.monotonic() - began, sum(examples), whole


def _typical(work: Work, batch_size: int) -> list[np.ndarray]:
    plan = work.plan(batch_size, 0)
    full = [batch for batch in plan if len(batch) == min(batch_size, max(map(len, plan)))]
    return [full[index] for index in np.linspace(0, len(full) - 1, min(PROBES, len(full))).round().astype(int)]


class _Enough(Exception):
    """So many rounds of evaluation tell what one takes."""
