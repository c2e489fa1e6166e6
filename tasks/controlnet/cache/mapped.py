"""A safetensors file of stacked tensors, memory-mapped and read row by row."""

from __future__ import annotations

import json
import math
import mmap
from pathlib import Path

import torch

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
}


class MappedShard:
    """Rows of the tensors `GROUP.NAME` [n, ...].

    The library's reader looks a name up and slices in some 20 µs and may not be shared with forked workers; a map may.

    Raises:
        OSError, ValueError: the file can't be opened, or isn't of the format.
    """

    def __init__(self, path: Path) -> None:
        with open(path, "rb") as file:
            # Private, so that torch may take it for writable; nothing writes.
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        length = int.from_bytes(self._map[:8], "little")
        header = json.loads(self._map[8 : 8 + length])
        self._groups: dict[int, dict[str, tuple[torch.dtype, list[int], int]]] = {}
        for full, about in header.items():
            if full == "__metadata__":
                continue
            group, _, name = full.partition(".")
            start = 8 + length + about["data_offsets"][0]
            self._groups.setdefault(int(group), {})[name] = (_DTYPES[about["dtype"]], about["shape"][1:], start)

    def entry(self, group: int, row: int) -> dict[str, torch.Tensor]:
        """A row of each of the group's tensors, copied."""
        found = {}
        for name, (dtype, shape, start) in self._groups[group].items():
            count = math.prod(shape)
            flat = torch.frombuffer(self._map, dtype=dtype, count=count, offset=start + row * count * dtype.itemsize)
            found[name] = flat.view(shape).clone()
        return found
