"""Time, memory and disk, known before the first step: a few steps are tried without taking them."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from recipes.memory import OUT_OF_MEMORY, is_out_of_memory, peak_memory, to_device
from recipes.options import TrainOptions
from recipes.progress import duration, size
from recipes.steps import seed_everything, shares
from recipes.work import Work
from tasks.errors import OutOfMemory

PROBES = 3


@dataclass
class Estimate:
    """What the rest of a run will take."""

    steps: int
    seconds: float
    memory_bytes: int
    disk_bytes: int

    def text(self, price_per_hour: float | None) -> str:
        """The estimate as the run's header says it."""
        money = (
            f" · {self.seconds / 3600 * price_per_hour:.2f} at {price_per_hour:g} an hour"
            if price_per_hour is not None
            else ""
        )
        return (
            f"{self.steps:,} steps · {duration(self.seconds)} · {size(self.memory_bytes)} memory · "
            f"{size(self.disk_bytes)} disk{money}"
        )

    def as_dict(self) -> dict[str, Any]:
        """For status.json."""
        return asdict(self)


def probe(
    work: Work,
    model: torch.nn.Module,
    accelerator: Accelerator,
    options: TrainOptions,
    steps: int,
    accumulation: int,
    *,
    optimizer: torch.optim.Optimizer | None,
    evaluations: int,
) -> tuple[Estimate, int]:
    """Tries the heaviest batch, then times typical ones, and leaves model and optimizer as they were.

    Args:
        optimizer: one that has not taken a step yet, whose step is timed too; None where it has a state to keep.

    Returns:
        The estimate and the number of micro-batches that fitted into memory on every process.
    """
    batch_size = int(options.batch_size or 1)
    buffers = {name: value.detach().clone() for name, value in model.named_buffers()}
    heaviest = work.heaviest(batch_size)
    while True:
        failed = not _fits(work, model, accelerator, options, heaviest, accumulation)
        flag = torch.tensor(int(failed), device=accelerator.device)
        if not bool(accelerator.reduce(flag, reduction="sum").item()):
            break
        if accumulation * accelerator.num_processes >= batch_size:
            raise OutOfMemory(OUT_OF_MEMORY)
        accumulation *= 2
    typical = _typical(work, batch_size)
    times = [_time(work, model, accelerator, options, batch, accumulation) for batch in typical]
    per_example = float(np.sum(times)) / max(1, sum(len(batch) for batch in typical))
    for name, value in model.named_buffers():
        value.copy_(buffers[name])
    parameters = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    # A forward pass takes about a third of forward and backward.
    evaluation = per_example / 3 * work.eval_examples / accelerator.num_processes * evaluations
    step = float(np.mean(times)) + (_time_optimizer(model, optimizer) if optimizer is not None else 0.0)
    seconds = steps * step + evaluation
    # Where the optimizer took no step here, its two moments come on top of what the heaviest batch took.
    moments = 2 * parameters if optimizer is None else 0
    disk = parameters * 3 * (options.keep_checkpoints + 1) + parameters
    return Estimate(steps, seconds, peak_memory(accelerator.device) + moments, disk), accumulation


def _time_optimizer(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> float:
    """Seconds of a step at learning rate 0, which moves no weight; the state it makes is thrown away."""
    rates = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = torch.zeros_like(group["lr"]) if isinstance(group["lr"], torch.Tensor) else 0.0
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    elapsed = []
    for _ in range(2):  # the first makes the state
        began = time.monotonic()
        optimizer.step()
        elapsed.append(time.monotonic() - began)
    optimizer.state.clear()
    model.zero_grad(set_to_none=True)
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    return elapsed[-1]


def _typical(work: Work, batch_size: int) -> list[np.ndarray]:
    plan = work.plan(0)
    full = [batch for batch in plan if len(batch) == min(batch_size, max(map(len, plan)))]
    return [full[index] for index in np.linspace(0, len(full) - 1, min(PROBES, len(full))).round().astype(int)]


def _fits(
    work: Work,
    model: torch.nn.Module,
    accelerator: Accelerator,
    options: TrainOptions,
    batch: np.ndarray,
    accumulation: int,
) -> bool:
    try:
        _time(work, model, accelerator, options, batch, accumulation, pieces=1)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        model.zero_grad(set_to_none=True)
        if accelerator.device.type == "cuda":
            torch.cuda.empty_cache()
        return False
    return True


def _time(
    work: Work,
    model: torch.nn.Module,
    accelerator: Accelerator,
    options: TrainOptions,
    batch: np.ndarray,
    accumulation: int,
    pieces: int | None = None,
) -> float:
    """Seconds of loading, forward and backward of this process's share of a batch; gradients are dropped."""
    seed_everything(options.seed, 0, accelerator.process_index)
    plain = accelerator.unwrap_model(model, keep_torch_compile=False)
    plain.train()
    mine = [
        numbers
        for numbers in shares(batch, accelerator.num_processes, accumulation)[accelerator.process_index]
        if len(numbers)
    ]
    began = time.monotonic()
    for numbers in mine[:pieces]:
        # The unwrapped model: no exchange between processes, so that one that runs out of memory hangs nobody.
        with accelerator.autocast():
            losses = work.loss(plain, to_device(work.collate(numbers, 0), accelerator.device))
        (losses.float().sum() / len(batch)).backward()
    if accelerator.device.type == "cuda":
        torch.cuda.synchronize()
    elapsed = time.monotonic() - began
    plain.zero_grad(set_to_none=True)
    return elapsed
