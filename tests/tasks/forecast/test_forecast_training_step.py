"""The fast training step: transformers' losses and gradients, dropout of the right law, and the same step for the same seed."""

import gzip
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tasks.forecast import models
from tasks.forecast.calendar import Calendar
from tasks.forecast.fast.pytorch import forward as pytorch
from tasks.forecast.fast.pytorch import layers as pytorch_layers
from tasks.forecast.fast.pytorch import workspace
from tasks.forecast.fast.pytorch.dropout import Masks
from tasks.forecast.fast.simd import forward as simd
from tasks.forecast.fast.simd import native
from tasks.forecast.models import Spec
from tasks.forecast.panel import Panel
from tasks.forecast.windows import Windows

KINDS = ("transformer", "informer", "autoformer")
SPEC = Spec(
    "transformer",
    prediction_length=8,
    context_length=24,
    lags=(1, 2, 3, 7),
    num_time_features=3,
    cardinality=(4,),
    num_static_real_features=1,
    d_model=16,
    dropout=0.0,
    layerdrop=0.0,
)


@pytest.fixture(params=["compiled", "PyTorch"])
def layers(request, monkeypatch):
    """Both ways through the layers."""
    if request.param == "PyTorch":
        monkeypatch.setattr(simd, "applies", lambda model: False)
    elif native.library() is None:
        pytest.skip("no compiled layers: installed without a C compiler")
    return request.param


def batch_for(of, size=6, seed=0):
    chance = torch.Generator().manual_seed(seed)
    shape = (of.input_size,) if of.input_size > 1 else ()
    past = torch.randn(size, of.past_length, *shape, generator=chance).cumsum(1) + 5
    observed = (torch.rand(past.shape, generator=chance) > 0.1).float()
    future = torch.randn(size, of.prediction_length, *shape, generator=chance)
    batch = {
        "past_values": past * observed,
        "past_observed_mask": observed,
        "past_time_features": torch.randn(size, of.past_length, of.num_time_features, generator=chance),
        "future_time_features": torch.randn(size, of.prediction_length, of.num_time_features, generator=chance),
        "future_values": future,
        "future_observed_mask": torch.ones_like(future),
    }
    if of.cardinality:
        batch["static_categorical_features"] = torch.randint(0, 4, (size, 1), generator=chance)
        batch["static_real_features"] = torch.randn(size, 1, generator=chance)
    return batch


def gradients(model, loss):
    """By name; 0 for what no gradient reached."""
    model.zero_grad()
    loss.backward()
    return {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}


VARIANTS = {
    "plain": {},
    "multivariate": {"input_size": 3},
    "no static": {"cardinality": (), "embedding_dimension": (), "num_static_real_features": 0},
    "no time features": {"num_time_features": 0},
    "mean scaling": {"scaling": "mean"},
    "normal": {"distribution": "normal", "scaling": "none"},
    "one head": {"heads": 1, "encoder_layers": 1, "decoder_layers": 3},
}


# Every kind in its own parts; what the kinds share, with one of them.
CASES = [(kind, variant, True) for kind in KINDS for variant in ("plain", "multivariate", "one head")]
CASES += [(kind, "plain", False) for kind in KINDS]
CASES += [
    ("transformer", variant, True) for variant in VARIANTS if variant not in ("plain", "multivariate", "one head")
]


@pytest.mark.parametrize(("kind", "variant", "training"), CASES)
def test_losses_and_gradients_are_the_library_s(kind, variant, training, layers):
    of = replace(SPEC, kind=kind, **VARIANTS[variant])
    model, batch = models.build(of, 1).train(training), batch_for(of)
    assert pytorch.applies(model)
    torch.manual_seed(3)
    library = model(**{name: tensor.clone() for name, tensor in batch.items()}).loss
    expected = gradients(model, library)
    torch.manual_seed(3)  # Informer draws its keys from here
    ours = models.losses(model, batch).mean()
    found = gradients(model, ours)
    torch.testing.assert_close(ours, library, rtol=1e-5, atol=1e-5)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5, msg=lambda m, name=name: f"{name}: {m}")


def test_large_scores_lose_nothing(layers):
    """Weights so large that 2**score would overflow."""
    of = replace(SPEC)
    model, batch = models.build(of, 1), batch_for(of)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith(("q_proj.weight", "k_proj.weight")):
                p.mul_(300)
    expected = gradients(model, model(**batch).loss)
    found = gradients(model, models.losses(model, batch).mean())
    assert all(bool(torch.isfinite(g).all()) for g in found.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-2, atol=1e-3 * float(gradient.abs().max()) + 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_dropout_is_of_the_library_s_law(kind, layers):
    """Over many steps the mean loss with dropout and layer dropout is that of transformers' own forward."""
    of = replace(
        SPEC,
        kind=kind,
        dropout=0.3,
        layerdrop=0.1,
        context_length=10,
        prediction_length=4,
        label_length=3,
        kernel_size=5,
    )
    model, batch = models.build(of, 1), batch_for(of, size=8)
    with torch.no_grad():  # a model whose layers matter
        for p in model.parameters():
            if p.requires_grad and p.dim() > 1:
                p.mul_(4.0)
    torch.manual_seed(0)
    with torch.no_grad():
        ours = torch.tensor([models.losses(model, batch).mean() for _ in range(80)])
        theirs = torch.tensor([model(**batch).loss for _ in range(80)])
    error = ((ours.var() + theirs.var()) / 80).sqrt()
    assert abs(ours.mean() - theirs.mean()) < 4 * error
    assert 0.6 < ours.std() / theirs.std() < 1.6


@pytest.mark.parametrize("probability", [0.1, 0.25, 0.5])
def test_masks_keep_as_many_as_asked(probability):
    torch.manual_seed(2)
    masks = Masks(training=True)
    mask, keep = masks.draw((1000, 1003), probability)
    assert keep == pytest.approx(1 - probability, abs=1e-5)
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    error = (probability * (1 - probability) / mask.numel()) ** 0.5
    assert abs(float(mask.mean()) - keep) < 4 * error
    beside = (mask[:, 1:] * mask[:, :-1]).mean() - keep**2
    below = (mask[1:] * mask[:-1]).mean() - keep**2
    assert max(abs(float(beside)), abs(float(below))) < 5 * error
    x = torch.ones(300, 300)
    assert float(pytorch_layers.drop(x, masks, probability).max()) == pytest.approx(1 / keep)
    other = torch.zeros(300, 300)
    assert float(pytorch_layers.add(other, x, masks, probability).max()) == pytest.approx(1 / keep)


def test_no_masks_where_nothing_is_dropped():
    x = torch.randn(4, 4)
    assert pytorch_layers.drop(x, Masks(training=False), 0.5) is x
    assert pytorch_layers.drop(x, Masks(training=True), 0.0) is x


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_repeats_with_torch_s_state(kind, layers):
    of = replace(SPEC, kind=kind, dropout=0.1, layerdrop=0.1)
    model, batch = models.build(of, 1), batch_for(of)
    torch.manual_seed(5)
    models.losses(model, batch).mean().backward()
    state = torch.get_rng_state()
    first = gradients(model, models.losses(model, batch).mean())
    other = gradients(model, models.losses(model, batch).mean())
    torch.set_rng_state(state)
    workspace.clear()
    again = gradients(model, models.losses(model, batch).mean())
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_two_forwards_before_their_backwards(layers):
    """As with accumulated losses: buffers of one forward are not those of the other."""
    model = models.build(SPEC, 1)
    batches = [batch_for(SPEC, seed=seed) for seed in (1, 2)]
    both = [models.losses(model, batch).mean() for batch in batches]
    together = gradients(model, both[0] + both[1])
    apart = [gradients(model, models.losses(model, batch).mean()) for batch in batches]
    for name, gradient in together.items():
        torch.testing.assert_close(gradient, apart[0][name] + apart[1][name], rtol=1e-5, atol=1e-6)


def test_a_second_backward_is_refused(monkeypatch):
    """The compiled layers keep what they need; PyTorch's attention writes over it."""
    monkeypatch.setattr(simd, "applies", lambda model: False)
    model = models.build(SPEC, 1)
    loss = models.losses(model, batch_for(SPEC)).mean()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="no second one"):
        loss.backward()


def test_what_the_fast_step_leaves_to_the_library():
    of = replace(SPEC, kind="autoformer", prediction_length=20)  # decodes more steps than it has context
    model, batch = models.build(of, 1).eval(), batch_for(of)
    assert not pytorch.applies(model)
    torch.testing.assert_close(models.losses(model, batch).mean(), model(**batch).loss)
    assert not pytorch.applies(models.build(SPEC, 1).double())
    assert not pytorch.applies(models.build(replace(SPEC, kind="patchtst"), 1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not pytorch.applies(models.build(SPEC, 1))


EXCHANGE_RATE = Path(__file__).parents[4] / "shared/data/forecast/exchange_rate.txt.gz"


@pytest.mark.skipif(not EXCHANGE_RATE.is_file(), reason=f"no {EXCHANGE_RATE}")
def test_windows_are_those_of_gluonts():
    """Values, masks and features of its own chain, for windows that begin before the series, within it, and at its end."""
    from gluonts.time_feature import time_features_from_frequency_str
    from gluonts.transform import (
        AddAgeFeature,
        AddObservedValuesIndicator,
        AddTimeFeatures,
        Chain,
        InstanceSplitter,
        VstackFeatures,
    )
    from gluonts.transform.sampler import InstanceSampler

    origins, past, horizon, late = [40, 900, 1970], 120, 30, 3

    class At(InstanceSampler):
        def __call__(self, ts):
            return np.array(origins)

    with gzip.open(EXCHANGE_RATE) as file:
        series = np.loadtxt(file, delimiter=",", max_rows=2000)[:, 2]
    series[[30, 905]] = np.nan
    start = pd.Timestamp("1990-01-01")
    chain = Chain(
        [
            AddObservedValuesIndicator("target", "observed"),
            AddTimeFeatures("start", "target", "time", time_features_from_frequency_str("B"), horizon),
            AddAgeFeature("target", "age", horizon, log_scale=True),
            VstackFeatures("features", ["time", "age"]),
            InstanceSplitter(
                "target",
                "pad",
                "start",
                "forecast_start",
                At(),
                past,
                horizon,
                time_series_fields=["features", "observed"],
            ),
        ]
    )
    first = pd.Period(start, freq="B") + late
    theirs = list(chain([{"target": series.copy(), "start": first}], is_train=True))
    names = {"values": "target", "observed_mask": "observed", "time_features": "features"}
    # Two series in the panel, so that what lies before the second's first value is another series'; beginning apart and together.
    for before in (0, late):
        panel = Panel(
            values=np.concatenate([np.full(50, 7.0), series])[:, None],
            offsets=np.array([0, 50, 2050]),
            starts=np.array([before, late]),
            calendar=Calendar("B", start, 2000 + late),
            item_ids=["other", "rate"],
        )
        windows = Windows(panel, past_length=past, prediction_length=horizon)
        ours = windows.take(np.ones(3, np.int64), np.array(origins))
        for when, (mine, name) in itertools.product(("past", "future"), names.items()):
            expected = np.stack([np.asarray(window[f"{when}_{name}"], dtype=np.float32) for window in theirs])
            expected = np.nan_to_num(expected)  # the chain writes 0 for what is missing
            np.testing.assert_allclose(ours[f"{when}_{mine}"].numpy(), expected, rtol=2e-6, atol=1e-7)
