"""GLUE's own files, other tables of texts and labels, and the splits made of them."""

import json
from pathlib import Path

import numpy as np
import pytest

from recipes.data_sets import inspected
from tasks.errors import ConfigError, DataError
from tasks.glue.data import Options, load_splits
from tasks.glue.holdout import keys_of
from tasks.glue.inspection import inspect
from tasks.glue.named import TASKS

GLUE = Path(__file__).parents[4] / "shared" / "data" / "glue"
PARSES = [f"sentence{i}_{kind}" for kind in ("binary_parse", "parse") for i in (1, 2)]
MNLI_HEAD = ["index", "promptID", "pairID", "genre", *PARSES, "sentence1", "sentence2"]


def tsv(path, head, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(map(str, row)) for row in ([head] if head else []) + rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig" if path.parent.name == "MRPC" else "utf-8")


def write_glue(root):
    """Every task in the layout of GLUE's own download; two training rows, two of dev, one of test."""
    for split, names in (("train", ["0", "1"]), ("dev", ["1", "0"]), ("test", ["x"])):
        n, test = range(len(names)), split == "test"

        def put(folder, head, rows, file=split):
            tsv(root / folder / f"{file}.tsv", head, rows)

        put(
            "SST-2",
            ["index", "sentence"] if test else ["sentence", "label"],
            [[i, 'a "b c'] for i in n] if test else [[f"it 's \" {split} {i}", names[i]] for i in n],
        )
        put(
            "CoLA",
            ["index", "sentence"] if test else None,
            [[i, "Who left?"] for i in n]
            if test
            else [["gj04", names[i], "" if i else "*", f"Text {split} {i}."] for i in n],
        )
        put(
            "MRPC",
            ["index" if test else "Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"],
            [[i if test else names[i], 10 + i, 20 + i, f'" one {split} {i}', f"two {i}"] for i in n],
        )
        head = ["index", "genre", "filename", "year", "old_index", "source1", "source2", "sentence1", "sentence2"]
        put(
            "STS-B",
            head if test else [*head, "score"],
            [
                [i, "g", "f", "y", "o", "s", "s", f"a {split} {i}", "b", *([] if test else ["2.500" if i else "5.000"])]
                for i in n
            ],
        )
        put(
            "QQP",
            ["id", "question1", "question2"]
            if test
            else ["id", "qid1", "qid2", "question1", "question2", "is_duplicate"],
            [[i, f"q1 {i}", ""] if test else [i, 1, 2, f"q1 {split} {i}", f"q2 {i}", names[i]] for i in n],
        )
        logic = ["entailment", "not_entailment"]
        put(
            "QNLI",
            ["index", "question", "sentence", *([] if test else ["label"])],
            [[i, f"q {split} {i}", "s", *([] if test else [logic[int(names[i])]])] for i in n],
        )
        put(
            "RTE",
            ["index", "sentence1", "sentence2", *([] if test else ["label"])],
            [[i, f"p {split} {i}", "h", *([] if test else [logic[int(names[i])]])] for i in n],
        )
        put(
            "WNLI",
            ["index", "sentence1", "sentence2", *([] if test else ["label"])],
            [[i, f"p {split} {i}", "h", *([] if test else [names[i]])] for i in n],
        )
        for half in ("",) if split == "train" else ("_matched", "_mismatched"):
            labels = [] if test else ["label1", "gold_label"]
            put("MNLI", [*MNLI_HEAD, *labels], [[i, 1, 2, "g", "(", "(", "(", "(", f"p {split}{half} {i}", f"h {i}",
                *([] if test else ["neutral", ["contradiction", "neutral"][i]])] for i in n], split + half)  # fmt: skip
    return root


@pytest.fixture(scope="module")
def glue(tmp_path_factory):
    return write_glue(tmp_path_factory.mktemp("glue_data"))


# task: labels of the two training rows, labels of dev, first text of dev, second text of dev's second row
EXPECTED = {
    "cola": ([0, 1], [1, 0], "Text dev 0.", None),
    "sst2": ([0, 1], [1, 0], "it 's \" dev 0", None),
    "mrpc": ([0, 1], [1, 0], '" one dev 0', "two 1"),
    "stsb": ([5.0, 2.5], [5.0, 2.5], "a dev 0", "b"),
    "qqp": ([0, 1], [1, 0], "q1 dev 0", "q2 1"),
    "mnli": ([2, 1], [2, 1], "p dev_matched 0", "h 1"),
    "qnli": ([0, 1], [1, 0], "q dev 0", "s"),
    "rte": ([0, 1], [1, 0], "p dev 0", "h"),
    "wnli": ([0, 1], [1, 0], "p dev 0", "h"),
}


@pytest.mark.parametrize("task", EXPECTED)
def test_each_layout_of_glue(glue, task):
    train, dev, first, second = EXPECTED[task]
    splits = load_splits(Options(str(glue / TASKS[task].folder)))
    assert (splits.task, splits.name) == (task, task)
    assert splits.metrics == TASKS[task].metrics
    assert splits.labels == (None if task == "stsb" else list(TASKS[task].labels))
    assert list(splits.evaluation) == (["matched", "mismatched"] if task == "mnli" else ["dev"])
    part = next(iter(splits.evaluation.values()))
    assert splits.train.label.tolist() == train
    assert splits.train.label.dtype == (np.float64 if task == "stsb" else np.int64)
    assert part.label.tolist() == dev
    assert part.first[0] == first
    assert (part.second[1] if part.second else None) == second
    assert not splits.held_out
    hidden = load_splits(Options(str(glue), task=TASKS[task].folder), need=("prediction",)).evaluation
    assert list(hidden) == (["matched", "mismatched"] if task == "mnli" else ["test"])
    assert all(part.label is None and part.index == ["0"] for part in hidden.values())
    with pytest.raises(DataError, match="GLUE keeps the labels of its test sets back; leave --eval-split out"):
        load_splits(Options(str(glue / TASKS[task].folder), eval_split="test"))


def test_names_of_mnlis_halves(glue):
    for word, halves in (
        ("mismatched", ["mismatched"]),
        ("dev", ["matched", "mismatched"]),
        ("dev_matched", ["matched"]),
    ):
        assert list(load_splits(Options(str(glue / "MNLI"), eval_split=word)).evaluation) == halves
    assert (
        load_splits(Options(str(glue / "MNLI"), eval_split="mismatched")).evaluation["mismatched"].first[0]
        == "p dev_mismatched 0"
    )


def test_recognised_without_the_folders_name(glue, tmp_path):
    for task in ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte"):
        renamed = tmp_path / f"{task[::-1]}-data"
        renamed.mkdir()
        for file in (glue / TASKS[task].folder).iterdir():
            (renamed / file.name).write_bytes(file.read_bytes())
        assert load_splits(Options(str(renamed))).task == task
    mine = tmp_path / "mine"
    tsv(mine / "train.tsv", ["sentence", "label"], [[f"t{i}", i % 2] for i in range(20)])
    splits = load_splits(Options(str(mine)))
    assert (splits.task, splits.labels, splits.held_out) == (None, ["0", "1"], True)
    assert load_splits(Options(str(mine), task="sst2")).labels == ["negative", "positive"]


def test_the_diagnostic_set(tmp_path):
    folder = tmp_path / "diagnostic"
    tsv(folder / "diagnostic.tsv", ["index", "sentence1", "sentence2"], [[0, "a", "b"], [1, "c", "d"]])
    tsv(tmp_path / "diagnostic-full.tsv", ["Logic", "Premise", "Hypothesis", "Label"], [["", "a", "b", "neutral"]])
    hidden = load_splits(Options(str(folder)), need=("prediction",))
    assert (hidden.task, hidden.evaluation["diagnostic"].second) == ("ax", ["b", "d"])
    labels = ["contradiction", "neutral", "entailment"]
    full = load_splits(Options(str(tmp_path / "diagnostic-full.tsv"), task="ax", labels=labels), need=("evaluation",))
    assert (full.metrics, full.evaluation["all"].label.tolist()) == (("matthews_correlation",), [1])
    with pytest.raises(DataError, match="ax has no rows to train on; train on mnli, and evaluate that model on ax"):
        load_splits(Options(str(folder)))


def test_mrpc_as_first_published(tmp_path):
    head = ["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"]
    rows = [[i % 2, 100 + i, 200 + i, f'a "{i}', f"b {i}"] for i in range(6)]
    folder = tmp_path / "MRPC"
    tsv(folder / "train.tsv", head, rows)
    (folder / "train.tsv").rename(folder / "msr_paraphrase_train.txt")
    tsv(folder / "dev.tsv", head, rows[:2])
    (folder / "dev.tsv").rename(folder / "msr_paraphrase_test.txt")
    assert list(load_splits(Options(str(folder))).evaluation) == ["test"]
    (folder / "dev_ids.tsv").write_text("101\t201\n104\t204\n")
    splits = load_splits(Options(str(folder)))
    assert splits.train.first == ['a "0', 'a "2', 'a "3', 'a "5']
    assert splits.evaluation["dev"].first == ['a "1', 'a "4']
    assert splits.evaluation["dev"].label.tolist() == [1, 0]


def test_qqps_broken_rows_are_passed_over(glue, tmp_path):
    file = tmp_path / "QQP" / "train.tsv"
    file.parent.mkdir()
    file.write_text((glue / "QQP" / "train.tsv").read_text() + "7\t1\t2\tbroken\n8\t1\t2\tq\t\t1\n")
    (file.parent / "dev.tsv").write_bytes((glue / "QQP" / "dev.tsv").read_bytes())
    splits = load_splits(Options(str(file.parent)))
    assert splits.train.second == ["q2 0", "q2 1", ""]
    assert splits.skipped == [f"1 row left out: row that can't be read, first {file}, row 4"]


@pytest.mark.skipif(not GLUE.is_dir(), reason="the GLUE files of ../shared/data are not here")
def test_real_files_have_the_official_counts():
    said = {
        "SST-2": "sst2: 67,349 + 872 sentences, 2 classes",
        "MRPC": "mrpc: 3,668 + 408 pairs, 2 classes",
        "RTE": "rte: 2,490 + 277 pairs, 2 classes",
        "STS-B": "stsb: 5,749 + 1,500 pairs, scores 0 to 5",
    }
    found = {folder: load_splits(Options(str(GLUE / folder))) for folder in said}
    assert {folder: splits.description for folder, splits in found.items()} == said
    sst2, mrpc = found["SST-2"].evaluation["dev"], found["MRPC"].evaluation["dev"]
    assert (int(sst2.label.sum()), int(mrpc.label.sum())) == (444, 279)
    assert sst2.first[1] == "unflinchingly bleak and desperate "
    assert found["RTE"].train.label[1] == 0  # "A place of sorrow" entails it


# Other tables


def rows(count, labels=("neg", "pos")):
    return [(f"text {i}", labels[i % len(labels)]) for i in range(count)]


def write_csv(path, head, lines, mark=","):
    path.write_text("\n".join(mark.join(map(str, line)) for line in [head, *lines]) + "\n", encoding="utf-8")
    return str(path)


def test_csv_forms(tmp_path):
    quoted = tmp_path / "quoted.csv"
    quoted.write_text('review,stars\n"two, ""quoted""\nlines",5\r\nplain,1\n' * 1 + "more,5\nlast,1\n")
    splits = load_splits(Options(str(quoted)), need=("evaluation",))
    assert splits.evaluation["all"].first == ['two, "quoted"\nlines', "plain", "more", "last"]
    assert (splits.labels, splits.evaluation["all"].label.tolist()) == (["1", "5"], [1, 0, 1, 0])
    for mark in (";", "\t"):
        file = write_csv(tmp_path / "marked.csv", ("Text", "LABEL"), rows(6), mark)
        assert load_splits(Options(file), need=("evaluation",)).evaluation["all"].label.tolist() == [0, 1] * 3
    letters = write_csv(tmp_path / "l.tsv", ("text", "label"), [('"one', "a"), ('two"', "b"), ('"three"', "a")], "\t")
    assert load_splits(Options(letters), need=("evaluation",)).evaluation["all"].first == ['"one', 'two"', '"three"']
    marks = write_csv(tmp_path / "m.tsv", ("text", "label"), [('"one ""x"""', "a"), ('"tw\to"', "b"), ("c", "a")], "\t")
    assert load_splits(Options(marks), need=("evaluation",)).evaluation["all"].first == ['one "x"', "tw\to", "c"]


def test_json_parquet_and_arrow_say_the_same(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

    lines = [{"premise": f"p{i}", "hypothesis": f"h{i}", "label": ["b", "a"][i % 2], "id": f"x{i}"} for i in range(9)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "a.json").write_text(json.dumps(lines, indent=1))
    table = pa.Table.from_pylist(lines)
    pq.write_table(table, tmp_path / "a.parquet")
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)
    for name in ("a.jsonl", "a.json", "a.parquet", "a.arrow"):
        splits = load_splits(Options(str(tmp_path / name)), need=("evaluation",))
        part = splits.evaluation["all"]
        assert (part.first[8], part.second[8], part.index[8]) == ("p8", "h8", "x8")
        assert (splits.labels, part.label.tolist()) == (["a", "b"], [1, 0] * 4 + [1])
        assert splits.description == "a: 9 pairs, 2 classes"
    features = Features(text=Value("string"), label=ClassLabel(names=["ham", "spam"]))
    saved = Dataset.from_dict({"text": list("abcd"), "label": [1, 0, 1, 0]}, features)
    hidden = Dataset.from_dict({"text": list("ef"), "label": [-1, -1]}, features)
    DatasetDict(train=saved, validation=saved, test=hidden).save_to_disk(tmp_path / "saved")
    (tmp_path / "shards").mkdir()
    saved.to_parquet(tmp_path / "shards" / "train-00000-of-00002.parquet")
    saved.to_parquet(tmp_path / "shards" / "train-00001-of-00002.parquet")
    hidden.to_parquet(tmp_path / "shards" / "test-00000-of-00001.parquet")
    one, other = load_splits(Options(str(tmp_path / "saved"))), load_splits(Options(str(tmp_path / "shards")))
    assert one.labels == other.labels == ["ham", "spam"]
    assert (list(one.evaluation), list(other.evaluation)) == (["validation"], ["held out"])
    assert (len(one.train), one.train.label.tolist()) == (4, [1, 0, 1, 0])
    assert len(other.train) + len(other.evaluation["held out"]) == 8
    assert load_splits(Options(str(tmp_path / "saved")), need=("prediction",)).evaluation["test"].label is None
    with pytest.raises(DataError, match=r"the labels are held back \(column label is empty or -1\)"):
        load_splits(Options(str(tmp_path / "saved"), eval_split="test"))


@pytest.mark.parametrize(
    ("values", "labels", "numbers"),
    [
        (["b", "a", "b"], ["a", "b"], [1, 0, 1]),
        ([3, 1, 2], ["1", "2", "3"], [2, 0, 1]),
        ([10, 9, 10], ["9", "10"], [1, 0, 1]),
        ([1.0, 0.0, 1.0], ["0", "1"], [1, 0, 1]),
        ([True, False, True], ["false", "true"], [1, 0, 1]),
        ([0.5, 1, 2], None, [0.5, 1.0, 2.0]),
        (list(range(2, 60, 2)), None, list(map(float, range(2, 60, 2)))),
        (list(range(40)), [str(i) for i in range(40)], list(range(40))),
    ],
)
def test_what_labels_mean(tmp_path, values, labels, numbers):
    file = tmp_path / "data.jsonl"
    file.write_text("\n".join(json.dumps({"text": f"t{i}", "label": value}) for i, value in enumerate(values)))
    splits = load_splits(Options(str(file)), need=("evaluation",))
    assert splits.labels == labels
    assert splits.evaluation["all"].label.tolist() == numbers
    of_classes = ("accuracy", "f1" if labels and len(labels) == 2 else "macro_f1")
    assert splits.metrics == (("pearson", "spearman") if labels is None else of_classes)


def test_labels_of_a_model(tmp_path):
    named = write_csv(tmp_path / "named.csv", ("text", "label"), [("a", "Pos"), ("b", "NEG")])
    given = load_splits(Options(named, labels=["pos", "neg"]), need=("evaluation",))
    assert (given.labels, given.evaluation["all"].label.tolist()) == (["pos", "neg"], [0, 1])
    numbered = write_csv(tmp_path / "numbered.csv", ("text", "label"), [("a", 1), ("b", 0)])
    assert load_splits(Options(numbered, labels=["n", "p"]), need=("evaluation",)).evaluation["all"].label.tolist() == [
        1,
        0,
    ]
    scored = load_splits(Options(numbered, regression=True), need=("evaluation",))
    assert (scored.labels, scored.evaluation["all"].label.tolist()) == (None, [1.0, 0.0])
    with pytest.raises(DataError) as error:
        load_splits(Options(named, labels=["good", "bad"]), need=("evaluation",))
    assert str(error.value).startswith(
        f"{named}, row 2: unknown label 'Pos'; known are good, bad; {named}, row 3: unknown"
    )


def test_classes_in_another_order_are_matched_by_name(glue, tmp_path):
    """GLUE's files say 0 and 1; what those are called decides, not the place in the model's list."""
    from datasets import ClassLabel, Dataset, Features, Value

    dev = load_splits(Options(str(glue / "SST-2"), labels=["POSITIVE", "NEGATIVE"]), need=("evaluation",)).evaluation[
        "dev"
    ]
    assert dev.label.tolist() == [0, 1]
    dev = load_splits(Options(str(glue / "SST-2"), labels=["LABEL_0", "LABEL_1"]), need=("evaluation",)).evaluation[
        "dev"
    ]
    assert dev.label.tolist() == [1, 0]
    features = Features(text=Value("string"), label=ClassLabel(names=["ham", "spam"]))
    Dataset.from_dict({"text": list("abc"), "label": [1, 0, 1]}, features).to_parquet(tmp_path / "d.parquet")
    for labels, wanted in ((["Spam", "Ham"], [0, 1, 0]), (["LABEL_0", "LABEL_1"], [1, 0, 1])):
        part = load_splits(Options(str(tmp_path / "d.parquet"), labels=labels), need=("evaluation",)).evaluation["all"]
        assert part.label.tolist() == wanted


def test_files_of_a_folder(tmp_path):
    for name, count in (("reviews_train", 12), ("reviews_val", 4), ("reviews_test", 4), ("notes", 3)):
        write_csv(tmp_path / f"{name}.csv", ("text", "label"), rows(count))
    splits = load_splits(Options(str(tmp_path)))
    assert {name: len(part) for name, part in splits.evaluation.items()} == {"val": 4}
    assert (len(splits.train), splits.held_out) == (12, False)
    assert list(load_splits(Options(str(tmp_path), eval_split="test")).evaluation) == ["test"]
    assert list(load_splits(Options(str(tmp_path), eval_split="validation")).evaluation) == ["val"]
    with pytest.raises(ConfigError, match=r"--eval-split tst: .* has no such split; did you mean test"):
        load_splits(Options(str(tmp_path), eval_split="tst"))


def test_prediction_needs_no_labels(tmp_path):
    file = tmp_path / "new.csv"
    file.write_text("text,label\none,strange\ntwo,\n")
    assert load_splits(Options(str(file)), need=("prediction",)).evaluation["all"].first == ["one", "two"]
    lines = tmp_path / "new.txt"
    lines.write_text("one, with a comma\ntwo\n")
    assert load_splits(Options(str(lines)), need=("prediction",)).evaluation["all"].first == [
        "one, with a comma",
        "two",
    ]


# Hold-out and subsets


def test_hold_out_keeps_classes_and_copies_together(tmp_path):
    lines = [(f"text {i}", "rare" if i % 10 == 0 else "common") for i in range(200)]
    lines += [(f"TEXT  {i}", "rare" if i % 10 == 0 else "common") for i in range(0, 200, 5)]
    file = write_csv(tmp_path / "r.csv", ("text", "label"), lines)
    splits = load_splits(Options(file, eval_fraction=0.2))
    held = splits.evaluation["held out"]
    assert splits.held_out
    assert len(splits.train) + len(held) == 240
    assert not set(keys_of(splits.train)) & set(keys_of(held))
    of_rare = {key for key, label in zip(keys_of(held), held.label, strict=True) if splits.labels[label] == "rare"}
    assert (len(set(keys_of(held))), len(of_rare)) == (40, 4)
    again, other = load_splits(Options(file, eval_fraction=0.2)), load_splits(Options(file, eval_fraction=0.2, seed=1))
    assert again.evaluation["held out"].first == held.first
    assert other.evaluation["held out"].first != held.first
    calibration = load_splits(Options(file, eval_fraction=0.2), need=("calibration",))
    assert (calibration.train.first, calibration.evaluation) == (splits.train.first, {})


def test_subsets(tmp_path):
    file = write_csv(tmp_path / "r.csv", ("text", "label"), rows(100))
    splits = load_splits(Options(file, max_samples=20, max_eval_samples=5))
    assert (len(splits.train), len(splits.evaluation["held out"])) == (20, 5)
    numbers = [int(text.split()[1]) for text in splits.train.first]
    assert numbers == sorted(numbers) != list(range(20))
    assert load_splits(Options(file, max_samples=20)).train.first == splits.train.first
    assert splits.description == "r: 20 + 5 texts, 2 classes, the second held out"


def test_inspection(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    write_csv(
        folder / "train.csv", ("text", "label"), [("a b", "x"), ("A  b", "y"), ("c", "x"), ("", "x"), ("d e f", "x")]
    )
    write_csv(folder / "test.csv", ("text", "label"), [("c", "x"), ("g", "z")])
    found = inspect(Options(str(folder)))
    train = found["splits"]["train"]
    assert (train["rows"], train["labels"]) == (4, {"x": 3, "y": 1})
    assert (train["repeated_rows"], train["repeated_with_another_label"]) == (1, 1)
    assert train["words"] == {"median": 2, "95th": 2, "longest": 3}
    assert found["overlap"] == {"test in train": 1}
    assert found["problem_count"] == 2
    assert found["problems"] == [
        f"{folder}/test.csv, row 3: unknown label 'z'; known are x, y",
        f"{folder}/train.csv, row 5: the text is empty",
    ]
    assert "test in train: 1" in inspected(found, lambda: None)["text"]
