"""The cache of tensors: what is kept, what is found damaged, and who may write at once."""

import multiprocessing
import os
import pickle
import time

import pytest
import torch
from safetensors.torch import load_file
from untrained import random_base

from tasks.controlnet.cache import keys
from tasks.controlnet.cache import store as module
from tasks.controlnet.cache.store import Cache
from tasks.controlnet.geometry import Frame, View
from tasks.controlnet.models import pretrained


def entries(first, count):
    """Of two shapes and precisions; each says by its values which it is."""
    found = {}
    for number in range(first, first + count):
        if number % 5:
            found[f"k{number}"] = {
                "mean": torch.full((4, 3, 2), number + 0.25),
                "std": torch.full((4, 3, 2), number / 7),
            }
        else:
            found[f"k{number}"] = {"hidden": torch.full((2, 3), float(number), dtype=torch.bfloat16)}
    return found


def same(one, other):
    return list(one) == list(other) and all(
        one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]) for name in one
    )


@pytest.fixture
def filled(tmp_path):
    cache = Cache(tmp_path)
    for first in (0, 10, 20):
        cache.add(entries(first, 10))
    return cache


@pytest.mark.parametrize("on_disk", [True, False])
def test_what_goes_in_comes_out(tmp_path, on_disk):
    cache = Cache(tmp_path / "new" if on_disk else None)
    assert cache.missing(["k3", "k1", "k3"]) == ["k3", "k1"]
    cache.add(entries(0, 12))
    cache.add(entries(12, 3))
    assert cache.missing(["k3", "k99", "k14"]) == ["k99"]
    readers = [cache, Cache(tmp_path / "new"), pickle.loads(pickle.dumps(cache))] if on_disk else [cache]
    for reader in readers:
        assert not reader.missing(entries(0, 15))
        assert all(same(reader.get(key), entry) for key, entry in entries(0, 15).items())
    with pytest.raises(KeyError):
        cache.get("k99")


def test_shards_open_in_the_library(filled, tmp_path):
    rows = [tensor for path in tmp_path.glob("*.safetensors") for tensor in load_file(path).values()]
    assert sum(len(tensor) for tensor in rows) == 6 + 2 * 24


def test_few_files_are_open_at_once(filled, monkeypatch):
    monkeypatch.setattr(module, "OPEN_SHARDS", 1)
    reader = Cache(filled.folder)
    for _ in range(2):
        assert all(same(reader.get(key), entry) for key, entry in entries(0, 30).items())
        assert len(reader._open) == 1


def test_a_forked_worker_reads_too(filled):
    filled.get("k1")  # its map is shared with the worker

    def read(queue):
        queue.put(all(same(filled.get(key), entry) for key, entry in entries(0, 30).items()))

    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    worker = context.Process(target=read, args=(queue,))
    worker.start()
    assert queue.get() is True
    worker.join()


@pytest.mark.parametrize("place", [0, 9, -1, -40])
def test_a_flipped_byte_anywhere_is_found(filled, place):
    path = sorted(filled.folder.glob("*.safetensors"))[1]
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)
    reader = Cache(filled.folder)
    (line,) = reader.verify(entries(0, 30))
    assert line == f"{path}: its content is not what was written; put away, its 10 entries are made anew"
    assert not path.exists()
    assert not path.with_suffix(".json").exists()
    missing = reader.missing(entries(0, 30))
    assert len(missing) == 10
    reader.add({key: entries(0, 30)[key] for key in missing})
    again = Cache(filled.folder)
    assert again.verify(entries(0, 30)) == []
    assert all(same(again.get(key), entry) for key, entry in entries(0, 30).items())


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda shard, marker: shard.write_bytes(shard.read_bytes()[:-7]), "it is cut short"),
        (lambda shard, marker: shard.unlink(), "it is gone"),
        (lambda shard, marker: marker.write_text(marker.read_text().replace("k1", "k7", 1)), "its marker is damaged"),
        (lambda shard, marker: marker.write_text("[]"), "its marker is damaged"),
        (lambda shard, marker: marker.write_bytes(b"\xff"), "its marker is damaged"),
    ],
)
def test_other_damage_is_told_and_only_that_shard_lost(filled, spoil, told):
    shard = min(filled.folder.glob("*.safetensors"), key=lambda path: path.stat().st_mtime_ns)  # k0 to k9
    spoil(shard, shard.with_suffix(".json"))
    reader = Cache(filled.folder)
    assert len(reader.missing(entries(0, 30))) == 10
    (line,) = reader.verify([])
    assert line.startswith(f"{shard}: {told}; put away")
    assert Cache(filled.folder).verify(entries(0, 30)) == []


def test_what_was_verified_is_not_hashed_again(filled, monkeypatch):
    assert filled.verify(entries(0, 30)) == []
    reader = Cache(filled.folder)
    hashed = []
    monkeypatch.setattr(module, "sha256", lambda path: hashed.append(path) or "")
    assert len(filled.verify(entries(0, 30))) == len(hashed) == 0  # it wrote them itself
    assert len(reader.verify(["k1", "k2"])) == len(hashed) == 1


def test_a_share_of_the_shards_each(filled):
    for path in filled.folder.glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    one, other = Cache(filled.folder), Cache(filled.folder)
    lines = [*one.verify(entries(0, 30), (0, 2)), *other.verify(entries(0, 30), (1, 2))]
    assert len(set(lines)) == 3
    one.refresh()
    assert one.missing(entries(0, 30)) == list(entries(0, 30))


def test_a_shard_without_marker_is_no_shard_and_goes_when_old(filled, tmp_path):
    shard = sorted(tmp_path.glob("*.safetensors"))[0]
    shard.with_suffix(".json").unlink()
    half = tmp_path / ".shard-1.safetensors.abc.part"
    half.write_bytes(b"half")
    reader = Cache(tmp_path)
    assert len(reader.missing(entries(0, 30))) == 10
    reader.clean()
    assert shard.exists()  # someone may be about to write its marker
    for path in (shard, half):
        os.utime(path, (time.time() - 7200,) * 2)
    reader.clean()
    assert not shard.exists()
    assert not half.exists()
    assert len(list(tmp_path.iterdir())) == 4


def test_two_write_the_same_at_once_and_the_first_counts(tmp_path):
    one, other = Cache(tmp_path), Cache(tmp_path)
    one.add({"k": {"mean": torch.zeros(2)}, "a": {"mean": torch.zeros(2)}})
    other.add({"k": {"mean": torch.ones(2)}})
    other.add(entries(0, 3))
    one.add(entries(0, 3))  # the same content: the same file
    for reader in (one, Cache(tmp_path)):
        reader.refresh()
        assert not reader.get("k")["mean"].any()
        assert not reader.missing(["k", "a", *entries(0, 3)])
    assert len(list(tmp_path.glob("*.safetensors"))) == 3


def test_keys_change_with_what_they_stand_for(tmp_path):
    base = pretrained.open_base(str(random_base(tmp_path / "base")))
    other = pretrained.open_base(str(random_base(tmp_path / "other", seed=1)))
    copy = pretrained.open_base(str(random_base(tmp_path / "copy")))
    memory = tmp_path / "digests"
    vae = keys.vae_key(base, torch.float32, memory)
    assert vae == keys.vae_key(copy, torch.float32, memory)
    assert len({vae, keys.vae_key(other, torch.float32, memory), keys.vae_key(base, torch.bfloat16, memory)}) == 3
    text = keys.text_key(base, torch.float32, memory)
    assert text not in (vae, keys.text_key(other, torch.float32, memory))
    seen = View(Frame(8, 8), (8, 10), 0, 1)
    views = [
        seen,
        View(Frame(8, 8), (8, 10), 0, 1, True),
        View(Frame(8, 8), (8, 10), 0, 2),
        View(Frame(8, 10), (8, 10), 0, 1),
    ]
    assert len({keys.moments_key(vae, content, one) for content in (b"1", b"2") for one in views}) == 8
    assert keys.moments_key(vae, b"1", seen) == keys.moments_key(vae, b"1", View(Frame(8, 8), (8, 10), 0, 1))
    assert len({keys.prompt_key(text, caption) for caption in ("", " ", "a", "A", "ä")}) == 5


def test_digests_of_weights_are_remembered_until_the_file_changes(tmp_path, monkeypatch):
    path, memory = tmp_path / "weights", tmp_path / "digests"
    path.write_bytes(b"one")
    first = keys.file_digest(path, memory)
    assert first == "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"  # sha256sum
    monkeypatch.setattr(keys, "sha256", lambda path: "read again")
    assert keys.file_digest(path, memory) == first
    os.utime(path, ns=(1, 1))
    assert keys.file_digest(path, memory) == "read again"


def test_where_caches_lie(monkeypatch, tmp_path):
    monkeypatch.setenv("MODELTOOL_CACHE", str(tmp_path))
    assert module.cache_root(None) == tmp_path
    assert module.cache_root("elsewhere").name == "elsewhere"
    monkeypatch.delenv("MODELTOOL_CACHE")
    monkeypatch.setenv("HOME", "/home/someone")
    assert str(module.cache_root(None)) == "/home/someone/.cache/modeltool"
