"""Cache keys: digests of the model's files, of a picture or caption, and of its crop and size."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from tasks.controlnet.cache.store import cache_root
from tasks.controlnet.geometry import View
from tasks.controlnet.models.pretrained import Base
from tasks.errors import ToolError
from tasks.files import sha256, write_json

# Raised where the same input would give other values: old entries are then made anew.
VERSION = 1
LENGTH = 32


def vae_key(base: Base, dtype: torch.dtype, memory: Path | None = None) -> str:
    """Of the VAE's config and weights, and the precision that it works in.

    Args:
        memory: a folder that remembers the digests of large files; by default in the cache folder.
    """
    return _key("vae", _files(base, "vae", memory), str(dtype))


def text_key(base: Base, dtype: torch.dtype, memory: Path | None = None) -> str:
    """Of the text encoder, its tokenizer and the precision."""
    return _key("text", _files(base, "text_encoder", memory), _files(base, "tokenizer", memory), str(dtype))


def moments_key(vae_key: str, content: bytes, view: View) -> str:
    """Of a picture's moments: its VAE, the digest of its file, and how it is cut."""
    return _key("moments", vae_key, content.hex(), json.dumps(dataclasses.astuple(view)))


def prompt_key(text_key: str, caption: str, chunked: bool = False) -> str:
    """Of a prompt's hidden states, whole in pieces or cut."""
    return _key("prompt", text_key, caption, *(["chunk"] if chunked else []))


def file_digest(path: Path, memory: Path) -> str:
    """Hex sha256 of a file, remembered by its place, size and time of change, so that gigabytes are read once."""
    path = path.resolve()
    found = path.stat()
    stamp = [str(path), found.st_size, found.st_mtime_ns]
    note = memory / f"{_key('file', str(path))}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(note.read_text(encoding="utf-8"))
        if known["stamp"] == stamp:
            return str(known["sha256"])
    digest = sha256(path)
    with suppress(ToolError):  # a folder that can't be written only costs time
        write_json(note, {"stamp": stamp, "sha256": digest})
    return digest


def _files(base: Base, component: str, memory: Path | None) -> list[Any]:
    memory = memory or cache_root(None) / "digests"
    return [[path.name, file_digest(path, memory)] for path in base.files(component)]


def _key(*parts: Any) -> str:
    text = json.dumps([VERSION, *parts], ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]
