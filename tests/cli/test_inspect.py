"""Tests of `tool data inspect`: it ends as a training on the same data would."""

import json

import numpy as np
import pytest
from PIL import Image

from cli.main import main


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return ended.value.code, out, err


def write_texts(folder, *, sound):
    rows = [f"text {i},{'ab'[i % 2]}" for i in range(20)] + ([] if sound else ["no label here,"])
    (folder / "texts.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    return folder / "texts.csv"


def write_questions(folder, *, sound):
    for i in range(6):
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(
            folder / f"{i}.png"
        )
    if not sound:
        (folder / "3.png").write_bytes(b"no picture")
    rows = [f"{i % 6}.png,what is {i}?,{'ab'[i % 2]}" for i in range(24)]
    (folder / "questions.csv").write_text("image,question,answer\n" + "\n".join(rows) + "\n")
    return folder / "questions.csv"


def write_pairs(folder, *, sound):
    for i in range(6):
        for kind in "pc":
            pixels = np.random.default_rng([i, ord(kind)]).integers(0, 255, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{kind}{i}.png")
    if not sound:
        (folder / "c2.png").unlink()
    rows = [{"image": f"p{i}.png", "conditioning_image": f"c{i}.png", "text": f"number {i}"} for i in range(6)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "pairs.jsonl"


def write_series(folder, *, sound):
    lengths = {"long": 90, "short": 90 if sound else 16}
    rows = [
        f"{name},{np.datetime64('2024-01-01') + day},{day % 7}.5"
        for name, days in lengths.items()
        for day in range(days)
    ]
    (folder / "series.csv").write_text("item_id,timestamp,target\n" + "\n".join(rows) + "\n")
    return folder / "series.csv"


WRITERS = {"glue": write_texts, "vqa": write_questions, "controlnet": write_pairs, "forecast": write_series}


@pytest.mark.parametrize("recipe", WRITERS)
def test_inspect_ends_as_training_would(recipe, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = WRITERS[recipe](tmp_path, sound=False)
    more = ["--prediction-length", 7] if recipe == "forecast" else []
    code, out, err = run(capsys, "data", "inspect", recipe, "--data", data, *more)
    assert code == 3
    assert "name: " in out  # what was found is told all the same
    trained, _, said = run(capsys, "train", recipe, "--model", "tiny", "--data", data, "--dry-run", *more)
    assert trained == 3
    assert err.strip().splitlines()[-1] == said.strip().splitlines()[-1]
    assert "Traceback" not in err
    code, out, _ = run(capsys, "data", "inspect", recipe, "--data", data, "--json", *more)
    assert code == 3
    assert json.loads(out)["refused"] in err


@pytest.mark.parametrize(("recipe", "cut"), [("vqa", "3.png"), ("controlnet", "p4.png"), ("controlnet", "c2.png")])
def test_a_picture_that_is_cut_short_is_found(recipe, cut, tmp_path, capsys):
    """Its header is sound: training would come to it, and stop, only in the middle."""
    data = WRITERS[recipe](tmp_path, sound=True)
    whole = (tmp_path / cut).read_bytes()
    (tmp_path / cut).write_bytes(whole[: len(whole) // 2])
    code, out, err = run(capsys, "data", "inspect", recipe, "--data", data, "--json")
    assert code == 3
    found = json.loads(out)
    assert found["problem_count"] == 1
    assert cut in found["problems"][0]
    assert "truncated" in found["refused"]
    assert cut in err
    code, out, _ = run(capsys, "data", "inspect", recipe, "--data", data, "--json", "--skip-bad")
    assert code == 0
    assert json.loads(out)["problem_count"] == 1


@pytest.mark.parametrize("recipe", WRITERS)
def test_what_training_takes_is_no_error(recipe, tmp_path, capsys):
    for sound, extra in ((True, []), (False, ["--skip-bad"])):
        folder = tmp_path / str(sound)
        folder.mkdir()
        data = WRITERS[recipe](folder, sound=sound)
        more = ["--prediction-length", "7"] if recipe == "forecast" else []
        code, out, _ = run(capsys, "data", "inspect", recipe, "--data", data, "--json", *extra, *more)
        assert code == 0
        assert json.loads(out)["refused"] is None


@pytest.mark.parametrize("recipe", ["glue", "vqa", "controlnet"])
def test_data_without_one_sound_row_are_told_as_such(recipe, tmp_path, capsys):
    for i in range(3):
        Image.new("RGB", (64, 64), (i, 0, 0)).save(tmp_path / f"{i}.png")
    rows = {
        "glue": [{"text": "", "label": "a"}, {"text": "", "label": "b"}],
        "vqa": [{"image": f"{i}.png", "question": "", "answer": "a"} for i in range(3)],
        "controlnet": [{"image": f"{i}.png", "conditioning_image": "none.png", "text": "a"} for i in range(3)],
    }[recipe]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = [] if recipe == "glue" else ["--model", "tiny"]
    for extra in ([], ["--skip-bad"], model):
        code, out, err = run(capsys, "data", "inspect", recipe, "--data", data, *extra)
        assert code == 3
        assert "--debug" not in err
        assert "name: data" in out
