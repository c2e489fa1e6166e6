"""The compiled layers: equal to PyTorch's in all sizes, dropout's law and gradients, the same bits by any number of threads."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from test_forecast_training_step import KINDS, SPEC, batch_for, gradients

from tasks.forecast import models
from tasks.forecast.fast import interface, simd
from tasks.forecast.fast.simd import autoformer, forward, layers, native
from tasks.forecast.sampling import draw

ROOT = Path(__file__).parents[3]

needs_build = pytest.mark.skipif(native.library() is None, reason="no compiled layers: installed without a C compiler")

SIZES = {
    "one window": (1, {}),
    "three groups": (37, {}),
    "odd widths": (5, {"d_model": 15, "heads": 3, "ffn_dim": 7, "context_length": 17, "prediction_length": 5}),
    "a wide head": (3, {"d_model": 20, "heads": 1, "ffn_dim": 33}),
    "heads of 4": (4, {"d_model": 8}),
    "heads of 16": (4, {"d_model": 32}),
    "many dimensions": (9, {"input_size": 2, "lags": (1, 5)}),
    "short": (4, {"context_length": 5, "prediction_length": 3, "label_length": 2, "kernel_size": 9}),
}


def both(of, batch, monkeypatch):
    """Losses and gradients by the compiled layers and by PyTorch's."""
    model, found = models.build(of, 1), []
    for compiled in (True, False):
        if not compiled:
            monkeypatch.setattr(forward, "applies", lambda model: False)
        assert models.layers_of(model).startswith("compiled" if compiled else "PyTorch")
        torch.manual_seed(3)  # Informer draws its keys from here
        losses = models.losses(model, batch)
        found.append((losses, gradients(model, losses.mean())))
    monkeypatch.undo()
    return found


def agree(found, at_most=1e-4):
    (ours, mine), (theirs, expected) = found
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    for name, gradient in expected.items():
        torch.testing.assert_close(
            mine[name], gradient, rtol=at_most, atol=1e-5, msg=lambda m, name=name: f"{name}: {m}"
        )


@needs_build
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_equal_in_all_sizes(kind, size, monkeypatch):
    windows, changes = SIZES[size]
    of = replace(SPEC, kind=kind, **changes)
    agree(both(of, batch_for(of, size=windows), monkeypatch))


@needs_build
def test_batch_norms_record_is_the_module_s(monkeypatch):
    of, found = replace(SPEC, kind="informer"), []
    for compiled in (True, False):
        if not compiled:
            monkeypatch.setattr(forward, "applies", lambda model: False)
        model = models.build(of, 1)
        for seed in (1, 2):
            torch.manual_seed(seed)
            models.losses(model, batch_for(of, size=21, seed=seed))
        found.append({name: buffer for name, buffer in model.named_buffers() if ".norm." in name})
    assert len(found[0]) == 3
    for name, expected in found[1].items():
        torch.testing.assert_close(found[0][name], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("level", simd.LEVELS)
def test_every_build_that_runs_here(level, monkeypatch):
    monkeypatch.setenv("MODELTOOL_KERNELS", level)
    native.library.cache_clear()
    try:
        if native.library() is None:
            pytest.skip(f"no build {level} for this processor")
        for kind in KINDS:
            of = replace(SPEC, kind=kind)
            agree(both(of, batch_for(of, size=7), monkeypatch))
    finally:
        native.library.cache_clear()


@needs_build
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_with_dropout(kind):
    """Along the gradient the loss changes by the gradient's length, with the same masks."""
    of = replace(SPEC, kind=kind, dropout=0.3)
    model, batch = models.build(of, 1), batch_for(of, size=20)

    def loss():
        torch.manual_seed(4)
        return models.losses(model, batch).double().mean()

    found = gradients(model, loss())
    length = torch.stack([g.double().square().sum() for g in found.values()]).sum().sqrt()
    step, ends = 2e-3, []
    with torch.no_grad():
        for by in (step, -2 * step):
            for name, weight in model.named_parameters():
                weight += by / length * found[name]
            ends.append(loss())
    assert float((ends[0] - ends[1]) / (2 * step)) == pytest.approx(float(length), rel=0.01)


@needs_build
@pytest.mark.parametrize("probability", [0.1, 0.25, 0.5])
def test_masks_keep_as_many_as_asked(probability):
    """Of a constant branch what is left is the mask: as many as asked, independent of their neighbours in each direction."""
    torch.manual_seed(2)
    width = native.lanes()
    zero, draws = torch.zeros(16, 40, 32, width), layers.Draws(training=True)
    out = SimpleNamespace(weight=torch.zeros(32, 32), bias=torch.ones(32))

    def mask():
        weight = torch.zeros(16, 2, 40, width)
        return autoformer.roll(out, zero, torch.zeros_like(zero), weight, draws.next(probability))

    found, other = mask(), mask()
    keep = 1 - round(probability * 2**16) / 2**16
    assert found.unique().tolist() == pytest.approx([0.0, 1 / keep])
    mean, error = (found * keep).mean(), (probability * (1 - probability) / found.numel()) ** 0.5
    assert abs(float(mean) - keep) < 4 * error
    pairs = [found[1:] * found[:-1], found[:, 1:] * found[:, :-1], found[:, :, 1:] * found[:, :, :-1]]
    pairs += [found[..., 1:] * found[..., :-1], found[:, :, 2:] * found[:, :, :-2], found * other]
    assert max(abs(float(pair.mean()) - 1) * keep**2 for pair in pairs) < 5 * error


@needs_build
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_bits_by_any_number_of_threads(kind):
    of = replace(SPEC, kind=kind, dropout=0.1)
    model, batch, before = models.build(of, 1), batch_for(of, size=50), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            torch.manual_seed(5)
            found.append(gradients(model, models.losses(model, batch).mean()))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


@needs_build
def test_what_is_left_to_pytorch(monkeypatch):
    assert models.layers_of(models.build(replace(SPEC, d_model=129, heads=1), 1)) == "PyTorch"
    assert models.layers_of(models.build(SPEC, 1).double()) == "transformers"
    for kind in ("dlinear", "nbeats", "patchtst"):
        assert models.layers_of(models.build(replace(SPEC, kind=kind), 1)) == ""
    monkeypatch.setenv("MODELTOOL_KERNELS", "off")
    native.library.cache_clear()
    assert models.layers_of(models.build(SPEC, 1)) == "PyTorch"
    monkeypatch.undo()
    monkeypatch.setattr(native, "digest", lambda: "of other sources")
    native.library.cache_clear()
    assert models.layers_of(models.build(SPEC, 1)) == "PyTorch"
    native.library.cache_clear()


@needs_build
@pytest.mark.parametrize("changes", [{}, {"heads": 1, "d_model": 6}, {"heads": 4}])
def test_informers_forecasts_are_those_of_pytorchs_layers(changes, monkeypatch):
    """Over steps at which some queries attend and others don't."""
    of = replace(SPEC, kind="informer", prediction_length=24, **changes)
    model, batch = models.build(of, 1).eval(), batch_for(of, size=3)
    with torch.no_grad():  # a model whose attention matters
        for name, weight in model.named_parameters():
            if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight")):
                weight.mul_(10.0)
    found = []
    for compiled in (True, False):
        if not compiled:
            monkeypatch.setattr(interface, "newest_applies", lambda table, width: False)
        found.append(draw(model, batch, 30, torch.Generator().manual_seed(1)).numpy())
    assert found[0].shape == (3, 30, 24)
    # A query that stands out as far as another, but for rounding, may be chosen in its place.
    assert (abs(found[0] - found[1]) < 1e-3 * abs(found[1]).max()).mean() > 0.99


@needs_build
def test_no_room_to_compute_in_is_a_memory_error():
    with pytest.raises(MemoryError, match="attention_forward"):
        native.call(
            "attention_forward", native.Attention(groups=1, threads=1, d=16, heads=2, queries=2**28, keys=2**26)
        )


def test_without_a_compiler_the_installation_goes_on(tmp_path):
    command = [
        sys.executable,
        "setup.py",
        "-q",
        "build_ext",
        "--build-lib",
        tmp_path,
        "--build-temp",
        tmp_path / "made",
    ]
    environment = {**os.environ, "CC": "/nonexistent/cc"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("*.so"))
