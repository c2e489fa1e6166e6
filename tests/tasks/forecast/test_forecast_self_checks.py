"""The checks against transformers: all models pass, a planted difference puts the library in place, and nothing else changes."""

import copy
import importlib
from dataclasses import replace

import pytest
import torch
from test_forecast_training_step import KINDS, SPEC, batch_for

from tasks.forecast import models, self_checks
from tasks.forecast.fast import interface
from tasks.forecast.fast.pytorch import forward as pytorch
from tasks.forecast.fast.simd import forward as simd
from tasks.forecast.fast.simd import native
from tasks.forecast.models import likelihood
from tasks.forecast.sampling import autoformer, cached, draw, informer
from tasks.forecast.self_checks import check_sampling, check_training

losses = importlib.import_module("tasks.forecast.models.losses")
VARIANTS = {
    "plain": {"dropout": 0.1, "layerdrop": 0.2},
    "multivariate": {"input_size": 3},
    "no static": {"cardinality": (), "embedding_dimension": (), "num_static_real_features": 0},
    "counts": {"distribution": "negative_binomial", "scaling": "mean"},
    "long": {"prediction_length": 24, "context_length": 48, "distribution": "normal", "scaling": "none"},
    "one head": {"heads": 1, "encoder_layers": 1, "decoder_layers": 3},
}


def built(kind, **changes):
    return models.build(replace(SPEC, kind=kind, **changes), 1)


def without_kernels(monkeypatch):
    monkeypatch.setattr(simd, "applies", lambda model: False)
    monkeypatch.setattr(interface, "newest_applies", lambda table, width: False)


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_model_passes_and_is_left_as_it_was(kind, variant, kernels, monkeypatch):
    if not kernels:
        without_kernels(monkeypatch)
    model = built(kind, **VARIANTS[variant])
    models.losses(model, batch_for(replace(SPEC, kind=kind, **VARIANTS[variant]))).sum().backward()
    before, gradients = copy.deepcopy(model.state_dict()), [p.grad for p in model.parameters()]
    layers, state, config = models.layers_of(model), torch.get_rng_state(), model.config.to_dict()
    assert check_training(model) is None
    assert model.training
    assert check_sampling(model.eval()) is None
    assert models.layers_of(model) == layers != "transformers"
    assert torch.equal(torch.get_rng_state(), state)
    assert model.config.to_dict() == config
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(one is p.grad for one, p in zip(gradients, model.parameters(), strict=True))


def wrong(call, by=0.1):
    return lambda *given, **named: call(*given, **named) + by


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ["the compiled", "PyTorch's"])
def test_a_wrong_layer_leaves_the_loss_to_the_library(kind, path, monkeypatch):
    if path == "PyTorch's":
        without_kernels(monkeypatch)
    elif native.library() is None:
        pytest.skip("no compiled layers: installed without a C compiler")
    room = pytorch if path == "PyTorch's" else simd
    monkeypatch.setattr(room, "linear", wrong(room.linear))
    model, batch = built(kind, dropout=0.1), batch_for(replace(SPEC, kind=kind))
    line = check_training(model)
    assert line.startswith(f"{path} fast path differs from transformers ")
    assert line.endswith("the library's is used")
    assert models.layers_of(model) == "transformers"
    assert check_training(model) is None  # it is said once
    found = []
    for ours in (True, False):
        torch.manual_seed(2)
        found.append(models.losses(model, batch).mean() if ours else model(**batch).loss)
    torch.testing.assert_close(*found, rtol=1e-6, atol=0.0)


def test_a_forward_that_fails_leaves_the_loss_to_the_library(monkeypatch):
    def renamed(*given):
        raise AttributeError("no attribute 'value_projection'")

    for room in (pytorch, simd):
        monkeypatch.setattr(room, "network_inputs", renamed)
    model, batch = built("transformer"), batch_for(SPEC)
    assert "fails beside transformers" in check_training(model)
    torch.testing.assert_close(models.losses(model, batch).mean(), model(**batch).loss)


@pytest.mark.parametrize("name", ["student_t", "normal", "negative_binomial"])
@pytest.mark.parametrize("dims", [1, 3])
def test_a_wrong_likelihood_leaves_the_loss_to_the_library(name, dims, monkeypatch):
    of = replace(SPEC, distribution=name, input_size=dims)
    for module in (self_checks, losses):
        monkeypatch.setattr(module, "negative_log_likelihood", wrong(likelihood.negative_log_likelihood))
    model, batch = models.build(of, 1), batch_for(of)
    batch |= {name: batch[name].abs().round() for name in ("past_values", "future_values")}
    assert "differs" in check_training(model)
    torch.testing.assert_close(models.losses(model, batch).mean(), model(**batch).loss)


PLANTED = {
    "transformer": (cached.CrossAttention, "__call__"),
    "informer": (cached.Layer, "after_attention"),
    "autoformer": (autoformer, "rolled"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_sampling_is_left_to_generate(kind, monkeypatch):
    of = replace(SPEC, kind=kind, prediction_length=18, context_length=48)
    model, batch = built(kind, prediction_length=18, context_length=48).eval(), batch_for(of, size=3)
    owner, name = PLANTED[kind]
    monkeypatch.setattr(owner, name, wrong(getattr(owner, name)))
    line = check_sampling(model)
    assert line.startswith("fast sampling differs from transformers ")
    assert check_sampling(model) is None
    state = torch.get_rng_state()
    found = [draw(model, batch, 5, torch.Generator().manual_seed(1)).samples for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), state)
    assert found[0].shape == (3, 5, 18)
    assert torch.equal(*found)
    torch.manual_seed(int(torch.randint(2**62, (1,), generator=torch.Generator().manual_seed(1))))
    model.config.num_parallel_samples = 5
    given = {name: value for name, value in batch.items() if not name.startswith(("future_values", "future_observed"))}
    assert torch.equal(found[0], model.generate(**given).sequences)


@pytest.mark.parametrize("kernels", [True, False])
def test_informers_sparse_steps_are_checked(kernels, monkeypatch):
    """What only the steps compute at which some queries don't attend."""
    if not kernels:
        without_kernels(monkeypatch)
    elif native.library() is None:
        pytest.skip("no compiled layers: installed without a C compiler")
    owner, name = (interface, "newest") if kernels else (informer, "_newest")
    call = getattr(owner, name)
    model = built("informer", prediction_length=18, context_length=48).eval()
    with monkeypatch.context() as planted:
        planted.setattr(owner, name, (lambda *g: tuple(x + 0.1 for x in call(*g))) if kernels else wrong(call))
        assert "differs" in check_sampling(model)
    del model.library_samples
    assert check_sampling(model) is None
