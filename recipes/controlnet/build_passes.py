"""The two passes of a data build: image processing in threads, then models over batches of what was written.

Each pass leaves out what an earlier call has made. A model sees the same batches whatever was made before, so that a
build that was interrupted gives the same bytes as one that wasn't.
"""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes.controlnet.build_config import Build
from recipes.process.interrupts import Interrupts
from recipes.terminal.progress import Progress, print_line
from tasks.controlnet import conditions
from tasks.controlnet.building import folder
from tasks.controlnet.building.captions import filled, load_blip
from tasks.controlnet.building.folder import Item
from tasks.controlnet.building.scan import BROKEN_FILE, Left
from tasks.controlnet.condition_pixels import blankness
from tasks.errors import DataError, OutOfMemory, is_out_of_memory
from tasks.images import FileImages
from tasks.words import counted

# Captions of a model, kept while a build goes on; hidden from `datasets`.
CAPTIONS = ".captions.jsonl"


@dataclass
class BuildPasses:
    """Makes pairs, a pass after the other.

    Args:
        options: those of the condition's `make`.
        workers: pictures worked on at once.
    """

    config: Build
    options: dict[str, Any]
    output: Path
    interrupts: Interrupts
    workers: int
    _drawing: Any = None
    _captioning: Any = None

    def open_models(self, items: Sequence[Item]) -> None:
        """Loads the models that will be needed: before anything is written, so that a wrong one is told first."""
        if all(map(self.is_made, items)) and not self._uncaptioned(items, self._known_captions()):
            return
        kind = self.config.condition
        if kind in conditions.BY_MODEL:
            module = conditions.module(kind)
            model = getattr(self.config, f"{kind}_model") or module.DEFAULT
            self._drawing = module.load(model, self.config.token, self._device(kind, model))
        if self.config.caption == "blip":
            model = self.config.caption_model
            self._captioning = load_blip(model, self.config.token, self._device("captions", model))

    def run(self, items: Sequence[Item]) -> tuple[list[Left], dict[int, list[str]], int]:
        """Makes what is missing.

        Returns:
            The pictures that turned out broken, the captions by number, and how many pairs were made.
        """
        missing = sum(not self.is_made(item) for item in items)
        broken = self.pictures(items)
        bad = {one.relative for one in broken}
        sound = [item for item in items if item.picture.relative not in bad]
        self.modelled(sound)
        captions = self.captions(sound)
        return broken, captions, missing - len(broken)

    def is_made(self, item: Item) -> bool:
        """Whether both files of a pair are there; each is written whole or not at all."""
        return item.condition.is_file() and item.image.is_file()

    def blank(self, items: Sequence[Item]) -> list[Item]:
        """The pairs whose written condition is blank or nearly so."""

        def look(item: Item) -> bool:
            return blankness(FileImages([str(item.condition)]).load(0)) is not None

        return [item for item, blank in self._in_threads(look, items) if blank]

    def pictures(self, items: Sequence[Item]) -> list[Left]:
        """Every picture, and its condition where no model makes it; gives those that are broken."""
        by_model = self.config.condition in conditions.BY_MODEL
        todo = [item for item in items if not (item.image.is_file() if by_model else self.is_made(item))]
        broken: list[Left] = []
        with self._progress("pictures", items, todo) as progress:
            for item, problem in self._in_threads(self._make, todo):
                if problem is not None:
                    broken.append(Left(item.picture.relative, BROKEN_FILE, problem))
                progress.advance()
        return broken

    def modelled(self, items: Sequence[Item]) -> None:
        """Conditions that a model makes of the written pictures."""
        if self.config.condition not in conditions.BY_MODEL:
            return
        todo = [batch for batch in self._batches(items) if not all(map(self.is_made, batch))]
        if not todo:
            return
        with self._progress(self.config.condition, items, [item for batch in todo for item in batch]) as progress:
            for batch, made in self._through(self._drawing, todo):
                for item, picture in zip(batch, made, strict=True):
                    if not item.condition.is_file():
                        folder.write_png(item.condition, picture)
                progress.advance(len(batch))

    def captions(self, items: Sequence[Item]) -> dict[int, list[str]]:
        """The captions of every item, by its number; those of a model are noted as they come."""
        if self.config.caption != "blip":
            return {item.number: list(item.picture.captions or [""]) for item in items}
        known = self._known_captions()
        todo = self._uncaptioned(items, known)
        if todo:
            with self._progress("captions", items, [item for batch in todo for item in batch]) as progress:
                for batch, texts in self._through(self._captioning, todo):
                    fresh = {item.number: text for item, text in zip(batch, texts, strict=True)}
                    self._note({number: text for number, text in fresh.items() if number not in known})
                    known = {**fresh, **known}
                    progress.advance(len(batch))
        return {item.number: [filled(known[item.number], self.config.caption_template)] for item in items}

    def _make(self, item: Item) -> str | None:
        """Makes a pair; what is wrong with its picture, or None."""
        try:
            folder.make_pair(item, self.config.condition, self.options, self.config.image_format)
        except DataError as error:
            return FileImages([item.picture.path]).problem(0, decode=True) or str(error)
        return None

    def _in_threads(self, work: Callable[[Item], Any], items: Sequence[Item]) -> Iterator[tuple[Item, Any]]:
        """Each item with what `work` gives for it, in their order; a few are under way at once."""
        self.interrupts.deferred = True
        waiting: deque[tuple[Item, Future[Any]]] = deque()
        pool = ThreadPoolExecutor(self.workers)
        try:
            for item in items:
                self.interrupts.check()
                waiting.append((item, pool.submit(work, item)))
                if len(waiting) >= 4 * self.workers:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                self.interrupts.check()
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            self.interrupts.deferred = False

    def _through(
        self, network: Callable[[list[Any]], list[Any]], batches: Sequence[list[Item]]
    ) -> Iterator[tuple[list[Item], list[Any]]]:
        """Batches with what a model makes of their written pictures."""
        self.interrupts.deferred = True
        try:
            for batch in batches:
                self.interrupts.check()
                store = FileImages([str(item.image) for item in batch])
                try:
                    made = network([store.load(i) for i in range(len(batch))])
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
                    smaller = "--batch-size or --resolution" if len(batch) > 1 else "--resolution"
                    raise OutOfMemory(
                        f"out of memory with {counted(len(batch), 'picture')} at once; take a smaller {smaller}"
                    ) from None
                yield batch, made
        finally:
            self.interrupts.deferred = False

    def _batches(self, items: Sequence[Item]) -> list[list[Item]]:
        """Items that follow each other and are of one size, as many as a model sees at once."""
        groups = [list(group) for _, group in itertools.groupby(items, lambda item: item.frame)]
        size = self.config.batch_size
        return [group[start : start + size] for group in groups for start in range(0, len(group), size)]

    def _device(self, what: str, model: str) -> Any:
        from recipes.distributed.device import pick_device, silence

        silence()
        device = pick_device(self.config.cpu, None)
        print_line(f"{what:<9} by {model} on {device}")
        return device

    def _uncaptioned(self, items: Sequence[Item], known: dict[int, str]) -> list[list[Item]]:
        """The batches in which a caption of a model is missing."""
        if self.config.caption != "blip":
            return []
        return [batch for batch in self._batches(items) if any(item.number not in known for item in batch)]

    def _known_captions(self) -> dict[int, str]:
        """Those that an earlier call noted; a line that was cut short counts for nothing."""
        path, known = self.output / CAPTIONS, {}
        for line in path.read_text(encoding="utf-8").split("\n") if path.is_file() else []:
            try:
                row = json.loads(line)
                known[int(row["number"])] = str(row["text"])
            except (ValueError, KeyError, TypeError):
                continue
        return known

    def _note(self, captions: dict[int, str]) -> None:
        lines = [json.dumps({"number": number, "text": text}, ensure_ascii=False) for number, text in captions.items()]
        with open(self.output / CAPTIONS, "a", encoding="utf-8") as file:
            # Begins with a line's end: the last call may have been killed within a line.
            file.write("".join(f"\n{line}" for line in lines))

    def _progress(self, label: str, items: Sequence[Item], todo: Sequence[Item]) -> Progress:
        return Progress(label, len(items), done=len(items) - len(todo), unit="pictures", speed=True)
