"""The record of the pictures and questions that a model was trained on, by content, and which of others are in it."""

from __future__ import annotations

import numpy as np

from tasks.copies import picture_digests
from tasks.seen import Seen, content_digests
from tasks.vqa.holdout import plain
from tasks.vqa.questions import Questions

PICTURES, QUESTIONS = "pictures", "questions"


def record(train: Questions) -> Seen:
    """What a training on these questions sees: its pictures, and its questions each with its picture."""
    pictures, questions = _digests(train)
    return Seen().with_kind(PICTURES, pictures).with_kind(QUESTIONS, questions)


def seen(known: Seen | None, questions: Questions) -> tuple[np.ndarray | None, int]:
    """(bool [n], the questions on pictures that are in the record, None where it has none; how many questions are there too,
    word for word on the same picture).
    """
    if known is None or PICTURES not in known.kinds:
        return None, 0
    pictures, asked = _digests(questions)
    same = known.mask(QUESTIONS, asked)
    return known.mask(PICTURES, pictures), 0 if same is None else int(same.sum())


def _digests(questions: Questions) -> tuple[np.ndarray, np.ndarray]:
    """uint64 [n], of each question's picture, and of the picture with the question."""
    used, index = np.unique(questions.image, return_inverse=True)
    pictures = picture_digests(questions.images, used)[index]
    names = [digest.tobytes() for digest in pictures]
    return pictures, content_digests(names, map(plain, questions.question))
