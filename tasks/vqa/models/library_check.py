"""Check of the faster forward of ViLT against transformers' own, on a small batch in float32.

Rounding leaves logits of float32 apart by 1e-6 to 1e-5 of their size, and 1e-3 is allowed: another formula shows as 1e-2 and more.
bfloat16 and float16 round at 4e-3 and 5e-4, and more over the layers, which would hide a small difference. So runs in these types
are checked in float32 too, before the model goes to its device: autocast does the same to both forwards.
"""

from __future__ import annotations

from typing import Any

import torch

from tasks.self_check import difference
from tasks.vqa.models.vilt import ViltForQuestionAnswering

# Images in patches, (rows, columns): positions are interpolated along both sides, two questions share an image.
IMAGES, IMAGE_INDEX, WORDS = ((1, 3), (3, 1), (2, 2)), (0, 1, 2, 2), 4


def keep_if_equal(model: ViltForQuestionAnswering) -> str | None:
    """Has the model use transformers' own forward from now on where the faster one gives other logits.

    Args:
        model: whole, on the CPU, not compiled; its mode, gradients and torch's random state stay.

    Returns:
        A sentence for the reader, or None where the faster forward stays.
    """
    batch, training = small_batch(model.config), model.training
    model.eval()

    def logits(library: bool) -> torch.Tensor:
        model.use_library(library)
        result: torch.Tensor = model(**batch).logits
        return result

    try:
        sentence = difference(
            lambda: logits(False), lambda: logits(True), what="the faster forward", library="transformers"
        )
    finally:
        model.train(training)
    model.use_library(sentence is not None)
    return sentence


def small_batch(config: Any) -> dict[str, torch.Tensor]:
    """Padded questions about padded images, from a generator of its own."""
    generator = torch.Generator().manual_seed(0)
    words, patch = min(WORDS, config.max_position_embeddings), int(config.patch_size)
    side = patch * max(map(max, IMAGES))
    seen = torch.ones(len(IMAGE_INDEX), words, dtype=torch.long)
    seen[0, words // 2 :] = 0
    pixel_mask = torch.zeros(len(IMAGES), side, side, dtype=torch.long)
    for mask, (rows, columns) in zip(pixel_mask, IMAGES, strict=True):
        mask[: rows * patch, : columns * patch] = 1
    pixels = torch.randn(len(IMAGES), config.num_channels, side, side, generator=generator)
    return {
        "input_ids": torch.randint(config.vocab_size, seen.shape, generator=generator),
        "attention_mask": seen,
        "pixel_values": pixels * pixel_mask[:, None],
        "pixel_mask": pixel_mask,
        "image_index": torch.tensor(IMAGE_INDEX),
    }
