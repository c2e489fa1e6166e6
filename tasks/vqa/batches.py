"""Padded batches of questions and pictures: images decoded once, pixels as bytes until the model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from tasks.buckets import epoch_plan, heaviest_first
from tasks.vqa.augment import Augmentation, draw
from tasks.vqa.questions import Questions
from tasks.vqa.truncation import cut_tokens, of_tokens
from tasks.vqa.vocabulary import Targets


@dataclass(frozen=True)
class ImageFormat:
    """How the model's image processor wants pictures, read from it once."""

    shortest: int
    longest: int
    divisor: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resample: int
    factor: float

    @staticmethod
    def of(processor: Any) -> ImageFormat:
        """Takes the settings of a `ViltImageProcessor`."""
        images = processor.image_processor
        shortest = int(images.size["shortest_edge"])
        return ImageFormat(
            shortest=shortest,
            longest=int(1333 / 800 * shortest),
            divisor=int(images.size_divisor),
            mean=tuple(images.image_mean),
            std=tuple(images.image_std),
            resample=int(images.resample),
            factor=float(images.rescale_factor),
        )

    def target(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) that an image of (width, height) is resized to.

        The rule of `ViltImageProcessor`: the shorter side to `shortest`, but the longer to at most `longest`, both floored to a
        multiple of `divisor`. Here a side is never less than one `divisor`, where the library's rule gives 0 for extreme shapes.
        """
        scale = self.shortest / min(size)
        sides = [float(self.shortest) if side == min(size) else scale * side for side in size]
        if max(sides) > self.longest:
            scale = self.longest / max(sides)
            sides = [scale * side for side in sides]
        width, height = (max(self.divisor, math.floor(side + 0.5) // self.divisor * self.divisor) for side in sides)
        return width, height

    def resized(self, picture: Image.Image) -> np.ndarray:
        """An RGB picture at its target size, as uint8 [3, h, w]."""
        size = self.target(picture.size)
        if picture.size != size:
            picture = picture.resize(size, self.resample)
        return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 [images, 3, height, width] to what the processor gives: float32, rescaled and normalised."""
        shift = torch.tensor(self.mean, device=pixels.device).view(1, -1, 1, 1)
        scale = torch.tensor(self.std, device=pixels.device).view(1, -1, 1, 1)
        return (pixels.float() * self.factor - shift) / scale


class VqaBatches:
    """The batches of one split.

    Args:
        questions: the split.
        tokenizer, images: of the model's processor.
        max_length: longer questions are cut to so many word pieces.
        targets: soft labels, or None where only predictions are wanted.
        augmentation: changes made to training images, or None.
        cache_bytes: resized images are kept as bytes in memory up to this much; nothing is ever written to disk.
    """

    def __init__(
        self,
        questions: Questions,
        tokenizer: Any,
        images: ImageFormat,
        *,
        max_length: int,
        targets: Targets | None = None,
        num_labels: int = 0,
        augmentation: Augmentation | None = None,
        cache_bytes: int = 1 << 30,
    ) -> None:
        self.questions, self.images, self.targets, self.num_labels = questions, images, targets, num_labels
        self.augmentation = augmentation
        self.pad = int(tokenizer.pad_token_id)
        distinct = {text: number for number, text in enumerate(dict.fromkeys(questions.question))}
        pieces, longer = cut_tokens(list(distinct), tokenizer, max_length)
        self.text = [np.asarray(row, dtype=np.int64) for row in pieces]
        self.text_of = np.asarray([distinct[text] for text in questions.question], dtype=np.int64)
        self.truncation = of_tokens(questions, self.text_of, pieces, longer, max_length)
        self.lengths = np.asarray([len(self.text[number]) for number in self.text_of], dtype=np.int64)
        self.sizes = self._sizes()
        self._cache: dict[int, np.ndarray] = {}
        self._room = cache_bytes

    def __len__(self) -> int:
        return len(self.questions)

    def _sizes(self) -> np.ndarray:
        """(width, height) of each question's image after resizing, int64 [n, 2]."""
        used, index = np.unique(self.questions.image, return_inverse=True)
        sizes = [self.images.target(self.questions.images.size(int(image))) for image in used]
        return np.asarray(sizes, dtype=np.int64).reshape(-1, 2)[index]

    def plan(self, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
        """An epoch's batches: each question once; alike in image shape and text length within a batch; order by seed."""
        return epoch_plan(self._keys(), batch_size, seed, epoch)

    def in_order(self, batch_size: int) -> list[np.ndarray]:
        """Batches for evaluation: by image shape, text length and image, so that padding is least and images are shared."""
        return heaviest_first(self._keys(), batch_size)

    def heaviest(self, batch_size: int) -> np.ndarray:
        """The questions with the most tokens: the batch that takes the most memory."""
        cost = self.sizes.prod(1) * 1000 + self.lengths
        return np.argsort(-cost, kind="stable")[:batch_size]

    def _keys(self) -> tuple[np.ndarray, ...]:
        return self.questions.image, self.lengths, self.sizes[:, 0], self.sizes[:, 1]

    def collate(self, numbers: np.ndarray, epoch: int = 0) -> dict[str, Any]:
        """CPU tensors of a batch.

        Returns:
            input_ids int64 [b, l]; attention_mask int64 [b, l] or None where nothing is padded; pixels uint8 [u, 3, h, w] of the
            distinct images; pixel_mask bool [u, h, w] or None; image_index int64 [b] or None where each has its own; labels
            float32 [b, num_labels] where there are targets.
        """
        batch: dict[str, Any] = self._text(numbers)
        if self.augmentation is None:
            distinct, index = np.unique(self.questions.image[numbers], return_inverse=True)
            arrays = [self._pixels(int(image)) for image in distinct]
            own = np.array_equal(index, np.arange(len(distinct)))
            batch["image_index"] = None if own else torch.from_numpy(index)
        else:
            changes = draw(self.augmentation, len(self), epoch)
            arrays = [
                self.augmentation.apply(self._pixels(int(self.questions.image[number])), changes[number])
                for number in numbers
            ]
            batch["image_index"] = None
        batch["pixels"], batch["pixel_mask"] = pad_images(arrays)
        if self.targets is not None:
            batch["labels"] = self.targets.dense(numbers, self.num_labels)
        return batch

    def _text(self, numbers: np.ndarray) -> dict[str, torch.Tensor | None]:
        rows = [torch.from_numpy(self.text[number]) for number in self.text_of[numbers]]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=self.pad)
        inside = np.arange(ids.shape[1]) < self.lengths[numbers][:, None]
        mask = None if inside.all() else torch.from_numpy(inside.astype(np.int64))
        return {"input_ids": ids, "attention_mask": mask}

    def _pixels(self, image: int) -> np.ndarray:
        """The resized image as uint8 [3, h, w]; from memory where it was kept.

        What is kept is what came first: with each image seen once an epoch, a cache that throws out the oldest would never hit.
        """
        if image in self._cache:
            return self._cache[image]
        array = self.images.resized(self.questions.images.load(image))
        if array.nbytes <= self._room:
            self._room -= array.nbytes
            self._cache[image] = array
        return array

    def cache_growth(self) -> int:
        """Bytes that the cache of resized images will yet take."""
        waiting = np.setdiff1d(self.questions.image, np.fromiter(self._cache, dtype=np.int64))
        _, first = np.unique(self.questions.image, return_index=True)
        size = {int(self.questions.image[at]): 3 * int(self.sizes[at].prod()) for at in first}
        return min(self._room, sum(size[int(image)] for image in waiting))


def pad_images(arrays: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Stacks uint8 [3, h, w] images, padded at the right and the bottom; the mask is None where nothing was padded."""
    height, width = max(array.shape[1] for array in arrays), max(array.shape[2] for array in arrays)
    if all(array.shape[1:] == (height, width) for array in arrays):
        return torch.from_numpy(np.stack(arrays)), None
    padded = np.zeros((len(arrays), 3, height, width), dtype=np.uint8)
    mask = np.zeros((len(arrays), height, width), dtype=np.uint8)
    for at, array in enumerate(arrays):
        padded[at, :, : array.shape[1], : array.shape[2]] = array
        mask[at, : array.shape[1], : array.shape[2]] = 1
    return torch.from_numpy(padded), torch.from_numpy(mask)
