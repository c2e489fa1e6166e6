"""A word-piece tokenizer made from the training texts, for the tiny models: BERT's rules, without those that make two words one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import tokenizers
import transformers
from tokenizers import normalizers, pre_tokenizers, processors

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# Scripts without spaces between words: as with Chinese, each letter with its marks is a word.
UNSPACED = r"[\p{Hiragana}\p{Katakana}ー\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]\p{M}*"
# Control characters and invisible marks of layout. The joiners U+200C and U+200D stay: with them it is another word, or another emoji.
INVISIBLE = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufffd]"
# Longer runs without a space are parted: one beyond WordPiece's own limit would be unknown as a whole.
LONGEST = 100


class PreTrainedTokenizerFast(transformers.PreTrainedTokenizerFast):
    """Saved under the name that older versions of transformers know too: a tokenizer is saved under its class's."""


def build_tokenizer(texts: Iterable[str], max_words: int, max_length: int) -> PreTrainedTokenizerFast:
    """A tokenizer in lower case: every character, and the most frequent words.

    Unlike BERT's, accents, vowel signs and voicing marks stay, so that no two words of any script become one; a letter is the
    same however Unicode composes it. Words beyond `max_words` fall apart into characters, so that no text is unknown that uses
    known letters. Order: by frequency, then by spelling.
    """
    normalizer, splitter = _normalizer(), _splitter()
    counts: Counter[str] = Counter()
    for text, times in Counter(texts).items():
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)):
            counts[word] += times
    letters = sorted({letter for word in counts for letter in word})
    words = sorted((word for word in counts if len(word) > 1), key=lambda word: (-counts[word], word))
    pieces = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters), *words[:max_words]]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    backend = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer, backend.pre_tokenizer = normalizer, splitter
    backend.decoder = tokenizers.decoders.WordPiece(prefix="##")
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=max_length,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **{f"{name[1:-1].lower()}_token": name for name in SPECIAL},
    )


def _normalizer() -> normalizers.Normalizer:
    return normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.Replace(tokenizers.Regex(INVISIBLE), ""),
            normalizers.Replace("\u200b", " "),
            normalizers.BertNormalizer(clean_text=False, strip_accents=False, lowercase=True),
        ]
    )


def _splitter() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.BertPreTokenizer(),
            pre_tokenizers.Split(tokenizers.Regex(UNSPACED), "isolated"),
            pre_tokenizers.FixedLength(LONGEST),
        ]
    )
