"""Beside the main path: upload, trackers, generative models, official files, recipes of other packages."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hub_server import Hub, answer_with, serve
from PIL import Image
from running import ENVIRONMENT, only_run, options, tool

SHORT = options(max_samples=64, max_eval_samples=20, max_steps=2)


@pytest.fixture
def hub():
    hub = Hub()
    server = serve(hub)
    yield hub
    server.shutdown()


def test_a_run_is_uploaded_with_its_card_and_a_failed_upload_is_repeated(tmp_path, hub):
    hub.failures.append(answer_with(403, "/commit/"))
    environment = {
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": hub.token,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
    }
    done = tool(*SHORT, "--push-to-hub", "ada/shapes", "--private", cwd=tmp_path, code=1, **environment)
    run = only_run(tmp_path)
    assert json.loads((run / "status.json").read_text())["state"] == "finished"
    assert f"tool runs push {run.relative_to(tmp_path)} --to ada/shapes" in done.stderr
    assert hub.token not in done.stderr
    hub.failures.clear()
    tool("runs", "push", run.name, "--to", "ada/shapes", "--private", cwd=tmp_path, **environment)
    uploaded = hub.repos["ada/shapes"]
    for name in ("README.md", "config.json", "model.safetensors", "tokenizer.json"):
        assert uploaded[name] == (run / "model" / name).read_bytes()
    assert hub.private["ada/shapes"]


def test_trackers_get_the_metrics_without_a_network(tmp_path):
    pytest.importorskip("wandb")
    pytest.importorskip("tensorboard")
    trackers = ["--log-steps", "1", "--tracker", "tensorboard,wandb"]
    tool(*SHORT, *trackers, "--token", "hf_hidden", cwd=tmp_path, WANDB_MODE="offline")
    run = only_run(tmp_path)
    assert list((run / "tensorboard").glob("events*"))
    assert list((run / "wandb").glob("offline-run-*"))
    for path in run.rglob("*"):
        if path.is_file():
            assert b"hf_hidden" not in path.read_bytes(), path


def test_no_tracker_is_imported_unless_asked_for(tmp_path):
    code = (
        "import sys\nfrom cli.main import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit:\n"
        "    print('LOADED', 'wandb' in sys.modules, 'tensorboard' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *SHORT],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=ENVIRONMENT,
        timeout=200,
        check=False,
    )
    assert done.stdout.splitlines()[-1] == "LOADED False False", done.stderr


def test_a_generative_model_answers_without_training(tmp_path):
    from tiny_generative import make_tiny_blip2

    make_tiny_blip2(tmp_path / "blip2")
    done = tool(
        "eval", "vqa", "--model", "blip2", "--max-eval-samples", "10", "--num-beams", "2", "--json", cwd=tmp_path
    )
    figures = json.loads(done.stdout)
    assert (figures["n"], figures["score"]) == (10, "official")
    Image.fromarray(np.full((40, 40, 3), 80, np.uint8)).save(tmp_path / "a.png")
    done = tool(
        "predict", "vqa", "a.png", "what is it?", "--model", "blip2", "--num-beams", "1", "--json", cwd=tmp_path
    )
    assert set(json.loads(done.stdout)[0]["answers"][0]) == {"answer"}
    done = tool("train", "vqa", "--model", "blip2", "--data", "sample", cwd=tmp_path, code=2)
    assert "measured without training: tool eval vqa --model blip2" in done.stderr


def test_the_official_files_are_scored_by_the_command(tmp_path):
    annotations = {
        "annotations": [
            {
                "question_id": number,
                "image_id": number // 2,
                "question_type": "what",
                "answer_type": "other",
                "multiple_choice_answer": "red",
                "answers": [{"answer": "red" if k < 3 + number else "blue"} for k in range(10)],
            }
            for number in range(4)
        ]
    }
    (tmp_path / "annotations.json").write_text(json.dumps(annotations))
    answers = ["red", "red", "green", "blue"]
    results = [{"question_id": number, "answer": answer} for number, answer in enumerate(answers)]
    (tmp_path / "results.json").write_text(json.dumps(results))
    done = tool(
        "eval",
        "--metric",
        "vqa_accuracy",
        "--predictions",
        "results.json",
        "--references",
        "annotations.json",
        "--json",
        "--output",
        "scores.json",
        cwd=tmp_path,
    )
    scores = json.loads(done.stdout)
    # 3 of 10 say red: 90. 4 of 10: 100. green: 0. 4 of 10 say blue: 100.
    assert scores["overall"] == 72.5
    assert scores["n"] == 4
    assert json.loads((tmp_path / "scores.json").read_text()) == scores


def test_a_recipe_of_another_package_is_a_command(tmp_path):
    package = tmp_path / "site" / "other_recipe"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "PARTS = {'Train': 'other_recipe:Train', 'train': 'other_recipe:train'}\n" + OTHER
    )
    metadata = tmp_path / "site" / "other_recipe-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: other-recipe\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[modeltool.recipes]\nother = other_recipe\n")
    environment = {"PYTHONPATH": str(tmp_path / "site")}
    assert "other" in tool("train", "--help", cwd=tmp_path, **environment).stdout
    assert json.loads(tool("train", "other", "--words", "a,b", "--json", cwd=tmp_path, **environment).stdout)[
        "words"
    ] == ["a", "b"]


OTHER = """
import dataclasses
from recipes.config import option

@dataclasses.dataclass
class Train:
    words: list[str] = option([], "Words.")

def train(config):
    return {"words": config.words, "text": "done"}
"""
