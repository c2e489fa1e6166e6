"""`--model tiny`: a ViLT of under a million parameters with a vocabulary of its own, for any machine and no network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import transformers

from tasks.vqa.model import ViltForQuestionAnswering, position_table

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MAX_WORDS = 1000
IMAGE_SIZE, PATCH_SIZE = 64, 8
HIDDEN, LAYERS, HEADS, INTERMEDIATE = 128, 4, 4, 512
MAX_TEXT = 40
# Wider than BERT's 0.02, which is meant for 768 channels.
INITIALIZER_RANGE = 0.05


def build_tokenizer(questions: Iterable[str], max_words: int = MAX_WORDS) -> transformers.PreTrainedTokenizerBase:
    """A word-piece tokenizer from the training questions: every character, and the most frequent words.

    Words beyond `max_words` fall apart into characters, so that no text is unknown that uses known letters. Order: by
    frequency, then by spelling.
    """
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    clean, split = BertNormalizer(lowercase=True), BertPreTokenizer()
    counts: Counter[str] = Counter()
    for question, times in Counter(questions).items():
        for word, _ in split.pre_tokenize_str(clean.normalize_str(question)):
            counts[word] += times
    letters = sorted({letter for word in counts for letter in word})
    words = sorted((word for word in counts if len(word) > 1), key=lambda word: (-counts[word], word))
    pieces = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters), *words[:max_words]]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    return transformers.BertTokenizer(vocab=vocabulary, do_lower_case=True, model_max_length=MAX_TEXT)


def build_processor(tokenizer: Any) -> transformers.ViltProcessor:
    """The processor of the tiny model: 64 pixels, multiples of the patch."""
    from transformers.models.vilt.image_processing_pil_vilt import ViltImageProcessorPil

    images = ViltImageProcessorPil(size={"shortest_edge": IMAGE_SIZE}, size_divisor=PATCH_SIZE)
    return transformers.ViltProcessor(image_processor=images, tokenizer=tokenizer)


def build_model(tokenizer: Any, answers: list[str], seed: int) -> ViltForQuestionAnswering:
    """Random weights from the seed. Positions start as sines, so that places are told apart from the first step."""
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
        id2label=dict(enumerate(answers)),
        label2id={answer: number for number, answer in enumerate(answers)},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ViltForQuestionAnswering(config)
        embeddings = model.vilt.embeddings
        with torch.no_grad():
            embeddings.cls_token.normal_(std=INITIALIZER_RANGE)
            embeddings.position_embeddings.normal_(std=INITIALIZER_RANGE)
            embeddings.position_embeddings[0, 1:] = 0.2 * position_table(IMAGE_SIZE // PATCH_SIZE, HIDDEN)
    return model


def save(model: Any, processor: Any, folder: Path) -> None:
    """What `from_pretrained` of model, processor and tokenizer loads."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
