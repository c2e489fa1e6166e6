"""Data loading of the loop: from an epoch's plan to this process's micro-batches, loaded ahead."""

from __future__ import annotations

import functools
import random
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from recipes.process.interrupts import SIGNALS
from recipes.work import Batch, Work


def shares(batch: np.ndarray, world: int, accumulation: int) -> list[list[np.ndarray]]:
    """Cuts a batch for the processes: result[rank] holds its `accumulation` micro-batches.

    Neighbours in the batch (alike in size) go to different processes of the same micro-step, so that none waits long.
    A share may be empty where the batch is smaller than the number of pieces.
    """
    pieces = np.array_split(batch, world * accumulation)
    return [[pieces[micro * world + rank] for micro in range(accumulation)] for rank in range(world)]


def micro_batches(
    batch: np.ndarray, rank: int, world: int, accumulation: int, *, alike: bool
) -> list[tuple[np.ndarray, int]]:
    """A process's micro-batches, each with how many of its examples count.

    A process without a share still takes part in the exchange of gradients, with one example that counts nothing.

    Args:
        alike: each process has as many micro-batches as the others: in each they gather weights together.
    """
    cut = shares(batch, world, accumulation)
    mine = [(numbers, len(numbers)) for numbers in cut[rank] if len(numbers)]
    least = sum(len(numbers) > 0 for numbers in cut[0]) if alike else 1  # the first has the most
    return mine + [(batch[:1], 0)] * (least - len(mine))


def seed_everything(seed: int, *keys: int) -> None:
    """Seeds Python, NumPy and torch from the seed and a position, so that a resumed run needs no generator's state."""
    state = int(np.random.SeedSequence([seed, *keys]).generate_state(1, np.uint64)[0])
    random.seed(state)
    np.random.seed(state % 2**32)
    if torch.accelerator.is_available():
        torch.manual_seed(state % 2**63)
    else:  # the same, without the stack's text that torch keeps for a GPU that may come: half a millisecond a step
        torch.default_generator.manual_seed(state % 2**63)


class _Examples(Dataset[Any]):
    """The loader's items are (epoch, example numbers) of one micro-batch."""

    def __init__(self, work: Work) -> None:
        self.collate = work.collate

    def __getitem__(self, item: tuple[int, np.ndarray]) -> Batch:
        epoch, numbers = item
        return self.collate(numbers, epoch)


def _deaf(worker: int) -> None:
    """A signal to the whole group is for the main process, which saves and ends its loaders; one that died first would end the run."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@dataclass
class StepLoader:
    """Iterates over the optimizer steps from `start` to `total`, each a list of this process's micro-batches."""

    work: Work
    batch_size: int
    start: int
    total: int
    rank: int
    world: int
    accumulation: int
    workers: int
    pin: bool
    alike: bool = False

    def __post_init__(self) -> None:
        # The loader runs ahead of the loop, so two epochs' plans are in use at once.
        self._batches = functools.lru_cache(maxsize=2)(functools.partial(self.work.plan, self.batch_size))

    def __iter__(self) -> Iterator[tuple[int, int, list[tuple[Batch, int]]]]:
        """Yields (epoch, examples in the whole batch, micro-batches each with its count of examples)."""
        loader = DataLoader(
            _Examples(self.work),
            sampler=self._items(),  # a generator: a long run's order is never one list
            batch_size=None,
            num_workers=self.workers,
            pin_memory=self.pin,
            prefetch_factor=4 if self.workers else None,
            worker_init_fn=_deaf if self.workers else None,
        )
        loaded = iter(loader)
        for epoch, batch in self._plan():
            yield epoch, len(batch), [(next(loaded), count) for _, count in self._mine(batch)]

    def _items(self) -> Iterator[tuple[int, np.ndarray]]:
        for epoch, batch in self._plan():
            for numbers, _ in self._mine(batch):
                yield epoch, numbers

    def _mine(self, batch: np.ndarray) -> list[tuple[np.ndarray, int]]:
        return micro_batches(batch, self.rank, self.world, self.accumulation, alike=self.alike)

    def _plan(self) -> Iterator[tuple[int, np.ndarray]]:
        per_epoch = len(self._batches(0))
        for epoch in range(self.start // per_epoch, -(-self.total // per_epoch)):
            batches = self._batches(epoch)
            first = max(0, self.start - epoch * per_epoch)
            for number in range(first, min(len(batches), self.total - epoch * per_epoch)):
                yield epoch, batches[number]
