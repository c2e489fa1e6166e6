"""Tests of how labels are read: lists, separators, columns of 0 and 1, spellings that are one, and what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Sequence, Value

from tasks.errors import ConfigError, DataError
from tasks.glue.data import Options, load_splits
from tasks.glue.inspection import inspect

# Four texts and the labels that each form of a file must give them.
SETS = [["good"], ["bad"], ["good", "bad"], []]
MATRIX = [[0, 1], [1, 0], [1, 1], [0, 0]]


def write_csv(path: Path, cells: list, head: tuple[str, ...] = ("text", "label")) -> str:
    with open(path, "w", newline="", encoding="utf-8") as file:
        rows = [(f"text {i}", *(cell if isinstance(cell, tuple) else (cell,))) for i, cell in enumerate(cells)]
        csv.writer(file).writerows([head, *rows])
    return str(path)


def write_lines(path: Path, cells: list) -> str:
    path.write_text("\n".join(json.dumps({"text": f"text {i}", "label": cell}) for i, cell in enumerate(cells)))
    return str(path)


def whole(data: str, **options):
    splits = load_splits(Options(data, **options), need=("evaluation",))
    return splits, next(iter(splits.evaluation.values()))


CELLS = {
    "Python": [str(labels) for labels in SETS],
    "JSON": [json.dumps(labels) for labels in SETS],
    "NumPy": ["['good']", "['bad']", "['good' 'bad']", "[]"],
    "NumPy, broken lines": ["['good']", "['bad']", "['good'\n 'bad']", "[]"],
    "tuples": ["('good',)", "('bad',)", "('good', 'bad')", "[]"],
    "a set": ["{'good'}", "{'bad'}", "{'good', 'bad'}", "set()"],
    "spaces and doubles": [" ['good', 'good'] ", "['bad ']", "['bad', 'good']", "[ ]"],
}


@pytest.mark.parametrize("form", CELLS)
def test_lists_written_as_text_are_label_sets(tmp_path, form):
    splits, texts = whole(write_csv(tmp_path / "d.csv", CELLS[form]))
    assert splits.labels == ["bad", "good"]
    assert texts.label.tolist() == MATRIX
    assert splits.thresholds == [0.5, 0.5]
    assert splits.metrics[0] == "micro_f1"
    assert any(
        "lists that are written as text in the column label; 1 text without any" in note for note in splits.notes
    )


def test_lists_in_json_parquet_and_arrow(tmp_path):
    _, texts = whole(write_lines(tmp_path / "d.jsonl", SETS))
    assert texts.label.tolist() == MATRIX
    names = {"text": [f"text {i}" for i in range(4)], "label": SETS}
    Dataset.from_dict(names).to_parquet(tmp_path / "strings.parquet")
    assert whole(str(tmp_path / "strings.parquet"))[1].label.tolist() == MATRIX
    numbers = {"text": names["text"], "label": [[0], [1], [0, 1], []]}
    features = Features(text=Value("string"), label=Sequence(ClassLabel(names=["good", "bad"])))
    classes = Dataset.from_dict(numbers, features)
    classes.to_parquet(tmp_path / "classes.parquet")
    classes.save_to_disk(tmp_path / "saved")
    for place in ("classes.parquet", "saved"):
        splits, texts = whole(str(tmp_path / place))
        assert (splits.labels, texts.label.tolist()) == (["good", "bad"], [[1, 0], [0, 1], [1, 1], [0, 0]])
    Dataset.from_dict(numbers).to_parquet(tmp_path / "numbers.parquet")
    splits, texts = whole(str(tmp_path / "numbers.parquet"))
    assert (splits.labels, texts.label.tolist()) == (["0", "1"], [[1, 0], [0, 1], [1, 1], [0, 0]])


@pytest.mark.parametrize("mark", [";", "|", ","])
def test_labels_with_a_separator(tmp_path, mark):
    data = write_csv(tmp_path / "d.csv", ["good", "bad", f"good{mark} bad{mark}", ""])
    splits, texts = whole(data, label_separator=mark)
    assert (splits.labels, texts.label.tolist()) == (["bad", "good"], MATRIX)
    assert f"parted by {mark!r} in the column label; an empty cell is no label; 1 text without any" in splits.notes[0]


def test_columns_of_zeros_and_ones(tmp_path):
    cells = [("1", "0"), ("0", "1.0"), ("true", "1"), ("0", "False")]
    data = write_csv(tmp_path / "d.csv", cells, ("text", "good", "bad"))
    for wanted in (["good", "bad"], ["*d"]):
        splits, texts = whole(data, label_columns=wanted)
        assert (splits.labels, texts.label.tolist()) == (["good", "bad"], [[1, 0], [0, 1], [1, 1], [0, 0]])
    splits, texts = whole(data, label_columns=["bad", "good"], labels=["good", "bad"])
    assert texts.label.tolist() == [[1, 0], [0, 1], [1, 1], [0, 0]]
    with pytest.raises(ConfigError, match=r"--label-columns worse: .* has the columns text, good, bad"):
        whole(data, label_columns=["good", "worse"])
    with pytest.raises(ConfigError, match=r"--label-columns worse: .* has the columns text, good, bad"):
        whole(data, label_columns=["worse"])
    data = write_csv(tmp_path / "e.csv", [*cells, ("2", "0"), ("", "1")], ("text", "good", "bad"))
    with pytest.raises(DataError) as error:
        whole(data, label_columns=["good", "bad"])
    assert f"{data}, row 6: the label good is '2', neither 0 nor 1; {data}, row 7: the label good is empty" in str(
        error.value
    )


def test_lists_of_zeros_and_ones_for_each_class(tmp_path):
    for width, cells in ((2, [[1.0, 0.0], [0.0, 1.0]]), (2, [[1, 0], [1, 1]]), (3, [[1, 0, 0], [0, 1, 0]])):
        splits, texts = whole(write_lines(tmp_path / "d.jsonl", cells))
        assert splits.labels == [f"LABEL_{number}" for number in range(width)]
        assert texts.label.tolist() == cells
    splits, texts = whole(write_lines(tmp_path / "d.jsonl", [[1, 0, 0], [0, 1, 0]]), labels=["a", "b", "c"])
    assert (splits.labels, texts.label.tolist()) == (["a", "b", "c"], [[1, 0, 0], [0, 1, 0]])


def test_what_cannot_be_read_is_told_with_file_and_row(tmp_path):
    cells = ["['a', 'b']", "['b']", "[a, b]", "['a' ... 'b']", "", "['a', 'b'", "['a', ['b']]", "['a', None]"]
    data = write_csv(tmp_path / "d.csv", cells)
    with pytest.raises(DataError) as error:
        whole(data)
    lines = str(error.value).split(f"{data}, ")
    said = {line.partition(":")[0]: line for line in lines[1:]}
    assert list(said) == [f"row {number}" for number in range(4, 10)]
    assert "'[a, b]' looks like a list and can't be read as one" in said["row 4"]
    assert "middle was left out" in said["row 5"]
    assert "has no label; write [] where a text has none" in said["row 6"]
    assert "has no end" in said["row 7"]
    assert "hold a list or an object" in said["row 8"]
    assert "an item of the list of labels is empty" in said["row 9"]
    _, texts = whole(data, skip_bad=True)
    assert texts.label.tolist() == [[1, 1], [0, 1]]


def test_a_broken_list_among_single_labels_is_no_class(tmp_path):
    data = write_csv(tmp_path / "d.csv", ["a", "b", "[a, b]"])
    with pytest.raises(DataError, match=r"row 4: the label '\[a, b\]' looks like a list .* --no-multi-label"):
        whole(data)
    splits, _ = whole(data, multi_label=False)
    assert splits.labels == ["[a, b]", "a", "b"]


def test_labels_that_hold_a_mark_stay_one_class_and_it_is_told(tmp_path):
    cells = ["good", "bad", "good;bad", "bad", "rock & roll|pop"]
    splits, texts = whole(write_csv(tmp_path / "d.csv", cells))
    assert splits.labels == ["bad", "good", "good;bad", "rock & roll|pop"]
    assert texts.label.tolist() == [1, 0, 2, 0, 3]
    assert splits.thresholds is None
    assert splits.notes == [
        "1 of 5 labels hold ';', as 'good;bad', and are one class each; --label-separator ';' reads them as several labels"
    ]
    assert (
        whole(write_csv(tmp_path / "e.csv", ["a", "b", "a, b"]))[0]
        .notes[0]
        .startswith("1 of 3 labels are other labels")
    )
    assert whole(write_csv(tmp_path / "f.csv", ["Paris, France", "Rome, Italy"]))[0].notes == []


def test_a_model_decides_what_its_labels_are(tmp_path):
    data = write_csv(tmp_path / "d.csv", ["good", "bad"])
    _, texts = whole(data, labels=["bad", "good"], multi_label=True)
    assert texts.label.tolist() == [[0, 1], [1, 0]]
    lists = write_lines(tmp_path / "d.jsonl", SETS)
    with pytest.raises(DataError, match="row 1: the label is a list; each row needs one label"):
        whole(lists, labels=["bad", "good"], multi_label=False)
    with pytest.raises(DataError, match="row 1: unknown label 'good'; known are bad, worse"):
        whole(lists, labels=["bad", "worse"], multi_label=True)


def test_a_hold_out_has_rare_labels_on_both_sides(tmp_path):
    cells = [["often"] + (["rare"] if i < 4 else []) for i in range(200)] + [[]] * 10
    splits = load_splits(Options(write_lines(tmp_path / "d.jsonl", cells), eval_fraction=0.2))
    assert len(splits.evaluation["held out"]) == 42
    for part in (splits.train, splits.evaluation["held out"]):
        assert part.label.any(axis=0).all()
        assert not part.label.any(axis=1).all()


def test_inspect_counts_labels_and_sets(tmp_path):
    found = inspect(Options(write_lines(tmp_path / "d.jsonl", SETS * 2)))
    (split,) = found["splits"].values()
    assert found["multi_label"] is True
    assert split["labels"] == {"bad": 4, "good": 4}
    assert split["labels_a_text"] == {"mean": 1.0, "0": 2, "1": 4, "2": 2}
    assert split["label_sets"]["different"] == 4
    assert split["label_sets"]["most_frequent"] == {"none": 2, "good": 2, "bad": 2, "bad, good": 2}
    assert split["examples"][2]["label"] == ["bad", "good"]
    assert found["notes"] == ["a text may have several labels: the lists of the column label; 2 texts without any"]


# -- one label a text ----------------------------------------------------------------------------------------------------


def test_spellings_of_a_number_are_one_class_and_it_is_told(tmp_path):
    splits, texts = whole(write_lines(tmp_path / "d.jsonl", [1, "1", 1.0, " 1 ", 0, True, "true"]))
    assert splits.labels == ["0", "1", "true"]
    assert texts.label.tolist() == [1, 1, 1, 1, 0, 2, 2]
    joined = "spellings of a label that are read as one: 1, '1', 1.0, ' 1 ' are '1'; True, 'true' are 'true'"
    assert splits.notes == [joined]


def test_a_column_that_a_blank_made_decimal_has_whole_classes(tmp_path):
    import pandas

    frame = pandas.DataFrame({"text": list("abcde"), "label": [0, 1, None, 1, 0]})
    frame.to_csv(tmp_path / "d.csv", index=False)
    frame.to_parquet(tmp_path / "d.parquet")
    frame.to_json(tmp_path / "d.jsonl", orient="records", lines=True)
    for name in ("d.csv", "d.parquet", "d.jsonl"):
        with pytest.raises(DataError, match=f"{name}, row [34]: has no label"):
            whole(str(tmp_path / name))
        splits, texts = whole(str(tmp_path / name), skip_bad=True)
        assert (splits.labels, texts.label.tolist()) == (["0", "1"], [0, 1, 1, 0])


@pytest.mark.parametrize("word", ["NA", "N/A", "null", "None", "nan"])
def test_words_for_missing_are_words_among_words_and_missing_among_numbers(tmp_path, word):
    for write, name in ((write_csv, "w.csv"), (write_lines, "w.jsonl")):
        splits, texts = whole(write(tmp_path / name, ["yes", word, "yes"]))
        assert splits.labels == sorted(["yes", word])
        assert (texts.label == texts.label[0]).tolist() == [True, False, True]
        assert splits.notes == [
            f"{word!r} (1 row) is a class like the others; leave a cell empty where there is no label"
        ]
        numbers = write(tmp_path / f"n{name}", ["0", "1", word])
        with pytest.raises(DataError, match=r"row [34]: has no label"):
            whole(numbers)
        assert whole(numbers, skip_bad=True)[0].labels == ["0", "1"]
    (tmp_path / "t.csv").write_text(f"text,label\n{word},yes\nother,no\n")
    assert whole(str(tmp_path / "t.csv"))[1].first == [word, "other"]
    sets, texts = whole(write_lines(tmp_path / "s.jsonl", [["yes", word], ["yes"]]))
    assert texts.label[:, sets.labels.index(word)].tolist() == [1, 0]


def test_labels_that_differ_in_case_alone_are_told(tmp_path):
    splits, _ = whole(write_csv(tmp_path / "d.csv", ["Positive", "positive", "positive", "negative"]))
    assert splits.labels == ["Positive", "negative", "positive"]
    assert splits.notes == [
        "labels that differ in case or spaces alone are classes of their own: 'Positive' (1) and 'positive' (2); "
        "write them alike where they are one"
    ]
    for name, words in (("train", ["Yes", "no"] * 3), ("dev", ["yes", "no"])):
        (tmp_path / "set").mkdir(exist_ok=True)
        write_csv(tmp_path / "set" / f"{name}.csv", words)
    told = load_splits(Options(str(tmp_path / "set"))).notes
    assert told == ["labels in another case than training's: 'yes' (1) is read as 'Yes'"]
    given, texts = whole(str(tmp_path / "d.csv"), labels=["negative", "positive"])
    assert (given.notes, texts.label.tolist()) == ([], [1, 1, 1, 0])


# -- texts ---------------------------------------------------------------------------------------------------------------


def test_texts_that_are_lists_of_words_are_joined_and_it_is_told(tmp_path):
    rows = [["a", "good", "film"], ["bad"]]
    (tmp_path / "d.csv").write_text("text,label\n\"['a', 'good', 'film']\",x\n\"['bad']\",y\n")
    (tmp_path / "d.jsonl").write_text("\n".join(json.dumps({"text": row, "label": i}) for i, row in enumerate(rows)))
    for name in ("d.csv", "d.jsonl"):
        splits, texts = whole(str(tmp_path / name))
        assert texts.first == ["a good film", "bad"]
        assert splits.notes == ["the texts are lists of words, joined by spaces"]
    (tmp_path / "e.csv").write_text("text,label\n['a' 'good'],x\n['a' ... 'z'],y\n")
    with pytest.raises(DataError, match="row 3: the text is a list, not a string"):
        whole(str(tmp_path / "e.csv"))
    (tmp_path / "f.csv").write_text("text,label\n[sic] he said,x\n['a'],y\n")
    assert whole(str(tmp_path / "f.csv"))[1].first == ["[sic] he said", "['a']"]


def test_labels_are_small_integers(tmp_path):
    _, texts = whole(write_lines(tmp_path / "d.jsonl", SETS))
    assert texts.label.dtype == np.uint8
