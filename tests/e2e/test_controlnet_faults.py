"""`tool train controlnet` killed while it caches, trains and validates: the same command ends with the same net and pictures."""

import json
import shutil
import signal

import controlnets
import numpy as np
import pytest
from PIL import Image
from running import (
    ended,
    leftovers,
    metrics,
    only_run,
    runs,
    said,
    same,
    start,
    status,
    steps,
    stop,
    tool,
    until,
    weights,
    within,
)

PAIRS = 256


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    controlnets.base(folder / "base")
    return folder


def command(place, cache, *options):
    given = {
        "--model": place / "base",
        "--data": "sample",
        "--resolution": controlnets.RESOLUTION,
        "--max-samples": PAIRS,
        "--max-eval-samples": 8,
        "--batch-size": 4,
        "--max-steps": 12,
        "--eval-steps": 6,
        "--learning-rate": 1e-3,
        "--log-steps": 1,
        "--checkpoint-steps": 2,
        "--threads": 1,
        "--num-validation-images": 1,
        "--validation-inference-steps": 8,
        "--cache-dir": cache,
    }
    return ["train", "controlnet", *(str(part) for pair in given.items() for part in pair), *options]


@pytest.fixture(scope="module")
def whole(place):
    """A run that nobody disturbed."""
    folder = place / "whole"
    folder.mkdir()
    tool(*command(place, folder / "cache"), cwd=folder)
    return only_run(folder)


def compare(run, whole):
    assert status(run)["state"] == "finished"
    assert steps(run, "train") == list(range(1, 13))
    assert same(weights(run), weights(whole))
    assert leftovers(run) == []
    grids = [sorted((one / "validation").glob("*.png")) for one in (run, whole)]
    assert (
        [path.name for path in grids[0]] == [path.name for path in grids[1]] == ["step-000006.png", "step-000012.png"]
    )
    for ours, other in zip(*grids, strict=True):
        difference = np.asarray(Image.open(ours), int) - np.asarray(Image.open(other), int)
        assert np.abs(difference).max() <= 1
    for ours, other in zip(metrics(run, "validation"), metrics(whole, "validation"), strict=True):
        assert ours["gain"] == pytest.approx(other["gain"], abs=1e-7)


def shards(cache):
    return sorted(cache.rglob("shard-*.safetensors"))


def caching(folder):
    return any(folder.rglob("*.part")) or shards(folder / "cache")


def validating(folder):
    """Between the last step before an evaluation and its line."""
    found = runs(folder)
    return found and steps(found[0], "train")[-1:] == [6] and not steps(found[0], "validation")


MOMENTS = {
    "caching": caching,
    "training": lambda folder: runs(folder) and len(steps(runs(folder)[0], "train")) >= 3,
    "validating": validating,
}


@pytest.mark.parametrize(
    "moment", [name if name == "training" else pytest.param(name, marks=pytest.mark.slow) for name in MOMENTS]
)
def test_killed_and_run_again_it_ends_the_same(place, whole, tmp_path, moment):
    process = start(command(place, tmp_path / "cache"), tmp_path)
    assert until(lambda: MOMENTS[moment](tmp_path), process), said(tmp_path)
    process.kill()
    process.wait()
    process = start(command(place, tmp_path / "cache"), tmp_path)
    assert ended(process, 200) == 0, said(tmp_path)
    compare(only_run(tmp_path), whole)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["caching", "validating"])
def test_asked_to_stop_it_ends_with_75_and_goes_on(place, whole, tmp_path, moment):
    process = start(command(place, tmp_path / "cache"), tmp_path)
    assert until(lambda: MOMENTS[moment](tmp_path), process), said(tmp_path)
    assert stop(process, signal.SIGTERM, tmp_path) == 75
    process = start(command(place, tmp_path / "cache"), tmp_path)
    assert ended(process, 200) == 0, said(tmp_path)
    compare(only_run(tmp_path), whole)


def test_a_flipped_byte_in_a_shard_is_found_and_made_anew(place, whole, tmp_path):
    cache = tmp_path / "cache"
    shutil.copytree(whole.parent.parent / "cache", cache)
    largest = max(shards(cache), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) * 2 // 3] ^= 1
    largest.write_bytes(content)
    done = within(*command(place, cache), cwd=tmp_path)
    assert f"{largest}: its content is not what was written; put away, its " in done.stderr
    compare(only_run(tmp_path), whole)
    again = within(*command(place, cache, "--fresh"), cwd=tmp_path)
    assert f"{PAIRS + 8} of {PAIRS + 8} pictures reused" in again.stderr


@pytest.mark.slow
def test_other_weights_under_a_cache_are_not_mixed_with_its_own(place, whole, tmp_path):
    from safetensors.torch import load_file, save_file

    cache = tmp_path / "cache"
    shutil.copytree(whole.parent.parent / "cache", cache)
    shutil.copytree(place / "base", tmp_path / "base")
    vae = tmp_path / "base" / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(vae)
    tensors["encoder.conv_in.bias"] += 0.5
    save_file(tensors, vae, metadata={"format": "pt"})
    given = command(place, cache)
    # Same name, other weights: as a Hub id whose files were replaced.
    kept = place / "base.kept"
    (place / "base").rename(kept)
    try:
        shutil.copytree(tmp_path / "base", place / "base")
        done = within(*given, cwd=tmp_path)
    finally:
        shutil.rmtree(place / "base")
        kept.rename(place / "base")
    assert f"is not the one of the cache: {PAIRS + 8} pictures are encoded anew" in done.stderr
    assert json.loads((only_run(tmp_path) / "status.json").read_text())["state"] == "finished"
    assert not same(weights(only_run(tmp_path)), weights(whole))
