"""Tensors into a safetensors file, past the system's cache, and hashed on the way.

What goes through the cache is copied there page by page, displaces the data that the training reads, and is read again to be hashed: on
a virtual machine 3.5 s of a core for each gigabyte. Written directly it takes 1.1 s, of which 0.7 s are the hash.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import math
import mmap
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from tasks.files import PIECE

# The format's names of dtypes, in the order in which the `safetensors` library lays tensors out: wide ones first, each aligned so.
DTYPES = {
    torch.uint64: "U64",
    torch.int64: "I64",
    torch.float64: "F64",
    torch.complex64: "C64",
    torch.float32: "F32",
    torch.uint32: "U32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.uint16: "U16",
    torch.int16: "I16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
# What direct writes are multiples of, in memory, in the file and in length, on any disk in use.
BLOCK = 4096


def save_tensors(path: str | Path, tensors: Mapping[str, torch.Tensor]) -> str:
    """Writes and syncs the file that `safetensors` reads; returns its SHA-256.

    Raises:
        OSError: the system's, as for a full disk; what was written stays.
        KeyError: a dtype that the format doesn't know.
    """
    order = {dtype: number for number, dtype in enumerate(DTYPES)}
    names = sorted(tensors, key=lambda name: (order[tensors[name].dtype], name))
    header, start = {}, 0
    for name in names:
        end = start + tensors[name].nbytes
        header[name] = {
            "dtype": DTYPES[tensors[name].dtype],
            "shape": list(tensors[name].shape),
            "data_offsets": [start, end],
        }
        start = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    head = np.frombuffer(len(text).to_bytes(8, "little") + text, np.uint8)
    return _write(path, (head, *(_bytes(tensors[name]) for name in names)))


def _bytes(tensor: torch.Tensor) -> np.ndarray:
    found: np.ndarray = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return found


def _write(path: str | Path, pieces: Iterable[np.ndarray]) -> str:
    """Pieces of bytes one after the other, through a buffer as direct writes need it."""
    memory = memoryview(mmap.mmap(-1, PIECE))  # begins at a page
    buffer = np.frombuffer(memory, np.uint8)
    digest = hashlib.sha256()
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        _set_direct(file, True)
        filled = size = 0
        for piece in pieces:
            taken = 0
            while taken < len(piece):
                count = min(len(piece) - taken, PIECE - filled)
                np.copyto(buffer[filled : filled + count], piece[taken : taken + count])
                taken, filled, size = taken + count, filled + count, size + count
                if filled == PIECE:
                    digest.update(memory)
                    _write_all(file, memory)
                    filled = 0
        digest.update(memory[:filled])
        whole = math.ceil(filled / BLOCK) * BLOCK
        buffer[filled:whole] = 0
        _write_all(file, memory[:whole])
        os.ftruncate(file, size)
        os.fsync(file)
    finally:
        os.close(file)
    return digest.hexdigest()


def _write_all(file: int, left: memoryview) -> None:
    while left:
        try:
            left = left[os.write(file, left) :]
        except OSError as error:
            # Not every file system that lets a file be opened so can write so; nor is a short write's rest aligned.
            if error.errno != errno.EINVAL or not _set_direct(file, False):
                raise


def _set_direct(file: int, on: bool) -> bool:
    """Whether it was changed."""
    direct = getattr(os, "O_DIRECT", 0)
    before = fcntl.fcntl(file, fcntl.F_GETFL)
    after = before | direct if on else before & ~direct
    with suppress(OSError):  # the file system has none
        fcntl.fcntl(file, fcntl.F_SETFL, after)
        return after != before
    return False
