"""Validation pictures: a few conditions drawn at each evaluation, as grids in the run folder."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from recipes.controlnet.config import Train
from recipes.controlnet.grids import Row, write_grid
from recipes.controlnet.step import Frozen
from recipes.process.memory import release
from recipes.runs.trackers import PICTURES, picture_name
from recipes.terminal.progress import print_line
from recipes.work import Evaluator
from tasks.controlnet.batches import EMPTY, PairBatches
from tasks.controlnet.cache.encoding import encode_prompts, prompt_lengths
from tasks.controlnet.condition_pixels import parse_range
from tasks.controlnet.drawing.generation import Decoder, Painter, fit, frame_for, nothing, picture_seed
from tasks.controlnet.models.pretrained import Base, load_vae
from tasks.controlnet.pairs import condition_files
from tasks.errors import Preempted, ToolError, data_errors, is_out_of_memory

PAIRS = 4
Drawn = tuple[int, int, Image.Image]  # scene, number, picture


@dataclass
class Scenes:
    """What is drawn at each evaluation.

    Attributes:
        conditions: RGB pictures, in the size that is drawn.
        prompts: one each.
        truths: the true pictures, where they are held-out pairs; else empty.
    """

    conditions: list[Image.Image] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    truths: list[Image.Image] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.conditions)


def scenes(config: Train, evaluation: PairBatches) -> Scenes:
    """The conditions that were asked for, else a few held-out pairs, evenly spread; none where no picture is wanted.

    Raises:
        DataError: files of --validation-image that are missing or broken.
    """
    if not config.num_validation_images:
        return Scenes()
    if config.validation_image:
        return from_files(config)
    numbers = np.linspace(0, len(evaluation) - 1, min(PAIRS, len(evaluation))).round().astype(int)
    conditions, truths, prompts = zip(*map(evaluation.shown, numbers.tolist()), strict=True)
    return Scenes(list(conditions), list(prompts), list(truths))


def from_files(config: Train) -> Scenes:
    """The conditions and prompts of --validation-image and --validation-prompt.

    Raises:
        DataError: files that are missing or broken.
    """
    paths = [str(Path(path).expanduser()) for path in config.validation_image]
    images = condition_files(paths, parse_range(config.condition_range))
    bad = images.problems(range(len(images)), decode=True)
    if bad:
        raise data_errors([f"--validation-image {images.where(at)}: {reason}" for at, reason in bad.items()])
    loaded = [images.load(at) for at in range(len(images))]
    conditions = [fit(image, frame_for(image.size, config.resolution)) for image in loaded]
    count = max(len(conditions), len(config.validation_prompt))
    prompts = list(config.validation_prompt)
    return Scenes(
        conditions * count if len(conditions) == 1 else conditions, prompts * count if len(prompts) == 1 else prompts
    )


@dataclass
class Validator:
    """Draws the scenes and keeps the grids; nothing that fails in it ends the training, but a stop that was asked for.

    Args:
        config: with its defaults filled in.
        run: the run folder.
        device: of the nets; `autocast` gives the context that they run in.
        world: the processes that share the drawing.
    """

    config: Train
    run: Path
    base: Base
    scenes: Scenes
    device: torch.device
    autocast: Callable[[], Any] = contextlib.nullcontext
    world: int = 1

    def __post_init__(self) -> None:
        self.hidden: list[torch.Tensor] = []
        self.empty = torch.empty(0)
        self.unet: Any = None
        self.decoder: Any = None
        self._most: int | None = None

    @property
    def prompts(self) -> list[str]:
        """Those whose hidden states `prepare` needs, each once."""
        return list(dict.fromkeys([*self.scenes.prompts, EMPTY])) if len(self.scenes) else []

    def prepare(self, frozen: Frozen, evaluation: PairBatches) -> None:
        """Takes the base's UNet, the prompts' hidden states and the VAE's decoder; the last waits on the host unless the run
        has the VAE on the device anyway."""
        if not len(self.scenes):
            return
        self.unet = frozen.unet
        self.decoder = Decoder(frozen.vae if frozen.vae is not None else load_vae(self.base))
        wanted = [*self.scenes.prompts, EMPTY]
        if frozen.text_encoder is not None:
            ids = evaluation.tokenize(wanted)
            padded = encode_prompts(frozen.text_encoder, ids).float().cpu()
            states = [row[:length] for row, length in zip(padded, prompt_lengths(ids).tolist(), strict=True)]
        else:
            encoded = evaluation.encoded
            assert encoded is not None
            states = [encoded.hidden(prompt).float().cpu() for prompt in wanted]
        self.hidden, self.empty = states[:-1], states[-1][None]

    def seconds(self, controlnet: Any) -> float:
        """What a drawing will take, from two steps of one picture."""
        if not len(self.scenes):
            return 0.0
        stamps: list[float] = []
        try:
            self._painted(controlnet, [(0, 0)], 1, steps=2, done=lambda count: stamps.append(time.monotonic()))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return 0.0
        each = self.config.validation_inference_steps * (stamps[1] - stamps[0]) + time.monotonic() - stamps[1]
        return -(-len(self._items()) // self.world) * each

    def draw(self, controlnet: Any, evaluator: Evaluator) -> dict[str, Path]:
        """Draws all scenes, the processes sharing them, and writes `validation/step-000500.png`.

        Every process must call it. A stop is looked for between two denoising steps; of several processes between two
        batches, where all look together.

        Args:
            controlnet: the plain module, which may be in training mode.

        Returns:
            How the trackers call the grid -> its file, on the main process; nothing where nothing was drawn.

        Raises:
            Preempted: by the evaluator's `check`.
        """
        found: list[Drawn] = []
        for batch in evaluator.mine(self._batches(evaluator)):
            found += self._tried(controlnet, batch, evaluator)
        found = evaluator.gather(found)
        if evaluator.rank or not found:
            return {}
        return self._kept(evaluator.step or 0, found)

    def _items(self) -> list[tuple[int, int]]:
        """(scene, picture) of all that is drawn."""
        pictures = self.config.num_validation_images or 0
        return [(scene, picture) for scene in range(len(self.scenes)) for picture in range(pictures)]

    def _batches(self, evaluator: Evaluator) -> list[list[tuple[int, int]]]:
        """Small enough that each process has its share; with guidance each picture counts twice."""
        items = self._items()
        passes = 2 if self.config.validation_guidance > 1 else 1
        size = max(1, min(evaluator.batch_size // passes, -(-len(items) // evaluator.world)))
        return [items[start : start + size] for start in range(0, len(items), size)]

    def _tried(self, controlnet: Any, batch: list[tuple[int, int]], evaluator: Evaluator) -> list[Drawn]:
        """The pictures of a batch; fewer at once where memory runs out, and none where not even one fits."""
        check = evaluator.check if evaluator.world == 1 else nothing
        while self._most != 0:
            try:
                return self._painted(controlnet, batch, self._most or len(batch), check=check)
            except Preempted:
                raise
            except Exception as error:
                # Whatever it is, it would come again with every try to go on with the run.
                full, why = is_out_of_memory(error), f"{type(error).__name__}: {error}".splitlines()[0][:200]
            self._most = (self._most or len(batch)) // 2 if full else 0
            release(evaluator.device)
            if not self._most:
                told = "they didn't fit into memory, not even one at a time" if full else f"they failed ({why})"
                print_line(
                    f"          no validation pictures are drawn from here on: {told}; figures and training go on"
                )
        return []

    def _painted(
        self, controlnet: Any, batch: list[tuple[int, int]], at_once: int, steps: int | None = None, **given: Any
    ) -> list[Drawn]:
        config = self.config
        painter = Painter(
            self.base,
            self.unet,
            controlnet,
            self.decoder,
            self.device,
            config.validation_scheduler,
            autocast=self.autocast,
            batch_size=at_once,
        )
        rows = [scene for scene, _ in batch]
        drawn = painter.draw(
            [self.scenes.conditions[row] for row in rows],
            [self.hidden[row] for row in rows],
            self.empty,
            steps=steps or config.validation_inference_steps,
            guidance=config.validation_guidance,
            seeds=[picture_seed(config.seed, scene, picture) for scene, picture in batch],
            **given,
        )
        return [(*item, picture) for item, picture in zip(batch, drawn, strict=True)]

    def _kept(self, step: int, found: list[Drawn]) -> dict[str, Path]:
        path = self.run / PICTURES / picture_name(step)
        try:
            write_grid(path, self._rows(found), self.scenes.prompts, self.facts(step), truths=bool(self.scenes.truths))
        except Preempted:
            raise
        except ToolError as error:  # a checkpoint that has no room either says so itself
            print_line(f"          the validation pictures of step {step} were not kept: {error}")
            return {}
        return {f"{PICTURES}/pictures": path}

    def _rows(self, found: list[Drawn]) -> list[Row]:
        """Condition, pictures, and the true picture where there is one, of each scene."""
        count = self.config.num_validation_images or 0
        rows: list[Row] = [[condition, *[None] * count] for condition in self.scenes.conditions]
        for scene, number, drawn in found:
            rows[scene][1 + number] = drawn
        for row, truth in zip(rows, self.scenes.truths, strict=False):
            row.append(truth)
        return rows

    def facts(self, step: int) -> dict[str, Any]:
        """What the grid was drawn with."""
        config = self.config
        return {
            "step": step,
            "seed": config.seed,
            "scheduler": config.validation_scheduler,
            "steps": config.validation_inference_steps,
            "guidance": f"{config.validation_guidance:g}",
            "base": config.model,
        }
