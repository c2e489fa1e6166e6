"""Tests of how many texts lose tokens to a model's length, and how many become equal by it: against the tokens themselves."""

import numpy as np
import pytest

from tasks.glue import tiny
from tasks.glue.batches import TextBatches
from tasks.glue.cuts import Cuts, cut_by_words, cut_notes, cuts
from tasks.glue.texts import Texts

LETTERS = "abcdefgh"


def texts(*, pairs):
    generator = np.random.default_rng(0)
    first, second = (
        [" ".join(generator.choice(list(LETTERS[:2]), generator.integers(1, 9))) for _ in range(300)] for _ in range(2)
    )
    return Texts(first, second if pairs else None, None)


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("length", [6, 8])
def test_counts_are_exact(pairs, length):
    part = texts(pairs=pairs)
    tokenizer = tiny.build_tokenizer(part)
    found = cuts(TextBatches(part, tokenizer, max_length=length), part, tokenizer, length)
    whole = [tuple(row) for row in tokenizer(part.first, part.second)["input_ids"]]
    short = [tuple(row) for row in tokenizer(part.first, part.second, truncation=True, max_length=length)["input_ids"]]
    cut = sum(one != other for one, other in zip(whole, short, strict=True))
    kinds: dict[tuple[int, ...], set[tuple[int, ...]]] = {}
    for one, other in zip(short, whole, strict=True):
        kinds.setdefault(one, set()).add(other)
    equal = sum(len(kinds[one]) > 1 for one in short)
    assert found == Cuts(300, cut, equal)
    assert 0 < cut < 300
    assert equal > 0


def test_a_text_of_exactly_the_length_is_not_cut():
    part = Texts(["a b c d", "a b c"], None, None)
    tokenizer = tiny.build_tokenizer(part)
    batches = TextBatches(part, tokenizer, max_length=6)
    assert batches.lengths.tolist() == [6, 5]
    assert cuts(batches, part, tokenizer, 6) == Cuts(2, 0, 0)
    assert cut_notes({"training": Cuts(2, 0, 0)}, 6) == []


def test_lines_and_the_least_that_words_tell():
    found = {"training": Cuts(200, 12, 3), "dev": Cuts(50, 0, 0), "test": Cuts(40, 2, 0)}
    assert cut_notes(found, 128) == [
        "12 of 200 training texts (3 become equal to another by it) and 2 of 40 test texts lose words to --max-length 128"
    ]
    assert cut_by_words(Texts(["a b c", "a"], ["d", "e f g"], None), 3) == 2
    assert cut_by_words(Texts(["a b c", "a b c d"], None, None), 3) == 1
