"""The ControlNet benchmark: sizes keep Stable Diffusion's proportions, and sides that differ are refused. No test compares times."""

from __future__ import annotations

import dataclasses
import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).parents[2]
PHOTOS = ROOT.parent / "shared" / "data" / "controlnet" / "dreambooth-512"


@pytest.fixture
def module(monkeypatch):
    """Imports a module of the benchmarks by its name."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))

    def load(name: str) -> ModuleType:
        return importlib.import_module(f"benchmarks.{name}")

    return load


def test_vae_and_text_encoder_take_the_share_of_a_step_that_they_take_of_the_real_one(module):
    """The real one by hand: Stable Diffusion 2.1's VAE encoder takes 1,117 GFLOP for 512 pixels, its text encoder 45."""
    inputs = module("controlnet_inputs")
    full, mid = (inputs.share(inputs.SIZES[name]) for name in ("full", "mid"))
    assert full["vae"] == pytest.approx(1117, rel=0.01)
    assert full["text_encoder"] == pytest.approx(45, rel=0.01)
    assert mid["share"] == pytest.approx(full["share"], abs=0.01)


def test_pictures_are_cut_and_scaled_as_the_script_does(module):
    image = Image.fromarray(np.arange(40 * 20 * 3, dtype=np.uint8).reshape(20, 40, 3))
    found = module("controlnet_peer").to_tensor(image, 20)
    assert found.shape == (3, 20, 20)
    assert torch.equal(found, torch.from_numpy(np.asarray(image)[:, 10:30].copy()).permute(2, 0, 1) / 255)


def test_ratios_and_agreement(module):
    bench, sides = module("controlnet"), module("controlnet_sides")
    script = sides.Side(
        before=10.0, step_seconds=3.0, steps=8, pictures=32, peak_bytes=2000, whole_bytes=2000, above_bytes=1500,
        losses=[1.0, 1.2],
    )  # fmt: skip
    ours = dataclasses.replace(script, before=30.0, step_seconds=2.0, peak_bytes=1400, above_bytes=900)
    assert ours.pictures_per_second == 2.0
    found = bench.ratios([{"script": script, "tool": ours}])
    assert found == {
        "pictures_per_second": [1.5], "peak_memory": [0.7], "whole_process": [1.0], "above_imports": [0.6], "earned_back": [20.0],
    }  # fmt: skip
    pair = {kind: {"script": script, "tool": ours} for kind in (sides.PLAIN, sides.CHECKPOINTED)}
    size = dataclasses.replace(sides.SIZES[0], steps=8)
    same = {"loss": [1.0, 1.000001], "norm": [0.3, 0.30001], "steps": [[1.0, 1.0]]}
    bench.agree(size, [pair], {"plain": same, "checkpointed": same})
    for wrong in ({"loss": [1.0, 1.0001]}, {"norm": [0.3, 0.301]}, {"steps": [[1.0, 1.0], [1.0, 1.01]]}):
        with pytest.raises(module("common").BenchmarkFailed, match="checkpointed"):
            bench.agree(size, [pair], {"plain": same, "checkpointed": {**same, **wrong}})
    other = {kind: {"script": script, "tool": dataclasses.replace(ours, losses=[2.0])} for kind in pair}
    with pytest.raises(module("common").BenchmarkFailed, match="mean training losses"):
        bench.agree(size, [other], {"plain": same, "checkpointed": same})


def test_photos_become_pairs_that_datasets_loads(module, tmp_path):
    if not PHOTOS.is_dir():
        pytest.skip(f"needs {PHOTOS}")
    captions = module("controlnet_inputs").save_data(PHOTOS, 3, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["text"] for row in rows] == captions
    for row in rows:
        condition = np.asarray(Image.open(tmp_path / row["conditioning_image_file_name"]))
        assert set(np.unique(condition)) == {0, 255}
        assert condition.shape == np.asarray(Image.open(tmp_path / row["file_name"])).shape


@pytest.mark.slow
def test_the_command_prints_and_writes_its_figures(tmp_path):
    if not PHOTOS.is_dir():
        pytest.skip(f"needs {PHOTOS}")
    command = [
        sys.executable, ROOT / "scripts" / "bench.py", "controlnet", "--only", "small", "--json", tmp_path / "figures.json",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "gradient checkpointing on both ways" in done.stdout
    found = json.loads((tmp_path / "figures.json").read_text())["controlnet"]["small"]
    for kind in ("plain", "checkpointed"):
        script, ours = found["checks"][kind]["loss"]
        assert ours == pytest.approx(script, rel=1e-5)
