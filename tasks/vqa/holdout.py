"""Parts of a split, drawn from a seed: a hold-out by image, and a random subset of the questions."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tasks.errors import ConfigError, DataError
from tasks.images import FileImages, ImageStore
from tasks.vqa.questions import Questions

# How much of a file's beginning and end tells most pictures of equal size apart, before whole files are compared.
_EDGE = 4096


def hold_out(questions: Questions, fraction: float, seed: int) -> tuple[Questions, Questions]:
    """(rest, held out), parted by image: no picture is in both, not even as a copy under another name.

    Args:
        fraction: share of the images to hold out, above 0 and below 1; at least one image goes and one stays.

    Raises:
        ConfigError: the fraction is out of range.
        DataError: all questions are on one picture.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"--eval-fraction {fraction}: give a share of the images above 0 and below 1")
    used = np.unique(questions.image)
    group = same_pictures(questions.images, used)
    names = np.unique(group)
    if len(names) < 2:
        raise DataError(
            f"{questions.source}: all questions are on one picture, so none can be held out; give an --eval-split"
        )
    count = min(len(names) - 1, max(1, round(fraction * len(names))))
    chosen = np.random.default_rng([seed, 1]).permutation(names)[:count]
    held = np.isin(questions.image, used[np.isin(group, chosen)])
    return questions.select(np.flatnonzero(~held)), questions.select(np.flatnonzero(held))


def subset(questions: Questions, count: int | None, seed: int, flag: str = "--max-samples") -> Questions:
    """At most `count` of the questions, drawn at random from the seed, in their old order.

    Raises:
        ConfigError: `count` is below 1.
    """
    if count is not None and count < 1:
        raise ConfigError(f"{flag} {count}: give 1 or more, or leave it out")
    if count is None or count >= len(questions):
        return questions
    chosen = np.random.default_rng([seed, 2]).permutation(len(questions))[:count]
    return questions.select(np.sort(chosen))


def same_pictures(images: ImageStore, used: np.ndarray) -> np.ndarray:
    """int64 [len(used)]: the same number for images of the same content.

    Stores other than files have one entry a picture already. Files are compared by length, then by their edges, then
    whole, so that few are read in full. A missing one is a picture of its own.
    """
    group = np.arange(len(used), dtype=np.int64)
    if not isinstance(images, FileImages):
        return group
    paths = [images.paths[i] for i in used]
    alike = [list(range(len(paths)))]
    for key in (_length, _edges, _whole):
        alike = [part for members in alike for part in _parted(members, paths, key)]
    for members in alike:
        group[members] = members[0]
    return group


def _parted(members: Sequence[int], paths: list[str], key: Callable[[str], Any]) -> list[list[int]]:
    """Members with equal keys, together; those alone with theirs are left out."""
    parts: dict[Any, list[int]] = defaultdict(list)
    for i in members:
        try:
            parts[key(paths[i])].append(i)
        except OSError:
            continue
    return [part for part in parts.values() if len(part) > 1]


def _length(path: str) -> int:
    return os.stat(path).st_size


def _edges(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        start = file.read(_EDGE)
        file.seek(max(0, os.fstat(file.fileno()).st_size - _EDGE))
        return hashlib.blake2b(start + file.read(_EDGE), digest_size=16).digest()


def _whole(path: str) -> bytes:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
