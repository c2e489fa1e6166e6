"""Pairs from pictures: the folder that `tool data build controlnet` writes and `datasets` loads as an imagefolder.

    OUT/metadata.jsonl             file_name, conditioning_image_file_name, text, source
    OUT/images/000000.png          or .jpg, where a file could be copied as it is
    OUT/conditioning_images/000000.png

or the same below OUT/train and OUT/validation. Names are numbers, since `datasets` takes words in paths for splits.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from tasks.buckets import alike
from tasks.controlnet import conditions
from tasks.controlnet.building.scan import Picture
from tasks.files import write_text, writing
from tasks.images import FileImages

IMAGES, CONDITIONS, METADATA = "images", "conditioning_images", "metadata.jsonl"
MULTIPLE = 8  # sides of a resized picture are multiples of it, as the base's VAE needs
# Bytes a pixel, by what photographs took as PNG, rounded up.
PICTURE_BYTES = {"png": 2.0, "jpeg": 0.7}
CONDITION_BYTES = {"canny": 0.1, "scribble": 0.05, "palette": 0.05, "landmarks": 0.05, "segmentation": 0.1}
OTHER_BYTES = 0.8


@dataclass(frozen=True)
class Item:
    """One pair to make.

    Attributes:
        number: its place in the result, which names its files.
        folder: where its split's metadata lies.
        frame: (width, height) that it is written with.
        copied: whether the picture's file is taken as it is.
        suffix: of the picture's file.
    """

    number: int
    picture: Picture
    folder: Path
    split: str
    frame: tuple[int, int]
    copied: bool
    suffix: str

    @property
    def image_name(self) -> str:
        return f"{IMAGES}/{self.number:06d}{self.suffix}"

    @property
    def condition_name(self) -> str:
        return f"{CONDITIONS}/{self.number:06d}.png"

    @property
    def image(self) -> Path:
        return self.folder / self.image_name

    @property
    def condition(self) -> Path:
        return self.folder / self.condition_name


def frame_of(size: tuple[int, int], resolution: int | None, crop: str) -> tuple[int, int]:
    """(width, height) of the pair made from a picture of `size`.

    Args:
        resolution: of the shorter side in pixels; None: the picture's own size stays.
        crop: "center": a square; "none": the picture's shape, to a multiple of 8.
    """
    if resolution is None:
        return size
    if crop == "center":
        return resolution, resolution
    scale = resolution / min(size)
    width, height = (max(resolution, int(round(side * scale, 6)) // MULTIPLE * MULTIPLE) for side in size)
    return (resolution, height) if size[0] <= size[1] else (width, resolution)


def framed(image: Image.Image, frame: tuple[int, int]) -> Image.Image:
    """The picture made just large enough to cover the frame (Lanczos), and its middle cut out."""
    return image if image.size == frame else ImageOps.fit(image, frame, Image.Resampling.LANCZOS)


def moved(face: np.ndarray, size: tuple[int, int], frame: tuple[int, int]) -> np.ndarray:
    """Landmarks of a picture of `size` in the pixels of its frame."""
    scale = max(frame[0] / size[0], frame[1] / size[1])
    return (face - np.array(size) / 2) * scale + np.array(frame) / 2


def splits_of(pictures: Sequence[Picture], fraction: float, seed: int) -> list[str]:
    """ "train" or "validation" for each; the same share whatever the order, drawn by name and seed."""
    keys = [hashlib.sha256(f"{seed}\0{picture.relative}".encode()).digest() for picture in pictures]
    count = min(len(pictures) - 1, max(1, round(fraction * len(pictures)))) if fraction and len(pictures) > 1 else 0
    held = set(sorted(range(len(pictures)), key=lambda i: keys[i])[:count])
    return ["validation" if i in held else "train" for i in range(len(pictures))]


def items_of(
    pictures: Sequence[Picture],
    splits: Sequence[str],
    output: Path,
    *,
    resolution: int | None,
    crop: str,
    image_format: str,
) -> list[Item]:
    """The pairs to make, in order; without a validation split all lie in `output` itself."""
    several = "validation" in splits
    found = []
    for number, (picture, split) in enumerate(zip(pictures, splits, strict=True)):
        frame = frame_of(picture.size, resolution, crop)
        copied = picture.plain is not None and frame == picture.size
        suffix = str(picture.plain) if copied else {"png": ".png", "jpeg": ".jpg"}[image_format]
        found.append(Item(number, picture, output / split if several else output, split, frame, copied, suffix))
    return found


def estimate_bytes(items: Sequence[Item], kind: str, image_format: str) -> int:
    """What the pairs will take on the disk, about."""
    each = CONDITION_BYTES.get(kind, OTHER_BYTES)
    total = 0.0
    for item in items:
        area = item.frame[0] * item.frame[1]
        total += area * each + (item.picture.bytes if item.copied else area * PICTURE_BYTES[image_format])
    return int(total)


def anything_made(output: Path) -> bool:
    """Whether a build has written a picture there."""
    folders = [output / split / IMAGES for split in ("", "train", "validation")]
    return any(folder.is_dir() and any(folder.iterdir()) for folder in folders)


def make_pair(item: Item, kind: str, options: dict[str, Any], image_format: str) -> None:
    """Writes the picture and, where no model is needed for it, its condition; each whole or not at all.

    Raises:
        DataError: the picture is broken.
        OutOfDisk: no room.
    """
    shown = framed(FileImages([item.picture.path]).load(0), item.frame)
    if item.copied:
        with writing(item.image, "wb") as file, open(item.picture.path, "rb") as source:
            shutil.copyfileobj(source, file)
    elif image_format == "jpeg":
        with writing(item.image, "wb") as file:
            shown.save(file, "JPEG", quality=95, subsampling=0)
    else:
        write_png(item.image, shown)
    if kind in conditions.BY_MODEL:
        return
    if kind == "landmarks":
        faces = [moved(np.asarray(face), item.picture.size, item.frame) for face in item.picture.faces]
        options = {**options, "faces": faces}
    write_png(item.condition, conditions.make(kind, written(item, shown), **options))


def written(item: Item, shown: Image.Image) -> Image.Image:
    """The picture as it is read back: JPEG has changed it a little."""
    if item.suffix == ".jpg" and not item.copied:
        return FileImages([str(item.image)]).load(0)
    return shown


def write_png(path: Path, image: Image.Image) -> None:
    """A PNG without metadata; the second of zlib's levels, four times as fast as the sixth and hardly larger."""
    with writing(path, "wb") as file:
        image.save(file, "PNG", compress_level=2)


def write_metadata(items: Sequence[Item], captions: dict[int, list[str]]) -> None:
    """metadata.jsonl of each split, in order; captions are lists where any picture has several."""
    several = any(len(captions[item.number]) > 1 for item in items)
    for split in alike(items, lambda item: item.folder):
        rows = [
            {
                "file_name": item.image_name,
                "conditioning_image_file_name": item.condition_name,
                "text": captions[item.number] if several else captions[item.number][0],
                "source": item.picture.relative,
            }
            for item in split
        ]
        write_text(split[0].folder / METADATA, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
