"""The example recipe of the documentation, installed as a package of its own: training, a kill, and every verb after it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import running
from safetensors.torch import load_file

EXAMPLE = Path(__file__).parents[2] / "docs" / "example-recipe"
TRAIN = ("train", "tabular", "--epochs", 3, "--checkpoint-steps", 5)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder that pip has installed the example into."""
    folder = tmp_path_factory.mktemp("site")
    source = folder / "source"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    install = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    subprocess.run(
        [sys.executable, "-m", "pip", *install, "--target", str(folder / "packages"), str(source)], check=True
    )
    return str(folder / "packages")


@pytest.fixture(scope="module")
def whole(site, tmp_path_factory):
    """A run that nothing interrupted."""
    place = tmp_path_factory.mktemp("whole")
    return place, running.tool(*TRAIN, cwd=place, PYTHONPATH=site)


def test_it_trains_and_says_how_good_it_is(whole):
    place, done = whole
    run = running.only_run(place)
    assert "done      accuracy" in done.stdout
    assert "majority 56.5" in done.stdout
    assert {path.name for path in (run / "model").iterdir()} == {"README.md", "config.json", "model.safetensors"}
    assert "| accuracy |" in (run / "model" / "README.md").read_text()
    assert json.loads((run / "evaluation.json").read_text())["accuracy"] > 0.9
    assert "Tabular classes" in (run / "report.html").read_text()
    verdict = json.loads((run / "evaluation.json").read_text())["verdict"]
    assert (verdict["clears"], verdict["baseline"], verdict["line"]) == (True, "majority", None)
    assert running.status(run)["verdict"] is None


def test_killed_and_run_again_it_ends_with_the_same_weights(whole, site, tmp_path, monkeypatch):
    monkeypatch.setitem(running.ENVIRONMENT, "PYTHONPATH", site)
    process = running.start([str(word) for word in TRAIN], tmp_path)
    assert running.until(lambda: list(tmp_path.glob("runs/*/checkpoints/step-*")), process), running.said(tmp_path)
    process.kill()
    process.wait()
    again = running.tool(*TRAIN, cwd=tmp_path)
    assert "resuming" in again.stderr
    ours, others = (
        load_file(running.only_run(place) / "model" / "model.safetensors") for place in (tmp_path, whole[0])
    )
    assert running.same(ours, others)


def test_it_is_evaluated_asked_and_reported(whole, site):
    place, _ = whole
    scored = running.tool("eval", "tabular", "--json", cwd=place, PYTHONPATH=site)
    measured = json.loads((running.only_run(place) / "evaluation.json").read_text())
    assert json.loads(scored.stdout)["accuracy"] == measured["accuracy"]
    asked = running.tool("predict", "tabular", "0.1,0.9", "2.0,0.2", cwd=place, PYTHONPATH=site)
    assert asked.stdout.split() == ["0", "1"]
    page = place / "page.html"
    running.tool("runs", "report", running.only_run(place), "--output", page, cwd=place, PYTHONPATH=site)
    assert "accuracy" in page.read_text()
    assert (
        "tabular" in running.tool("runs", "list", cwd=place).stdout
    )  # also where the package isn't installed any more


def test_bad_rows_are_told_with_their_number(whole, site):
    place, _ = whole
    (place / "bad.csv").write_text("x,y,label\n1,2,0\n1,two,1\n")
    done = running.tool("train", "tabular", "--data", "bad.csv", cwd=place, code=3, PYTHONPATH=site)
    assert done.stderr.strip().startswith("error: bad.csv, row 3: ")
    assert len(done.stderr.strip().splitlines()) == 1


def test_its_help_lists_its_own_options_beside_the_shared_ones(site, tmp_path):
    shown = running.tool("train", "tabular", "--help", cwd=tmp_path, PYTHONPATH=site).stdout
    assert "--hidden" in shown
    assert "--max-hours" in shown
    assert os.listdir(tmp_path) == []
