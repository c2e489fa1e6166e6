"""The `sample` data, for a first run with no network and no files: drawn when asked for, or written as fill50k is.

The same seed gives the same pairs and the same pixels both ways. What they show is in `tasks.controlnet.sample.circles`.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

from PIL import Image

from tasks.controlnet.readers.source import Load, Options, Read, Source, read_of
from tasks.controlnet.sample.circles import Scene, scene
from tasks.files import write_folder
from tasks.headers import Header
from tasks.images import ImageStore

# How much there is.
TRAIN = 2000
VALIDATION = 200
SIZE = 64


class SampleImages(ImageStore):
    """Pictures or conditions of scenes, drawn when they are asked for.

    Args:
        numbers: of the scenes in the whole sample.
        condition: draw the conditions, not the pictures.
    """

    def __init__(self, seed: int, numbers: range, size: int = SIZE, condition: bool = False) -> None:
        super().__init__()
        self.seed, self.numbers, self.side, self.condition = seed, numbers, size, condition

    def __len__(self) -> int:
        return len(self.numbers)

    def scene(self, i: int) -> Scene:
        return scene(self.seed, self.numbers[i], self.side)

    def open(self, i: int) -> Image.Image:
        shown = self.scene(i)
        return shown.condition if self.condition else shown.image

    def load(self, i: int) -> Image.Image:
        return self.open(i)

    def where(self, i: int) -> str:
        return f"sample, {'condition' if self.condition else 'image'} {self.numbers[i] + 1}"

    def header(self, i: int) -> Header:
        return Header(self.side, self.side, "RGB", False, False)

    def problem(self, i: int, decode: bool = False) -> str | None:
        return None

    def content(self, i: int) -> bytes:
        return _png(self.open(i))


def source(options: Options) -> Source:
    """The sample as recognised data, drawn from the options' seed at their resolution (64 pixels without)."""

    def load(split: str) -> Load:
        return lambda problems: read(split, options.seed, size=options.resolution or SIZE)

    return Source("sample", "circles (generated)", {split: load(split) for split in ("train", "validation")})


def read(split: str, seed: int = 0, train: int = TRAIN, validation: int = VALIDATION, size: int = SIZE) -> Read:
    """One split, "train" or "validation"."""
    numbers = range(train) if split == "train" else range(train, train + validation)
    images, conditions = (SampleImages(seed, numbers, size, condition) for condition in (False, True))
    captions = [[images.scene(i).caption] for i in range(len(numbers))]
    return read_of(images, conditions, captions, f"sample ({split})", [number + 1 for number in numbers])


def write_sample(
    folder: str | Path, seed: int = 0, train: int = TRAIN, validation: int = VALIDATION, size: int = SIZE
) -> None:
    """Writes the sample as fill50k is laid out, with a folder of the same kind for validation; whole or not at all."""

    def fill(root: Path) -> None:
        for split, place in (("train", root), ("validation", root / "validation")):
            pairs = read(split, seed, train, validation, size).pairs
            for part in ("source", "target"):
                (place / part).mkdir(parents=True)
            with open(place / "prompt.json", "w", encoding="utf-8") as lines:
                for i, (prompt,) in enumerate(pairs.captions):
                    names = {"source": f"source/{i}.png", "target": f"target/{i}.png"}
                    (place / names["source"]).write_bytes(pairs.conditions.content(i))
                    (place / names["target"]).write_bytes(pairs.images.content(i))
                    lines.write(json.dumps({**names, "prompt": prompt}) + "\n")

    write_folder(folder, fill)


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()
