"""A word-piece tokenizer made from the training texts, for the tiny models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import transformers

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def build_tokenizer(texts: Iterable[str], max_words: int, max_length: int) -> transformers.PreTrainedTokenizerBase:
    """A BERT tokenizer: every character, and the most frequent words.

    Words beyond `max_words` fall apart into characters, so that no text is unknown that uses known letters. Order: by
    frequency, then by spelling.
    """
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    clean, split = BertNormalizer(lowercase=True), BertPreTokenizer()
    counts: Counter[str] = Counter()
    for text, times in Counter(texts).items():
        for word, _ in split.pre_tokenize_str(clean.normalize_str(text)):
            counts[word] += times
    letters = sorted({letter for word in counts for letter in word})
    words = sorted((word for word in counts if len(word) > 1), key=lambda word: (-counts[word], word))
    pieces = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters), *words[:max_words]]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    return transformers.BertTokenizer(vocab=vocabulary, do_lower_case=True, model_max_length=max_length)
