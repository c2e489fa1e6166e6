"""Batches of pairs as tensors, for training and for the conditioning gain."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch.nn.utils.rnn import pad_sequence

from tasks.buckets import alike
from tasks.controlnet import draws
from tasks.controlnet.geometry import Frame, View, nearest_frame, pixels, view
from tasks.controlnet.pairs import Pairs
from tasks.controlnet.score import gain
from tasks.images import ImageStore

Batch = dict[str, Any]
EMPTY = ""


class Encoded(Protocol):
    """What the VAE and the text encoder made of pictures and captions beforehand."""

    def moments(self, pairs: Pairs, number: int, seen: View) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of a pair's latents, each [c, h, w], unscaled."""

    def hidden(self, caption: str) -> torch.Tensor:
        """A prompt's hidden states [tokens, d]."""


@dataclass(frozen=True)
class Shapes:
    """How pictures are framed.

    Attributes:
        resolution: the shorter side, in pixels.
        buckets: whether each keeps its shape as nearly as a frame allows.
        places: how many places a picture is cut from; 1: the middle.
        flip: whether mirrored pictures are examples too.
        factor: pixels a latent.
        channels: of the latents.
    """

    resolution: int
    buckets: bool = False
    places: int = 1
    flip: bool = False
    factor: int = 8
    channels: int = 4

    @property
    def variants(self) -> int:
        """Views of a picture."""
        return self.places * (2 if self.flip else 1)


@dataclass(eq=False)
class PairBatches:
    """The batches of one split.

    Args:
        encoded: None: batches hold pixels and token ids, for encoders that run in each step.
        tokenize: captions -> ids int64 [b, tokens]; needed where `encoded` is None.
        timesteps: of the schedule.
    """

    pairs: Pairs
    shapes: Shapes
    seed: int
    timesteps: int = 1000
    empty_prompts: float = 0.0
    encoded: Encoded | None = None
    tokenize: Any = None

    def __post_init__(self) -> None:
        sizes = (self.pairs.images.size(int(row)) for row in self.pairs.rows)
        buckets, resolution = self.shapes.buckets, self.shapes.resolution
        self.frames = [nearest_frame(size, resolution) for size in sizes] if buckets else None
        self.partner = gain.derangement(len(self), self.seed)
        self.bands = gain.bands(self.timesteps)

    def __len__(self) -> int:
        return len(self.pairs)

    def frame(self, number: int) -> Frame:
        """What a pair's picture is cut to."""
        if self.frames is None:
            return Frame(self.shapes.resolution, self.shapes.resolution)
        return self.frames[number]

    def view(self, number: int, variant: int = 0) -> View:
        """One of a pair's views: places first, each as it is and mirrored."""
        size = self.pairs.images.size(int(self.pairs.rows[number]))
        flip = self.shapes.flip and variant % 2 == 1
        at = variant // 2 if self.shapes.flip else variant
        place = None
        if self.shapes.places > 1:
            chance = np.random.default_rng([self.seed, number, at, 5])
            place = (float(chance.random()), float(chance.random()))
        return view(size, self.frame(number), place, flip)

    def views(self, number: int) -> list[View]:
        """All of a pair's views."""
        return [self.view(number, variant) for variant in range(self.shapes.variants)]

    def shown(self, number: int) -> tuple[Image.Image, Image.Image, str]:
        """Condition and picture of a pair in its first view, and its first caption."""
        seen, row = self.view(number), int(self.pairs.rows[number])
        condition, image = (pixels(store.load(row), seen) for store in (self.pairs.conditions, self.pairs.images))
        return Image.fromarray(condition), Image.fromarray(image), self._caption(number, 0)

    def prompts(self) -> list[str]:
        """Every prompt that may come up, the empty one first, each once."""
        return list(dict.fromkeys([EMPTY, *(caption for given in self.pairs.captions for caption in given)]))

    def plan(self, batch_size: int, epoch: int) -> list[np.ndarray]:
        """An epoch's batches in a seeded order, each of one frame; each pair once."""
        chance = np.random.default_rng([self.seed, epoch])
        batches = []
        for members in self._groups():
            order = chance.permutation(members)
            batches += [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        return [batches[number] for number in chance.permutation(len(batches))]

    def heaviest(self, batch_size: int) -> np.ndarray:
        """A batch of the largest frame; pairs are taken again where it has too few."""
        largest = max(self._groups(), key=lambda members: (self._area(members), len(members)))
        return np.resize(largest, min(batch_size, len(self)))

    def in_order(self, batch_size: int) -> list[np.ndarray]:
        """Batches for evaluation, the largest pictures first."""
        return [
            members[start : start + batch_size]
            for members in sorted(self._groups(), key=self._area, reverse=True)
            for start in range(0, len(members), batch_size)
        ]

    def collate(self, numbers: np.ndarray, epoch: int) -> Batch:
        """A training batch: condition uint8 [b, 3, H, W]; noise, posterior [b, c, h, w]; timesteps [b]; and what was drawn of
        pictures and captions: mean, std [b, c, h, w] and hidden [b, tokens, d], or pixels uint8 [b, 3, H, W] and ids [b, tokens]. Where
        captions are in pieces of unlike number, hidden is padded, `tokens` [b] says their lengths, and ids are [b, pieces, tokens]."""
        drawn = [
            draws.draw(
                self.seed,
                epoch,
                number,
                self._latent(number),
                timesteps=self.timesteps,
                captions=len(self.pairs.captions[number]),
                variants=self.shapes.variants,
                empty_prompts=self.empty_prompts,
            )
            for number in numbers.tolist()
        ]
        views = [self.view(int(number), one.variant) for number, one in zip(numbers, drawn, strict=True)]
        captions = [self._caption(int(number), one.caption) for number, one in zip(numbers, drawn, strict=True)]
        return {
            **self._inputs(numbers, views, captions),
            "noise": torch.stack([one.noise for one in drawn]),
            "posterior": torch.stack([one.posterior for one in drawn]),
            "timesteps": torch.tensor([one.timestep for one in drawn]),
        }

    def collate_evaluation(self, numbers: np.ndarray) -> Batch:
        """The same for evaluation, in its first view and with its first caption: `shuffled` is another pair's condition, timesteps
        [b, bands]; noise and posterior are those of the pair, at every evaluation."""
        views = [self.view(int(number)) for number in numbers]
        captions = [self._caption(int(number), 0) for number in numbers]
        normal = [
            draws.normals(self._latent(int(number)), self.seed, draws.EVALUATION, int(number)) for number in numbers
        ]
        others = [int(self.partner[number]) for number in numbers]
        foreign = [
            view(self.pairs.images.size(int(self.pairs.rows[other])), seen.frame)
            for other, seen in zip(others, views, strict=True)
        ]
        return {
            **self._inputs(numbers, views, captions),
            "shuffled": self._pixels(self.pairs.conditions, others, foreign),
            "noise": torch.stack([both[0] for both in normal]),
            "posterior": torch.stack([both[1] for both in normal]),
            "timesteps": torch.tensor(
                [draws.evaluation_timesteps(self.seed, int(number), self.bands) for number in numbers]
            ),
        }

    def _inputs(self, numbers: np.ndarray, views: list[View], captions: list[str]) -> Batch:
        inputs: Batch = {"condition": self._pixels(self.pairs.conditions, numbers, views)}
        if self.encoded is None:
            images = self._pixels(self.pairs.images, numbers, views)
            return {**inputs, "pixels": images, "ids": self.tokenize(captions)}
        encoded = self.encoded
        moments = [encoded.moments(self.pairs, int(number), seen) for number, seen in zip(numbers, views, strict=True)]
        return {
            **inputs,
            "mean": torch.stack([mean for mean, _ in moments]),
            "std": torch.stack([std for _, std in moments]),
            **_joined([encoded.hidden(caption) for caption in captions]),
        }

    def _pixels(self, store: ImageStore, numbers: Iterable[int], views: list[View]) -> torch.Tensor:
        """Pictures or conditions of pairs: uint8 [b, 3, H, W], channels last in memory."""
        rows = self.pairs.rows
        images = [pixels(store.load(int(rows[number])), seen) for number, seen in zip(numbers, views, strict=True)]
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)

    def _caption(self, number: int, which: int) -> str:
        given = self.pairs.captions[number]
        return given[which] if given and which >= 0 else EMPTY

    def _latent(self, number: int) -> tuple[int, int, int]:
        frame, factor = self.frame(number), self.shapes.factor
        return self.shapes.channels, frame.height // factor, frame.width // factor

    def _groups(self) -> list[np.ndarray]:
        """Numbers of the pairs of each frame."""
        if self.frames is None:
            return [np.arange(len(self))]
        groups = alike(range(len(self)), self.frame)
        ordered = sorted(groups, key=lambda numbers: dataclasses.astuple(self.frame(numbers[0])))
        return [np.asarray(numbers) for numbers in ordered]

    def _area(self, members: np.ndarray) -> int:
        frame = self.frame(int(members[0]))
        return frame.width * frame.height


def _joined(hidden: list[torch.Tensor]) -> Batch:
    """Prompts' hidden states as a batch; where their lengths differ padded with zeros, with the lengths."""
    lengths = [len(states) for states in hidden]
    if len(set(lengths)) == 1:
        return {"hidden": torch.stack(hidden)}
    return {"hidden": pad_sequence(hidden, batch_first=True), "tokens": torch.tensor(lengths)}
