"""Duplicate pictures: which images of a split are the same, whatever their names."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from tasks.images import BROKEN, EncodedImages, FileImages, ImageStore
from tasks.seen import content_digests

# How much of a file's beginning and end tells most pictures of equal size apart, before whole files are compared.
_EDGE = 4096
_Item = tuple[ImageStore, int]


def same_images(parts: Sequence[tuple[ImageStore, np.ndarray]]) -> np.ndarray:
    """int64 [entries of all parts]: the same number for images of the same content, that of the first of them.

    They are compared by length, then by their edges, then whole, so that few are read in full. One that can't be read
    is a picture of its own; so is each one that is drawn and not stored.

    Args:
        parts: stores, and which of their entries.
    """
    items = [(store, int(entry)) for store, entries in parts for entry in entries]
    stores = {id(store): store for store, _ in parts}
    inside = {
        key: [_mark(blob) for blob in store.blobs()]
        for key, store in stores.items()
        if isinstance(store, EncodedImages)
    }

    def mark(item: _Item) -> Any:
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


def picture_digests(store: ImageStore, entries: np.ndarray) -> np.ndarray:
    """uint64 [entries]: of each picture's file, as stored, for `tasks.seen`; one that can't be read has that of its name."""

    def content(entry: int) -> bytes:
        try:
            return store.content(entry)
        except BROKEN:
            return store.where(entry).encode()

    with ThreadPoolExecutor(8) as pool:
        # In pieces: a picture is read and let go, and what waits stays small.
        pieces = [entries[start : start + 64].tolist() for start in range(0, len(entries), 64)]
        digests = pool.map(lambda piece: content_digests(map(content, piece)), pieces)
        return np.concatenate([np.empty(0, np.uint64), *digests])


def _parted(members: Sequence[int], items: list[_Item], key: Callable[[_Item], Any]) -> list[list[int]]:
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


def _edges(item: _Item) -> bytes:
    """Beginning and end of a file; those of one inside a dataset are in its mark, unless it is a path there."""
    store, entry = item
    if not isinstance(store, FileImages):
        return b""
    with open(store.paths[entry], "rb", buffering=0) as file:
        start = file.read(_EDGE)
        file.seek(max(0, os.fstat(file.fileno()).st_size - _EDGE))
        return _digest(start + file.read(_EDGE))


def _whole(item: _Item) -> bytes:
    store, entry = item
    return _digest(store.content(entry))


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()
