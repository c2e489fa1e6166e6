"""A fast path that differs from the library's: the run says so once and goes on with the library's own."""

import json

import controlnets
import pytest
from PIL import Image
from running import losses, metrics, only_run, options, within

from tasks.controlnet.memory_efficient import convolution
from tasks.controlnet.memory_efficient import library_check as controlnet_check
from tasks.vqa.models import library_check as vqa_check
from tasks.vqa.models import vilt

VQA = options(max_samples=64, max_eval_samples=20, max_steps=3, batch_size=32, log_steps=1, threads=1)
CONTROLNET = (
    "--resolution", controlnets.RESOLUTION, "--batch-size", 4, "--max-steps", 3, "--log-steps", 1, "--learning-rate", 1e-3,
    "--num-validation-images", 0, "--eval-batch-size", 8, "--cache", "none", "--threads", 1,
)  # fmt: skip


def layers(done):
    return [line for line in done.stderr.splitlines() if line.startswith("layers ")]


def library_only(monkeypatch, check):
    """As if a difference had been found: what the run has to come to."""
    monkeypatch.setattr(check, "difference", lambda *given, **named: "differs")


def test_vqa_trains_evaluates_and_predicts_with_transformers_own(tmp_path, monkeypatch):
    own, planted, plain = (tmp_path / name for name in ("own", "planted", "plain"))
    for place in (own, planted, plain):
        place.mkdir()
    assert layers(within(*VQA, cwd=plain)) == []
    Image.new("RGB", (70, 64), (200, 30, 30)).save(tmp_path / "red.png")
    asked = ("predict", "vqa", tmp_path / "red.png", "what colour is it?", "--json")
    commands = (VQA, ("eval", "vqa", "--json"), asked)
    with monkeypatch.context() as patch:
        library_only(patch, vqa_check)
        expected = [within(*command, cwd=own) for command in commands]
    monkeypatch.setattr(vilt, "attend", lambda query, key, value, mask, heads, dropout: value[:, : query.shape[1]])
    found = [within(*command, cwd=planted) for command in commands]
    for done in found:
        (line,) = layers(done)
        assert line.startswith("layers    the faster forward differs from transformers ")
        assert line.endswith(": the library's is used")
    assert losses(only_run(planted)) == losses(only_run(own))
    assert losses(only_run(planted)) == pytest.approx(losses(only_run(plain)), rel=1e-4)
    assert metrics(only_run(planted), "validation")[-1]["loss"] == metrics(only_run(own), "validation")[-1]["loss"]
    (answer,), (expected_answer,) = json.loads(found[2].stdout), json.loads(expected[2].stdout)
    assert answer["answers"] == expected_answer["answers"]


def test_controlnet_trains_with_diffusers_own(tmp_path, monkeypatch):
    base, data = controlnets.base(tmp_path / "base"), controlnets.pairs(tmp_path / "data")
    command = ("train", "controlnet", "--model", base, "--data", data, "--cache-dir", tmp_path / "cache", *CONTROLNET)
    own, planted, plain = (tmp_path / name for name in ("own", "planted", "plain"))
    for place in (own, planted, plain):
        place.mkdir()
    assert layers(within(*command, cwd=plain)) == []
    with monkeypatch.context() as patch:
        library_only(patch, controlnet_check)
        within(*command, cwd=own)
    back = convolution.convolve_back
    monkeypatch.setattr(
        convolution, "convolve_back", lambda *given: tuple(one if one is None else 2 * one for one in back(*given))
    )
    (line,) = layers(within(*command, cwd=planted))
    assert line.startswith("layers    the memory-efficient forward or backward pass differs from diffusers ")
    assert line.endswith(": the library's is used")
    assert losses(only_run(planted)) == losses(only_run(own))
    assert losses(only_run(planted)) == pytest.approx(losses(only_run(plain)), rel=1e-4)
