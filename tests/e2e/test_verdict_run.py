"""A model that gives one answer to everything, through the command: wherever its figure stands, so does the verdict."""

from __future__ import annotations

import json
import re

import pytest
from running import only_run, status, within
from texts import sentences, write_csv

LINE = (
    "answers 'positive' to 40 of 40 texts (100.0 %); no better than always answering 'negative' (55.0 %); "
    "train longer or look at the data"
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Labels that the texts don't tell: training has 19 positives in 20, the evaluation 18 in 40."""
    folder = tmp_path_factory.mktemp("verdict")
    (folder / "data").mkdir()
    for name, count, seed, negatives in (("train", 200, 0, 10), ("dev", 40, 1, 22)):
        texts = [text for text, _ in sentences(count, seed)]
        labels = ["negative"] * negatives + ["positive"] * (count - negatives)
        write_csv(folder / "data" / f"{name}.csv", list(zip(texts, labels, strict=True)), ["text", "label"])
    return folder


@pytest.fixture(scope="module")
def trained(place):
    options = ["--model", "tiny", "--data", "data", "--threads", 1, "--epochs", 2, "--batch-size", 16]
    return within("train", "glue", *options, cwd=place)


def test_training_says_it_and_keeps_it(place, trained):
    run = only_run(place)
    assert f"verdict   {LINE}" in trained.stdout.splitlines()
    assert "accuracy 45.0 %" in trained.stdout
    assert "majority 45.0 · best constant 55.0" in trained.stdout
    found = json.loads((run / "evaluation.json").read_text())["verdict"]
    assert (found["clears"], found["baseline"], found["value"], found["line"]) == (False, "best constant", 0.55, LINE)
    assert found["repeated"] == {"answer": "positive", "count": 40, "n": 40, "share": 1.0}
    # Always `positive` has an F1 of 2 * 0.45 / 1.45, as the model.
    assert found["metrics"]["f1"]["value"] == pytest.approx(0.9 / 1.45)
    assert not found["metrics"]["f1"]["clears"]
    assert status(run)["verdict"] == LINE


def test_report_and_card_say_it(place, trained):
    run = only_run(place)
    card = (run / "model" / "README.md").read_text()
    assert f"This model {LINE}." in card.replace("\\", "")
    assert "best constant" in card
    page = re.sub(r"&#39;", "'", (run / "report.html").read_text())
    assert LINE in page


def test_lists_of_runs_say_it(place, trained):
    run = only_run(place)
    assert f"verdict  {run.name}: {LINE}" in within("runs", "list", cwd=place).stdout.splitlines()
    assert f"verdict   {LINE}" in within("runs", "show", run, cwd=place).stdout.splitlines()
    listed = json.loads(within("runs", "list", "--json", cwd=place).stdout)["runs"][0]
    assert listed["verdict"] == LINE
    copy = place / "copies" / "again"
    copy.mkdir(parents=True)
    for path in run.iterdir():
        if path.is_file():
            (copy / path.name).write_bytes(path.read_bytes())
    compared = within("runs", "compare", run, copy, cwd=place).stdout
    assert f"{run.name}: {LINE}" in compared
    both = json.loads(within("runs", "compare", run, copy, "--json", cwd=place).stdout)
    assert [side["verdict"] for side in both["runs"]] == [LINE, LINE]


def test_eval_says_it_and_returns_it(place, trained):
    run = only_run(place)
    assert f"verdict   {LINE}" in within("eval", "glue", "--model", run, "--threads", 1, cwd=place).stdout.splitlines()
    found = json.loads(within("eval", "glue", "--model", run, "--threads", 1, "--json", cwd=place).stdout)
    assert found["verdict"]["line"] == LINE
    alone = within("eval", "glue", "--model", run, "--data", "data/dev.csv", "--threads", 1, "--json", cwd=place)
    assert json.loads(alone.stdout)["baselines"] == {"best constant": 0.55}
