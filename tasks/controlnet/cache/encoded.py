"""Cached latents and hidden states, by pair and caption."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from tasks.controlnet.batches import PairBatches
from tasks.controlnet.cache import keys
from tasks.controlnet.cache.store import Cache
from tasks.controlnet.geometry import View
from tasks.controlnet.pairs import Pairs
from tasks.deep_images import is_deep
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


def digest(item: tuple[ImageStore, int]) -> bytes:
    """sha256 of the file at a row of a store, of the ground under its transparent parts, and of how deep values are read.

    Raises:
        DataError: it can't be read.
    """
    store, row = item
    try:
        deep = b"own range" if is_deep(store.header(row).mode) else b""
        return hashlib.sha256(store.content(row) + bytes(store.ground) + deep).digest()
    except BROKEN as error:
        raise DataError(f"{store.where(row)}: can't be read ({error})") from error


@dataclass
class Encodings:
    """What the VAE and the text encoder made beforehand (`tasks.controlnet.batches.Encoded`); may go to workers.

    Attributes:
        contents: `digest` of each picture's file.
        chunked: captions that are encoded in several pieces.
    """

    pictures: Cache
    prompts: Cache
    vae_key: str
    text_key: str
    contents: dict[tuple[ImageStore, int], bytes] = field(default_factory=dict)
    chunked: frozenset[str] = frozenset()

    def picture_key(self, picture: Picture) -> str:
        """The key of a picture's moments."""
        content = self.contents[picture.pairs.images, picture.row]
        return keys.moments_key(self.vae_key, content, picture.view)

    def prompt_key(self, caption: str) -> str:
        """The key of a caption's hidden states."""
        return keys.prompt_key(self.text_key, caption, caption in self.chunked)

    def moments(self, pairs: Pairs, number: int, seen: View) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of a pair's latents, each float32 [c, h, w], unscaled."""
        entry = self.pictures.get(self.picture_key(Picture(pairs, number, seen)))
        return entry["mean"], entry["std"]

    def hidden(self, caption: str) -> torch.Tensor:
        """A prompt's hidden states [tokens, d] in the encoder's precision."""
        return self.prompts.get(self.prompt_key(caption))["hidden"]
