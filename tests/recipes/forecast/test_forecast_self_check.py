"""A fast path that gives other numbers than transformers: the run goes on with the library's, and one line says so."""

import json
from importlib import metadata
from pathlib import Path

import pytest
import torch

from recipes.forecast.backtest import backtest
from recipes.forecast.config import Backtest, Train, with_defaults
from recipes.forecast.train import train
from tasks.forecast.fast.pytorch import forward as pytorch
from tasks.forecast.fast.simd import forward as simd
from tasks.forecast.models import load
from tasks.forecast.sampling import cached

FEW = {"epochs": 1, "batches_per_epoch": 3, "eval_steps": 3, "num_parallel_samples": 4, "max_eval_series": 4}


def run(folder):
    config = with_defaults(Train(model="transformer", data="sample", cpu=True, output_dir=str(folder), **FEW))
    return Path(train(config)["run"])


def losses(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def test_training_goes_on_with_the_librarys_layers(tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as planted:
        for room in (simd, pytorch):
            planted.setattr(room, "linear", lambda *given, call=room.linear: call(*given) + 0.3)
        ours = run(tmp_path / "ours")
    said = [line for line in capsys.readouterr().err.splitlines() if "differs" in line]
    assert len(said) == 1
    assert said[0].startswith("layers    ")
    assert f"transformers {metadata.version('transformers')}'s own forward" in said[0]
    assert f"(torch {metadata.version('torch')}): the library's is used" in said[0]
    monkeypatch.setattr(pytorch, "applies", lambda model: False)
    library = run(tmp_path / "library")
    assert "differs" not in capsys.readouterr().err
    assert losses(ours) == pytest.approx(losses(library), rel=1e-6)
    assert losses(ours)
    assert all(
        torch.allclose(one, other, atol=1e-5)
        for one, other in zip(load(str(ours)).parameters(), load(str(library)).parameters(), strict=True)
    )


def test_a_backtest_goes_on_with_the_librarys_samples(tmp_path, monkeypatch, capsys):
    trained = run(tmp_path)
    assert "differs" not in capsys.readouterr().err
    call = cached.CrossAttention.__call__
    monkeypatch.setattr(cached.CrossAttention, "__call__", lambda self, x: call(self, x) + 0.3)
    config = Backtest(model=[str(trained)], windows=1, num_parallel_samples=4, cpu=True, output_dir=str(tmp_path / "b"))
    scored = backtest(config)
    said = [line for line in capsys.readouterr().err.splitlines() if "differs" in line]
    assert len(said) == 1
    assert said[0].startswith("layers    fast sampling differs from transformers ")
    assert 0 < scored["models"][trained.name]["overall"]["mase"]["value"] < 100
