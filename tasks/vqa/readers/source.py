"""What a reader gives: a recognised format and its splits, each read when asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tasks.images import FileImages
from tasks.readers import source as base
from tasks.readers.options import DataOptions
from tasks.readers.problems import Problems
from tasks.readers.source import WHOLE
from tasks.vqa.questions import Questions
from tasks.vqa.readers.paths import Resolver

__all__ = ["WHOLE", "Load", "Options", "Source", "index_paths"]

Load = Callable[[Problems], Questions]
Source = base.Source[Questions]


@dataclass(frozen=True)
class Options(DataOptions):
    """What a user says about questions on images: beside the rest, the columns that hold them."""

    image_root: str | None = None
    image_column: str | None = None
    question_column: str | None = None
    answer_column: str | None = None


def index_paths(paths: list[str | None], resolve: Resolver) -> tuple[np.ndarray, FileImages]:
    """One entry a distinct file: (int64 [n] index with -1 for no path, the files)."""
    real: dict[str, int] = {}
    known: dict[str, int] = {}
    index = np.full(len(paths), -1, np.int64)
    for i, path in enumerate(paths):
        if path is None or not str(path).strip():
            continue
        path = str(path)
        if path not in known:
            place = path if "://" in path else resolve(path)
            known[path] = real.setdefault(place, len(real))
        index[i] = known[path]
    return index, FileImages(list(real))
