"""What a user gets with the defaults, in accuracy. Minutes long, so `make test-slow` runs them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOL = str(Path(sys.executable).with_name("tool"))
EASY = ROOT.parent / "shared" / "data" / "vqa" / "easy-vqa" / "easy_vqa" / "data"

pytestmark = pytest.mark.slow


def train(data, place):
    done = subprocess.run(
        [TOOL, "train", "vqa", "--model", "tiny", "--data", str(data), "--json"],
        capture_output=True,
        text=True,
        cwd=place,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["verdict"]["clears"], found["verdict"]["line"]
    return found["metrics"]


def test_the_sample_is_learnt_well_above_its_priors(tmp_path):
    metrics = train("sample", tmp_path)
    assert metrics["accuracy"] >= 0.90
    assert max(metrics["priors"].values()) < 0.65


@pytest.mark.skipif(not EASY.is_dir(), reason=f"the easy-VQA data are not at {EASY}")
def test_easy_vqa_is_learnt(tmp_path):
    metrics = train(EASY, tmp_path)
    assert metrics["n"] == 9673
    assert metrics["priors"]["majority"] == pytest.approx(0.3733, abs=1e-4)
    assert metrics["accuracy"] >= 0.93
