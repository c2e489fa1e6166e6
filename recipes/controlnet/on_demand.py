"""Latents and hidden states computed on demand, for a dry run, which writes no cache."""

from __future__ import annotations

import time
from typing import Any

import torch

from tasks.controlnet.cache.encoding import CUT, encode_pixels, encode_prompts, tokenize
from tasks.controlnet.geometry import View, pixels
from tasks.controlnet.pairs import Pairs


class OnDemand:
    """As `tasks.controlnet.batches.Encoded`.

    Args:
        pictures, captions: how many of them a run will encode.
    """

    def __init__(
        self, vae: Any, text_encoder: Any, tokenizer: Any, pictures: int, captions: int, long_captions: str = CUT
    ) -> None:
        self.vae, self.text_encoder, self.tokenizer, self.long_captions = vae, text_encoder, tokenizer, long_captions
        self.pictures, self.captions = pictures, captions
        self._moments: dict[tuple[int, int, View], tuple[torch.Tensor, torch.Tensor]] = {}
        self._hidden: dict[str, torch.Tensor] = {}
        self._seconds = [0.0, 0.0]

    def moments(self, pairs: Pairs, number: int, seen: View) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of a pair's latents, each float32 [c, h, w], unscaled."""
        row = int(pairs.rows[number])
        key = (id(pairs.images), row, seen)
        if key not in self._moments:
            began = time.monotonic()
            image = pixels(pairs.images.load(row), seen).copy()  # torch warns of arrays that are a picture's own
            mean, std = encode_pixels(self.vae, torch.from_numpy(image).permute(2, 0, 1)[None])
            self._moments[key] = (mean[0].cpu(), std[0].cpu())
            self._seconds[0] += time.monotonic() - began
        return self._moments[key]

    def hidden(self, caption: str) -> torch.Tensor:
        """A prompt's hidden states [tokens, d]."""
        if caption not in self._hidden:
            began = time.monotonic()
            ids = tokenize(self.tokenizer, [caption], self.long_captions)
            self._hidden[caption] = encode_prompts(self.text_encoder, ids)[0].cpu()
            self._seconds[1] += time.monotonic() - began
        return self._hidden[caption]

    def seconds(self) -> float:
        """What encoding all of it will take, by what a few took."""
        made = (len(self._moments), len(self._hidden))
        wanted = (self.pictures, self.captions)
        return sum(spent * of / max(1, done) for spent, of, done in zip(self._seconds, wanted, made, strict=True))
