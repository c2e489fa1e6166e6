"""`--model tiny`: a ViLT of under a million parameters with a vocabulary of its own, for any machine and no network."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import transformers

from tasks import word_pieces
from tasks.errors import DataError
from tasks.vqa.batches import ImageFormat
from tasks.vqa.models.vilt import ViltForQuestionAnswering, position_table
from tasks.vqa.questions import Questions
from tasks.weights import label_maps

MAX_WORDS = 1000
IMAGE_SIZE, PATCH_SIZE = 64, 8
HIDDEN, LAYERS, HEADS, INTERMEDIATE = 128, 4, 4, 512
MAX_TEXT = 40
# Wider than BERT's 0.02, which is meant for 768 channels.
INITIALIZER_RANGE = 0.05
POSITION_SCALE = 0.6


def build_tokenizer(questions: Iterable[str]) -> transformers.PreTrainedTokenizerBase:
    """A word-piece tokenizer from the training questions."""
    return word_pieces.build_tokenizer(questions, MAX_WORDS, MAX_TEXT)


def build_processor(tokenizer: Any) -> transformers.ViltProcessor:
    """The processor of the tiny model: 64 pixels, multiples of the patch."""
    from transformers.models.vilt.image_processing_pil_vilt import ViltImageProcessorPil

    images = ViltImageProcessorPil(size={"shortest_edge": IMAGE_SIZE}, size_divisor=PATCH_SIZE)
    return transformers.ViltProcessor(image_processor=images, tokenizer=tokenizer)


def patch_sample(questions: Questions, processor: Any, seed: int, images: int = 500) -> torch.Tensor:
    """Patches of some training images, as the model sees them: float32 [n, 3 * patch * patch]."""
    settings = ImageFormat.of(processor)
    distinct = np.unique(questions.image)
    chosen = np.random.default_rng(seed).permutation(len(distinct))[:images]
    patches = []
    for image in distinct[np.sort(chosen)]:
        try:
            picture = questions.images.load(int(image))
        except DataError:
            continue  # told, with its row, when its batch is loaded
        values = settings.normalise(torch.from_numpy(settings.resized(picture))[None])
        # Off the patch grid too: augmentation moves the images.
        patches.append(F.unfold(values, PATCH_SIZE, stride=PATCH_SIZE - 3)[0].T)
    return torch.cat(patches)


def whitened(patches: torch.Tensor, channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights [channels, features] and bias [channels] under which the patches have about equal spread in all directions.

    Natural patches differ mostly in brightness; whitening lets edges be seen as well from the first step (Coates and Ng 2012).
    """
    mean = patches.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov((patches - mean).double().T))
    values, vectors = values.flip(0)[:channels], vectors.flip(1)[:, :channels]
    # eigh leaves each vector's sign open; it is fixed, so that every machine starts alike.
    vectors = vectors * torch.where(vectors.sum(0) < 0, -1.0, 1.0)
    floor = 1e-3 * values[0].clamp(min=1e-6)
    weight = torch.zeros(channels, patches.shape[1], dtype=torch.float64)
    weight[: len(values)] = (vectors / (values.clamp(min=0) + floor).sqrt()).T * 0.5
    weight = weight.float()
    return weight, -(weight @ mean)


def build_model(
    tokenizer: Any, answers: list[str], seed: int, patches: torch.Tensor | None = None
) -> ViltForQuestionAnswering:
    """Random weights from the seed. Positions start as sines, so that places are told apart from the first step; with `patches`,
    float32 [n, 3 * patch * patch], the patch embedding starts by whitening them.
    """
    config = transformers.ViltConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=INTERMEDIATE,
        image_size=IMAGE_SIZE,
        patch_size=PATCH_SIZE,
        max_position_embeddings=MAX_TEXT,
        initializer_range=INITIALIZER_RANGE,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=tokenizer.pad_token_id,
        **label_maps(answers),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ViltForQuestionAnswering(config)
        embeddings = model.vilt.embeddings
        with torch.no_grad():
            embeddings.cls_token.normal_(std=INITIALIZER_RANGE)
            embeddings.position_embeddings.normal_(std=INITIALIZER_RANGE)
            embeddings.position_embeddings[0, 1:] = POSITION_SCALE * position_table(IMAGE_SIZE // PATCH_SIZE, HIDDEN)
            if patches is not None and len(patches):
                projection = embeddings.patch_embeddings.projection
                weight, bias = whitened(patches, HIDDEN)
                projection.weight.copy_(weight.view_as(projection.weight))
                projection.bias.copy_(bias)
    return model
