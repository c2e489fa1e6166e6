"""Captions that are longer than the text encoder reads: how many lose words, and how many become equal by it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.controlnet.pairs import Pairs

# CLIP's, with a start and an end token; and how it parts a text before it looks for its tokens, so that none is longer than these.
CLIP_LENGTH = 77
_WORD = re.compile(r"'(?:s|t|re|ve|m|ll|d)|[^\W\d_]+|\d|(?:[^\s\w]|_)+", re.IGNORECASE)


@dataclass(frozen=True)
class CutCaptions:
    """What cutting does to captions.

    Attributes:
        length: the text encoder's tokens.
        cut: captions that lose words.
        alike: captions that differ, and don't any more when they are cut.
        total: of all.
        at_least: they were counted in words, each of one token or more.
    """

    length: int
    cut: int
    alike: int
    total: int
    at_least: bool = False


def of_splits(splits: Iterable[Pairs | None], tokenizer: Any = None) -> CutCaptions:
    """What cutting does to all captions of some splits.

    Args:
        tokenizer: of the text encoder; None: CLIP's tokens are counted in words.
    """
    texts = [text for pairs in splits if pairs is not None for given in pairs.captions for text in given]
    return cut_by_words(texts) if tokenizer is None else cut_by(tokenizer, texts)


def cut_by(tokenizer: Any, texts: Sequence[str]) -> CutCaptions:
    """What the tokenizer's length does."""
    from tasks.controlnet.cache.encoding import contents

    return cut_captions(texts, contents(tokenizer, list(texts)), tokenizer.model_max_length)


def cut_captions(
    texts: Sequence[str], tokens: Sequence[Sequence[Hashable]], length: int, at_least: bool = False
) -> CutCaptions:
    """
    Args:
        tokens: of each text, whole.
        length: of a prompt, start and end token included.
    """
    room = length - 2
    wholes: dict[tuple[Hashable, ...], set[tuple[Hashable, ...]]] = defaultdict(set)
    for content in tokens:
        wholes[tuple(content[:room])].add(tuple(content))
    alike = sum(len(wholes[tuple(content[:room])]) > 1 for content in tokens)
    return CutCaptions(length, sum(len(content) > room for content in tokens), alike, len(texts), at_least)


def cut_by_words(texts: Sequence[str]) -> CutCaptions:
    """What CLIP's length does at least, for where no tokenizer is at hand."""
    return cut_captions(texts, [_WORD.findall(text.lower()) for text in texts], CLIP_LENGTH, at_least=True)


def line(found: CutCaptions, chunk: bool = False, noun: str = "captions") -> str:
    """The same in words; empty where none is too long."""
    if not found.cut:
        return ""
    least = "at least " if found.at_least else ""
    which = f"{least}{found.cut:,} of {found.total:,} {noun}"
    if chunk:
        return f"{which} are longer than the text encoder's {found.length} tokens, and are encoded in pieces"
    alike = f", and {found.alike:,} become equal by it" if found.alike else ""
    return (
        f"{which} lose words to the text encoder's {found.length} tokens{alike}; --long-captions chunk takes them whole"
    )
