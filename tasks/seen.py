"""Digests of the examples that a model was trained on, by which data that it has seen are known again.

Examples are known by their content, not by their names, their order or the file that they are in.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tasks.errors import DataError
from tasks.files import writing

FILE = "training-data.npz"


@dataclass(frozen=True)
class Seen:
    """What training saw: kind of content (texts, pictures, questions, calibration ...) -> sorted uint64 digests."""

    kinds: Mapping[str, np.ndarray] = field(default_factory=dict)

    def mask(self, kind: str, digests: np.ndarray) -> np.ndarray | None:
        """bool [n]: which of the examples training saw; None where the record has no such kind."""
        known = self.kinds.get(kind)
        return None if known is None else np.isin(digests, known)

    def with_kind(self, kind: str, digests: np.ndarray) -> Seen:
        """The same, and these too."""
        return Seen({**self.kinds, kind: np.unique(np.concatenate([digests, self.kinds.get(kind, digests[:0])]))})

    def joined(self, other: Seen | None) -> Seen:
        """What either record has."""
        found = self
        for kind, digests in other.kinds.items() if other is not None else ():
            found = found.with_kind(kind, digests)
        return found


def mark(count: int, of: int) -> str:
    """Behind a figure that is not one of unseen data; empty where nothing was seen."""
    return f" ({count:,} of {of:,} seen in training)" if count else ""


def content_digests(*columns: Iterable[str | bytes]) -> np.ndarray:
    """uint64 [n]: a digest of the i-th entries of all columns. Two of a million different examples are alike with p 3e-8."""
    digests = []
    for row in zip(*columns, strict=True):
        hasher = hashlib.blake2b(digest_size=8)
        for part in row:
            content = part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass")
            hasher.update(len(content).to_bytes(8, "little") + content)
        digests.append(int.from_bytes(hasher.digest(), "little"))
    return np.array(digests, np.uint64)


def write(folder: Path, seen: Seen) -> Path:
    """Writes the record into a model folder.

    Raises:
        OutOfDisk: no room for it.
    """
    path = folder / FILE
    with writing(path, "wb") as file:
        np.savez(file, **{kind: np.unique(digests) for kind, digests in seen.kinds.items()})  # type: ignore[arg-type]
    return path


def read(*folders: Path | None) -> Seen | None:
    """The record of the first of the folders that has one; None: it isn't known what the model was trained on.

    Raises:
        DataError: the file is damaged; names it.
    """
    for folder in folders:
        path = None if folder is None else folder / FILE
        if path is None or not path.is_file():
            continue
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return Seen({kind: arrays[kind].astype(np.uint64, casting="safe") for kind in arrays.files})
        except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} can't be read ({' '.join(str(error).split())}); remove it to go without") from None
    return None
