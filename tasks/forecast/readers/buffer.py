"""A growing array for values whose number isn't known beforehand: in memory, or in a file when it gets large."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np

from tasks.files import disk_errors
from tasks.forecast.readers.source import cache_folder


def allocate(rows: int, columns: int, dtype: Any, limit: int) -> np.ndarray:
    """An array [rows, columns], not filled; mapped from a file without a name where it takes more than `limit` bytes."""
    if rows * columns * np.dtype(dtype).itemsize <= limit or not rows * columns:
        return np.empty((rows, columns), dtype)
    folder = cache_folder()
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            return np.memmap(file, dtype=dtype, mode="w+", shape=(rows, columns))


class Buffer:
    """Rows appended block by block; it grows in place, so that no second copy of the data is ever there.

    Args:
        expected: how many rows may come; fewer are cut off, for more it grows.
        limit: bytes above which the rows are kept in a file.
    """

    def __init__(self, columns: int, dtype: Any, expected: int, limit: int) -> None:
        self.limit = limit
        self.array = allocate(max(expected, 1), columns, dtype, limit)
        self.rows = 0

    def append(self, block: np.ndarray) -> None:
        """Adds [rows, columns]."""
        needed = self.rows + len(block)
        if needed > len(self.array):
            self._resize(max(needed, len(self.array) * 5 // 4))
        self.array[self.rows : needed] = block
        self.rows = needed

    def finish(self) -> np.ndarray:
        """What was appended; the buffer is used up."""
        if self.rows < len(self.array):
            self._resize(self.rows)
        return self.array

    def _resize(self, rows: int) -> None:
        columns, dtype = self.array.shape[1], self.array.dtype
        if isinstance(self.array, np.memmap):
            if rows < len(self.array):
                self.array = self.array[:rows]
                return
        elif rows * columns * dtype.itemsize <= self.limit:
            # realloc: the system moves large blocks without copying them.
            self.array.resize((rows, columns), refcheck=False)
            return
        larger = allocate(rows, columns, dtype, self.limit)
        larger[: self.rows] = self.array[: self.rows]
        self.array = larger
