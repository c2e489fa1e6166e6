"""VQA through the command: one small run, and everything that is done with it."""

import json
import random
import signal
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from running import (
    checkpoints,
    ended,
    losses,
    only_run,
    options,
    runs,
    same,
    start,
    steps,
    tool,
    until,
    weights,
)

SMALL = options(max_samples=256, max_eval_samples=60, epochs=2, batch_size=64, threads=1)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("place")


@pytest.fixture(scope="module")
def trained(place):
    """One finished run, made by the command: (its JSON result, what it said)."""
    done = tool(*SMALL, "--log-steps", "1", "--price-per-hour", "2", "--json", cwd=place)
    return json.loads(done.stdout), done.stderr


def test_a_run_leaves_exactly_its_files(place, trained):
    run = place / trained[0]["run"]
    assert sorted(path.name for path in run.iterdir()) == [
        ".lock",
        "checkpoints",
        "config.yaml",
        "environment.json",
        "evaluation.json",
        "log.txt",
        "metrics.jsonl",
        "model",
        "predictions.json",
        "report.html",
        "scores.json",
        "status.json",
    ]
    assert sorted(path.name for path in (run / "model").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "training-data.npz",
    ]
    status = json.loads((run / "status.json").read_text())
    assert (status["state"], status["step"], status["recipe"]) == ("finished", 8, "vqa")
    assert status["cost"] == pytest.approx(status["seconds"] / 3600 * 2, abs=1e-3)
    assert {"steps", "seconds", "memory_bytes", "disk_bytes"} <= set(status["estimate"])


def test_it_says_what_it_does_on_stderr_and_the_result_on_stdout(trained):
    result, said = trained
    assert said.splitlines()[0].startswith("vqa · tiny, 0.")
    for word in (
        "estimate",
        "run       runs/vqa-",
        "interrupted? run the same command again",
        "validation: accuracy",
        "majority",
    ):
        assert word in said
    assert (
        0
        <= result["metrics"]["accuracy_low"]
        <= result["metrics"]["accuracy"]
        <= result["metrics"]["accuracy_high"]
        <= 1
    )
    assert result["metrics"]["n"] == 60
    assert set(result["metrics"]["priors"]) == {"majority", "question prior"}


def test_a_model_that_has_learnt_nothing_yet_is_told_so(place, trained):
    run = place / trained[0]["run"]
    found = json.loads((run / "evaluation.json").read_text())
    verdict, best = found["verdict"], max(found["priors"].values())
    assert trained[0]["verdict"] == verdict
    assert (verdict["clears"], verdict["value"], verdict["baseline"]) == (False, best, "question prior")
    assert "no better than answering by the question's first words alone (" in verdict["line"]
    assert json.loads((run / "status.json").read_text())["verdict"] == verdict["line"]


def test_metrics_have_a_line_a_step_and_a_line_an_evaluation(place, trained):
    run = place / trained[0]["run"]
    assert steps(run, "train") == list(range(1, 9))
    assert steps(run, "validation") == [4, 8]
    assert losses(run)[0] > losses(run)[-1] > 0


def test_the_written_config_repeats_the_run(place, trained, tmp_path):
    run = place / trained[0]["run"]
    done = tool("train", "vqa", "--config", run / "config.yaml", "--output-dir", tmp_path, "--json", cwd=place)
    again = Path(json.loads(done.stdout)["run"])
    assert again != run
    assert same(weights(again), weights(run))
    assert (again / "predictions.json").read_bytes() == (run / "predictions.json").read_bytes()


def test_eval_of_the_newest_run_gives_the_figures_of_training(place, trained):
    done = tool("eval", "vqa", "--json", "--output", "again.json", cwd=place)
    assert f"newest vqa run: {trained[0]['run']}" in done.stderr
    figures = json.loads(done.stdout)
    assert figures["verdict"] == trained[0]["verdict"]
    for key in ("accuracy", "accuracy_low", "accuracy_high", "n"):
        assert figures[key] == pytest.approx(trained[0]["metrics"][key], abs=1e-9)
    assert json.loads((place / "again.json").read_text()) == json.loads(
        (place / trained[0]["run"] / "predictions.json").read_text()
    )
    assert (
        json.loads(tool("eval", "--model", trained[0]["run"], "--json", cwd=place).stdout)["accuracy"]
        == figures["accuracy"]
    )


def test_predict_gives_the_pipelines_form(place, trained):
    pictures = place / "pictures"
    pictures.mkdir()
    for number, mode in enumerate(("RGB", "L", "RGBA", "P")):
        Image.fromarray(np.full((80, 50 + number, 3), 40 * number, np.uint8)).convert(mode).save(
            pictures / f"{number}.png"
        )
    done = tool(
        "predict", "vqa", "pictures/0.png", "what colour is it?", "how many?", "--json", "--top-k", "99", cwd=place
    )
    entries = json.loads(done.stdout)
    assert [entry["question"] for entry in entries] == ["what colour is it?", "how many?"]
    labels = json.loads((place / trained[0]["model"] / "config.json").read_text())["id2label"]
    for entry in entries:
        scores = [answer["score"] for answer in entry["answers"]]
        assert len(scores) == len(labels)
        assert scores == sorted(scores, reverse=True)
        assert all(set(answer) == {"score", "answer"} for answer in entry["answers"])
    tool("predict", "vqa", "pictures", "is there a circle?", "--output", "out.jsonl", cwd=place)
    rows = [json.loads(line) for line in (place / "out.jsonl").read_text().splitlines()]
    assert [row["image"] for row in rows] == [f"pictures/{number}.png" for number in range(4)]
    (place / "ask.jsonl").write_text('{"image": "pictures/1.png", "question": "how many?"}\n')
    assert "pictures/1.png  how many?" in tool("predict", "vqa", "ask.jsonl", cwd=place).stdout


def test_predictions_are_those_of_the_librarys_own_model(place, trained):
    import transformers

    folder = place / trained[0]["model"]
    model = transformers.ViltForQuestionAnswering.from_pretrained(folder).eval()
    processor = transformers.ViltProcessor.from_pretrained(folder)
    picture = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    Image.fromarray(picture).save(place / "noise.png")
    inputs = processor(Image.fromarray(picture), "is there a red circle?", return_tensors="pt")
    expected, labels = model(**inputs).logits.sigmoid()[0].topk(5)
    got = json.loads(tool("predict", "vqa", "noise.png", "is there a red circle?", "--json", cwd=place).stdout)[0][
        "answers"
    ]
    assert [answer["answer"] for answer in got] == [model.config.id2label[int(label)] for label in labels]
    assert [answer["score"] for answer in got] == pytest.approx(expected.tolist(), abs=1e-5)


def test_runs_list_and_show(place, trained):
    assert Path(trained[0]["run"]).name in tool("runs", "list", cwd=place).stdout
    shown = json.loads(tool("runs", "show", Path(trained[0]["run"]).name, "--json", cwd=place).stdout)
    assert shown["status"]["state"] == "finished"
    assert shown["config"]["model"] == "tiny"


def test_training_goes_on_from_a_run_and_keeps_what_it_knows(place, trained):
    done = tool(*SMALL, "--model", trained[0]["run"], "--max-steps", "1", "--json", cwd=place)
    assert "answers were known to" in done.stderr


@pytest.fixture(scope="module")
def whole(place, trained):
    return weights(place / trained[0]["run"])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_stopped_anywhere_and_run_again_gives_the_same_weights(tmp_path, whole, number):
    """Stopped at random times until it gets through; the log's rhythm and the checkpoints' don't matter to the result."""
    rng, codes = random.Random(int(number)), []
    for attempt in range(12):
        process = start([*SMALL, "--checkpoint-steps", "1"], tmp_path)
        # Until it has begun to train, so that the stop strikes there and not in the imports.
        training = not attempt or until(lambda: any(map(checkpoints, runs(tmp_path))), process, 0.05)
        limit = 300.0 if attempt >= 4 else rng.uniform(0.2, 4.0)
        code = ended(process, limit if training else 1.0)
        if code is None:
            process.send_signal(number)
            code = process.wait(60)
        codes.append(code)
        if code == 0:
            break
    expected = {0, -9} if number == signal.SIGKILL else {0, 75}
    assert set(codes) <= expected
    assert codes[-1] == 0
    assert len(codes) > 1
    run = only_run(tmp_path)
    assert same(weights(run), whole)
    assert steps(run, "train") == sorted(set(steps(run, "train")))


def test_two_processes_give_the_losses_of_one(place, trained, tmp_path):
    done = tool(
        *SMALL,
        "--log-steps",
        "1",
        "--num-processes",
        "2",
        "--output-dir",
        tmp_path / "two",
        "--json",
        cwd=tmp_path,
    )
    run = Path(json.loads(done.stdout)["run"])

    assert losses(run) == pytest.approx(losses(place / trained[0]["run"]), abs=1e-4)
    assert len(losses(run)) == 8


def test_the_config_in_the_run_folder_hides_the_token(tmp_path):
    tool(*SMALL, "--max-steps", "1", "--token", "hf_verysecret", cwd=tmp_path)
    run = only_run(tmp_path)
    for path in run.rglob("*"):
        if path.is_file():
            assert b"hf_verysecret" not in path.read_bytes(), path
    assert "token" not in yaml.safe_load((run / "config.yaml").read_text())
