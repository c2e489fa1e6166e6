"""Tensors that are computed once and read in any order, by many processes and runs: safetensors shards with markers.

A shard is written whole, synced and renamed before its marker, which holds the keys, the size and the sha256: a shard without a
marker is what a killed process left. Both are named by content, so that processes that write at once can't disturb each other.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from tasks.buckets import alike
from tasks.controlnet.cache.mapped import MappedShard
from tasks.errors import DataError
from tasks.files import disk_errors, sha256, write_json, writing

Entry = dict[str, torch.Tensor]
OPEN_SHARDS = 128
# So old is what nobody writes any more.
LEFTOVER_SECONDS = 3600.0


def cache_root(cache_dir: str | Path | None) -> Path:
    """The folder of all caches: the one given, else MODELTOOL_CACHE, else ~/.cache/modeltool."""
    return Path(cache_dir or os.environ.get("MODELTOOL_CACHE") or "~/.cache/modeltool").expanduser()


@dataclass
class _Shard:
    path: Path
    size: int
    digest: str
    groups: list[list[str]]
    made: int

    @property
    def marker(self) -> Path:
        return self.path.with_suffix(".json")


class Cache:
    """Entries by key; each is a few tensors by name.

    Args:
        folder: where the shards lie, one folder for one sort of entry; None: in RAM, in this process.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._ram: dict[str, Entry] = {}
        self._shards: dict[str, _Shard] = {}
        self._index: dict[str, tuple[str, int, int]] = {}
        self._open: dict[str, MappedShard] = {}
        self._verified: set[str] = set()
        self._damaged: dict[str, str] = {}
        self.refresh()

    def __contains__(self, key: str) -> bool:
        return key in self._ram or key in self._index

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_open": {}}  # a worker maps the files anew

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Those of the keys that have no entry, in their order, each once."""
        return [key for key in dict.fromkeys(keys) if key not in self]

    def refresh(self) -> None:
        """Looks for shards that other processes wrote or put away."""
        if self.folder is None or not self.folder.is_dir():
            return
        names = {path.name for path in self.folder.glob("shard-*.json")}
        for name in [name for name in self._shards if name not in names]:
            self._forget(name)
        self._damaged = {}
        for name in sorted(names - self._shards.keys()):
            self._take_up(name)
        # The first that was written counts, in every process and in every run after.
        self._index = {}
        for shard in sorted(self._shards.values(), key=lambda shard: (shard.made, shard.path.name)):
            self._list(shard)

    def add(self, entries: dict[str, Entry]) -> None:
        """Keeps entries; on the disk they are one new shard, safe when this returns.

        Raises:
            OutOfDisk: nothing is left behind.
        """
        if not entries:
            return
        if self.folder is None:
            self._ram |= {key: {name: tensor.clone() for name, tensor in one.items()} for key, one in entries.items()}
            return
        # Keys of entries alike in names, shapes and precision, each a stack in the shard.
        groups = alike(
            entries, lambda key: tuple((n, t.dtype, tuple(t.shape)) for n, t in sorted(entries[key].items()))
        )
        stacked = {
            f"{number}.{name}": torch.stack([entries[key][name].detach().cpu() for key in group])
            for number, group in enumerate(groups)
            for name in entries[group[0]]
        }
        content = save(stacked, {"format": "pt"})
        digest = hashlib.sha256(content).hexdigest()
        path = self.folder / f"shard-{digest[:20]}.safetensors"
        with writing(path, "wb") as file:
            file.write(content)
        body: dict[str, Any] = {"bytes": len(content), "sha256": digest, "made": time.time_ns(), "groups": groups}
        marker = path.with_suffix(".json")
        write_json(marker, {**body, "check": _check(body)})
        self._forget(marker.name)
        self._shards[marker.name] = _Shard(path, len(content), digest, groups, body["made"])
        self._verified.add(marker.name)  # hashed as it was written
        self._list(self._shards[marker.name])

    def get(self, key: str) -> Entry:
        """An entry's tensors, copied from the disk; in RAM they are the cache's own.

        Raises:
            KeyError: there is none.
            DataError: its shard is gone or cut short since.
        """
        if key in self._ram:
            return self._ram[key]
        name, group, row = self._index[key]
        return self._mapped(name).entry(group, row)

    def verify(self, keys: Iterable[str], share: tuple[int, int] = (0, 1)) -> list[str]:
        """Hashes the shards that hold these keys and puts the damaged ones away, so that their entries are missing.

        A shard is hashed once in a process.

        Args:
            share: (number, of): every `of`-th shard only; for several processes, which refresh afterwards.

        Returns:
            A line for each damaged shard.
        """
        if self.folder is None:
            return []
        used = sorted({self._index[key][0] for key in keys if key in self._index})
        todo = [name for name in used[share[0] :: share[1]] if name not in self._verified]
        with ThreadPoolExecutor(min(8, (os.cpu_count() or 1))) as pool:
            sound = {name for name, good in zip(todo, pool.map(self._is_sound, todo), strict=True) if good}
        self._verified |= sound
        lines = [self._put_away(name, "its content is not what was written") for name in todo if name not in sound]
        if share[0] == 0:
            lines += [self._put_away(name, why) for name, why in sorted(self._damaged.items())]
        if lines:
            self.refresh()
        return lines

    def clean(self) -> None:
        """Removes what killed processes left, where it is too old to be anyone's work."""
        if self.folder is None or not self.folder.is_dir():
            return
        now = time.time()
        for path in sorted(self.folder.iterdir()):
            with suppress(OSError):
                old = now - path.stat().st_mtime > LEFTOVER_SECONDS
                half = path.suffix == ".part" or (
                    path.suffix == ".safetensors" and not path.with_suffix(".json").exists()
                )
                if old and half:
                    path.unlink()

    def _list(self, shard: _Shard) -> None:
        for number, group in enumerate(shard.groups):
            for row, key in enumerate(group):
                self._index.setdefault(key, (shard.marker.name, number, row))

    def _take_up(self, name: str) -> None:
        """Reads a marker, and looks whether its shard is there in full."""
        assert self.folder is not None
        path = (self.folder / name).with_suffix(".safetensors")
        try:
            found = json.loads((self.folder / name).read_text(encoding="utf-8"))
            sound = found.pop("check") == _check(found)
        except FileNotFoundError:
            return
        except (ValueError, KeyError, AttributeError, TypeError):
            sound = False
        if not sound:
            self._damaged[name] = "its marker is damaged"
            return
        if not path.exists() or path.stat().st_size != found["bytes"]:
            self._damaged[name] = "it is cut short" if path.exists() else "it is gone"
            return
        self._shards[name] = _Shard(path, found["bytes"], found["sha256"], found["groups"], found["made"])

    def _is_sound(self, name: str) -> bool:
        with suppress(OSError):
            return sha256(self._shards[name].path) == self._shards[name].digest
        return False

    def _put_away(self, name: str, why: str) -> str:
        assert self.folder is not None
        marker = self.folder / name
        shard = self._shards.get(name)
        entries = sum(map(len, shard.groups)) if shard else 0
        held = f"its {entries:,} {'entry is' if entries == 1 else 'entries are'}" if shard else "what it held is"
        with disk_errors(marker):
            for path in (marker, marker.with_suffix(".safetensors")):
                path.unlink(missing_ok=True)
        self._forget(name)
        return f"{marker.with_suffix('.safetensors')}: {why}; put away, {held} made anew"

    def _forget(self, name: str) -> None:
        self._shards.pop(name, None)
        self._open.pop(name, None)
        self._verified.discard(name)

    def _mapped(self, name: str) -> MappedShard:
        found = self._open.pop(name, None)
        if found is None:
            shard = self._shards[name]
            try:
                found = MappedShard(shard.path)
            except (OSError, ValueError) as error:
                raise DataError(
                    f"{shard.path}: this shard of the cache can't be read ({error}); run the same command again"
                ) from error
            while len(self._open) >= OPEN_SHARDS:
                self._open.pop(next(iter(self._open)))
        self._open[name] = found  # the latest last
        return found


def _check(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
