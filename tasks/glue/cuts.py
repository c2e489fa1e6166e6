"""Texts that lose tokens to a model's length, and those that become equal by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tasks.glue.batches import CHUNK, TextBatches
from tasks.glue.texts import Texts


class Cuts(NamedTuple):
    """Of so many texts, how many lose tokens, and how many of all are the same as another one only because of that."""

    texts: int
    cut: int
    equal: int


def cuts(batches: TextBatches, texts: Texts, tokenizer: Any, max_length: int) -> Cuts:
    """What cutting to `max_length` tokens does to the texts of `batches`: exact, by reading those of full length once more uncut."""
    full = np.flatnonzero(batches.lengths >= max_length)
    uncut: dict[bytes, set[bytes]] = {}
    rows: dict[bytes, int] = {}
    cut = 0
    for start in range(0, len(full), CHUNK):
        numbers = full[start : start + CHUNK]
        part = texts.take(numbers)
        whole = tokenizer(part.first, part.second, verbose=False, return_attention_mask=False)["input_ids"]
        for number, tokens in zip(numbers, whole, strict=True):
            cut += int(len(tokens) > batches.lengths[number])
            short = batches.flat["input_ids"][batches.offsets[number] : batches.offsets[number + 1]].tobytes()
            uncut.setdefault(short, set()).add(np.asarray(tokens, np.int32).tobytes())
            rows[short] = rows.get(short, 0) + 1
    equal = sum(rows[short] for short, wholes in uncut.items() if len(wholes) > 1)
    return Cuts(len(texts), cut, equal)


def cut_by_words(texts: Texts, max_length: int) -> int:
    """Texts that are cut by any tokenizer, since they have more words than `max_length` has tokens."""
    second = texts.second or [""] * len(texts)
    return sum(len(a.split()) + len(b.split()) > max_length for a, b in zip(texts.first, second, strict=True))


def cut_notes(found: Mapping[str, Cuts], max_length: int) -> list[str]:
    """A line on what --max-length takes from the splits, by name; [] where it takes nothing."""
    phrases = [
        f"{one.cut:,} of {one.texts:,} {name}{' ' if name else ''}texts"
        + (f" ({one.equal:,} become equal to another by it)" if one.equal else "")
        for name, one in found.items()
        if one.cut
    ]
    if not phrases:
        return []
    verb = "loses" if sum(one.cut for one in found.values()) == 1 else "lose"
    return [f"{' and '.join(phrases)} {verb} words to --max-length {max_length}"]
