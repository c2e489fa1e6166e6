"""Cells of captions: lists that are written out as text, captions in brackets, numbers and words for nothing."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from tasks.controlnet.captions import captions, column_captions
from tasks.controlnet.data import Options, load_splits
from tasks.errors import DataError


@pytest.mark.parametrize(
    ("cell", "texts"),
    [
        ('["a cat", "a dog"]', ["a cat", "a dog"]),
        ("['a cat', 'a dog']", ["a cat", "a dog"]),
        (str(np.array(["a cat", "a dog"])), ["a cat", "a dog"]),
        (str(np.array(["it's a cat", 'a "dog"'])), ["it's a cat", 'a "dog"']),
        ("['a cat'\n 'a dog']", ["a cat", "a dog"]),
        ("('a cat', 'a dog')", ["a cat", "a dog"]),
        ("['a cat', None, '']", ["a cat"]),
        ("[]", []),
        (["a cat", " a dog ", "['a'] on a sign"], ["a cat", "a dog", "['a'] on a sign"]),
        ("[a red circle]", ["[a red circle]"]),
        ("[draft] a cat [2024]", ["[draft] a cat [2024]"]),
        ("('a cat')", ["('a cat')"]),
        ('("Hello," she said)', ['("Hello," she said)']),
        ('["Hello"] is on the sign', ['["Hello"] is on the sign']),
        (1.0, ["1"]),
        (" 1 ", ["1"]),
        (None, []),
        (float("nan"), []),
    ],
)
def test_the_captions_of_a_cell(cell, texts):
    assert captions(cell) == texts


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("['a cat' ... 'a dog']", "middle was left out"),
        ("['a cat', 'a do", "has no end"),
        ("['a cat', a dog]", "put texts in quotes"),
        ([{"raw": "a cat"}], "an object, not a text"),
    ],
)
def test_what_is_no_caption_is_refused(cell, reason):
    with pytest.raises(ValueError, match=reason):
        captions(cell)


def test_words_for_nothing_are_captions_among_other_words():
    assert column_captions(["None", "a cat", "NA"])[0] == [["None"], ["a cat"], ["NA"]]
    assert column_captions(["1", "NA", 2.0])[0] == [["1"], [], ["2"]]


def folder(tmp_path, cells):
    for name in ("images", "conditioning_images"):
        (tmp_path / name).mkdir()
    with open(tmp_path / "metadata.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "conditioning_image", "text"])
        for i, cell in enumerate(cells):
            Image.new("RGB", (32, 32), (i, 0, 0)).save(tmp_path / "images" / f"{i}.png")
            Image.new("RGB", (32, 32), (0, i, 0)).save(tmp_path / "conditioning_images" / f"{i}.png")
            writer.writerow([f"images/{i}.png", f"conditioning_images/{i}.png", cell])
    return str(tmp_path)


def test_lists_in_a_csv_file_are_several_captions(tmp_path):
    data = folder(tmp_path, ["['a cat' 'a dog']", "a [bird]", json.dumps(["one", "two"])])
    pairs = load_splits(Options(data), need=("evaluation",)).evaluation
    assert pairs.captions == [["a cat", "a dog"], ["a [bird]"], ["one", "two"]]


def test_a_list_that_cannot_be_read_is_told_with_file_and_row(tmp_path):
    data = folder(tmp_path, ["a cat", "['a cat' ... 'a dog']"])
    with pytest.raises(DataError, match=r"metadata\.csv, row 3: its caption is a list whose middle was left out"):
        load_splits(Options(data), need=("evaluation",))
    splits = load_splits(Options(data, skip_bad=True), need=("evaluation",))
    assert splits.evaluation.captions == [["a cat"]]
    assert splits.skipped[0].startswith("1 pair left out: caption that can't be read")
