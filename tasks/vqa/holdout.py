"""Parts of a split, drawn from a seed: a hold-out by image, and a random subset of the questions."""

from __future__ import annotations

import numpy as np

from tasks import holdout
from tasks.copies import same_images
from tasks.images import FileImages
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
    # Stores other than files have one entry a picture already.
    copies = isinstance(questions.images, FileImages)
    group = same_images([(questions.images, used)]) if copies else np.arange(len(used), dtype=np.int64)
    alone = f"{questions.source}: all questions are on one picture, so none can be held out; give an --eval-split"
    held = np.isin(questions.image, used[holdout.held_out(group, fraction, seed, alone)])
    return questions.select(np.flatnonzero(~held)), questions.select(np.flatnonzero(held))


def subset(questions: Questions, count: int | None, seed: int, flag: str = "--max-samples") -> Questions:
    """At most `count` of the questions, drawn at random from the seed, in their old order.

    Raises:
        ConfigError: `count` is below 1.
    """
    chosen = holdout.drawn(len(questions), count, seed, flag)
    return questions if chosen is None else questions.select(chosen)
