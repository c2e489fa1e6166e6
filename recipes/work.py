"""What a recipe gives to the training loop."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn

Batch = dict[str, Any]


@dataclass
class Evaluator:
    """What an evaluation may ask of the loop: its share of the work, safe points, and the others' results.

    `batch_size` is how many examples to take at once; where memory runs out, the loop evaluates again with fewer.
    `step` is the optimizer step that the model is at; None where it is only tried how long an evaluation takes.
    """

    rank: int
    world: int
    device: torch.device
    batch_size: int
    check: Callable[[], None]
    gather: Callable[[list[Any]], list[Any]]
    autocast: Callable[[], Any]
    progress: Callable[[int], None] = field(default=lambda count: None)
    step: int | None = None

    @classmethod
    def over(
        cls,
        accelerator: Accelerator,
        batch_size: int,
        check: Callable[[], None],
        progress: Callable[[int], None] = lambda count: None,
        step: int | None = None,
    ) -> Evaluator:
        """One over all processes of a run."""
        return cls(
            accelerator.process_index,
            accelerator.num_processes,
            accelerator.device,
            batch_size,
            check,
            gather_object,
            accelerator.autocast,
            progress,
            step,
        )

    @classmethod
    def alone(
        cls,
        device: torch.device,
        batch_size: int,
        progress: Callable[[int], None] = lambda count: None,
        mixed_precision: str = "no",
        autocast: Callable[[], Any] | None = None,
    ) -> Evaluator:
        """One of a single process without a run, computing under autocast of `mixed_precision`, or under `autocast`."""
        dtype = {"no": None, "fp16": torch.float16, "bf16": torch.bfloat16}[mixed_precision]
        plain = functools.partial(torch.autocast, device.type, dtype) if dtype else contextlib.nullcontext
        return cls(
            0,
            1,
            device,
            batch_size,
            lambda: None,
            lambda items: items,
            autocast or plain,
            progress,
        )

    def mine(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Every `world`-th item, from this process's rank on; all processes ask together for a stop before each round."""
        for number, item in enumerate(batches):
            if number % self.world == 0:
                self.check()
            if number % self.world == self.rank:
                yield item


@dataclass
class Work:
    """A recipe's parts. The loop owns everything else.

    Attributes:
        model: the network, on the CPU, in float32.
        plan: (batch size, epoch) -> the epoch's batches, each an int64 array of example numbers. The same count in each epoch, a
            function of the seed, the batch size and the epoch alone.
        collate: (example numbers [b], epoch) -> CPU tensors. Augmentation is a function of seed, epoch and example.
        loss: (model, batch) -> a loss for each example, float32 [b].
        evaluate: (model, Evaluator) -> metrics; every process returns the same. `pictures` among them, name -> file, go to the
            trackers.
        metric: the name in those metrics that says which model is best; None: the last one is.
        parameter_groups: the optimizer's groups; each may carry `lr` and `weight_decay`.
        heaviest: batch size -> example numbers of the batch that takes the most memory, tried before the first step.
        examples: how many there are to train on.
        computed_by: whose layers compute it, where there are several that round differently.
        data: a digest of the data; a run goes on only with the data that it began with.
        host_bytes: -> what caches will yet take of the host's memory.
        closing: model -> seconds that the recipe will take after the last step, tried on a little of it.
        evaluating: model -> seconds that an evaluation takes beside its examples, tried on a little of it.
        layers: model -> its modules whose weights are read within their own call alone, and which every process calls equally
            often in a step; a model in shards may gather them by themselves.
    """

    model: nn.Module
    plan: Callable[[int, int], list[np.ndarray]]
    collate: Callable[[np.ndarray, int], Batch]
    loss: Callable[[nn.Module, Batch], torch.Tensor]
    evaluate: Callable[[nn.Module, Evaluator], dict[str, Any]]
    metric: str | None
    parameter_groups: Callable[[nn.Module], list[dict[str, Any]]]
    heaviest: Callable[[int], np.ndarray]
    examples: int
    greater_is_better: bool = True
    unit: str = "examples"
    eval_examples: int = 0
    computed_by: str = ""
    data: str = ""
    host_bytes: Callable[[], int] = field(default=lambda: 0)
    closing: Callable[[nn.Module], float] = field(default=lambda model: 0.0)
    evaluating: Callable[[nn.Module], float] = field(default=lambda model: 0.0)
    layers: Callable[[nn.Module], list[nn.Module]] = field(default=lambda model: [])
    describe: Callable[[dict[str, Any]], str] = field(default=lambda metrics: "")
