"""The `Work` base class, which a recipe gives to the loop: model, data, training step, evaluation."""

from __future__ import annotations

import contextlib
import functools
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn

from recipes.options import TrainOptions

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


class Work(ABC):
    """What one run trains: a recipe overrides what its task needs, the loop owns everything else.

    Attributes:
        model: the network, on the CPU; parts of it may be frozen (`requires_grad` False) or quantized, and then a checkpoint holds
            what is trained, and of the rest a digest.
        examples: how many there are to train on; `eval_examples` to evaluate on; `unit` is their noun, in the plural.
        metric: the name in the evaluation's figures that says which weights are best; None: the last ones are.
        data: a digest of the data; a run goes on only with the data that it began with.
        computed_by: whose layers compute the model, where there are several that round differently.
    """

    greater_is_better = True
    unit = "examples"

    def __init__(
        self,
        model: nn.Module,
        options: TrainOptions,
        *,
        examples: int,
        eval_examples: int = 0,
        metric: str | None = None,
        data: str = "",
        computed_by: str = "",
    ) -> None:
        self.model, self.options = model, options
        self.examples, self.eval_examples, self.metric = examples, eval_examples, metric
        self.data, self.computed_by = data, computed_by

    @abstractmethod
    def collate(self, numbers: np.ndarray, epoch: int) -> Batch:
        """CPU tensors of the examples `numbers` [b]. Augmentation is a function of seed, epoch and example alone."""

    @abstractmethod
    def training_step(self, model: nn.Module, batch: Batch) -> tuple[torch.Tensor, int | torch.Tensor]:
        """The sum of the losses of a micro-batch, a scalar, and its weight: what the sum is divided by for the mean.

        The weight is the number of examples, an int; or a tensor of what else the mean is over (tokens, say), a scalar. A step's
        gradient is the one of the sum over all micro-batches and processes, divided by the sum of their weights.
        """

    @abstractmethod
    def evaluate(self, model: nn.Module, evaluator: Evaluator) -> dict[str, Any]:
        """Figures of the model by name, the same on every process; `pictures` among them, name -> file, go to the trackers."""

    def plan(self, batch_size: int, epoch: int) -> list[np.ndarray]:
        """An epoch's batches, each an int64 array of example numbers: a function of seed, batch size and epoch alone, and as many in
        each epoch. By default all examples in a random order."""
        order = np.random.default_rng([self.options.seed, epoch]).permutation(self.examples)
        return [order[first : first + batch_size] for first in range(0, self.examples, batch_size)]

    def heaviest(self, batch_size: int) -> np.ndarray:
        """Example numbers of the batch that takes the most memory, tried before the first step. By default all are alike."""
        return np.arange(min(batch_size, self.examples))

    def parameter_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """The optimizer's groups; each may carry `lr` and `weight_decay`. By default biases and normalisation don't decay."""
        assert self.options.learning_rate is not None
        return decay_groups(model, learning_rate=self.options.learning_rate, weight_decay=self.options.weight_decay)

    def describe(self, metrics: dict[str, Any]) -> str:
        """An evaluation in a line."""
        return f"{self.metric} {metrics[self.metric]:.4f}" if self.metric else ""

    def fsdp_layers(self, model: nn.Module) -> list[nn.Module]:
        """Modules whose weights are read within their own call alone, and which every process calls equally often in a step; a model
        in shards may gather them by themselves."""
        return []

    def host_bytes(self) -> int:
        """What caches will yet take of the host's memory."""
        return 0

    def closing_seconds(self, model: nn.Module) -> float:
        """Seconds of the recipe's work after the last step, measured on a sample of it."""
        return 0.0

    def evaluation_seconds(self, model: nn.Module) -> float:
        """Seconds that an evaluation takes beside its examples, measured on a sample."""
        return 0.0


def decay_groups(
    model: torch.nn.Module,
    *,
    learning_rate: float,
    weight_decay: float,
    head: tuple[str, ...] = (),
    head_factor: float = 1.0,
    layer_decay: float = 1.0,
) -> list[dict[str, Any]]:
    """Groups by name and shape: no decay on biases and normalisation; `head_factor` times the rate for the head.

    Layer-wise decay of the learning rate as in ELECTRA (Clark et al. 2020): the last layer has `layer_decay` times the head's rate,
    the one below `layer_decay` squared, and so on down to the embeddings.

    The matrices of the encoder's layers (names with `.layer.`) stand apart, marked `matrices`, for Muon.

    Args:
        head: prefixes of the parameter names that make up the head.
    """
    normalisation = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, torch.nn.LayerNorm)
        for parameter in module.parameters(recurse=False)
    }
    below = layers_above([name for name, _ in model.named_parameters()]) if layer_decay != 1.0 else {}
    groups: dict[tuple[bool, bool, bool, int], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decayed = id(parameter) not in normalisation and not name.endswith("bias")
            matrix = parameter.ndim == 2 and ".layer." in name
            key = (name.startswith(head) if head else False, decayed, matrix, below.get(name, 0))
            groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": learning_rate * (head_factor if in_head else 1.0) * layer_decay**above,
            "weight_decay": weight_decay if decayed else 0.0,
            "matrices": matrix,
        }
        for (in_head, decayed, matrix, above), parameters in groups.items()
    ]


# The numbered layers of an encoder, as transformers' architectures call them.
_LAYER = re.compile(r"\.(?:layers?|h|blocks?|albert_layer_groups)\.(\d+)\.")


def layers_above(names: list[str]) -> dict[str, int]:
    """How far below the head each parameter stands: 0 for what follows the last layer, 1 in the last layer, most before the first.

    Args:
        names: a model's parameter names, in its order.
    """
    numbers = {name: int(found[1]) + 1 for name in names if (found := _LAYER.search(f".{name}"))}
    top = max(numbers.values(), default=0) + 1
    first = next((place for place, name in enumerate(names) if name in numbers), 0)
    depths = {name: numbers.get(name, 0 if place < first else top) for place, name in enumerate(names)}
    return {name: top - depth for name, depth in depths.items()}
