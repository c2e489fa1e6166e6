"""The record of the pictures and questions that a model was trained on, and which of an evaluation's it knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks import seen
from tasks.copies import picture_digests
from tasks.seen import Seen
from tasks.vqa.holdout import plain
from tasks.vqa.questions import Questions

PICTURES, QUESTIONS = "pictures", "questions"


def record(train: Questions, before: Seen | None = None) -> Seen:
    """What a training on these questions saw.

    Args:
        before: what the weights it started from had seen.
    """
    pictures, questions = _digests(train)
    return (before or Seen()).with_kind(PICTURES, pictures).with_kind(QUESTIONS, questions)


@dataclass(frozen=True)
class Overlap:
    """Which of n evaluation questions are on pictures that training saw, bool [n], and how many were asked of them there word
    for word; `pictures` is None where it isn't known what the model was trained on.
    """

    pictures: np.ndarray | None
    questions: int = 0

    @property
    def count(self) -> int:
        return 0 if self.pictures is None else int(self.pictures.sum())

    def line(self) -> str:
        """In words; empty where training saw nothing of it."""
        line = seen.describe(self.pictures, "questions' pictures")
        return f"{line} ({self.questions:,} of the questions too)" if self.count else line

    def mark(self) -> str:
        """What stands behind a figure on these questions, with a space before it."""
        return (
            f" ({self.count:,} of {len(self.pictures):,} seen in training)"
            if self.pictures is not None and self.count
            else ""
        )

    def as_dict(self) -> dict[str, Any] | None:
        """Plain values; None where it isn't known."""
        if self.pictures is None:
            return None
        return {"count": self.count, "of": len(self.pictures), "unit": "questions", "same_question": self.questions}


def overlap(known: Seen | None, questions: Questions) -> Overlap:
    """What of these questions is in a model's record."""
    if known is None or not {PICTURES, QUESTIONS} <= known.kinds.keys():
        return Overlap(None)
    pictures, asked = _digests(questions)
    saw, word_for_word = known.mask(PICTURES, pictures), known.mask(QUESTIONS, asked)
    return Overlap(saw, 0 if word_for_word is None else int(word_for_word.sum()))


def _digests(questions: Questions) -> tuple[np.ndarray, np.ndarray]:
    """uint64 [n], of each question's picture, and of the picture with the question."""
    used, index = np.unique(questions.image, return_inverse=True)
    pictures = picture_digests(questions.images, used)[index]
    names = [digest.tobytes() for digest in pictures]
    return pictures, seen.content_digests(names, map(plain, questions.question))
