"""Moments and hidden states by pair and caption, out of their caches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from tasks.controlnet.batches import PairBatches
from tasks.controlnet.cache import keys
from tasks.controlnet.cache.store import Cache
from tasks.controlnet.geometry import View
from tasks.controlnet.pairs import Pairs
from tasks.errors import DataError
from tasks.images import BROKEN, ImageStore


class Picture(NamedTuple):
    """A pair's picture in one view."""

    pairs: Pairs
    number: int
    view: View

    @property
    def row(self) -> int:
        """Its entry of the store."""
        return int(self.pairs.rows[self.number])


def pictures_of(batches: PairBatches) -> list[Picture]:
    """Every picture in every view that these batches may ask for, in order."""
    pairs = batches.pairs
    return [Picture(pairs, number, seen) for number in range(len(pairs)) for seen in batches.views(number)]


class Contents:
    """Digests of the files behind pictures."""

    def __init__(self) -> None:
        # Stores by identity; a list, for an id is another one in a worker.
        self._known: list[tuple[ImageStore, dict[int, bytes]]] = []

    def of(self, store: ImageStore) -> dict[int, bytes]:
        """Row -> digest, as far as known, to read and to fill."""
        for other, found in self._known:
            if other is store:
                return found
        self._known.append((store, {}))
        return self._known[-1][1]

    @staticmethod
    def wanted(pictures: Iterable[Picture]) -> list[tuple[ImageStore, int]]:
        """The stores and rows behind the pictures, each once, in their order."""
        found = {(id(picture.pairs.images), picture.row): picture.pairs.images for picture in pictures}
        return [(store, row) for (_, row), store in found.items()]

    @staticmethod
    def digests(wanted: list[tuple[ImageStore, int]], threads: int = 8) -> list[bytes]:
        """sha256 of each file and of the ground under its transparent parts.

        Raises:
            DataError: a file can't be read.
        """

        def digest(item: tuple[ImageStore, int]) -> bytes:
            store, row = item
            try:
                return hashlib.sha256(store.content(row) + bytes(store.ground)).digest()
            except BROKEN as error:
                raise DataError(f"{store.where(row)}: can't be read ({error})") from error

        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(digest, wanted))


@dataclass
class Encodings:
    """What the VAE and the text encoder made beforehand (`tasks.controlnet.batches.Encoded`); may go to workers."""

    pictures: Cache
    prompts: Cache
    vae_key: str
    text_key: str
    contents: Contents = field(default_factory=Contents)

    def picture_key(self, picture: Picture) -> str:
        """The key of a picture's moments."""
        content = self.contents.of(picture.pairs.images)[picture.row]
        return keys.moments_key(self.vae_key, content, picture.view)

    def prompt_key(self, caption: str) -> str:
        """The key of a caption's hidden states."""
        return keys.prompt_key(self.text_key, caption)

    def moments(self, pairs: Pairs, number: int, seen: View) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of a pair's latents, each float32 [c, h, w], unscaled."""
        entry = self.pictures.get(self.picture_key(Picture(pairs, number, seen)))
        return entry["mean"], entry["std"]

    def hidden(self, caption: str) -> torch.Tensor:
        """A prompt's hidden states [tokens, d] in the encoder's precision."""
        return self.prompts.get(self.prompt_key(caption))["hidden"]
