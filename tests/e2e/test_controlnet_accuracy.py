"""`tool train controlnet --model tiny --data sample` as the README has it: the net obeys its condition, and diffusers loads it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from running import only_run, tool

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("accuracy")
    tool(
        "train",
        "controlnet",
        "--model",
        "tiny",
        "--data",
        "sample",
        cwd=place,
        MODELTOOL_CACHE=str(place / "cache"),
        seconds=1500,
    )
    return only_run(place)


def test_the_gain_is_clear_of_zero_and_grows(run):
    found = json.loads((run / "evaluation.json").read_text())
    assert found["n"] == 200
    assert found["gain_low"] > 0.2
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    gains = [line["gain"] for line in lines if line["kind"] == "validation"]
    assert len(gains) == 4
    assert gains[0] < 0.05 < gains[-1]
    assert (run / "report.html").stat().st_size > 50_000


def test_the_verdict_is_clear(run):
    verdict = json.loads((run / "evaluation.json").read_text())["verdict"]
    assert verdict["clears"], verdict["line"]


def test_the_readmes_training_clears_its_baseline(run, tmp_path):
    page = (Path(__file__).parents[2] / "README.md").read_text()
    (line,) = re.findall(r"^    tool (train controlnet --model tiny .*)$", page, re.MULTILINE)
    cache = run.parent.parent / "cache"
    tool(*line.split(), cwd=tmp_path, MODELTOOL_CACHE=str(cache), seconds=1500)
    verdict = json.loads((only_run(tmp_path) / "evaluation.json").read_text())["verdict"]
    assert verdict["clears"], verdict["line"]


def test_what_is_drawn_obeys_too(run):
    done = tool("eval", "controlnet", "--model", run, "--draw", 16, "--json", cwd=run.parent.parent, seconds=1500)
    agreement = json.loads(done.stdout)["agreement"]
    assert agreement["kind"] == "circles"
    assert agreement["difference_low"] > 0


def test_diffusers_draws_with_it(run):
    from diffusers import ControlNetModel, StableDiffusionControlNetPipeline

    (base,) = (run.parent.parent / "cache" / "tiny").glob("controlnet-*[0-9]")
    pipe = StableDiffusionControlNetPipeline.from_pretrained(
        base, controlnet=ControlNetModel.from_pretrained(run / "model"), safety_checker=None
    )
    condition = Image.fromarray(np.zeros((64, 64, 3), np.uint8))
    picture = pipe("red circle with white background", condition, num_inference_steps=3).images[0]
    assert picture.size == (64, 64)
