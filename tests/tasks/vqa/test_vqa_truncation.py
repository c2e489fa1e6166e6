"""Questions that are longer than the model reads."""

import numpy as np
import pytest

from tasks.images import FileImages
from tasks.vqa.questions import Questions
from tasks.vqa.tiny import build_tokenizer
from tasks.vqa.truncation import truncation

LONG = "is the small round thing on the left of the table red"


def questions(texts, images):
    n = len(texts)
    return Questions(
        list(range(n)), texts, np.asarray(images), [["yes"]] * n, None, [""] * n, [""] * n, FileImages(["a", "b"]), "data.csv"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("limit", "cut", "equal"),
    # With the marks at both ends LONG has 14 word pieces, and the first two differ in the 13th.
    [(14, 0, 0), (13, 3, 2), (8, 3, 3)],
)
def test_how_many_are_cut_and_become_equal(limit, cut, equal):
    # The third differs in the 10th; the last is short; another picture's questions are no matter.
    other = LONG.replace("left", "right")
    texts = [LONG, LONG.replace("red", "blue"), other, "red", LONG.replace("red", "old")]
    data = questions(texts[:4], [0, 0, 0, 0])
    found = truncation(data, build_tokenizer(texts), limit)
    assert (found.cut, found.equal, found.total) == (cut, equal, 4)
    assert bool(found.line()) == bool(cut)
    if cut:
        assert found.line().startswith(
            f"{cut} of 4 questions lose words to the limit of {limit} word pieces, the first data.csv, row 1"
        )
    elsewhere = truncation(questions([LONG, texts[4]], [0, 1]), build_tokenizer(texts), 13)
    assert (elsewhere.cut, elsewhere.equal) == (2, 0)


def test_the_same_question_twice_becomes_no_other():
    found = truncation(questions([LONG, LONG], [0, 0]), build_tokenizer([LONG]), 8)
    assert (found.cut, found.equal) == (2, 0)
