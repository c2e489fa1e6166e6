"""A hold-out by image, drawn from a seed."""

from __future__ import annotations

import numpy as np

from tasks.copies import same_images
from tasks.images import FileImages
from tasks.readers import holdout
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
    return holdout.taken_apart(questions, held)
