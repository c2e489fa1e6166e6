"""Texts that can't be used as they are: one line that says what, where, and how to mend it."""

import json
import time

import pytest

from tasks.errors import ConfigError, DataError
from tasks.glue.data import Options, load_splits

GOOD = "text,label\n" + "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(20))


def fails(data, error=DataError, **options):
    with pytest.raises(error) as caught:
        load_splits(Options(str(data), **options))
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.exit_code == (3 if error is DataError else 2)
    return message


# file name, content, message after "FILE"
FILES = {
    "empty": ("d.csv", "", ": the file is empty"),
    "only a header": ("d.csv", "text,label\n", ": no rows"),
    "no text column": ("d.csv", "a,label\nx,1\n", ": no text column; found columns a, label; give --text-column"),
    "no label column": ("d.csv", "text,b\nx,1\n", ": no label column; found columns text, b; give --label-column"),
    "row without a text": (
        "d.csv",
        GOOD + ",a\n",
        ", row 22: the text is empty. Mend them, or leave them out with --skip-bad",
    ),
    "row without a label": (
        "d.csv",
        GOOD + "more,\n",
        ", row 22: has no label. Mend them, or leave them out with --skip-bad",
    ),
    "row of another width": (
        "d.csv",
        GOOD + "one, two,a\n",
        ", row 22: has 3 cells, the header has 2; quote cells that hold ','. Mend them, or leave them out with --skip-bad",
    ),
    "tab row of another width": (
        "d.tsv",
        GOOD.replace(",", "\t") + "one\n",
        ", row 22: has 1 cells, the header has 2. Mend them, or leave them out with --skip-bad",
    ),
    "open quote": ("d.csv", GOOD + '"one,a\ntwo,b\n', ", row 22: a quote that is opened there is never closed"),
    "one class": (
        "d.csv",
        "text,label\nx,a\ny,a\nz,a\n",
        "every label is 'a'; training needs two different ones at least",
    ),
    "one text": (
        "d.csv",
        "text,label\nx,a\nX,b\n",
        ": too few different texts to hold some out; give an --eval-split",
    ),
    "too many classes": (
        "d.csv",
        "text,label\n" + "".join(f"t{i},name {i}\n" for i in range(150)),
        ": the column label has 150 different values in 150 rows, too many for classes; give another --label-column",
    ),
    "score that is none": (
        "d.csv",
        "text,score\nx,0.5\ny,nan\nz,1.5\n",
        ", row 3: the score 'nan' is not a finite number. Mend them, or leave them out with --skip-bad",
    ),
    "broken JSON": (
        "d.jsonl",
        '{"text": "x", "label": 1}\n{"text": \n{"text": "y", "label": 0}\n',
        ", row 2: not valid JSON (",
    ),
    "not an object": ("d.jsonl", '{"text": "x", "label": 1}\n[1]\n', ", row 2: not a JSON object"),
    "not a list": ("d.json", '{\n"a": 1}', ": neither a list of rows nor JSON lines"),
    "list for a text": (
        "d.jsonl",
        '{"text": ["x"], "label": 1}\n{"text": "y", "label": 0}\n',
        ", row 1: the text is a list, not a string",
    ),
    "object for a label": (
        "d.jsonl",
        '{"text": "x", "label": {"a": 1}}\n{"text": "y", "label": {"a": 0}}\n',
        ", row 1: the label is an object; each row needs one label, a name or a number",
    ),
    "NUL": ("d.csv", GOOD + "a\0b,a\n", ", row 22: the text holds a NUL character"),
    "second text": ("d.csv", "premise,hypothesis,label\na,b,x\nc, ,y\n", ", row 3: the second text is empty"),
    "Parquet": ("d.parquet", "text", ": not a Parquet file, or broken"),
    "other": ("d.xlsx", "text", ": not a format known here; give GLUE's tsv files, CSV, TSV, JSON lines, a JSON list,"),
}


@pytest.mark.parametrize("case", FILES)
def test_message(tmp_path, case):
    name, content, wanted = FILES[case]
    file = tmp_path / name
    file.write_text(content, encoding="utf-8", newline="")
    message = fails(file)
    assert message.startswith(f"{file}{wanted}") or message == f"d: {wanted}"


def test_other_encodings(tmp_path):
    file = tmp_path / "d.csv"
    file.write_bytes(GOOD.encode() + "café,a\n".encode("latin-1"))
    assert fails(file) == f"{file}, row 22: not UTF-8 text; save the file as UTF-8"
    file.write_bytes(GOOD.encode("utf-16"))
    assert fails(file) == f"{file}, row 1: not UTF-8 text; save the file as UTF-8"
    file.write_bytes(GOOD.encode("utf-8-sig"))
    assert load_splits(Options(str(file))).labels == ["a", "b"]


def test_ten_problems_and_their_number(tmp_path):
    file = tmp_path / "d.csv"
    file.write_text(GOOD + ",a\n" * 30)
    message = fails(file)
    assert message.count("the text is empty") == 10
    assert message.endswith("; and 20 more. Mend them, or leave them out with --skip-bad")
    splits = load_splits(Options(str(file), skip_bad=True))
    assert len(splits.train) + len(splits.evaluation["held out"]) == 20
    assert splits.skipped == [f"30 rows left out: empty text, first {file}, row 22"]


def test_places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reviews").mkdir()
    assert fails("reviews").startswith("no texts found in the folder reviews (it is empty); give GLUE's tsv files")
    for name in ("one.csv", "two.csv"):
        (tmp_path / "reviews" / name).write_text(GOOD)
    several = (
        "reviews: it holds one.csv, two.csv, none called after a split (train, dev, test); give one file as --data"
    )
    assert fails("reviews") == several
    assert fails(tmp_path / "review") == f"no file or folder {tmp_path}/review; did you mean {tmp_path}/reviews?"
    assert fails("sampel").startswith("no file or folder sampel; did you mean sample?")
    assert fails("./a.csv") == "no file or folder ./a.csv; check --data"


def test_columns_and_splits_that_are_not_there(tmp_path):
    file = tmp_path / "d.csv"
    file.write_text(GOOD)
    found = f"{file} has the columns text, label"
    assert fails(file, ConfigError, text_column="txt") == f"--text-column txt: {found}; did you mean text?"
    assert fails(file, ConfigError, label_column="stars") == f"--label-column stars: {found}"
    assert fails(file, ConfigError, eval_split="dev") == "--eval-split dev: d has no such split; it has all"
    assert fails(file, ConfigError, eval_fraction=1.0).startswith("--eval-fraction 1.0: give a share")
    assert fails(file, ConfigError, max_samples=0) == "--max-samples 0: give 1 or more, or leave it out"
    wrong = fails(file, task="rte")
    assert wrong.startswith(f"{file}: found columns text, label; rte has sentence1, sentence2; give --text-column")
    near = "--task sst3: GLUE's tasks are cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, wnli, ax; did you mean sst2?"
    assert fails(file, ConfigError, task="sst3") == near
    assert fails(file, ConfigError, labels=["a", "a"]) == "--labels a,a: a name is there twice"


def test_several_tasks_in_a_folder(tmp_path):
    for name in ("RTE", "SST-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "dev.tsv").write_text("sentence\tlabel\nx\t1\n")
    wanted = f"{tmp_path} holds the tasks sst2, rte; say which with --task, or give its folder"
    assert fails(tmp_path, ConfigError) == wanted
    assert fails(tmp_path, task="cola") == f"{tmp_path}: no files of cola; it holds rte, sst2"


def test_a_million_characters_are_allowed(tmp_path):
    file = tmp_path / "d.csv"
    file.write_text(GOOD + f"{'word ' * 200_000},a\n")
    start = time.process_time()
    splits = load_splits(Options(str(file), eval_fraction=0.05))
    longest = max(map(len, (*splits.train.first, *splits.evaluation["held out"].first)))
    assert longest == 1_000_000
    assert time.process_time() - start < 5  # hundreds of times what it takes
    lines = tmp_path / "d.jsonl"
    lines.write_text("".join(json.dumps({"text": "é" * 1_000_000 + str(i), "label": i % 2}) + "\n" for i in range(4)))
    assert len(load_splits(Options(str(lines)), need=("evaluation",)).evaluation["all"].first[3]) == 1_000_001
