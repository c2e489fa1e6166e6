"""Hold-out by picture, and a random subset of the pairs, each drawn from a seed."""

from __future__ import annotations

import numpy as np

from tasks.controlnet.readers.source import Read
from tasks.copies import same_images
from tasks.readers import holdout


def hold_out(read: Read, fraction: float, seed: int) -> tuple[Read, Read]:
    """(rest, held out), parted by picture: none is in both, not even as a copy under another name.

    Args:
        fraction: share of the pictures to hold out, above 0 and below 1; at least one goes and one stays.

    Raises:
        ConfigError: the fraction is out of range.
        DataError: there is but one picture.
    """
    holdout.check_fraction(fraction, "pictures")
    alone = f"{read.pairs.source}: one picture only, so none can be held out; give more, or an --eval-split"
    held = holdout.held_out(same_pictures(read), fraction, seed, alone)
    return holdout.taken_apart(read, held)


def same_pictures(*parts: Read) -> np.ndarray:
    """int64 [pairs of all parts]: the same number for pairs whose pictures have the same content."""
    return same_images([(part.pairs.images, part.pairs.rows) for part in parts])
