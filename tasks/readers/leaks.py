"""Examples that the training and the evaluation split share: how many there are, and leaving the evaluation's copies out."""

from __future__ import annotations

import numpy as np

from tasks.errors import DataError
from tasks.readers.holdout import R


def without_leaks(evaluation: R, shared: np.ndarray, *, drop: bool, units: str, what: str, name: str) -> tuple[R, str]:
    """The evaluation split, and a line that says what it shares with the training split; empty where that is nothing.

    Args:
        shared: bool [n], which of its rows are of what training has too.
        drop: leave these out (--drop-leaks).
        units, what: the nouns of rows and of what is shared, in the plural: questions, pictures.
        name: how to name the data in an error.

    Raises:
        DataError: every row would be left out.
    """
    count, total = int(shared.sum()), len(shared)
    if not count:
        return evaluation, ""
    share = f"{count:,} of {total:,} evaluation {units} have {what} that are also in the training split"
    if not drop:
        return evaluation, f"{share}: they are not unseen; leave them out with --drop-leaks"
    if count == total:
        raise DataError(f"{name}: all {total:,} evaluation {units} have {what} that are also in the training split")
    return evaluation.take(np.flatnonzero(~shared)), f"{share}, and are left out"
