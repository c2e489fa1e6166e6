"""A hold-out by picture, drawn from a seed, and what two given splits share."""

from __future__ import annotations

import numpy as np

from tasks.copies import picture_digests, same_images
from tasks.readers import holdout
from tasks.readers.leaks import without_leaks
from tasks.vqa.questions import Questions


def hold_out(questions: Questions, fraction: float, seed: int) -> tuple[Questions, Questions]:
    """(rest, held out), parted by image: no picture is in both, not even as a copy under another name.

    Args:
        fraction: share of the images to hold out, above 0 and below 1; at least one image goes and one stays.

    Raises:
        ConfigError: the fraction is out of range.
        DataError: all questions are on one picture.
    """
    holdout.check_fraction(fraction, "images")
    used = np.unique(questions.image)
    group = same_images([(questions.images, used)])
    alone = f"{questions.source}: all questions are on one picture, so none can be held out; give an --eval-split"
    held = np.isin(questions.image, used[holdout.held_out(group, fraction, seed, alone)])
    return holdout.taken_apart(questions, held)


def without_shared(
    train: Questions, evaluation: Questions, *, drop: bool, name: str
) -> tuple[Questions, np.ndarray, list[str]]:
    """The evaluation split, which of its questions are on pictures that training has too, and what to say of them.

    Args:
        drop: leave them out.
        name: how to name the data in an error.

    Returns:
        (the split, bool [n] over its questions, lines).

    Raises:
        DataError: every question would be left out.
    """
    ours, theirs = _pictures(train, evaluation)
    shared = np.isin(theirs, ours)
    evaluation_left, line = without_leaks(evaluation, shared, drop=drop, units="questions", what="pictures", name=name)
    if not line:
        return evaluation, shared, []
    known = set(zip(map(plain, train.question), ours.tolist(), strict=True))
    same = sum(row in known for row in zip(map(plain, evaluation.question), theirs.tolist(), strict=True))
    also = f"{same:,} of them ask the same of the same picture" if same else "none asks the same of the same picture"
    return evaluation_left, shared[~shared] if drop else shared, [f"{line} ({also})"]


def plain(question: str) -> str:
    """A question without regard to case and spaces."""
    return " ".join(question.lower().split())


def _pictures(*parts: Questions) -> list[np.ndarray]:
    """Of each split int64 [n]: the same number for questions on pictures of the same content, whatever their names."""
    stores = [(part.images, np.unique(part.image)) for part in parts]
    if len({type(store) for store, _ in stores}) == 1:
        groups = same_images(stores)
    else:  # files beside pictures inside a data set
        groups = np.concatenate([picture_digests(*store) for store in stores])
    ends = np.cumsum([len(used) for _, used in stores])[:-1]
    return [
        group[np.searchsorted(used, part.image)]
        for group, (_, used), part in zip(np.split(groups, ends), stores, parts, strict=True)
    ]
