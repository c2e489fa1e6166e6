"""Asynchronous checkpoint writing: a copy on the host, written to disk while the next steps run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from recipes.checkpoints import format as checkpoint
from recipes.process.dtensor import whole
from recipes.process.memory import room
from tasks.errors import OutOfMemory, is_out_of_memory
from tasks.files import folder_bytes


class CheckpointWriter:
    """Saves a run's checkpoints, one at a time, in the order asked for.

    The training waits for the copy alone, and for an earlier write that is still under way. The buffers of the copy are kept from one
    checkpoint to the next. Where the host has no room for a copy, the write is done at once.

    Args:
        folder: the run's checkpoints.
        keep: how many of the newest stay.
        saved: called in the training's thread with the step of each checkpoint that is safe on the disk.
        sharded: the model is in shards; whole tensors are made one by one, for the copy.
    """

    def __init__(self, folder: Path, keep: int, saved: Callable[[int], None], sharded: bool = False) -> None:
        self.folder, self.keep, self.saved, self.sharded = folder, keep, saved, sharded
        self.seconds = 0.0
        self.peak_bytes = 0
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._step = 0
        self._buffers: dict[str, torch.Tensor] = {}

    def save(
        self, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any], also: set[int]
    ) -> None:
        """Begins the checkpoint of a step; `also`: steps whose checkpoints stay.

        Raises:
            OutOfDisk: the one before could not be written.
            OutOfMemory: the host has no room for the copy, and the model is in shards.
        """
        self.wait()
        living = checkpoint.content(model, optimizer, state)
        copy = self._copy(living)
        if copy is None and self.sharded:
            raise OutOfMemory(_no_room(living.bytes))
        self._step, self._error = step, None
        self._thread = threading.Thread(target=self._write, args=(copy or living, also), name="checkpoint")
        self._thread.start()
        if copy is None:
            self.wait()

    def take_part(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """What the other processes do while the first one copies a model in shards: give their pieces."""
        if self.sharded:
            for _, tensor in _named(checkpoint.content(model, optimizer, {})):
                whole(tensor)

    def poll(self) -> None:
        """Notes a write that has ended since; raises its error."""
        if self._thread is not None and not self._thread.is_alive():
            self.wait()

    def wait(self) -> None:
        """Until nothing is being written.

        Raises:
            OutOfDisk: the last one could not be written; older ones are untouched.
        """
        if self._thread is None:
            return
        self._thread.join()
        self._thread = None
        if self._error is not None:
            raise self._error
        self.saved(self._step)

    def close(self) -> None:
        """Lets a write that is under way end; what became of it was asked before, or doesn't matter any more."""
        if self._thread is not None:
            self._thread.join()

    def _write(self, content: checkpoint.Content, also: set[int]) -> None:
        began = time.monotonic()
        try:
            checkpoint.write(self.folder, self._step, content)
            self.peak_bytes = max(self.peak_bytes, folder_bytes(self.folder.parent))
            # The older ones go only now that the new one is safe.
            checkpoint.prune(self.folder, self.keep, also, self._step)
        except BaseException as error:  # handed over to the training's thread
            self._error = error
        self.seconds = time.monotonic() - began

    def _copy(self, living: checkpoint.Content) -> checkpoint.Content | None:
        """The tensors in buffers of the host; None where they don't fit."""
        named = dict(_named(living))
        missing = {name: value for name, value in named.items() if not _fits(self._buffers.get(name), value)}
        spare = 1 if self.sharded else 2  # shards can't be written without a copy
        if spare * checkpoint.count_bytes(missing) > room(torch.device("cpu")):
            self._buffers = {}
            return None
        pinned = any(value.is_cuda for value in named.values())
        try:
            for name, value in missing.items():
                self._buffers[name] = torch.empty(value.shape, dtype=value.dtype, pin_memory=pinned and value.is_cuda)
        except RuntimeError as error:
            self._buffers = {}
            if is_out_of_memory(error):
                return None
            raise
        for name, value in named.items():
            self._buffers[name].copy_(whole(value), non_blocking=pinned)
        if pinned:
            torch.cuda.synchronize()
        return checkpoint.Content(
            {name: self._buffers[f"w.{name}"] for name in living.weights},
            {name: self._buffers[f"o.{name}"] for name in living.optimizer},
            living.scalars,
            living.state,
        )


def check_host(checkpoint_bytes: int) -> None:
    """Looks, before the first step, for the room that checkpoints of a model in shards will take.

    Raises:
        OutOfMemory: there is less.
    """
    if checkpoint_bytes > room(torch.device("cpu")):
        raise OutOfMemory(_no_room(checkpoint_bytes))


def _no_room(size: int) -> str:
    return (
        f"a checkpoint of a model in shards is put together in the first process's memory, and there is no room for its "
        f"{size / 1e9:.1f} GB; give that machine more"
    )


def _named(content: checkpoint.Content) -> Iterator[tuple[str, torch.Tensor]]:
    """All tensors, in the order in which every process has them."""
    for letter, tensors in (("w", content.weights), ("o", content.optimizer)):
        for name in sorted(tensors):
            yield f"{letter}.{name}", tensors[name]


def _fits(buffer: torch.Tensor | None, value: torch.Tensor) -> bool:
    return buffer is not None and buffer.shape == value.shape and buffer.dtype == value.dtype
