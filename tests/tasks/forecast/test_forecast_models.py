"""Every forecasting model is built, differentiated, saved, loaded by transformers, and has the library's loss."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers

from tasks.errors import ConfigError, DataError, ToolError
from tasks.forecast import models
from tasks.forecast.models import Spec
from tasks.forecast.models.likelihood import negative_log_likelihood

HORIZON, CONTEXT, FEATURES, BATCH = 6, 14, 3, 5
ENCODER_DECODER = ("transformer", "informer", "autoformer")
CLASSES = {
    "transformer": transformers.TimeSeriesTransformerForPrediction,
    "informer": transformers.InformerForPrediction,
    "autoformer": transformers.AutoformerForPrediction,
    "patchtst": transformers.PatchTSTForPrediction,
}
CASES = [(kind, distribution) for kind, known in models.spec.DISTRIBUTIONS.items() for distribution in known]


def spec(kind, distribution="student_t", dims=1, static=True, **more):
    settings = {} if kind in models.spec.OWN else {"d_model": 8, "ffn_dim": 8}
    settings |= {"d_model": 12, "blocks": 2, "block_layers": 1, "dropout": 0.0} if kind == "nbeats" else {}
    settings |= {"lags": (1, 2, 5), "layerdrop": 0.0} if kind in ENCODER_DECODER else {}
    settings |= {"label_length": 4} if kind == "autoformer" else {}
    settings |= {"kernel_size": 5} if kind in ("autoformer", "dlinear") else {}
    settings |= {"cardinality": (3, 4), "num_static_real_features": 2} if static else {}
    settings |= {"scaling": "mean" if distribution == "negative_binomial" else "std"}
    return Spec(
        kind,
        prediction_length=HORIZON,
        context_length=CONTEXT,
        num_time_features=0 if kind == "patchtst" else FEATURES,
        input_size=dims,
        distribution=distribution,
        **settings | more,
    )


def batch_for(of, seed=0, size=BATCH):
    """Random counts (so that every head may be asked), everything observed."""
    chance = torch.Generator().manual_seed(seed)
    shape = (of.input_size,) if of.input_size > 1 else ()
    past = torch.randint(0, 50, (size, of.past_length, *shape), generator=chance).float()
    future = torch.randint(0, 50, (size, of.prediction_length, *shape), generator=chance).float()
    batch = {
        "past_values": past,
        "past_observed_mask": torch.ones_like(past),
        "past_time_features": torch.randn(size, of.past_length, of.num_time_features, generator=chance),
        "future_time_features": torch.randn(size, of.prediction_length, of.num_time_features, generator=chance),
        "future_values": future,
        "future_observed_mask": torch.ones_like(future),
    }
    if of.cardinality:
        columns = [torch.randint(0, count, (size,), generator=chance) for count in of.cardinality]
        batch["static_categorical_features"] = torch.stack(columns, dim=1)
    if of.num_static_real_features:
        batch["static_real_features"] = torch.randn(size, of.num_static_real_features, generator=chance)
    return batch


def losses(model, batch):
    torch.manual_seed(7)
    return models.losses(model, batch)


def library_loss(model, batch):
    """transformers' own loss by its own forward, with a batch that it may change."""
    torch.manual_seed(7)
    batch = {name: tensor.clone() for name, tensor in batch.items()}
    if model.config.model_type == "patchtst":
        names = ("past_values", "past_observed_mask", "future_values")
        dims = model.config.num_input_channels
        return model(**{name: batch[name].reshape(len(batch[name]), -1, dims) for name in names}).loss
    return model(**batch).loss


@pytest.mark.parametrize("static", [True, False])
@pytest.mark.parametrize("dims", [1, 3])
@pytest.mark.parametrize(("kind", "distribution"), CASES)
def test_battery(kind, distribution, dims, static, tmp_path):
    of = spec(kind, distribution, dims, static and kind != "patchtst")
    model, batch = models.build(of, 3), batch_for(of)
    before = {name: tensor.clone() for name, tensor in batch.items()}
    loss = losses(model, batch)
    assert loss.dtype == torch.float32
    assert loss.shape == (BATCH,)
    assert bool(torch.isfinite(loss).all())
    loss.mean().backward()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    silent = [name for name, p in trained.items() if p.grad is None or p.grad.abs().max() == 0]
    # A key's bias shifts all scores of a query alike, so it moves nothing.
    assert [name for name in silent if not name.endswith("k_proj.bias")] == []
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert all(torch.equal(batch[name], tensor) for name, tensor in before.items())

    model.eval()
    here = losses(model, batch)
    torch.testing.assert_close(here.mean(), library_loss(model, batch), rtol=1e-6, atol=1e-6)
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    plain = CLASSES.get(kind, transformers.AutoModel).from_pretrained(tmp_path)
    assert torch.equal(losses(plain.eval(), batch), here)
    assert torch.equal(losses(models.load(str(tmp_path)), batch), here)
    assert models.spec_of(plain) == of
    assert models.past_length(plain) == of.past_length


@pytest.mark.parametrize("dims", [1, 3])
@pytest.mark.parametrize("kind", models.spec.KINDS)
def test_unobserved_future_changes_nothing(kind, dims):
    of = spec(kind, dims=dims, static=kind != "patchtst")
    model, batch = models.build(of, 3).eval(), batch_for(of)
    batch["future_observed_mask"][0] = 0
    batch["future_observed_mask"][1, 2:] = 0
    batch["future_observed_mask"][2, 0] = 0
    # Autoformer alone never reads the future; the others read earlier steps of it as lags, so only the last ones may differ.
    first = losses(model, batch)
    hidden = batch["future_values"].clone()
    hidden[1, -1] += 1000
    second = losses(model, batch | {"future_values": hidden})
    assert first[0].item() == 0
    assert torch.equal(first, second)
    hidden[3, -1] += 1000
    assert losses(model, batch | {"future_values": hidden})[3] != first[3]


def test_partly_observed_windows_count_their_own_steps():
    of = spec("transformer")
    model, batch = models.build(of, 3).eval(), batch_for(of)
    whole = losses(model, batch)
    steps = []
    for step in range(HORIZON):
        mask = torch.zeros_like(batch["future_values"])
        mask[:, step] = 1
        steps.append(losses(model, batch | {"future_observed_mask": mask}))
    torch.testing.assert_close(torch.stack(steps).mean(0), whole)
    mask = torch.zeros_like(batch["future_values"])
    mask[:, :2] = 1
    expected = (steps[0] + steps[1]) / 2
    torch.testing.assert_close(losses(model, batch | {"future_observed_mask": mask}), expected)


@pytest.mark.parametrize("kind", models.spec.KINDS)
def test_unobserved_past_does_not_scale(kind):
    """What is missing (0, as Windows writes it) is left out of location and scale: a window's unit is that of the rest."""
    of = spec(kind, "normal", static=kind != "patchtst")
    model, batch = models.build(of, 3).eval(), batch_for(of)
    batch["past_values"] += 1000
    batch["past_values"][:, -5:] = 0
    batch["past_observed_mask"][:, -5:] = 0
    if kind == "dlinear":
        output = model(**batch)
    elif kind == "patchtst":
        output = model(batch["past_values"][..., None], batch["past_observed_mask"][..., None])
    else:
        output = model(**batch)
    assert bool((output.loc > 990).all())
    assert bool((output.scale < 60).all())


def test_likelihoods_equal_scipy():
    from scipy import stats

    chance = np.random.default_rng(5)
    values, loc, scale = chance.normal(size=40), chance.normal(size=40), chance.uniform(0.1, 3, 40)
    first, mean, width = chance.uniform(2.1, 30, 40), chance.normal(size=40), chance.uniform(0.1, 2, 40)
    counts, logits = chance.integers(0, 60, 40), chance.normal(size=40)
    tensor = torch.from_numpy

    def ours(name, params, of):
        return negative_log_likelihood(
            name, [tensor(p) for p in params], tensor(of), tensor(loc), tensor(scale)
        ).numpy()

    theirs = -stats.t.logpdf(values, first, loc + scale * mean, scale * width)
    np.testing.assert_allclose(ours("student_t", (first, mean, width), values), theirs, rtol=1e-10)
    theirs = -stats.norm.logpdf(values, loc + scale * mean, scale * width)
    np.testing.assert_allclose(ours("normal", (mean, width), values), theirs, rtol=1e-10)
    stays = 1 - 1 / (1 + np.exp(-(logits + np.log(scale))))
    theirs = -stats.nbinom.logpmf(counts, first, stays)
    np.testing.assert_allclose(ours("negative_binomial", (first, logits), counts.astype(float)), theirs, rtol=1e-8)


@pytest.mark.parametrize("anchor", ["mean", "last", "season"])
@pytest.mark.parametrize("distribution", ["point", "quantiles"])
def test_dlinear_anchors_as_a_naive_forecast(anchor, distribution):
    of = spec("dlinear", distribution, static=False, anchor=anchor, calendar=False, season=4)
    model, batch = models.build(of, 0), batch_for(of)
    output = model(**batch)
    past = batch["past_values"]
    expected = past[:, [-4, -3, -2, -1, -4, -3]]
    if anchor != "season":
        expected = (past[:, -1:] if anchor == "last" else past.mean(1, keepdim=True)).expand(-1, HORIZON)
    got = output.prediction_outputs if distribution == "point" else output.quantiles[:, 3]
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=2.0 if anchor == "mean" else 1e-3)


@pytest.mark.parametrize("kind", ["dlinear", "nbeats"])
def test_weight_decay_takes_the_linear_map_back_to_the_anchor(kind, tmp_path):
    """Not to a forecast of nothing; and a saved model has its anchor once, not twice."""
    of = spec(kind, "quantiles", static=False, anchor="last", calendar=False)
    model, batch = moved(of), batch_for(of)
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    assert torch.equal(again(**batch).quantiles, model(**batch).quantiles)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter *= 0.0 if "blocks" not in name or "forecast" in name else 1.0
    got = model(**batch).quantiles
    torch.testing.assert_close(got, batch["past_values"][:, None, -1:].expand_as(got), rtol=1e-5, atol=1e-4)


def moved(of):
    """A model whose every weight, zeros too, is away from where it began."""
    model = models.build(of, 5).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    return model


def straight_nbeats(weights, past, mask, features, season):
    """The published forward of one univariate window, in float64: scaled, a linear map, and blocks one after the other."""

    def dense(name, x):
        return weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]

    seen = past[mask == 1]
    both = (mask[season:] == 1) & (mask[:-season] == 1)
    scale = np.abs(past[season:] - past[:-season])[both].mean() + 0.01 * np.sqrt(seen.var() + 1e-5)
    x = np.where(mask == 1, (past - seen.mean()) / scale, 0.0)
    steps = []
    for row in features:
        hidden = dense("step.inner", row)
        steps.append(dense("step.outer", np.array([0.5 * h * (1 + math.erf(h / 2**0.5)) for h in hidden])))
    naive = np.array([x[len(x) - season + step % season] for step in range(HORIZON)])
    total = weights["linear.weight"][0] @ x + weights["linear.bias"][0]
    total, rest = total + np.tile(naive, len(total) // HORIZON), np.arcsinh(x)
    for block in (0, 1, 2):
        hidden = np.concatenate([rest, *steps])
        for layer in (0, 1):
            hidden = np.maximum(dense(f"blocks.{block}.layers.{layer}.0", hidden), 0.0)
        total = total + dense(f"blocks.{block}.forecast", hidden)
        if block < 2:
            rest = np.where(mask == 1, rest - dense(f"blocks.{block}.backcast", hidden), 0.0)
    levels = total.reshape(-1, HORIZON)
    return np.sort(levels, axis=0) * scale + seen.mean(), levels, seen.mean(), scale


def test_nbeats_equals_a_straight_line_reference():
    """Forecasts and loss of windows with missing values, of which one is most of a context."""
    of = Spec(
        "nbeats",
        HORIZON,
        CONTEXT,
        num_time_features=2,
        distribution="quantiles",
        scaling="seasonal",
        season=4,
        d_model=10,
        anchor="season",
        dropout=0.0,
    )
    model, batch = moved(of), batch_for(of, size=3)
    batch["past_observed_mask"][0, 3:5] = 0
    batch["past_observed_mask"][1, :6] = 0  # a series that begins within the context
    batch["past_values"] *= batch["past_observed_mask"]
    batch["future_observed_mask"][2, 4:] = 0
    weights = {name: tensor.double().numpy() for name, tensor in model.state_dict().items()}
    output = model(**batch)
    level = np.array(of.quantiles)[:, None]
    for window in range(3):
        past, mask, features = (
            batch[name][window].double().numpy()
            for name in ("past_values", "past_observed_mask", "future_time_features")
        )
        quantiles, raw, loc, scale = straight_nbeats(weights, past, mask, features, season=4)
        np.testing.assert_allclose(output.quantiles[window].detach(), quantiles, rtol=1e-5, atol=1e-4)
        target = (batch["future_values"][window].double().numpy() - loc) / scale
        pinball = 2 * np.maximum(level * (target - raw), (level - 1) * (target - raw)).mean(0)
        steps = 4 if window == 2 else HORIZON
        assert output.losses[window].item() == pytest.approx(pinball[:steps].mean(), rel=1e-5)


@pytest.mark.parametrize("kind", ["dlinear", "nbeats"])
def test_what_was_missing_is_masked_and_never_read(kind):
    of = spec(kind, "quantiles", static=False, scaling="seasonal", season=4, anchor="season")
    model, batch = moved(of), batch_for(of)
    batch["past_observed_mask"][:, 2:4] = 0
    first = model(**batch).quantiles
    batch["past_values"][:, 2:4] = 1e6
    assert torch.equal(model(**batch).quantiles, first)


def test_nbeats_takes_dimensions_one_by_one():
    of = spec("nbeats", "quantiles", dims=3, static=False)
    model, batch = moved(of), batch_for(of)
    alone = moved(replace(of, input_size=1))
    alone.load_state_dict(model.state_dict())
    for dim in range(3):
        one = batch | {name: batch[name][..., dim] for name in ("past_values", "past_observed_mask")}
        one |= {"future_values": None, "future_observed_mask": None}
        torch.testing.assert_close(alone(**one).quantiles, model(**batch).quantiles[..., dim], rtol=1e-5, atol=1e-4)


def test_dlinear_learns_a_weekend_from_the_calendar():
    """A series that is 10 but 0 on every seventh step, seen through a context shorter than a week."""

    def windows(size):
        at = torch.randint(0, 700, (size, 1)) + torch.arange(9)
        rest = (at % 7 == 6).float()
        values, features = 10 * (1 - rest), torch.nn.functional.one_hot(at % 7, 7).float()
        return {
            "past_values": values[:, :6],
            "past_observed_mask": torch.ones(size, 6),
            "past_time_features": features[:, :6],
            "future_time_features": features[:, 6:],
            "future_values": values[:, 6:],
        }

    of = Spec("dlinear", 3, 6, num_time_features=7, distribution="point", scaling="none", kernel_size=3)
    torch.manual_seed(0)
    error = {}
    for calendar in (True, False):
        model = models.build(replace(of, calendar=calendar), 0)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(300):
            optimizer.zero_grad()
            models.losses(model, windows(64)).mean().backward()
            optimizer.step()
        error[calendar] = float(models.losses(model, windows(256)).mean())
    assert error[True] < 0.3
    assert error[False] > 3


def test_quantiles_never_cross():
    of = spec("dlinear", "quantiles", dims=2)
    model, batch = models.build(of, 0), batch_for(of)
    torch.nn.init.normal_(model.rest.weight)
    levels = model(**batch).quantiles
    assert levels.shape == (BATCH, len(of.quantiles), HORIZON, 2)
    assert bool((levels.diff(dim=1) >= 0).all())


def test_same_seed_same_weights_and_the_generator_stays():
    of = spec("transformer")
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first, second, other = models.build(of, 3), models.build(of, 3), models.build(of, 4)
    assert torch.equal(torch.rand(3), expected)
    weights = [torch.cat([p.flatten() for p in model.parameters()]) for model in (first, second, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "prophet"}, "no such forecasting model"),
        ({"distribution": "quantiles"}, "--distribution quantiles: transformer has student_t"),
        ({"heads": 3}, "--d-model 16 has to be a multiple of --heads 3"),
        ({"lags": (0, 1)}, "lags of at least 1"),
        ({"kind": "nbeats", "anchor": "season", "season": 49}, "--anchor season: a season of 49 steps needs a longer"),
        ({"kind": "nbeats", "blocks": 0}, "--blocks 0: has to be at least 1"),
        ({"prediction_length": 0, "context_length": 4}, "--prediction-length 0: has to be at least 1"),
        (
            {"kind": "autoformer", "prediction_length": 3},
            "--label-length 10: cannot be longer than the context, 6 steps",
        ),
        ({"kind": "patchtst", "prediction_length": 1}, "--distribution point"),
        ({"cardinality": (3, 4), "embedding_dimension": (2,)}, "1 widths for 2 static categories"),
    ],
)
def test_specs_that_cannot_be(change, words):
    with pytest.raises(ConfigError, match=words):
        Spec(**{"kind": "transformer", "prediction_length": 24} | change)


def test_load_says_what_a_model_is(tmp_path):
    transformers.BertConfig(hidden_size=8).save_pretrained(tmp_path / "bert")
    with pytest.raises(ConfigError, match="is a bert and no forecaster"):
        models.load(str(tmp_path / "bert"))
    with pytest.raises(ConfigError, match="no such file or folder"):
        models.load(str(tmp_path / "nothing"))


def test_weights_that_hold_their_anchor_are_not_given_it_twice(tmp_path):
    """As models were saved before; read as today's they would forecast wrongly without a word."""
    models.build(spec("dlinear", "quantiles", static=False), 1).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["start"] = config.pop("anchor")
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="saved before --anchor stood apart from the weights; train it again"):
        models.load(str(tmp_path))
    run = tmp_path / "run"
    run.mkdir()
    (run / "status.json").write_text(json.dumps({"state": "running"}))
    with pytest.raises(ConfigError, match="has no model/ yet"):
        models.load(str(run))
    model = models.build(spec("dlinear"), 0)
    model.save_pretrained(run / "model")
    assert models.spec_of(models.load(str(run))) == spec("dlinear")
    with torch.no_grad():
        model.trend.weight[0, 0, 0] = float("nan")
    model.save_pretrained(run / "model")
    with pytest.raises(DataError, match=r"trend\.weight hold NaN"):
        models.load(str(run))


def test_seasonal_scaling_is_the_mean_difference_over_a_season():
    given = Spec("dlinear", 4, 12, num_time_features=0, scaling="seasonal", season=4, distribution="point")
    model = models.build(given, 0).eval()
    assert models.spec_of(model) == given
    past = torch.tensor([[1.0, 2, 3, 4, 3, 2, 3, 4, 5, 2, 3, 9]])
    mask = torch.ones_like(past)
    mask[0, 11] = 0.0  # that pair doesn't count
    output = model(past_values=past, past_observed_mask=mask)
    spread = past[0, :11].std(correction=0)
    expected = (2 + 0 + 0 + 0 + 2 + 0 + 0) / 7 + 0.01 * (spread**2 + 1e-5).sqrt()
    torch.testing.assert_close(output.scale.squeeze(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(output.loc.squeeze(), past[0, :11].mean())
    with pytest.raises(ConfigError, match="--scaling seasonal: transformer has std, mean, none"):
        Spec("transformer", 4, scaling="seasonal")
    with pytest.raises(ConfigError, match="a season of 24 steps needs a longer --context-length"):
        Spec("dlinear", 4, 12, scaling="seasonal", season=24)


def test_a_loaded_networks_positions_stay_fixed(tmp_path):
    models.build(Spec("transformer", 4, num_time_features=1), 0).save_pretrained(tmp_path)
    positions = {
        name: tensor for name, tensor in models.load(str(tmp_path)).named_parameters() if "embed_positions" in name
    }
    assert len(positions) == 2
    assert not any(tensor.requires_grad for tensor in positions.values())


def test_code_of_a_foreign_folder_is_never_run(tmp_path, monkeypatch):
    names = {"AutoConfig": "theirs.Config", "AutoModel": "theirs.Model"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "theirs", "auto_map": names}))
    (tmp_path / "theirs.py").write_text("raise SystemExit('code of the folder was run')\n")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(ToolError, match="contains custom code"):
        models.load(str(tmp_path))
