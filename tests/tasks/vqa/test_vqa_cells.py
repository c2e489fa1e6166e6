"""Cells of VQA tables as their writers meant them: lists as text, one answer in several spellings, words for no value, ids."""

import json
from pathlib import Path

import numpy as np
import pandas
import pytest
from PIL import Image

from tasks.errors import DataError
from tasks.vqa.data import Options, load_splits

FORMS = ("csv", "json", "jsonl", "parquet")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for i in range(4):
        Image.new("RGB", (8, 8), (i, 2, 3)).save(tmp_path / f"{i}.png")
    return tmp_path


def write(place: Path, form: str, cells: list, name: str = "answers", **columns: list) -> Path:
    frame = pandas.DataFrame(
        {"image": [f"{i % 4}.png" for i in range(len(cells))], "question": "what?", name: cells, **columns}
    )
    path = place / f"data.{form}"
    if form == "csv":
        frame.to_csv(path, index=False)
    elif form == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_json(path, orient="records", lines=form == "jsonl")
    return path


def load(path: Path, **options):
    return load_splits(Options(str(path), cache_dir=str(path.parent / "cache"), **options), need=("evaluation",))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("cell", "answers"),
    [
        ("['red' 'red' 'pink']", ["red", "red", "pink"]),
        ("['red', 'red', 'pink']", ["red", "red", "pink"]),
        ('["red", "it\'s"]', ["red", "it's"]),
        ("['red'\n 'light pink']", ["red", "light pink"]),
        ("('red', 'pink')", ["red", "pink"]),
        ("[1 2]", ["1", "2"]),
        ("[1. 2.5]", ["1", "2.5"]),
        ("[{'answer': 'red', 'answer_id': 1}\n {'answer': 'pink', 'answer_id': 2}]", ["red", "pink"]),
        ("{'answer': array(['red', 'pink'], dtype=object), 'answer_id': array([1, 2])}", ["red", "pink"]),
        ("[UNK]", ["[UNK]"]),
    ],
)
def test_lists_written_as_text_are_lists(place, form, cell, answers):
    assert load(write(place, form, [cell, "blue"])).evaluation.answers == [answers, ["blue"]]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("cell", "what"), [("['a' 'b' ... 'c']", "left out"), ("['a', 'b]", "a list"), ("[red pink]", "in quotes")]
)
def test_a_list_that_cant_be_read_is_refused_with_its_row(place, form, cell, what):
    path = write(place, form, ["blue", cell, "red"])
    with pytest.raises(DataError) as caught:
        load(path)
    assert f"{path}, row {3 if form == 'csv' else 2}: answers: " in str(caught.value)
    assert what in str(caught.value)
    left = load(path, skip_bad=True)
    assert left.evaluation.answers == [["blue"], ["red"]]
    assert "1 question left out: list that can't be read" in left.skipped[0]


def test_what_datasets_write_as_csv_is_read_back(place):
    from datasets import Dataset

    given = [["red", "red", "pink"], ["two"], ["it's", 'a "sign"']]
    data = Dataset.from_dict({"image": ["0.png", "1.png", "2.png"], "question": ["what?"] * 3, "answers": given})
    data.to_csv(str(place / "data.csv"))
    assert load(place / "data.csv").evaluation.answers == given


def test_weights_written_as_a_list(place):
    labels = ["['net' 'no']", "['no']"]
    path = write(place, "csv", labels, "label.ids", **{"label.weights": ["[1.  0.3]", "[0.6]"]})
    assert load(path).evaluation.weights == [{"net": 1.0, "no": 0.3}, {"no": 0.6}]
    path = write(place, "parquet", labels, "label.ids", **{"label.weights": ["[1.  0.3]", "[0.6 ... 1.]"]})
    with pytest.raises(DataError, match=r"row 2: label: a list whose middle was left out"):
        load(path)


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_a_number_and_its_spellings_are_one_answer(place, form):
    path = place / f"data.{form}"
    cells = [1, "1", 1.0, " 1 ", "1.0", "two"]
    rows = [{"image": "0.png", "question": "how many?", "answer": cell} for cell in cells]
    text = json.dumps(rows) if form == "json" else "\n".join(map(json.dumps, rows))
    path.write_text(text, encoding="utf-8")
    splits = load(path)
    assert splits.evaluation.answers == [["1"]] * 5 + [["two"]]
    assert splits.notes == ["2 spellings joined with others of the same answer: ' 1 ', '1', '1.0' are all '1'"]


@pytest.mark.parametrize("form", FORMS)
def test_a_column_that_a_blank_made_float(place, form):
    path = write(place, form, [1.0, np.nan, 3.0], "answer", question_id=[7.0, np.nan, 9.0])
    assert load(path, skip_bad=True).evaluation.answers == [["1"], ["3"]]
    assert load(path, skip_bad=True).evaluation.question_id == [7, 9]
    with pytest.raises(DataError, match=f"row {3 if form == 'csv' else 2}: has no answer"):
        load(path)


def test_an_id_left_blank_takes_none_that_is_given(place):
    path = write(place, "parquet", ["a", "b", "c"], "answer", question_id=[2.0, np.nan, 9.0])
    assert load(path).evaluation.question_id == [2, "row 2", 9]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("word", ["NA", "N/A", "null", "none", "None", "nan"])
def test_words_for_no_value_are_answers_among_words(place, form, word):
    assert load(write(place, form, [word, "red"], "answer")).evaluation.answers == [[word], ["red"]]
    path = write(place, form, ["1", word, "3"], "answer")
    assert load(path, skip_bad=True).evaluation.answers == [["1"], ["3"]]


@pytest.mark.parametrize("form", FORMS)
def test_an_answer_with_a_bar_is_one(place, form):
    assert load(write(place, form, ["a|b", "red"], "answer")).evaluation.answers == [["a|b"], ["red"]]
