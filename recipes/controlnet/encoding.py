"""Encoding of one cache's inputs in rounds over all processes, with inputs loaded ahead and shards written on the way."""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from recipes.distributed.collectives import any_of
from recipes.process import cgroups, memory
from recipes.terminal.progress import Progress
from tasks.controlnet.cache.store import Cache, Entry
from tasks.controlnet.models.pretrained import Base
from tasks.errors import OutOfDisk, OutOfMemory, is_out_of_memory
from tasks.files import write_json
from tasks.words import are, counted

SHARD_BYTES, SHARD_SECONDS = 64 << 20, 10.0


@dataclass
class Plan:
    """What one encoder is to do.

    Attributes:
        noun: one of what is encoded.
        batches: of keys, each encoded as a whole or not at all.
        inputs: key -> what is encoded.
        load: the items of a batch -> what the encoder takes; in threads.
        encode: (model, device, that) -> an entry for each item.
        sizes: key -> bytes of its entry.
    """

    what: str
    noun: str
    cache: Cache
    base: Base
    dtype: torch.dtype
    batches: list[list[str]]
    inputs: dict[str, Any]
    open: Callable[[], Any]
    load: Callable[[list[Any]], Any]
    encode: Callable[[Any, torch.device, Any], list[Entry]]
    sizes: Callable[[str], int]

    def missing(self) -> list[str]:
        return self.cache.missing(self.inputs)

    def todo(self) -> list[list[str]]:
        """The batches that hold anything missing."""
        missing = set(self.missing())
        return [batch for batch in self.batches if not missing.isdisjoint(batch)]

    def run(self, accelerator: Accelerator) -> None:
        """One pass over what is missing: this process's share of it."""
        todo, (rank, world) = self.todo(), share(accelerator, self.cache.folder)
        mine = todo[rank::world]
        self._note()
        model = self.open().to(accelerator.device)
        unit = f"{self.noun}s"
        label = f"cache     {unit} through the {self.what} of {self.base.name}"
        writer = Writer(self.cache, accelerator)
        progress = Progress(label, sum(map(len, todo)), unit=unit, show=accelerator.is_main_process, speed=True)
        try:
            with progress, ThreadPoolExecutor(threads(accelerator)) as pool:
                loaded = _ahead(pool, mine, lambda batch: self.load([self.inputs[key] for key in batch]))
                for number in _rounds(accelerator, len(mine)):
                    batch = mine[number] if number < len(mine) else []
                    entries = self._encoded(model, accelerator.device, batch, next(loaded)) if batch else {}
                    writer.add(entries)
                    progress.advance(sum(map(len, todo[number * world : (number + 1) * world])))
        finally:
            # Also where it was stopped: what is encoded is paid for.
            writer.flush()
            del model
            memory.release(accelerator.device)

    def _encoded(self, model: Any, device: torch.device, batch: list[str], loaded: Any) -> dict[str, Entry]:
        entries = _fitting(lambda part: self.encode(model, device, part), loaded, device, self.what)
        return {key: entry for key, entry in zip(batch, entries, strict=True) if key not in self.cache}

    def changed(self) -> list[str]:
        """Says where the cache knows this model by other weights and nothing of these."""
        folder, missing = self.cache.folder, len(self.missing())
        if folder is None or not missing or _model_note(folder) == self._identity():
            return []
        others = [path for path in sorted(folder.parent.glob("*/model.json")) if path.parent != folder]
        if not any(_model_note(path.parent) == self._identity() for path in others):
            return []
        return [
            f"the {self.what} of {self.base.name} is not the one of the cache: {counted(missing, self.noun)} {are(missing)} "
            "encoded anew"
        ]

    def _identity(self) -> dict[str, str]:
        name = self.base.folder.name if self.base.name == "tiny" else self.base.name
        return {"model": name, "part": self.what, "precision": str(self.dtype)}

    def _note(self) -> None:
        if self.cache.folder is not None and _model_note(self.cache.folder) is None:
            write_json(self.cache.folder / "model.json", self._identity())


class Writer:
    """Gathers entries into shards; in RAM, every process gets those of all."""

    def __init__(self, cache: Cache, accelerator: Accelerator) -> None:
        self.cache, self.accelerator = cache, accelerator
        self._waiting: dict[str, Entry] = {}
        self._bytes, self._since = 0, time.monotonic()

    def add(self, entries: dict[str, Entry]) -> None:
        if self.cache.folder is None:
            shared = gather_object([entries]) if self.accelerator.num_processes > 1 else [entries]
            for part in shared:
                self.cache.add(part)
            return
        self._waiting |= entries
        self._bytes += sum(tensor.nbytes for entry in entries.values() for tensor in entry.values())
        if self._bytes >= SHARD_BYTES or time.monotonic() - self._since >= SHARD_SECONDS:
            self.flush()

    def flush(self) -> None:
        if self._waiting:
            try:
                self.cache.add(self._waiting)
            except OutOfDisk as error:
                raise OutOfDisk(
                    f"no space left on the disk while writing the cache {self.cache.folder}; free some, or choose another "
                    "--cache-dir, or --cache ram or none"
                ) from error
        self._waiting, self._bytes, self._since = {}, 0, time.monotonic()


def share(accelerator: Accelerator, folder: Path | None) -> tuple[int, int]:
    """(number, of) of this process among those that write to this cache: all of them, or those of this machine."""
    rank, world = accelerator.process_index, accelerator.num_processes
    local = int(os.environ.get("LOCAL_WORLD_SIZE", world))
    if folder is None or local >= world:
        return rank, world
    token = folder / f".seen-{os.environ.get('MASTER_PORT', '0')}"
    if accelerator.is_main_process:
        write_json(token, {})
    accelerator.wait_for_everyone()
    apart = any_of(accelerator, not token.exists())[0]
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        token.unlink(missing_ok=True)
    return (accelerator.local_process_index, local) if apart else (rank, world)


def _rounds(accelerator: Accelerator, count: int) -> Iterator[int]:
    """Round numbers until every process has done its `count`."""
    number = 0
    while any_of(accelerator, number < count)[0]:
        yield number
        number += 1


def _ahead(pool: ThreadPoolExecutor, items: Sequence[Any], load: Callable[[Any], Any]) -> Iterator[Any]:
    """`load` of each item in order, some of them ahead of time in threads."""
    waiting: deque[Future[Any]] = deque()
    depth = pool._max_workers + 1
    for item in items:
        waiting.append(pool.submit(load, item))
        if len(waiting) >= depth:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _fitting(encode: Callable[[Any], list[Entry]], batch: Any, device: torch.device, what: str) -> list[Entry]:
    """The whole batch at once, or where memory is too small its halves."""
    try:
        return encode(batch)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        if len(batch) == 1:
            raise OutOfMemory(f"out of memory in the {what} with one example at a time; lower --resolution") from None
    memory.release(device)
    half = len(batch) // 2
    return _fitting(encode, batch[:half], device, what) + _fitting(encode, batch[half:], device, what)


def threads(accelerator: Accelerator) -> int:
    local = int(os.environ.get("LOCAL_WORLD_SIZE", accelerator.num_processes))
    return max(1, min(8, cgroups.usable_cpus() // max(1, local)))


def _model_note(folder: Path) -> dict[str, str] | None:
    with suppress(OSError, ValueError):
        found: dict[str, str] = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        return found
    return None
