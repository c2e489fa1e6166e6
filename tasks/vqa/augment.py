"""Image augmentation, a function of seed, epoch and example, so that a resumed run draws the same."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

# A question or answer with one of these words would be wrong on the mirrored image.
SIDEWAYS = re.compile(
    r"\b(left|right|leftmost|rightmost|clockwise|east|west|read|say|says|written|letter|number|word|time)\b", re.I
)
UPDOWN = re.compile(
    r"\b(up|down|above|below|under|underneath|over|top|bottom|upper|lower|higher|highest|lowest|upside|beneath|on|sky|ground|"
    r"hang|hanging|fall|falling|standing|sitting|lying|north|south|read|say|says|written|letter|number|word|time)\b",
    re.I,
)


@dataclass(frozen=True, eq=False)
class Augmentation:
    """What may be done to a training image.

    Attributes:
        kinds: of hflip, vflip, shift, randaugment.
        shift: the most an image is moved, as a share of its shorter side.
        mirror, upend: bool [n], whether the question allows a flip.
        randaugment: number of operations and their strength out of 10 (Cubuk et al. 2020; ViLT uses 2 and 9).
    """

    kinds: tuple[str, ...]
    seed: int
    mirror: np.ndarray = field(repr=False)
    upend: np.ndarray = field(repr=False)
    shift: float = 0.0625
    randaugment: tuple[int, int] = (2, 9)

    @staticmethod
    def of(kinds: tuple[str, ...], seed: int, questions: list[str], answers: list[list[str]]) -> Augmentation | None:
        """For a training split; None where no kind is asked for."""
        if not kinds:
            return None
        texts = [
            " ".join([question, *dict.fromkeys(given)]) for question, given in zip(questions, answers, strict=True)
        ]
        mirror = np.asarray([SIDEWAYS.search(text) is None for text in texts])
        upend = np.asarray([UPDOWN.search(text) is None for text in texts])
        return Augmentation(kinds, seed, mirror, upend)

    def apply(self, pixels: np.ndarray, change: np.void) -> np.ndarray:
        """The changed copy of uint8 [3, h, w], of the same shape."""
        if change["hflip"]:
            pixels = pixels[:, :, ::-1]
        if change["vflip"]:
            pixels = pixels[:, ::-1]
        if "randaugment" in self.kinds:
            pixels = rand_augment(pixels, np.random.default_rng(int(change["seed"])), *self.randaugment)
        if "shift" in self.kinds:
            pixels = shifted(pixels, float(change["down"]), float(change["across"]), self.shift)
        return np.ascontiguousarray(pixels)


@lru_cache(maxsize=2)
def draw(augmentation: Augmentation, count: int, epoch: int) -> np.ndarray:
    """The changes of one epoch, a record an example."""
    rng = np.random.default_rng([augmentation.seed, epoch, 2])
    kind = [("hflip", "?"), ("vflip", "?"), ("down", "f4"), ("across", "f4"), ("seed", "i8")]
    changes = np.zeros(count, dtype=kind)
    chance = rng.random((4, count))
    changes["hflip"] = (chance[0] < 0.5) & augmentation.mirror & ("hflip" in augmentation.kinds)
    changes["vflip"] = (chance[1] < 0.5) & augmentation.upend & ("vflip" in augmentation.kinds)
    changes["down"], changes["across"] = chance[2] * 2 - 1, chance[3] * 2 - 1
    changes["seed"] = rng.integers(2**62, size=count)
    return changes


def shifted(pixels: np.ndarray, down: float, across: float, most: float) -> np.ndarray:
    """Moves the image by up to `most` of its shorter side; the border is drawn out to fill the gap."""
    _, height, width = pixels.shape
    reach = most * min(height, width)
    rows = np.clip(np.arange(height) - round(down * reach), 0, height - 1)
    columns = np.clip(np.arange(width) - round(across * reach), 0, width - 1)
    return pixels[:, rows[:, None], columns[None]]


def rand_augment(pixels: np.ndarray, rng: np.random.Generator, count: int, strength: int) -> np.ndarray:
    """RandAugment (Cubuk et al. 2020) without inversion of colours, as ViLT leaves it out."""
    image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    for number in rng.integers(len(_OPERATIONS), size=count):
        sign = 1 if rng.random() < 0.5 else -1
        image = _OPERATIONS[number](image, strength / 10, sign)
    return np.asarray(image).transpose(2, 0, 1)


def _affine(image: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, fillcolor=(128, 128, 128))


_OPERATIONS = (
    lambda image, level, sign: ImageOps.autocontrast(image),
    lambda image, level, sign: ImageOps.equalize(image),
    lambda image, level, sign: image.rotate(30 * level * sign, fillcolor=(128, 128, 128)),
    lambda image, level, sign: ImageOps.posterize(image, 8 - round(4 * level)),
    lambda image, level, sign: ImageOps.solarize(image, round(256 * (1 - level))),
    lambda image, level, sign: ImageEnhance.Color(image).enhance(1 + 0.9 * level * sign),
    lambda image, level, sign: ImageEnhance.Contrast(image).enhance(1 + 0.9 * level * sign),
    lambda image, level, sign: ImageEnhance.Brightness(image).enhance(1 + 0.9 * level * sign),
    lambda image, level, sign: ImageEnhance.Sharpness(image).enhance(1 + 0.9 * level * sign),
    lambda image, level, sign: _affine(image, (1, 0.3 * level * sign, 0, 0, 1, 0)),
    lambda image, level, sign: _affine(image, (1, 0, 0, 0.3 * level * sign, 1, 0)),
    lambda image, level, sign: _affine(image, (1, 0, 0.45 * level * sign * image.size[0], 0, 1, 0)),
    lambda image, level, sign: _affine(image, (1, 0, 0, 0, 1, 0.45 * level * sign * image.size[1])),
)
