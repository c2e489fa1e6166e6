"""What a user says about a data set: where it is, which of its splits are meant, and how much of them is taken."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass


@dataclass(frozen=True)
class DataOptions:
    """The options that reading any task's data takes; None is "find out", or no limit.

    Attributes:
        data: a file or folder here, a Hub id, or "sample".
        train_split, eval_split: the splits to train on and to measure on.
        max_samples, max_eval_samples: a random subset of each, drawn from `seed`.
        eval_fraction: the share held out of the training split where there is none to measure on.
        drop_leaks: leave out of the evaluation split what the training split has too.
        skip_bad: leave out what can't be used, and say so in `Splits.skipped`.
        revision, token, cache_dir: of a data set on the Hub.
    """

    data: str | None = "sample"
    _: KW_ONLY
    train_split: str | None = None
    eval_split: str | None = None
    max_samples: int | None = None
    max_eval_samples: int | None = None
    eval_fraction: float = 0.1
    seed: int = 0
    skip_bad: bool = False
    drop_leaks: bool = False
    revision: str | None = None
    token: str | None = None
    cache_dir: str | None = None
