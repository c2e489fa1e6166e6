"""Tests that a text which training saw is never scored as unseen: records, leaks between splits, base models."""

import csv
import json
import shutil

import pytest
from running import within as tool

WORDS = ["river", "stone", "paper", "glass", "cloud", "metal", "grass", "light", "sound", "water"]
FLAGS = ["--max-steps", 2, "--batch-size", 8]


def write(path, numbers, change=lambda text: text):
    """Texts of a number and a class, some changed in case and spaces."""
    rows = [(change(f"A {WORDS[i % 10]} and the {WORDS[i // 10]}"), ["neg", "pos"][i % 2]) for i in numbers]
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run on texts 0 to 39, measured on 30 to 49."""
    folder = tmp_path_factory.mktemp("seen")
    data = folder / "data"
    data.mkdir()
    write(data / "train.csv", range(40))
    write(data / "validation.csv", range(30, 50), lambda text: f"  {text.upper().replace(' ', '  ')}")
    tool("train", "glue", "--model", "tiny", "--data", data, *FLAGS, cwd=folder)
    return folder


def run_of(place):
    return next(place.glob("runs/glue*"))


def evaluated(place, *arguments, code=0):
    done = tool("eval", "glue", *arguments, "--json", cwd=place, code=code)
    return json.loads(done.stdout) if done.stdout else {}, done.stderr


def test_leaks_between_splits_are_told_and_can_be_dropped(place):
    told = "10 of 20 evaluation rows have texts that are also in the training split"
    done = tool("train", "glue", "--model", "tiny", "--data", "data", "--dry-run", cwd=place)
    assert told in done.stderr
    assert "--drop-leaks" in done.stderr
    dropped = tool("train", "glue", "--model", "tiny", "--data", "data", "--dry-run", "--drop-leaks", cwd=place)
    assert f"{told}, and are left out" in dropped.stderr
    assert "40 + 10 texts" in dropped.stderr
    inspected = json.loads(tool("data", "inspect", "glue", "--data", "data", "--json", cwd=place).stdout)
    assert inspected["overlap"] == {"validation in train": 10}
    run = run_of(place)
    assert told in (run / "model" / "README.md").read_text()
    assert json.loads((run / "evaluation.json").read_text())["leaks"][0].startswith(told)


def test_eval_marks_what_training_saw(place):
    run = run_of(place)
    write(place / "mixed.csv", [5, 6, 50, 51, 52])
    result, said = evaluated(place, "--model", run, "--data", place / "mixed.csv")
    assert result["seen"] == {"count": 2, "of": 5, "unit": "texts"}
    assert "seen      2 of 5 texts were in the training data" in said
    (unseen,) = result["unseen"].values()
    assert unseen["n"] == 3
    text = tool("eval", "glue", "--model", run, "--data", "mixed.csv", cwd=place).stdout
    assert "(2 of 5 seen in training)" in text
    assert "unseen    accuracy" in text
    dropped, _ = evaluated(place, "--model", run, "--data", "mixed.csv", "--drop-leaks")
    assert dropped["n"] == 3
    assert dropped["seen"]["count"] == 0


def test_unseen_data_are_not_marked(place):
    write(place / "new.csv", range(60, 80))
    result, said = evaluated(place, "--model", run_of(place), "--data", "new.csv")
    assert result["seen"] == {"count": 0, "of": 20, "unit": "texts"}
    assert result["unseen"] is None
    assert "seen  " not in said


def test_a_copied_model_keeps_its_record_and_one_without_says_so(place, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run_of(place) / "model", copy)
    write(place / "again.csv", [1, 2])
    result, _ = evaluated(place, "--model", copy, "--data", "again.csv")
    assert result["seen"]["count"] == 2
    (copy / "training-data.npz").unlink()
    result, said = evaluated(place, "--model", copy, "--data", "again.csv")
    assert result["seen"] is None
    assert "seen      not known: the model has no record of its training data" in said
    _, said = evaluated(place, "--model", copy, "--data", "again.csv", "--drop-leaks", code=3)
    assert "--drop-leaks" in said


def test_what_the_base_model_saw_counts_too(place, tmp_path):
    write(tmp_path / "other.csv", range(60, 100))
    tool("train", "glue", "--model", run_of(place) / "model", "--data", tmp_path / "other.csv", *FLAGS, cwd=tmp_path)
    write(tmp_path / "both.csv", [1, 2, 55])
    result, _ = evaluated(tmp_path, "--data", "both.csv")
    assert result["seen"]["count"] == 2
