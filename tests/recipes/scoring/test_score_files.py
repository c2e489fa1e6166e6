"""Scoring a file against a file: the official formats, plain columns, and every way in which they can be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recipes.scoring.files import read_official_annotations, score_files
from tasks.errors import ConfigError, DataError, ToolError
from tasks.vqa.score import write_official_results

OFFICIAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "vqa" / "official"


def _annotation(key: Any, image: int, question_type: str, answer_type: str, answers: list[str]) -> dict[str, Any]:
    return {
        "question_id": key,
        "image_id": image,
        "question_type": question_type,
        "answer_type": answer_type,
        "multiple_choice_answer": answers[0],
        "answers": [{"answer": text, "answer_confidence": "yes", "answer_id": i} for i, text in enumerate(answers, 1)],
    }


ANNOTATIONS = [
    _annotation(10, 1, "what is", "other", ["dog"] * 3 + ["cat"] * 7),
    _annotation(11, 1, "how many", "number", ["two"] * 1 + ["3"] * 9),
    _annotation(12, 2, "what is", "other", ["red"] * 10),
    _annotation(13, 3, "is it", "yes/no", ["yes"] * 8 + ["no"] * 2),
]
RESULTS = [
    {"question_id": 13, "answer": "No."},  # 0.6
    {"question_id": 10, "answer": "The dog"},  # 0.9
    {"question_id": 11, "answer": "2"},  # 0.3
    {"question_id": 12, "answer": "red"},  # 1.0
]


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def files(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Writes results and annotations and gives their paths."""

    def write(results: Any = RESULTS, annotations: Any = ANNOTATIONS) -> tuple[Path, Path]:
        paths = tmp_path / "results.json", tmp_path / "annotations.json"
        paths[0].write_text(results if isinstance(results, str) else json.dumps(results))
        wrapped = {"info": {}, "annotations": annotations} if isinstance(annotations, list) else annotations
        paths[1].write_text(wrapped if isinstance(wrapped, str) else json.dumps(wrapped))
        return paths

    return write


def test_vqa_accuracy_in_the_official_form(files: Callable[..., tuple[Path, Path]]) -> None:
    found = score_files("vqa_accuracy", *files(), {})
    low, high = found.pop("low"), found.pop("high")
    assert found == {
        "metric": "vqa_accuracy",
        "overall": 70.0,
        "perQuestionType": {"how many": 30.0, "is it": 60.0, "what is": 95.0},
        "perAnswerType": {"number": 30.0, "other": 95.0, "yes/no": 60.0},
        "n": 4,
        "n_images": 3,
        "confidence": 0.95,
    }
    # Images score 60 (two questions), 100 and 60: the mean of three drawn lies between 60 and 100.
    assert 60.0 <= low < 70.0 < high <= 100.0
    json.dumps(found, allow_nan=False)


def test_the_interval_follows_its_options(files: Callable[..., tuple[Path, Path]]) -> None:
    paths = files()
    wide = score_files("vqa_accuracy", *paths, {"confidence": 0.99})
    narrow = score_files("vqa_accuracy", *paths, {"confidence": 0.2, "resamples": 500, "seed": 3})
    assert narrow["confidence"] == 0.2
    assert wide["high"] - wide["low"] > narrow["high"] - narrow["low"]
    assert score_files("vqa_accuracy", *paths, {"seed": 3}) == score_files("vqa_accuracy", *paths, {"seed": 3})
    with pytest.raises(ConfigError, match="no option confidnce"):
        score_files("vqa_accuracy", *paths, {"confidnce": 0.9})


def test_questions_on_one_image_give_no_interval(files: Callable[..., tuple[Path, Path]]) -> None:
    found = score_files("vqa_accuracy", *files(RESULTS[1:3], ANNOTATIONS[:2]))
    assert found["overall"] == 60.0
    assert "low" not in found


def test_answers_may_be_plain_text_and_image_ids_missing(files: Callable[..., tuple[Path, Path]]) -> None:
    plain = [{**row, "answers": [answer["answer"] for answer in row["answers"]]} for row in ANNOTATIONS]
    for row in plain:
        del row["image_id"]
    found = score_files("vqa_accuracy", *files(RESULTS, plain))
    assert (found["overall"], found["n_images"]) == (70.0, 4)


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ('[{"question_id": 10,\n "answer": "x"},\n oops]', r"results.json, line 3: not JSON"),
        ({"question_id": 10}, "must hold a list"),
        ([], "at least one question"),
        ([*RESULTS, {"answer": "x"}], "results.json, row 5: no 'question_id'"),
        ([*RESULTS, "x"], "results.json, row 5: no 'question_id'"),
        ([*RESULTS[:3], {"question_id": 12}], "row 4: 'answer' must be text, its keys are question_id"),
        ([*RESULTS[:3], {"question_id": 12, "answer": 2}], "row 4: 'answer' must be text, found int"),
        ([*RESULTS, RESULTS[1]], "results.json, row 5: the question 10 stands in row 2 already"),
        (RESULTS[:1], r"3 of 4 question ids in .*annotations.json are not in .*results.json: 10, 11, 12\. Both"),
        ([*RESULTS, {"question_id": 7, "answer": "x"}], r"1 of 5 question ids in .*results.json are not in .*: 7\. "),
        (
            [{**row, "question_id": row["question_id"] + 90} for row in RESULTS],
            r"10, 11, 12, \.\.\.; 4 of 4 .*103, 100",
        ),
        ([{**row, "question_id": str(row["question_id"])} for row in RESULTS], "'13', '10', '11'"),
    ],
)
def test_wrong_results_are_told_in_one_line(
    files: Callable[..., tuple[Path, Path]], results: Any, message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        score_files("vqa_accuracy", *files(results))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        ("{", "annotations.json, line 1: not JSON"),
        ("[]", "the key 'annotations'"),
        ({"questions": []}, "the key 'annotations'"),
        ({"annotations": {}}, "at least one question"),
        ([*ANNOTATIONS, ANNOTATIONS[0]], "annotations.json, row 5: the question 10 stands in row 1 already"),
        ([{"question_id": 1}], "row 1: 'answers' must be a list, its keys are question_id"),
        ([{**ANNOTATIONS[0], "answers": []}], "row 1: 'answers' must be a list of"),
        ([{**ANNOTATIONS[0], "answers": [{"text": "x"}]}], "row 1: 'answers' must be a list of"),
        ([{**ANNOTATIONS[0], "answer_type": None}], "row 1: 'answer_type' must be text, found NoneType"),
    ],
)
def test_wrong_annotations_are_told_in_one_line(
    files: Callable[..., tuple[Path, Path]], annotations: Any, message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        score_files("vqa_accuracy", *files(RESULTS, annotations))
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_bytes_that_are_no_text(files: Callable[..., tuple[Path, Path]], tmp_path: Path) -> None:
    results, annotations = files()
    with pytest.raises(DataError, match=r"can't read .*nowhere.json: No such file"):
        score_files("vqa_accuracy", tmp_path / "nowhere.json", annotations)
    results.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"results.json is not UTF-8"):
        score_files("vqa_accuracy", results, annotations)


def test_official_results_are_written_and_read_back(files: Callable[..., tuple[Path, Path]], tmp_path: Path) -> None:
    path = tmp_path / "out" / "results.json"
    ids = np.array([13, 10, 11, 12])
    answers = ["No.", "The dog", "2", "red"]
    write_official_results(path, ids, answers)
    assert json.loads(path.read_text()) == RESULTS
    assert score_files("vqa_accuracy", path, files()[1])["overall"] == 70.0
    write_official_results(path, ["a"], ['"caf\u00e9"\n'])
    assert json.loads(path.read_text(encoding="utf-8")) == [{"question_id": "a", "answer": '"caf\u00e9"\n'}]
    with pytest.raises(DataError, match="2 ids and 1 answers"):
        write_official_results(path, [1, 2], ["x"])
    with pytest.raises(DataError, match="question 1 twice"):
        write_official_results(path, [1, np.int64(1)], ["x", "y"])


@pytest.mark.skipif(not OFFICIAL.is_dir(), reason="the folder shared/data/vqa/official is not beside the repository")
def test_the_official_sample_files(tmp_path: Path) -> None:
    annotations = OFFICIAL / "two_real_v2_annotations.json"
    assert list(read_official_annotations(annotations)) == [262148000, 393714000]
    with pytest.raises(DataError, match=r"2 of 2 question ids in .*: 262148000, 393714000; 10 of 10 .*: 1, 2, 3, \.\."):
        score_files("vqa_accuracy", OFFICIAL / "OpenEnded_mscoco_train2014_fake_results.json", annotations)
    results = tmp_path / "results.json"
    write_official_results(results, [262148000, 393714000], ["Table!", "white"])
    found = score_files("vqa_accuracy", results, annotations)
    assert found["overall"] == 65.0  # 30 and 100
    assert found["perQuestionType"] == {"none of the above": 30.0, "what color are the": 100.0}
    assert found["perAnswerType"] == {"other": 65.0}


def _parquet(path: Path, columns: dict[str, list[Any]]) -> None:
    from pyarrow import parquet, table

    parquet.write_table(table(columns), path)


WRITERS: dict[str, Callable[[Path, str, list[Any]], None]] = {
    "json": lambda path, name, values: path.write_text(json.dumps([{name: v, "id": 0} for v in values])) and None,
    "plain.json": lambda path, name, values: path.write_text(json.dumps(values)) and None,
    "columns.json": lambda path, name, values: path.write_text(json.dumps({"id": values, name: values})) and None,
    "jsonl": lambda path, name, values: path.write_text("".join(json.dumps({name: v}) + "\n" for v in values)) and None,
    "plain.jsonl": lambda path, name, values: path.write_text("\n".join(map(json.dumps, values)) + "\n\n") and None,
    "csv": lambda path, name, values: path.write_text(f"id,{name}\n" + "".join(f"0,{v}\n" for v in values)) and None,
    "one.csv": lambda path, name, values: path.write_text("x\r\n" + "".join(f"{v}\r\n" for v in values)) and None,
    "tsv": lambda path, name, values: path.write_text(f"id\t{name}\n" + "".join(f"0\t{v}\n" for v in values)) and None,
    "parquet": lambda path, name, values: _parquet(path, {"id": [0] * len(values), name: values}),
    "npy": lambda path, name, values: np.save(path, np.array(values)),
    "txt": lambda path, name, values: path.write_text("\n".join(map(str, values)) + "\n") and None,
}


@pytest.mark.parametrize(
    "values", [([1, 0, 2, 2], [1, 1, 2, 2]), (["cat", "dog", "a b", "d"], ["cat", "cow", "a b", "d"])]
)
@pytest.mark.parametrize("kind", list(WRITERS))
def test_accuracy_from_every_format_against_every_other(
    tmp_path: Path, kind: str, values: tuple[list[Any], list[Any]]
) -> None:
    predictions = tmp_path / f"predictions.{kind}"
    WRITERS[kind](predictions, "prediction", values[0])
    for other in ("json", "csv"):  # numbers as such, and as text
        references = tmp_path / f"references.{other}"
        WRITERS[other](references, "reference", values[1])
        found = score_files("accuracy", predictions, references)
        assert (found["accuracy"], found["n"], found["metric"]) == (0.75, 4, "accuracy")
        assert 0.0 <= found["low"] < 0.75 < found["high"] <= 1.0


def test_columns_are_found_by_name_or_named(tmp_path: Path) -> None:
    both = tmp_path / "both.csv"
    both.write_text("prediction,reference,label\na,a,b\nb,a,b\n")
    assert score_files("accuracy", both, both)["accuracy"] == 0.5
    assert score_files("accuracy", both, both, {"reference_column": "label"})["accuracy"] == 0.5
    assert score_files("accuracy", both, both, {"reference_column": "prediction"})["accuracy"] == 1.0
    with pytest.raises(ConfigError, match="has no column 'lable'; it has prediction, reference, label"):
        score_files("accuracy", both, both, {"reference_column": "lable"})
    both.write_text("x,y\na,a\n")
    with pytest.raises(DataError, match="has the columns x, y; name one of them 'prediction'"):
        score_files("accuracy", both, both)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.csv", "prediction\na\nb\nc\n", r"p.csv has 3 rows and .* has 2; they must pair up"),
        ("p.csv", "", "has no rows"),
        ("p.csv", "prediction\n", "has no rows"),
        ("p.csv", "1\n0\n1\n", "line 1: the first line must name the columns, found 1"),
        ("p.csv", "prediction,prediction\na,b\n", "two columns have the same name"),
        ("p.csv", "prediction,id\na,1\nb\n", "p.csv, row 2: 1 values under 2 columns"),
        ("p.json", "[1,\n2", "p.json, line 2: not JSON"),
        ("p.json", "3", "must hold a list"),
        ("p.json", "[]", "has no rows"),
        ("p.json", '[{"prediction": "a"}, "b"]', "row 2: a plain value among objects"),
        ("p.json", '["a", {"prediction": "b"}]', "row 2: an object among plain values"),
        ("p.json", '[{"prediction": "a"}, {"x": "b"}]', "p.json, row 2: no value"),
        ("p.json", '["a", null]', "p.json, row 2: no value"),
        ("p.jsonl", '"a"\n\n{"b"\n', "p.jsonl, line 3: not JSON"),
        ("p.parquet", "no parquet", "p.parquet is not Parquet"),
        ("p.npy", "no array", "p.npy is not an array"),
        ("p.txt", "", "has no rows"),
    ],
)
def test_wrong_columns_are_told_in_one_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    predictions, references = tmp_path / name, tmp_path / "references.txt"
    predictions.write_text(text)
    references.write_text("a\nb\n")
    with pytest.raises(DataError, match=message) as caught:
        score_files("accuracy", predictions, references)
    assert "\n" not in str(caught.value)


def test_an_array_of_objects_is_not_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "p.npy"
    np.save(path, np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="is not an array of numbers or text"):
        score_files("accuracy", path, path)
    np.save(path, np.zeros((2, 2)))
    with pytest.raises(DataError, match=r"one axis, found shape \(2, 2\)"):
        score_files("accuracy", path, path)


def test_an_unknown_ending_or_metric_is_a_config_error(tmp_path: Path) -> None:
    path = tmp_path / "p.xlsx"
    path.write_text("x")
    with pytest.raises(ConfigError, match=r"unknown ending '.xlsx'; there are .json, .jsonl"):
        score_files("accuracy", path, path)
    with pytest.raises(ConfigError, match="did you mean 'accuracy'"):
        score_files("acuracy", path, path)
    path = tmp_path / "p.txt"
    path.write_text("x\n")
    with pytest.raises(ConfigError, match="accuracy refuses normalise"):
        score_files("accuracy", path, path, {"normalise": True})


def _metric(kind: str, scores: Any) -> Any:
    """A metric of the library's kind with features of one kind and no scores by row."""
    import evaluate
    from datasets import Features, Value

    class Fixed(evaluate.Metric):
        def _info(self) -> Any:
            features = Features({"predictions": Value(kind), "references": Value(kind)})
            return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

        def _compute(self, predictions: Any, references: Any, factor: int = 1) -> Any:
            return {"kinds": sorted({type(value).__name__ for value in predictions}), "score": scores, "factor": factor}

    return Fixed(keep_in_memory=True)


def test_a_metric_gets_the_kind_of_values_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.txt"
    path.write_text("1\n0\n")
    made = {"numbers": _metric("int64", np.float32(0.5)), "texts": _metric("string", np.array([1.0, np.nan]))}
    monkeypatch.setattr("recipes.scoring.files.metrics.load", lambda name, config_name: made[name])
    found = score_files("numbers", path, path, {"factor": 2})
    assert found == {"metric": "numbers", "kinds": ["int"], "score": 0.5, "factor": 2, "n": 2}
    assert score_files("texts", path, path) == {
        "metric": "texts", "kinds": ["str"], "score": [1.0, None], "factor": 1, "n": 2,
    }  # fmt: skip
    path.write_text("1\nnan\n")
    with pytest.raises(DataError, match=r"p.txt, row 2: numbers needs finite numbers, found 'nan'"):
        score_files("numbers", path, path)


def test_a_metric_that_has_to_be_fetched_offline(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="can't be reached") as caught:
        score_files("rouge", tmp_path / "p.txt", tmp_path / "r.txt")
    assert caught.value.exit_code == 1


def test_the_metrics_of_glue_from_files(tmp_path: Path) -> None:
    predictions, references = tmp_path / "p.csv", tmp_path / "r.npy"
    predictions.write_text("id,prediction\n" + "".join(f"{row},{row % 2}\n" for row in range(20)))
    np.save(references, np.array([row % 2 if row < 15 else 1 for row in range(20)]))
    found = score_files("glue", predictions, references, {"config_name": "mrpc"})
    assert (found["accuracy"], found["n"], found["confidence"]) == (0.9, 20, 0.95)
    assert found["f1"] == pytest.approx(2 * 10 / 22)
    for name in ("accuracy", "f1"):
        low, high = found["intervals"][name]
        assert low < found[name] < high
    narrow = score_files("f1", predictions, references, {"confidence": 0.5})["intervals"]["f1"]
    assert found["intervals"]["f1"][0] < narrow[0] < narrow[1] < found["intervals"]["f1"][1]
    constant = tmp_path / "c.txt"
    constant.write_text("2\n" * 20)
    assert score_files("pearsonr", constant, references)["pearsonr"] is None
    assert score_files("pearsonr", constant, references)["intervals"] == {}
    predictions.write_text("prediction\n" + "yes\n" * 20)
    with pytest.raises(DataError, match=r"p.csv, row 1: f1 needs finite numbers, found 'yes'"):
        score_files("f1", predictions, references)


ANSWERED = [("good", "negative", "positive"), ("bad", "negative", "negative"), ("so so", "positive", "negative")]


def test_what_a_classifier_wrote_is_read_back_as_its_answers_and_as_what_was_given(tmp_path: Path) -> None:
    """`eval glue --output`, `predict --output` and `--json`: the best label is the prediction, `given` the reference."""
    rows = [
        {"text": text, "given": given, "answers": [{"label": label, "score": 0.9}, {"label": "x", "score": 0.1}]}
        for text, given, label in ANSWERED
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = ["text,given,label,score", *(f"{text},{given},{label},0.9" for text, given, label in ANSWERED)]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "a.tsv").write_text(
        "index\tprediction\n" + "".join(f"{i}\t{row[2]}\n" for i, row in enumerate(ANSWERED))
    )
    (tmp_path / "p.json").write_text(json.dumps({"predictions": [row["answers"] for row in rows]}))
    (tmp_path / "q.json").write_text(json.dumps([row["answers"] for row in rows]))
    vqa = [{"image": "1.png", "question": "?", "answers": [{"answer": row[2], "score": 1.0}]} for row in ANSWERED]
    (tmp_path / "v.jsonl").write_text("".join(json.dumps(row) + "\n" for row in vqa))
    for name in ("a.jsonl", "a.csv", "a.tsv", "p.json", "q.json", "v.jsonl"):
        for references in ("a.csv", "a.jsonl"):
            found = score_files("accuracy", tmp_path / name, tmp_path / references)
            assert found["accuracy"] == pytest.approx(1 / 3), (name, references)
    (tmp_path / "numbers.txt").write_text("0\n1\n0\n")
    with pytest.raises(
        DataError, match=r"holds negative, positive and .* holds 0, 1: one has names and the other numbers"
    ):
        score_files("accuracy", tmp_path / "a.csv", tmp_path / "numbers.txt")
