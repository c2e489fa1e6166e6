"""Parts of a split, drawn from a seed: a hold-out by picture, and a random subset of the pairs."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tasks.controlnet.readers.source import Read
from tasks.errors import ConfigError, DataError
from tasks.images import EncodedImages, FileImages, ImageStore

# How much of a file's beginning and end tells most pictures of equal size apart, before whole files are compared.
_EDGE = 4096


def take(read: Read, numbers: np.ndarray) -> Read:
    """The pairs of these numbers, in their order."""
    return read if len(numbers) == len(read.pairs) else replace(read, pairs=read.pairs.take(numbers))


def hold_out(read: Read, fraction: float, seed: int) -> tuple[Read, Read]:
    """(rest, held out), parted by picture: none is in both, not even as a copy under another name.

    Args:
        fraction: share of the pictures to hold out, above 0 and below 1; at least one goes and one stays.

    Raises:
        ConfigError: the fraction is out of range.
        DataError: there is but one picture.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"--eval-fraction {fraction}: give a share of the pictures above 0 and below 1")
    group = same_pictures(read)
    names = np.unique(group)
    if len(names) < 2:
        raise DataError(
            f"{read.pairs.source}: one picture only, so none can be held out; give more, or an --eval-split"
        )
    count = min(len(names) - 1, max(1, round(fraction * len(names))))
    chosen = np.random.default_rng([seed, 1]).permutation(names)[:count]
    held = np.isin(group, chosen)
    return take(read, np.flatnonzero(~held)), take(read, np.flatnonzero(held))


def subset(read: Read, count: int | None, seed: int, flag: str = "--max-samples") -> Read:
    """At most `count` of the pairs, drawn at random from the seed, in their old order.

    Raises:
        ConfigError: `count` is below 1.
    """
    if count is not None and count < 1:
        raise ConfigError(f"{flag} {count}: give 1 or more, or leave it out")
    if count is None or count >= len(read.pairs):
        return read
    chosen = np.random.default_rng([seed, 2]).permutation(len(read.pairs))[:count]
    return take(read, np.sort(chosen))


def same_pictures(*parts: Read) -> np.ndarray:
    """int64 [pairs of all parts]: the same number for pictures of the same content.

    They are compared by length, then by their edges, then whole, so that few are read in full. One that can't be read
    is a picture of its own; so is each one that is drawn and not stored.
    """
    return same_images([(part.pairs.images, part.pairs.rows) for part in parts])


def same_images(parts: Sequence[tuple[ImageStore, np.ndarray]]) -> np.ndarray:
    """`same_pictures` of any (store, entries)."""
    items = [(store, int(entry)) for store, entries in parts for entry in entries]
    stores = {id(store): store for store, _ in parts}
    inside = {
        key: [_mark(blob) for blob in store.blobs()]
        for key, store in stores.items()
        if isinstance(store, EncodedImages)
    }

    def mark(item: tuple[ImageStore, int]) -> Any:
        store, entry = item
        if isinstance(store, FileImages):
            return os.stat(store.paths[entry]).st_size
        assert isinstance(store, EncodedImages)
        return inside[id(store)][int(store.rows[entry])]

    group = np.arange(len(items), dtype=np.int64)
    alike = [[i for i, (store, _) in enumerate(items) if isinstance(store, FileImages | EncodedImages)]]
    for key in (mark, _edges, _whole):
        alike = [part for members in alike for part in _parted(members, items, key)]
    for members in alike:
        group[members] = members[0]
    return group


def _parted(
    members: Sequence[int], items: list[tuple[ImageStore, int]], key: Callable[[tuple[ImageStore, int]], Any]
) -> list[list[int]]:
    """Members with equal keys, together; those alone with theirs are left out."""
    parts: dict[Any, list[int]] = defaultdict(list)
    for i in members:
        try:
            parts[key(items[i])].append(i)
        except (OSError, ValueError):
            continue
    return [part for part in parts.values() if len(part) > 1]


def _mark(blob: memoryview) -> tuple[int, bytes]:
    """Length and edges of a file inside a dataset, which are mapped both."""
    return len(blob), _digest(bytes(blob[:_EDGE]) + bytes(blob[-_EDGE:]))


def _edges(item: tuple[ImageStore, int]) -> bytes:
    """Beginning and end of a file; those of one inside a dataset are in its mark, unless it is a path there."""
    store, entry = item
    if not isinstance(store, FileImages):
        return b""
    with open(store.paths[entry], "rb", buffering=0) as file:
        start = file.read(_EDGE)
        file.seek(max(0, os.fstat(file.fileno()).st_size - _EDGE))
        return _digest(start + file.read(_EDGE))


def _whole(item: tuple[ImageStore, int]) -> bytes:
    store, entry = item
    return _digest(store.content(entry))


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()
