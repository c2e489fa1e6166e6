"""Pictures and conditions that the training and the evaluation split share."""

from __future__ import annotations

import numpy as np

from tasks.controlnet import condition_pixels
from tasks.controlnet.readers.source import Read
from tasks.copies import same_images
from tasks.readers import leaks

# What is looked at -> the stores that hold it.
STORES = {"pictures": "images", "conditions": "conditions"}


def without_leaks(train: Read, evaluation: Read, *, drop: bool) -> tuple[Read, list[str], int]:
    """The evaluation split, lines on what it shares with the training split, and how many of its pairs still do.

    Args:
        drop: leave these pairs out.

    Raises:
        DataError: all pairs would be left out.
    """
    name, lines = evaluation.pairs.source, []
    remaining = np.zeros(len(evaluation), bool)
    for what in STORES:
        shared = shared_with(train, evaluation, what)
        evaluation, line = leaks.without_leaks(evaluation, shared, drop=drop, units="pairs", what=what, name=name)
        lines += [f"{name}: {line}"] if line else []
        remaining = remaining[:0] if drop else remaining | shared
    return evaluation, lines, int(remaining.sum())


def shared_with(train: Read, evaluation: Read, what: str) -> np.ndarray:
    """bool [evaluation pairs]: whose picture or condition some training pair has too, under whatever name; a blank condition, which
    says nothing, is none.

    Args:
        what: one of `STORES`.
    """
    group = same_images([(getattr(read.pairs, STORES[what]), read.pairs.rows) for read in (train, evaluation)])
    shared = np.isin(group[len(train) :], group[: len(train)])
    if what == "conditions":
        shared[list(condition_pixels.blank(evaluation.pairs, np.flatnonzero(shared)))] = False
    return shared
