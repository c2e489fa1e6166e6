"""The result of a reader: a recognised format and its splits, each read when asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from tasks.readers.paths import WHOLE
from tasks.readers.problems import Problems

__all__ = ["WHOLE", "Source", "Split", "Splits"]

Split = TypeVar("Split")


@dataclass
class Source(Generic[Split]):
    """Recognised data.

    Attributes:
        format: what it was recognised as, for the user.
        name: how to call it in the run header and in folder names.
        splits: split name -> function that reads it, in the order found.
        unlabelled: splits known to come without answers or labels before they are read.
    """

    format: str
    name: str
    splits: Mapping[str, Callable[[Problems], Split]]
    unlabelled: frozenset[str] = frozenset()


@dataclass
class Splits(Generic[Split]):
    """What a run trains on and what it is measured on.

    Attributes:
        description: one line for the run header.
        held_out: whether the evaluation split was held out of the training split.
        leaks: lines on what the evaluation split shares with the training split.
        skipped: one line for each sort of row left out (with `skip_bad`).
    """

    train: Split | None
    evaluation: Split | None
    description: str
    held_out: bool = False
    skipped: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
