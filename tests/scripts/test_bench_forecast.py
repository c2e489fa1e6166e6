"""The forecasting benchmark: its arithmetic, and that both sides see the same windows, losses and scores. No test compares times."""

from __future__ import annotations

import copy
import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def module(monkeypatch):
    """Imports a module of the benchmarks by its name."""
    monkeypatch.syspath_prepend(str(SCRIPTS))

    def load(name: str) -> ModuleType:
        return importlib.import_module(f"benchmarks.{name}")

    return load


@pytest.fixture
def sides(module, tmp_path):
    """Both sides on the tool's own sample, with the same untrained Transformer."""
    from tasks.forecast.sample import write_sample

    sets, inputs, run = module("forecast_sets"), module("forecast_inputs"), module("forecast_run")
    write_sample(tmp_path / "sample")
    file = tmp_path / "sample.csv"
    sets.long_sample(tmp_path / "sample" / "series.csv", file)
    one = sets.by_name("sample")
    peer = module("forecast_peer")
    train, test = peer.read(one, file)
    torch.manual_seed(0)
    model = peer.CLASSES["transformer"](inputs.config(one, "transformer", len(train)))
    model.save_pretrained(tmp_path / "model")
    given = run.Run(one, file, "transformer", tmp_path / "model")
    return peer.Peer(given), module("forecast_ours").Ours(given), inputs.naive_samples(one, test)


def pair(module) -> dict:
    """Figures of two runs, made up."""
    peer = {
        "peak_bytes": 900,
        "train": {"first_seconds": 4.0, "seconds": 30.0, "steps": 10, "losses": []},
        "sample": {"seconds": 32.0, "entries": 4},
        "metrics": {"seconds": 5.0, "alone_seconds": 0.5, "mase": 1.5, "smape": 0.1, "mase_as_called": 1.5000001},
    }
    ours = {
        "peak_bytes": 600,
        "train": {"first_seconds": 2.0, "seconds": 15.0, "steps": 20, "losses": []},
        "sample": {"seconds": 1.0, "entries": 4},
        "metrics": {"seconds": 0.02, "all_seconds": 0.05, "mase": 1.5, "smape": 0.1},
    }
    return {"peer": peer, "ours": ours}


def test_ratios_are_of_the_time_for_the_same_work(module):
    assert module("forecast").ratios([pair(module)]) == {
        "memory": [1.5],
        "train": [4.0],
        "first step": [2.0],
        "sample": [32.0],
        "metrics": [250.0],
        "metrics without evaluate": [25.0],
        "metrics, all of ours": [100.0],
    }


def test_targets_are_of_each_model(module):
    report = module("forecast_report")
    ratios = {"train": [2.0, 5.0, 2.5], "sample": [10.0], "memory": [1.0], "first step": [0.1]}
    assert report.missed("transformer", ratios) == ["train", "sample"]
    assert report.missed("informer", ratios) == ["train"]


def test_disagreement_is_told(module):
    forecast = module("forecast")
    same, checks = pair(module), {
        "windows": {"past_values": 0.0},
        "loss": {"peer": -2.0, "tool": -2.000001, "gradients_apart": 1e-6, "one_side_only": []},
        "draws": {"mase": {"peer": 1.0, "tool": 1.1, "standard_error": 0.05}},
    }  # fmt: skip
    same["ours"]["train"]["steps"] = 10
    forecast.agree("informer", [same], checks)
    other = copy.deepcopy(checks)
    other["windows"]["past_values"] = float("inf")
    other["loss"] |= {"tool": -2.1, "gradients_apart": float("nan"), "one_side_only": ["positions.weight"]}
    other["draws"]["mase"]["standard_error"] = 0.01
    told = r"informer: .*past_values.*loss -2.0 and -2.1; .*gradients.*trains positions.weight; mase of the samples"
    with pytest.raises(forecast.BenchmarkFailed, match=told):
        forecast.agree("informer", [same], other)
    wrong = pair(module)
    wrong["ours"]["metrics"]["mase"] += 1e-8
    with pytest.raises(forecast.BenchmarkFailed, match=r"10 and 20 steps; mase of the same samples"):
        forecast.agree("informer", [wrong], checks)


def test_only_takes_sets_models_and_parts(module, tmp_path):
    forecast, common = module("forecast"), module("common")

    def chosen(*only: str, quick: bool = False):
        return forecast.choose(common.Options(tmp_path, tmp_path, only=only, quick=quick))

    everything = chosen()
    assert [one.name for one in everything.sets] == ["exchange_rate", "m4_hourly"]
    assert everything.kinds == ("transformer", "informer", "autoformer")
    few = chosen("m4_hourly", "sample", "informer")
    assert ([one.name for one in few.sets], few.kinds, few.parts) == (["m4_hourly"], ("informer",), ("sample",))
    assert chosen("tiny") is None
    assert [one.name for one in chosen(quick=True).sets] == ["exchange_rate"]
    assert [one.name for one in chosen("m4_hourly", quick=True).sets] == ["m4_hourly"]


def test_metrics_are_those_of_evaluate(module):
    """The examples in the documentation of the two scripts."""
    peer = module("forecast_peer")
    given = {"predictions": [2.5, 0.0, 2, 8, 1.25], "references": [3, -0.5, 2, 7, 2]}
    assert peer.Mase().compute(**given, training=[5, 0.5, 4, 6, 3, 5, 2])["mase"] == pytest.approx(0.18333333333333335)
    given = {"predictions": [2.5, 0.0, 2, 8], "references": [3, -0.5, 2, 7]}
    assert peer.Smape().compute(**given)["smape"] == pytest.approx(0.5787878787878785)


def test_both_sides_agree_on_the_sample(module, sides):
    checks, peer, ours, samples = module("forecast_checks"), *sides
    assert max(checks.windows_apart(peer, ours, 6).values()) < 1e-6
    loss = checks.losses_apart(peer, ours)
    assert loss["peer"] == pytest.approx(loss["tool"], abs=1e-5)
    assert loss["gradients_apart"] < 1e-4
    theirs, mine = peer.score(samples), ours.score(samples)
    assert mine["mase"] == pytest.approx(theirs["mase"], rel=1e-9)
    assert mine["smape"] == pytest.approx(theirs["smape"], rel=1e-9)
    assert theirs["mase_as_called"] == pytest.approx(theirs["mase"], rel=1e-5)


def test_both_sides_train_and_draw(module, sides):
    run, (peer, ours, _) = module("forecast_run"), sides
    for side in (peer, ours):
        clock = run.Clock()
        losses = side.train(2, clock)
        assert len(losses) == len(clock.ends) == 2
        assert np.isfinite(losses).all()
        drawn = side.sample(2)
        assert drawn.shape == (2, 100, 24)
        assert np.isfinite(drawn).all()


def test_a_changed_window_is_found(module):
    checks = module("forecast_checks")
    one = {"past_values": torch.tensor([1.0, 2000.0]), "mask": torch.ones(2)}
    assert checks.differences(one, {"past_values": torch.tensor([1.0, 2002.0])}) == {
        "past_values": pytest.approx(0.001),
        "mask": float("inf"),
    }


def test_statistics_of_samples(module):
    """MASE of the median as the mean of the two middle ones; quantiles as their distance to the truth in scales."""
    samples = np.array([[4.0, 1.0, 3.0, 2.0]])[:, :, None].repeat(2, axis=2)
    found = module("forecast_checks").statistics(samples, np.array([[2.0, 3.0]]), np.array([[2.0]]))
    assert found == pytest.approx([0.25, (1 - 2.5) / 2, (3 - 2.5) / 2, (4 - 2.5) / 2])


def test_products_are_counted_within_inference_mode(module):
    products, arithmetic = module("forecast_products"), module("arithmetic")
    layer, x = torch.nn.Linear(6, 5), torch.rand(7, 4, 6)
    weight = torch.rand(3, 4)

    @torch.inference_mode()
    def call() -> None:
        torch.baddbmm(torch.zeros(7, 3, 5), weight.expand(7, 3, 4), layer(x))
        torch.einsum("blc,dc->bld", x, torch.rand(2, 6))

    found = products.record(call)
    assert arithmetic.flops(found) == 2 * 7 * 4 * (6 * 5 + 3 * 5 + 6 * 2)
    assert arithmetic.seconds_alone(found) > 0


def test_products_of_self_attention(module):
    """Of each position with all before it and itself: 1 + 2 + 3 keys, twice."""
    products, arithmetic = module("forecast_products"), module("arithmetic")
    found = products.self_attention(windows=5, samples=10, horizon=3, layers=2, heads=4, size=8)
    assert arithmetic.flops(found) == 2 * (2 * 5 * 10 * 4 * 8 * (1 + 2 + 3)) * 2
