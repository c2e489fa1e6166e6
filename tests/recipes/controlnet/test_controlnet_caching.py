"""Filling the caches: what is encoded, what is reused, and what a stop leaves."""

import re

import pytest
import torch
from accelerate import Accelerator
from untrained import random_base

from recipes.controlnet import caching, encoding
from recipes.process import memory
from tasks.controlnet.batches import PairBatches, Shapes
from tasks.controlnet.cache.encoded import pictures_of
from tasks.controlnet.cache.encoding import encode_pixels, encode_prompts, tokenize
from tasks.controlnet.models import pretrained
from tasks.controlnet.sample import sample
from tasks.errors import OutOfDisk, OutOfMemory, Preempted

COUNT = 12


@pytest.fixture(scope="module")
def accelerator():
    return Accelerator(cpu=True)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return pretrained.open_base(str(random_base(tmp_path_factory.mktemp("base") / "base")))


@pytest.fixture(scope="module")
def batches():
    return PairBatches(sample.read("train", 0, COUNT, 2, size=32).pairs, Shapes(32, flip=True), seed=0)


class Stop:
    """An encoder that a signal stops at its n-th batch."""

    def __init__(self, encode, after):
        self.encode, self.left = encode, after

    def __call__(self, *given):
        self.left -= 1
        if self.left < 0:
            raise Preempted("stopped by SIGTERM")
        return self.encode(*given)


@pytest.fixture
def fill(base, batches, accelerator):
    def run(folder, *, of=base, batch_size=5):
        captions = batches.prompts()
        return caching.fill(folder, of, pictures_of(batches), captions, accelerator, batch_size=batch_size)

    return run


def values(found, batches):
    """Everything that was encoded, stacked."""
    moments = [torch.stack(found.moments(*picture)) for picture in pictures_of(batches)]
    return torch.stack(moments), torch.stack([found.hidden(caption) for caption in batches.prompts()])


@pytest.mark.parametrize("on_disk", [True, False])
def test_entries_are_what_the_encoders_give(tmp_path, fill, base, batches, capsys, on_disk):
    folder = tmp_path / "cache" if on_disk else None
    found = fill(folder)
    vae, text, tokenizer = (
        pretrained.load_vae(base),
        pretrained.load_text_encoder(base),
        pretrained.load_tokenizer(base),
    )
    seen = batches.collate_evaluation  # pixels by way of a batch without caches
    plain = PairBatches(batches.pairs, Shapes(32), seed=0, tokenize=lambda captions: tokenize(tokenizer, captions))
    batch = plain.collate_evaluation(batches.in_order(COUNT)[0])
    mean, std = encode_pixels(vae, batch["pixels"])
    batches.encoded = found
    cached = seen(batches.in_order(COUNT)[0])
    batches.encoded = None
    torch.testing.assert_close(cached["mean"], mean, rtol=1e-4, atol=5e-5)  # convolutions sum in another order
    torch.testing.assert_close(cached["std"], std, rtol=1e-4, atol=5e-5)  # convolutions sum in another order
    torch.testing.assert_close(
        cached["hidden"], encode_prompts(text, batch["ids"]), rtol=1e-4, atol=5e-5
    )  # convolutions sum in another order
    captions = len(batches.prompts())
    place = folder or "RAM"
    assert (
        f"cache     {2 * COUNT} pictures to encode · {captions} captions to encode · {place}\n"
        in capsys.readouterr().err
    )
    if on_disk:
        payload = sum(shard.stat().st_size for shard in folder.rglob("*.safetensors"))
    else:
        payload = values(found, batches)[0].nbytes + values(found, batches)[1].nbytes
    # Mean and deviation of each picture, hidden states of each caption, float32.
    pixels = (32 // base.vae_scale_factor) ** 2
    expected = 4 * (2 * COUNT * 2 * base.latent_channels * pixels + captions * base.text_length * base.hidden_size)
    assert expected <= payload < expected + 4000  # the headers of the shards


def test_a_second_run_encodes_nothing_and_loads_no_encoder(tmp_path, fill, batches, capsys, monkeypatch):
    first = values(fill(tmp_path), batches)
    capsys.readouterr()
    monkeypatch.setattr(pretrained, "load_vae", None)
    monkeypatch.setattr(pretrained, "load_text_encoder", None)
    second = values(fill(tmp_path, batch_size=3), batches)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    captions = len(batches.prompts())
    assert (
        f"{2 * COUNT} of {2 * COUNT} pictures reused · {captions} of {captions} captions reused"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize("after", [0, 2, 5])
def test_stopped_and_run_again_it_goes_on_to_the_same_values(tmp_path, fill, batches, capsys, monkeypatch, after):
    whole = values(fill(None), batches)
    stopped = Stop(caching.encode_pixels, after)
    with monkeypatch.context() as patched:
        patched.setattr(caching, "encode_pixels", stopped)
        patched.setattr(caching, "encode_prompts", stopped)
        with pytest.raises(Preempted):
            fill(tmp_path)
    capsys.readouterr()
    again = fill(tmp_path)
    done = min(5 * after, 2 * COUNT)
    said = capsys.readouterr().err
    assert (f"{done} of {2 * COUNT} pictures reused" if done else f"{2 * COUNT} pictures to encode") in said
    assert all(torch.equal(one, other) for one, other in zip(whole, values(again, batches), strict=True))


def test_shards_are_written_as_it_goes(tmp_path, fill, monkeypatch):
    monkeypatch.setattr(encoding, "SHARD_BYTES", 1)
    found = fill(tmp_path)
    assert len(list(found.pictures.folder.glob("*.safetensors"))) == -(-2 * COUNT // 5)


def test_a_damaged_shard_is_told_and_made_anew(tmp_path, fill, batches, capsys):
    found = fill(tmp_path)
    whole = values(found, batches)
    (shard,) = found.pictures.folder.glob("*.safetensors")
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    capsys.readouterr()
    again = fill(tmp_path)
    said = capsys.readouterr().err
    assert (
        f"cache     {shard}: its content is not what was written; put away, its {2 * COUNT} entries are made anew"
        in said
    )
    assert re.search(rf"cache     {2 * COUNT} pictures to encode · \d+ of \d+ captions reused", said)
    assert all(torch.equal(one, other) for one, other in zip(whole, values(again, batches), strict=True))


def test_weights_changed_under_a_cache_are_told(tmp_path, fill, base, batches, capsys):
    import shutil

    import safetensors.torch

    copy = tmp_path / "model"
    shutil.copytree(base.folder, copy)
    old = fill(tmp_path / "cache", of=pretrained.open_base(str(copy)))
    path = copy / "vae" / "diffusion_pytorch_model.safetensors"
    weights = safetensors.torch.load_file(path)
    safetensors.torch.save_file({name: tensor * 1.01 for name, tensor in weights.items()}, path, {"format": "pt"})
    capsys.readouterr()
    new = fill(tmp_path / "cache", of=pretrained.open_base(str(copy)))
    said = capsys.readouterr().err
    assert f"cache     the VAE of {copy} is not the one of the cache: {2 * COUNT} pictures are encoded anew" in said
    assert "the text encoder" not in said
    assert not torch.equal(values(old, batches)[0], values(new, batches)[0])
    assert torch.equal(values(old, batches)[1], values(new, batches)[1])


def test_too_little_room_is_counted_before_anything_is_written(tmp_path, fill, monkeypatch):
    monkeypatch.setattr(caching, "free_bytes", lambda path: 100)
    with pytest.raises(
        OutOfDisk, match=r"the caches take [\d.]+ kB more, .* has 100 B free; free some, or choose another --cache-dir"
    ):
        fill(tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))
    monkeypatch.setattr(memory, "room", lambda device, sharers: 100)
    with pytest.raises(OutOfMemory, match=r"--cache ram takes .* in each process"):
        fill(None)


def test_where_memory_runs_out_fewer_are_encoded_at_once(fill, batches, monkeypatch):
    whole = values(fill(None, batch_size=1), batches)
    sizes = []

    def small(vae, pixels):
        sizes.append(len(pixels))
        if len(pixels) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encode_pixels(vae, pixels)

    monkeypatch.setattr(caching, "encode_pixels", small)
    found = values(fill(None, batch_size=8), batches)
    assert {8, 4, 2} == set(sizes)
    torch.testing.assert_close(found[0], whole[0], rtol=1e-4, atol=5e-5)  # convolutions sum in another order
    monkeypatch.setattr(caching, "encode_pixels", lambda vae, pixels: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(OutOfMemory, match="out of memory in the VAE with one example at a time; lower --resolution"):
        fill(None)
