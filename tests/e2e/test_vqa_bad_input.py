"""Wrong input through the command: one line that says what, where and how to mend it, the documented code, nothing left behind."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

TOOL = str(Path(sys.executable).with_name("tool"))
ENVIRONMENT = {
    **os.environ,
    "HF_HUB_OFFLINE": "",
    "HF_ENDPOINT": "http://127.0.0.1:9",
    "COLUMNS": "120",
    "CUDA_VISIBLE_DEVICES": "",
}


def tool(*args, cwd):
    return subprocess.run(
        [TOOL, *map(str, args)], capture_output=True, text=True, cwd=cwd, env=ENVIRONMENT, timeout=120, check=False
    )


def picture(path, level=99):
    Image.fromarray(np.full((64, 64, 3), level, np.uint8)).save(path)


@pytest.fixture
def table(tmp_path):
    """Writes data.csv over four sound pictures: rows of (image, question, answer)."""
    for number in range(4):
        picture(tmp_path / f"{number}.png", 40 * number)

    def write(rows):
        lines = ["image,question,answer", *(",".join(row) for row in rows)]
        (tmp_path / "data.csv").write_text("\n".join(lines) + "\n")
        return tmp_path

    return write


GOOD = [(f"{number}.png", f"what is {number}?", "yes" if number % 2 else "no") for number in range(4)]
TRAIN = ("train", "vqa", "--model", "tiny", "--data", "data.csv", "--eval-fraction", "0.5")


def refused(done, code, *words):
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == code, done.stderr
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in lines[0], lines[0]


def test_no_rows(table):
    place = table([])
    refused(tool(*TRAIN, cwd=place), 3, "data.csv")
    assert not (place / "runs").exists()


def test_one_class(table):
    place = table([(image, question, "yes") for image, question, _ in GOOD])
    refused(tool(*TRAIN, cwd=place), 3, "data.csv", "yes")
    assert not (place / "runs").exists()


def test_a_text_file_called_jpg_with_file_and_row(table):
    place = table([*GOOD, ("fake.jpg", "what is it?", "no")])
    (place / "fake.jpg").write_text("not a picture")
    refused(tool(*TRAIN, cwd=place), 3, "data.csv, row 6", "fake.jpg", "is not an image file", "--skip-bad")


def test_a_missing_image_and_skip_bad(table):
    place = table([*GOOD * 3, ("gone.png", "what is it?", "no")])
    refused(tool(*TRAIN, cwd=place), 3, "gone.png", "no such image file")
    done = tool(*TRAIN, "--skip-bad", "--max-steps", "1", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "1 question left out" in done.stderr


def test_all_of_many_broken_images_are_listed_up_to_ten(table):
    place = table([*GOOD, *((f"gone{number}.png", "what is it?", "no") for number in range(12))])
    done = tool(*TRAIN, cwd=place)
    refused(done, 3, "gone0.png", "gone9.png", "and 2 more")
    assert "gone10.png" not in done.stderr


def test_a_question_without_image(table):
    refused(tool(*TRAIN, cwd=table([*GOOD, ("", "what is it?", "no")])), 3, "data.csv, row 6")


def test_duplicate_question_ids(tmp_path):
    picture(tmp_path / "0.png")
    rows = [
        {"image": "0.png", "question": f"is it {n}?", "answer": "yes" if n else "no", "question_id": 7}
        for n in range(2)
    ]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    refused(tool("train", "vqa", "--model", "tiny", "--data", "data.jsonl", cwd=tmp_path), 3, "data.jsonl", "7")


def test_all_answers_out_of_vocabulary(tmp_path, table):
    place = table(GOOD)
    other = [
        (image, question, "perhaps" if number % 2 else "never") for number, (image, question, _) in enumerate(GOOD)
    ]
    (place / "folder").mkdir()
    for name, rows in (("train", GOOD), ("validation", other)):
        lines = ["image,question,answer", *(f"../{image},{question},{answer}" for image, question, answer in rows)]
        (place / "folder" / f"{name}.csv").write_text("\n".join(lines) + "\n")
    refused(tool("train", "vqa", "--model", "tiny", "--data", "folder", cwd=place), 3, "never", "perhaps")


def test_a_folder_that_is_not_there(tmp_path):
    (tmp_path / "mydata").mkdir()
    refused(tool("train", "vqa", "--model", "tiny", "--data", "./mydat", cwd=tmp_path), 3, "./mydat")


def test_a_folder_without_permission(table):
    place = table(GOOD)
    (place / "closed").mkdir(mode=0o000)
    command = [TOOL, "train", "vqa", "--model", "tiny", "--data", "closed"]
    if os.geteuid() == 0:  # root too is bound by permissions once it has lost the right to pass over them
        if shutil.which("setpriv") is None:
            pytest.skip("permissions don't bind root, and there is no setpriv")
        lost = "-dac_override,-dac_read_search"
        command = ["setpriv", f"--bounding-set={lost}", f"--inh-caps={lost}", *command]
    done = subprocess.run(command, capture_output=True, text=True, cwd=place, env=ENVIRONMENT, timeout=120, check=False)
    refused(done, 3, "closed", "permission")


def test_an_output_folder_that_can_not_be_made(table):
    place = table(GOOD)
    (place / "file").write_text("")
    refused(tool(*TRAIN, "--output-dir", "file/runs", cwd=place), 1, "file/runs", "choose another folder")


def test_weights_that_hold_nan(table):
    from safetensors.torch import load_file, save_file

    place = table(GOOD * 2)
    done = tool(*TRAIN, "--max-steps", "1", "--json", cwd=place)
    assert done.returncode == 0, done.stderr
    model = place / json.loads(done.stdout)["model"]
    tensors = load_file(str(model / "model.safetensors"))
    tensors["classifier.3.weight"][0, 0] = float("nan")
    save_file(tensors, str(model / "model.safetensors"), {"format": "pt"})
    refused(
        tool("predict", "vqa", "0.png", "what is it?", "--model", model, cwd=place), 3, "classifier.3.weight", "NaN"
    )
    refused(tool(*TRAIN, "--model", model, cwd=place), 3, "classifier.3.weight", "NaN")


@pytest.mark.parametrize(
    "args",
    [
        ("train", "vqa", "--model", "dandelin/vilt-b32-mlm", "--data", "sample"),
        ("train", "vqa", "--model", "tiny", "--data", "HuggingFaceM4/VQAv2"),
        ("eval", "vqa", "--model", "Salesforce/blip2-opt-2.7b", "--data", "sample"),
    ],
)
def test_a_hub_id_without_network_ends_in_seconds_and_names_the_offline_ways(tmp_path, args):
    began = time.monotonic()
    done = tool(*args, cwd=tmp_path)
    assert time.monotonic() - began < 60  # the libraries alone retry for minutes
    refused(done, 1, args[3] if "tiny" not in args else args[5], "can't reach the Hub", "local")
    assert not (tmp_path / "runs").exists()


def test_no_run_to_evaluate_names_the_ways(tmp_path):
    refused(tool("eval", "vqa", cwd=tmp_path), 2, "no finished vqa run", "--model", "tool train vqa --model tiny")


def test_a_model_that_is_no_vilt(tmp_path):
    import transformers

    transformers.BertForSequenceClassification(
        transformers.BertConfig(
            hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=10
        )
    ).save_pretrained(tmp_path / "bert")
    (tmp_path / "bert" / "tokenizer.json").write_text("{}")
    refused(tool("train", "vqa", "--model", "bert", "--data", "sample", cwd=tmp_path), 2, "bert", "ViLT")


def test_pushing_nowhere_is_told_before_the_training(table):
    place = table(GOOD)
    refused(tool(*TRAIN, "--push-to-hub", "not a name", cwd=place), 2, "--push-to-hub")
    refused(tool(*TRAIN, "--push-to-hub", "me/model", "--token", "hf_abc", cwd=place), 1, "--push-to-hub me/model")
    assert not (place / "runs").exists()
