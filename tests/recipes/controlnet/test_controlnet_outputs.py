"""What a finished ControlNet run leaves behind: model, card, figures and report."""

import json
import math
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from controlnet_scenes import config_of, evaluator, make_batches, make_nets, validator
from PIL import Image

from recipes.controlnet import artefacts
from recipes.loop.loop import Outcome
from recipes.report.folder import read_run
from recipes.runs import scores
from recipes.runs.folder import Run
from tasks.controlnet.pairs import Splits
from tasks.controlnet.score import gain
from tasks.files import umask
from tasks.seen import Seen


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    return make_nets(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def batches(nets, tmp_path_factory):
    return make_batches(nets, tmp_path_factory.mktemp("pairs"))


def measured(level):
    """Figures as the evaluation gives them, of six pairs; own conditions lower the loss by `level`."""
    chance = np.random.default_rng(0)
    losses = chance.uniform(0.1, 0.2, (6, gain.BANDS, 3))
    losses[:, :, 0] = losses[:, :, 1] * (1 - level)
    return gain.summarise(losses, gain.bands(1000))


@pytest.fixture(scope="module")
def trained(nets, batches, tmp_path_factory):
    """A run as the loop leaves it: three evaluations with their grids, the second of which is the best."""
    run = Run(tmp_path_factory.mktemp("runs") / "controlnet-20261123-0100-a1b2")
    run.path.mkdir()
    made = validator(config_of(validation_guidance=1.0), nets, batches, run.path)
    for step, level in ((10, 0.0), (20, 0.3), (30, 0.2)):
        made.draw(nets.controlnet, evaluator(step=step))
        flat = {key: value for key, value in measured(level).items() if isinstance(value, float) or key == "n"}
        run.log({"kind": "validation", "step": step, "epoch": step / 10, "seconds": 1.0, **flat})
    run.update(recipe="controlnet", state="running", started="2026-11-23T01:00:00+00:00", step=30)
    return run.path, made


@pytest.fixture
def finished(trained, nets, batches, tmp_path):
    """A copy of it, with what the recipe knows at its end."""
    path, made = trained
    run = Run(tmp_path / "runs" / path.name)
    shutil.copytree(path, run.path)
    parts = SimpleNamespace(
        seen=Seen({"pictures": np.arange(6, dtype=np.uint64)}),
        splits=Splits(batches.pairs, batches.pairs, "six pairs of 40 x 32 px", True),
        base=nets.base,
        controlnet=nets.controlnet,
        validator=made,
        train=batches,
        evaluation=batches,
    )
    outcome = Outcome(measured(0.3), 30, 12.0, 20, ["the weights of step 20 are kept"])
    return config_of(data=str(tmp_path / "six")), parts, run, outcome


def test_a_run_leaves_model_card_figures_and_report(finished, nets):
    from diffusers import ControlNetModel
    from huggingface_hub import ModelCard

    config, parts, run, outcome = finished
    summary = artefacts.write(config, parts, run, outcome)
    assert summary["metrics"]["gain"] == pytest.approx(0.3)
    assert summary["pictures"].endswith("validation/step-000020.png")
    figures = json.loads((run.path / "evaluation.json").read_text())
    assert list(figures["by_band"]) == ["0-199", "200-399", "400-599", "600-799", "800-999"]
    assert figures["best_step"] == 20
    found = scores.read(run.path)
    assert np.mean(found.scores) == pytest.approx(outcome.metrics["gain"])
    assert (found.metric, found.greater_is_better) == ("gain", True)
    assert found.ids == [f"image{i}.png" for i in range(6)]
    loaded = ControlNetModel.from_pretrained(run.model)
    assert all(path.stat().st_mode & 0o777 == 0o666 & ~umask() for path in run.model.iterdir())
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in nets.controlnet.state_dict().items())
    assert sorted(path.name for path in run.model.iterdir()) == [
        "README.md",
        "condition.png",
        "config.json",
        "diffusion_pytorch_model.safetensors",
        "pictures.png",
        "training-data.npz",
    ]
    card = ModelCard.load(run.model / "README.md")
    assert card.data.library_name == "diffusers"
    assert card.data.license is None
    assert "base_model" not in card.data.to_dict()  # tiny is nowhere to be found
    assert {"controlnet", "stable-diffusion"} <= set(card.data.tags)
    assert card.text.index("## Pictures") < card.text.index("## Use")
    assert "](pictures.png)" in card.text
    text = artefacts.summary_text(
        run, outcome, {**summary, "seconds": 12, "estimated_seconds": 10, "notes": outcome.notes}
    )
    assert text.splitlines()[:2] == [
        "done      conditioning gain 30.0 % (30.0 to 30.0, n 6) · 12 s (estimated 10 s)",
        "          the weights of step 20 are kept",
    ]


def test_the_cards_code_draws_with_the_base_and_the_kept_net(finished, monkeypatch, tmp_path):
    config, parts, run, outcome = finished
    artefacts.write(config, parts, run, outcome)
    code = (run.model / "README.md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(run.model)
    exec(code.replace("num_inference_steps=20", "num_inference_steps=2"), {})
    with Image.open("picture.png") as picture:
        assert picture.size == (32, 32)


def test_the_report_shows_the_gain_and_the_pictures_of_the_kept_step(finished):
    config, parts, run, outcome = finished
    artefacts.write(config, parts, run, outcome)
    page = (run.path / "report.html").read_text()
    words = [
        "Drawn under their conditions",
        "At step 20, from the same seeds",
        "validation/step-000020.png",
        "step 10",
        "Denoising loss over steps",
        "Conditioning gain by timestep",
        "Against the base alone",
        "Pairs whose condition helped most and least",
        "30.0 %",
    ]
    assert [word for word in words if word not in page] == []
    assert page.count("data:image/") == 4 * 4 + 3 * 2 + 6 * 2
    assert not read_run(run.path).problems


def test_without_pictures_or_with_figures_that_are_not_finite_everything_is_written(finished):
    config, parts, run, outcome = finished
    for path in (run.path / "validation").iterdir():
        path.write_bytes(b"torn")
    outcome.metrics["gain_none_low"] = math.nan
    summary = artefacts.write(config, parts, run, outcome)
    assert (summary["pictures"], summary["metrics"]["gain_none_low"]) == (None, None)
    assert not (run.model / "pictures.png").exists()
    assert "Drawn under their conditions" not in (run.path / "report.html").read_text()
