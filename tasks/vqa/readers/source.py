"""What a reader gives: a recognised format and its splits, each read when asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from tasks.images import FileImages
from tasks.readers import source as base
from tasks.readers.options import DataOptions
from tasks.readers.problems import Problems
from tasks.readers.source import WHOLE
from tasks.vqa.questions import Questions

__all__ = ["WHOLE", "Load", "Options", "Source", "grouped", "index_paths"]

Load = Callable[[Problems], Questions]
Source = base.Source[Questions]


@dataclass(frozen=True)
class Options(DataOptions):
    """What a user says about questions on images: beside the rest, the columns that hold them."""

    image_root: str | None = None
    image_column: str | None = None
    question_column: str | None = None
    answer_column: str | None = None


def index_paths(
    paths: Sequence[str | None], folder: str | Path, image_root: str | None
) -> tuple[np.ndarray, FileImages]:
    """One entry a distinct file: (int64 [n] index with -1 for no path, the files).

    A path counts from `folder`, else from --image-root: the first of the two places where it exists, else the first.
    """
    roots = [str(folder)] + ([os.path.expanduser(image_root)] if image_root else [])

    @lru_cache(None)
    def place(path: str) -> str:
        if "://" in path:
            return path
        path = os.path.expanduser(path.strip())
        places = [os.path.normpath(os.path.join(root, path)) for root in roots]
        return next((place for place in places if os.path.exists(place)), places[0])

    places = [place(str(path)) if path is not None and str(path).strip() else None for path in paths]
    index, first = grouped(places)
    return index, FileImages([str(places[row]) for row in first])


def grouped(keys: Sequence[Hashable]) -> tuple[np.ndarray, np.ndarray]:
    """(int64 [n] index of each row among the distinct keys, -1 for None; int64, the first row with each key)."""
    known: dict[Hashable, int] = {}
    index = np.array([-1 if key is None else known.setdefault(key, len(known)) for key in keys], np.int64)
    return index, np.unique(index, return_index=True)[1][-len(known) :] if known else np.zeros(0, np.int64)
