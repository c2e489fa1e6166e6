"""A ControlNet's figures: which pairs training saw, and that conditions and captions are read in use as they were in training."""

import json
import shutil
from types import SimpleNamespace

import controlnets
import numpy as np
import pytest
from accelerate import Accelerator
from PIL import Image
from running import only_run, within

from recipes.controlnet.train import seen_by
from tasks import seen
from tasks.controlnet import training_record
from tasks.controlnet.data import Options, load_splits
from tasks.controlnet.drawing.png import read_facts
from tasks.controlnet.sample import sample
from tasks.controlnet.sample.circles import scene
from tasks.controlnet.tiny import training

LONG = "burly wood circle with orange background " * 4  # 24 tokens, of which 14 fit


def write(folder, numbers):
    """Circles with depth in millimetres as conditions and several captions, one of them a long one."""
    for name in ("images", "conditioning_images"):
        (folder / name).mkdir(parents=True)
    rows = []
    for number in numbers:
        shown = scene(3, number, controlnets.RESOLUTION)
        shown.image.save(folder / "images" / f"{number}.png")
        values = 500 + 10 * np.asarray(shown.condition.convert("L")).astype(np.uint16)
        Image.fromarray(values).save(folder / "conditioning_images" / f"{number}.png")
        names = {"file_name": f"images/{number}.png", "conditioning_image": f"conditioning_images/{number}.png"}
        rows.append(json.dumps({**names, "text": str([shown.caption, LONG]) if number % 2 else shown.caption}))
    (folder / "metadata.jsonl").write_text("\n".join(rows))
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seen")
    controlnets.base(folder / "base")
    write(folder / "data" / "train", range(8))
    write(folder / "data" / "validation", range(6, 10))
    write(folder / "mixed", range(4, 12))
    write(folder / "known", range(8))
    write(folder / "fresh", range(20, 24))
    write(folder / "unseen", range(30, 32))
    return folder


LITTLE = ("--resolution", controlnets.RESOLUTION, "--batch-size", 4, "--max-steps", 2, "--num-validation-images", 0)


def train(place, folder, *options, data="data", code=0):
    given = ("--model", place / "base", "--data", place / data, "--cache-dir", place / "cache", *LITTLE)
    return within("train", "controlnet", *given, *options, cwd=folder, code=code)


@pytest.fixture(scope="module")
def trained(place, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    done = train(place, folder, "--long-captions", "chunk")
    return only_run(folder), done


def measured(place, model, *options, data=None, code=0):
    given = ("--data", place / data) if data else ()
    return within("eval", "controlnet", "--model", model, *given, "--draw", 0, *options, cwd=place, code=code)


def test_the_header_tells_and_the_run_keeps_how_its_data_were_read(trained):
    run, done = trained
    told = done.stderr
    shared = "2 of 4 evaluation pairs have {} that are also in the training split: they are not unseen"
    for what in ("pictures", "conditions"):
        assert f"leaks     {run.parents[1]}" not in told
        assert shared.format(what) in told
    assert "12 conditions of more than 8 bits are read with 500,3050 as black,white" in told
    assert "captions  6 of 18 captions are longer than the text encoder's 16 tokens, and are encoded in pieces" in told
    assert "(2 of 4 seen in training)" in done.stdout
    for folder in (run, run / "model"):
        noted = json.loads((folder / "conditioning.json").read_text())
        assert noted == {"condition_range": "500,3050", "long_captions": "chunk"}
        assert {kind: len(found) for kind, found in seen.read(folder).kinds.items()} == {
            "pictures": 8,
            "conditions": 8,
            "pairs": 8,
        }
    card = (run / "model" / "README.md").read_text()
    assert "black and white of the conditions: 500,3050" in card
    assert "evaluation pairs with a picture or condition of training: 2" in card
    assert json.loads((run / "evaluation.json").read_text())["seen"] == {"count": 2, "of": 4, "unit": "pairs"}


def test_inspection_lists_each_check_and_does_not_refuse_what_trains(place):
    given = ("--data", place / "data", "--model", place / "base", "--json")
    facts = json.loads(within("data", "inspect", "controlnet", *given, cwd=place).stdout)
    assert facts["refused"] is None
    assert [line.split(": ")[1] for line in facts["leaks"]] == [
        f"2 of 4 evaluation pairs have {what} that are also in the training split"
        for what in ("pictures", "conditions")
    ]
    cut = {name: split["cut_captions"] for name, split in facts["splits"].items()}
    assert cut["train"] == {"length": 16, "cut": 4, "alike": 0, "total": 12, "at_least": False}
    assert cut["validation"]["cut"] == 2
    assert any("4 of 12 captions lose words" in line for line in facts["notes"])
    assert any(
        "12 conditions of more than 8 bits are read with 500,3050 as black,white" in line for line in facts["notes"]
    )


def test_the_run_s_own_evaluation_comes_back(place, trained):
    run, _ = trained
    figures = json.loads(measured(place, run, "--json").stdout)
    then = json.loads((run / "evaluation.json").read_text())
    assert figures["loss"] == pytest.approx(then["loss"], rel=1e-5)
    assert figures["seen"] == then["seen"]


def test_data_that_training_saw_are_known_by_content(place, trained):
    run, _ = trained
    done = measured(place, run, data="mixed")
    said = "seen      4 of 8 pairs (by picture or condition) were in the training data: the figure is not one of unseen data"
    assert f"{said}; 4 of them as a whole, with their captions" in done.stderr
    assert "n 8) (4 of 8 seen in training)" in done.stdout
    assert "of the unseen pairs alone: conditioning gain" in done.stdout
    assert "n 4)" in done.stdout
    whole = json.loads(measured(place, run, "--json", data="mixed").stdout)
    alone = json.loads(measured(place, run, "--json", "--drop-leaks", data="mixed").stdout)
    assert (whole["seen"], alone["seen"]) == (
        {"count": 4, "of": 8, "unit": "pairs"},
        {"count": 0, "of": 4, "unit": "pairs"},
    )
    assert (whole["unseen"]["n"], alone["n"]) == (4, 4)
    fresh = measured(place, run, data="fresh")
    assert "seen in training" not in fresh.stdout
    assert "seen      " not in fresh.stderr


def test_a_model_folder_alone_is_read_as_it_was_trained(place, trained, tmp_path):
    run, _ = trained
    model = shutil.copytree(run / "model", tmp_path / "model")
    given = ("--base", place / "base", "--resolution", controlnets.RESOLUTION, "--json")
    ours, its = (json.loads(measured(place, one, *given, data="mixed").stdout) for one in (run, model))
    assert its["loss"] == ours["loss"]
    assert its["seen"]["count"] == 4
    (model / seen.FILE).unlink()
    done = measured(place, model, *given, data="mixed")
    assert "seen      not known: the model has no record of its training data" in done.stderr
    assert json.loads(done.stdout)["seen"] is None


def test_all_of_it_seen_leaves_nothing_to_measure(place, trained):
    done = measured(place, trained[0], "--drop-leaks", data="known", code=3)
    assert "all 8 evaluation pairs have pictures or conditions that are also in the training split" in done.stderr


def test_a_net_that_goes_on_from_another_saw_its_data_too(place, trained):
    pairs = load_splits(Options(str(place / "fresh")), need=("evaluation",)).evaluation
    config = SimpleNamespace(controlnet=str(trained[0]), token=None)
    known = load_splits(Options(str(place / "known")), need=("evaluation",)).evaluation
    found = seen_by(config, pairs, Accelerator(cpu=True))
    for data in (pairs, known):
        mask, whole = training_record.seen_pairs(found, data)
        assert mask.all()
        assert whole == len(data)


def test_leaks_are_left_out_of_a_run_s_evaluation_and_an_unknown_start_is_told(place, trained, tmp_path):
    start = shutil.copytree(trained[0] / "model", tmp_path / "start")
    (start / seen.FILE).unlink()
    done = train(place, tmp_path, "--drop-leaks", "--controlnet", start)
    assert "2 of 4 evaluation pairs have pictures that are also in the training split, and are left out" in done.stderr
    assert "seen in training" not in done.stdout
    run = only_run(tmp_path)
    assert json.loads((run / "evaluation.json").read_text())["n"] == 2
    assert "captions  5 of 15 captions lose words to the text encoder's 16 tokens; --long-captions" in done.stderr
    done = measured(place, run, "--json", data=place / "unseen")
    assert json.loads(done.stdout)["seen"] is None
    assert "seen      not known: it began from a ControlNet that has no record of its training data" in done.stderr
    figures = json.loads(measured(place, run, "--json", data="known").stdout)
    assert figures["seen"]["count"] == 8


def test_a_picture_is_drawn_as_training_read_its_condition(place, trained, tmp_path):
    run, _ = trained
    condition = place / "fresh" / "conditioning_images" / "20.png"
    given = ("--image", condition, "--prompt", LONG, "--steps", 2, "--output", tmp_path)
    done = within("predict", "controlnet", "--model", run, *given, cwd=place)
    assert f"{condition}: of more than 8 bits, read with 500,3050 as black,white" in done.stderr
    assert "1 of 1 prompts are longer than the text encoder's 16 tokens, and are encoded in pieces" in done.stderr
    facts = read_facts(tmp_path / "20-0-0.png")
    assert "--condition-range 500,3050" in facts["command"]
    assert "--long-captions chunk" in facts["command"]


def test_the_base_of_tiny_was_trained_on_scenes_that_the_sample_does_not_show():
    assert sample.TRAIN + sample.VALIDATION <= training.FIRST_SCENE
