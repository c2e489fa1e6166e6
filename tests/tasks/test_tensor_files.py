"""Tensor files written past the cache are those of the safetensors library, to the byte."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest
import safetensors.torch
import torch

from tasks import tensor_files
from tasks.tensor_files import save_tensors

TENSORS = {
    "layer.weight": torch.randn(3, 5),
    "a half": torch.randn(7).half(),
    "scalar": torch.tensor(3.0),
    "empty": torch.zeros(0, 4),
    "turned": torch.randn(4, 6).t(),
    'quoted "\u00fc"/\u2028': torch.randn(2, 2).double(),
    "large": torch.randn(1024, 5000),  # more than one piece
    **{str(dtype): torch.arange(9).float().to(dtype) for dtype in tensor_files.DTYPES},
}


def expected() -> bytes:
    return bytes(safetensors.torch.save({name: value.contiguous() for name, value in TENSORS.items()}))


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def memory_disk() -> Path | None:
    return Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None


def test_the_file_and_its_digest_are_those_of_the_library(tmp_path):
    digest = save_tensors(tmp_path / "a.safetensors", TENSORS)
    written = (tmp_path / "a.safetensors").read_bytes()
    assert written == expected()
    assert digest == hashlib.sha256(written).hexdigest()
    found = safetensors.torch.load_file(tmp_path / "a.safetensors")
    assert set(found) == set(TENSORS)
    assert all(
        found[name].dtype == value.dtype and torch.equal(bits(found[name]), bits(value))
        for name, value in TENSORS.items()
    )


def test_no_tensors_make_a_file_too(tmp_path):
    save_tensors(tmp_path / "none.safetensors", {})
    assert safetensors.torch.load_file(tmp_path / "none.safetensors") == {}


@pytest.mark.parametrize("refusal", ["at once", "in the middle"])
def test_a_file_system_without_direct_writes_gets_the_same_file(tmp_path, monkeypatch, refusal):
    calls: list[int] = []
    plain = os.write

    def write(file, data):
        direct = bool(tensor_files.fcntl.fcntl(file, tensor_files.fcntl.F_GETFL) & os.O_DIRECT)
        calls.append(len(data))
        if direct and len(calls) > (0 if refusal == "at once" else 1):
            raise OSError(errno.EINVAL, "Invalid argument")
        return plain(file, data[: len(data) // 2 + 1] if not direct else data)  # short writes, of odd lengths

    monkeypatch.setattr(tensor_files.os, "write", write)
    save_tensors(tmp_path / "a.safetensors", TENSORS)
    assert (tmp_path / "a.safetensors").read_bytes() == expected()
    assert len(calls) > 3


@pytest.mark.skipif(memory_disk() is None, reason="no file system in memory here")
def test_a_file_system_in_memory(tmp_path):
    path = memory_disk() / f"{tmp_path.name}-{os.getpid()}.safetensors"
    try:
        save_tensors(path, TENSORS)
        assert path.read_bytes() == expected()
    finally:
        path.unlink(missing_ok=True)


def test_an_error_of_the_disk_is_the_systems(tmp_path, monkeypatch):
    def full(file, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tensor_files.os, "write", full)
    with pytest.raises(OSError, match="No space left") as caught:
        save_tensors(tmp_path / "a.safetensors", TENSORS)
    assert caught.value.errno == errno.ENOSPC
