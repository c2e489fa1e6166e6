"""Questions that are longer than a model reads: how many lose words, and how many become equal to another by it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.vqa.questions import Questions


@dataclass(frozen=True)
class Truncation:
    """What a limit of so many word pieces does to the questions of a split.

    Attributes:
        cut: how many questions lose words. equal: how many of these are then the same as another question on their picture.
        first: where the first of them is.
    """

    limit: int
    total: int
    cut: int
    equal: int
    first: str

    def line(self, what: str = "questions", hint: str = "") -> str:
        """In words; empty where no question is cut.

        Args:
            what: noun of the questions, in the plural. hint: how to mend it.
        """
        if not self.cut:
            return ""
        same = f"; {self.equal:,} become equal to another on their picture" if self.equal else ""
        lost = f"{self.cut:,} of {self.total:,} {what} lose words to the limit of {self.limit} word pieces"
        return f"{lost}, the first {self.first}{same}{hint}"


def cut_tokens(texts: list[str], tokenizer: Any, limit: int) -> tuple[list[list[int]], dict[int, tuple[int, ...]]]:
    """(the word pieces of each text, at most `limit`; all of them of each text that has more)."""
    if not texts:  # which tokenizers don't take
        return [], {}
    pieces = tokenizer(texts, truncation=True, max_length=limit, return_attention_mask=False)["input_ids"]
    full = [number for number, row in enumerate(pieces) if len(row) >= limit]
    whole = tokenizer([texts[number] for number in full], verbose=False)["input_ids"] if full else []
    return pieces, {number: tuple(row) for number, row in zip(full, whole, strict=True) if len(row) > limit}


def truncation(questions: Questions, tokenizer: Any, limit: int) -> Truncation:
    """What the limit does to these questions."""
    distinct = {text: number for number, text in enumerate(dict.fromkeys(questions.question))}
    pieces, longer = cut_tokens(list(distinct), tokenizer, limit)
    numbers = np.asarray([distinct[text] for text in questions.question], np.int64)
    return of_tokens(questions, numbers, pieces, longer, limit)


def of_tokens(
    questions: Questions, numbers: np.ndarray, pieces: Any, longer: dict[int, tuple[int, ...]], limit: int
) -> Truncation:
    """The same from word pieces that are known already.

    Args:
        numbers: int64 [n], the text of each question; pieces, longer: of the texts, as `cut_tokens` gives them.
    """
    cut = np.flatnonzero(np.isin(numbers, sorted(longer)))
    if not len(cut):
        return Truncation(limit, len(questions), 0, 0, "")
    # Only cut questions are as long as the limit, but for those that are just so long.
    alike: dict[tuple[int, tuple[int, ...]], set[tuple[int, ...]]] = defaultdict(set)
    ends = [tuple(map(int, row)) if len(row) >= limit else () for row in pieces]
    for picture, number in zip(questions.image.tolist(), numbers.tolist(), strict=True):
        if ends[number]:
            alike[picture, ends[number]].add(longer.get(number, ends[number]))
    equal = sum(len(alike[int(questions.image[i]), ends[int(numbers[i])]]) > 1 for i in cut)
    return Truncation(limit, len(questions), len(cut), equal, questions.where(int(cut[0])))
