"""Scan of a picture folder before a build: headers, sizes, repeated files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tasks.buckets import alike
from tasks.controlnet.building.captions import Reader
from tasks.errors import DataError
from tasks.files import sha256
from tasks.images import BROKEN, FileImages, orientation, upright_size
from tasks.readers.paths import listing

# Reasons for leaving a picture out. Of these the last is no fault, and stops nothing.
BROKEN_FILE, SMALL, NO_CAPTION, NO_LANDMARKS = "broken", "below the resolution", "no caption", "no landmarks"
DUPLICATE = "same file twice"
THREADS = 8
COPIED = {"JPEG": ".jpg", "PNG": ".png"}


@dataclass(frozen=True)
class Picture:
    """A file that can be used.

    Attributes:
        relative: its path below the folder, with slashes.
        size: (width, height) in pixels, upright.
        plain: the suffix with which its file may be copied as it is (RGB, upright, opaque JPEG or PNG), or None.
        captions: of it; None where a model is to write them.
        faces: its landmarks, by `conditions.landmark_files`; empty for other kinds.
    """

    relative: str
    path: str
    bytes: int
    size: tuple[int, int]
    plain: str | None
    captions: tuple[str, ...] | None
    faces: tuple[object, ...] = ()


@dataclass(frozen=True)
class Left:
    """A picture that is left out: which, for which of the reasons, and more precisely why."""

    relative: str
    reason: str
    detail: str = ""


def find_files(folder: Path, without: Path) -> list[tuple[str, str]]:
    """Pictures below a folder by name, as (path below it, path); what is hidden, and what lies in `without`, is passed over.

    Raises:
        DataError: no picture, or a folder that can't be read.
    """
    Image.init()
    films = ("PDF", "EPS", "MPEG", "FLI")  # and documents
    formats = Image.registered_extensions().items()
    suffixes = {suffix for suffix, name in formats if name in Image.OPEN and name not in films}
    found: list[tuple[str, str]] = []
    excluded = os.path.realpath(without)

    def walk(path: str, below: str, above: tuple[str, ...]) -> None:
        above = (*above, os.path.realpath(path))
        for entry in listing(path):
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                if os.path.realpath(entry.path) not in (excluded, *above):  # a link may lead back up
                    walk(entry.path, f"{below}{entry.name}/", above)
            elif os.path.splitext(entry.name)[1].lower() in suffixes:
                found.append((below + entry.name, entry.path))

    walk(str(folder), "", ())
    if not found:
        raise DataError(
            f"--images {folder}: no pictures in it or below (known are JPEG, PNG, WebP and what else PIL reads)"
        )
    return sorted(found)


def scan(
    files: Sequence[tuple[str, str]],
    captions: Reader | None,
    faces: Callable[[str], Sequence[object]] | None,
    resolution: int | None,
) -> tuple[list[Picture], list[Left]]:
    """Looks at every file's header.

    Args:
        files: (relative, path), in their order.
        captions: None where a model writes them.
        faces: the landmarks of a picture, where the kind needs them.
        resolution: the least shorter side, in pixels.

    Returns:
        What can be used, and what is left out, both in order.
    """
    store = FileImages([path for _, path in files])
    with ThreadPoolExecutor(THREADS) as pool:
        headers = list(pool.map(lambda i: _header(store, i), range(len(files))))
    repeated = duplicates([path for _, path in files], [header[0] if header else -1 for header in headers])
    used, left = [], []
    for i, (relative, path) in enumerate(files):
        header, first = headers[i], repeated.get(i)
        if header is None:
            left.append(Left(relative, BROKEN_FILE, store.problem(i) or "can't be read"))
            continue
        size, shape, plain = header
        texts = None if captions is None else captions(relative)
        found = () if faces is None else tuple(faces(relative))
        if first is not None:
            left.append(Left(relative, DUPLICATE, f"as {files[first][0]}"))
        elif resolution is not None and min(shape) < resolution:
            left.append(Left(relative, SMALL, f"{shape[0]} x {shape[1]}"))
        elif texts is not None and not texts:
            left.append(Left(relative, NO_CAPTION))
        elif faces is not None and not found:
            left.append(Left(relative, NO_LANDMARKS))
        else:
            used.append(Picture(relative, path, size, shape, plain, None if texts is None else tuple(texts), found))
    return used, left


def duplicates(paths: Sequence[str], sizes: Sequence[int]) -> dict[int, int]:
    """Files whose bytes are those of an earlier one: number -> number of the first. `sizes` below 0 are passed over."""
    known = [i for i, size in enumerate(sizes) if size >= 0]
    doubtful = [i for numbers in alike(known, lambda i: sizes[i]) if len(numbers) > 1 for i in numbers]
    with ThreadPoolExecutor(THREADS) as pool:
        digests = dict(zip(doubtful, pool.map(lambda i: sha256(paths[i]), doubtful), strict=True))
    firsts: dict[str, int] = {}
    found = {}
    for i in sorted(digests):
        first = firsts.setdefault(digests[i], i)
        if first != i:
            found[i] = first
    return found


def _header(store: FileImages, i: int) -> tuple[int, tuple[int, int], str | None] | None:
    """(bytes, upright size, suffix to copy it with) from the header; None for a broken file."""
    try:
        with store.open(i) as image:
            upright = orientation(image) == 1
            opaque = image.mode == "RGB" and not image.has_transparency_data and getattr(image, "n_frames", 1) == 1
            plain = COPIED.get(image.format or "") if upright and opaque else None
            return os.path.getsize(store.paths[i]), upright_size(image), plain
    except BROKEN:
        return None


def digest(pictures: Sequence[Picture], splits: Sequence[str]) -> str:
    """What the result is made of: names, sizes, landmarks and splits, in order."""
    found = hashlib.sha256()
    for picture, split in zip(pictures, splits, strict=True):
        found.update(f"{picture.relative}\0{picture.bytes}\0{picture.size}\0{split}\0".encode())
        for face in picture.faces:
            found.update(np.asarray(face, np.float64).tobytes())
    return found.hexdigest()
