"""The table of metrics: ours without a network, the library's by name, and what is said where that fails."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks import metrics
from tasks.errors import ConfigError, DataError, ToolError

ROOT = Path(__file__).resolve().parents[3]
OURS = [
    "accuracy", "anls", "coverage", "crps", "f1", "glue", "macro_f1", "mape", "mase", "matthews_correlation", "msis",
    "multilabel", "nd", "pearsonr", "rmse", "smape", "spearmanr", "vqa_accuracy", "wql",
]  # fmt: skip
TWO = (["Red", "two"], [["red"] * 3 + ["blue"] * 7, ["Two."] + ["3"] * 9])  # 0.9 and 0.3


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def test_the_table_lists_what_it_holds() -> None:
    assert metrics.names()[: len(OURS)] == OURS
    assert sorted(metrics.METRICS) == OURS


@pytest.mark.parametrize("name", sorted(metrics.METRICS))
def test_every_metric_of_the_table_loads_under_its_name(name: str) -> None:
    import evaluate

    metric = metrics.load(name)
    assert isinstance(metric, evaluate.Metric)
    assert metric.name == name
    assert hasattr(metric, "per_row") == (name in ("accuracy", "anls", "vqa_accuracy"))


def test_our_metrics_are_silent_offline_and_imported_late(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from tasks import metrics\n"
        "metrics.names()\n"
        "assert not {'evaluate', 'datasets', 'torch', 'pyarrow'} & set(sys.modules), 'imported too early'\n"
        "metric = metrics.load('vqa_accuracy')\n"
        "assert metric.compute(predictions=['a'], references=[['a', 'a', 'a', 'a']])['vqa_accuracy'] == 1.0\n"
        "try:\n"
        "    metrics.load('rouge')\n"
        "except Exception as error:\n"
        "    assert type(error).__name__ == 'ToolError', error\n"
    )
    settings = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, **settings}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_vqa_accuracy_with_and_without_types() -> None:
    metric = metrics.load("vqa_accuracy")
    predictions, references = TWO
    assert metric.compute(predictions=predictions, references=references) == {
        "vqa_accuracy": pytest.approx(0.6),
        "n": 2,
    }
    found = metric.compute(
        predictions=predictions, references=references, question_types=["b", "a"], answer_types=["x", "x"]
    )
    assert found["per_question_type"] == {
        "a": {"accuracy": pytest.approx(0.3), "n": 1},
        "b": {"accuracy": pytest.approx(0.9), "n": 1},
    }
    assert found["per_answer_type"] == {"x": {"accuracy": pytest.approx(0.6), "n": 2}}


def test_vqa_accuracy_takes_rows_piece_by_piece() -> None:
    metric = metrics.load("vqa_accuracy")
    for prediction, reference in zip(*TWO, strict=True):
        metric.add(prediction=prediction, reference=reference)
    metric.add_batch(predictions=TWO[0], references=TWO[1])
    assert metric.compute() == {"vqa_accuracy": pytest.approx(0.6), "n": 4}


def test_our_metrics_work_in_evaluate_combine() -> None:
    import evaluate

    predictions, references = TWO
    combined = evaluate.combine({"one": metrics.load("vqa_accuracy"), "two": metrics.load("vqa_accuracy")})
    found = combined.compute(predictions=predictions, references=references)
    assert found["one_vqa_accuracy"] == found["two_vqa_accuracy"] == pytest.approx(0.6)
    labels = evaluate.combine([metrics.load("accuracy")]).compute(predictions=[1, 0], references=[1, 1])
    assert labels == {"accuracy": 0.5, "n": 2}


@pytest.mark.parametrize("references", [["red", "blue"], [["red"]]])
def test_vqa_accuracy_refuses_references_of_another_shape(references: list[Any]) -> None:
    with pytest.raises(ValueError):
        metrics.load("vqa_accuracy").compute(predictions=["red", "blue"], references=references)


def test_vqa_accuracy_refuses_a_question_without_answers() -> None:
    with pytest.raises(DataError, match="row 2"):
        metrics.load("vqa_accuracy").compute(predictions=["red", "blue"], references=[["red"], []])


@pytest.mark.parametrize(
    ("predictions", "references", "expected"),
    [
        ([1, 0, 2, 2], [1, 1, 2, 0], 0.5),
        (["cat", "Dog"], ["cat", "dog"], 0.5),
        (["1", "1.0"], ["1", "1"], 0.5),
        ([1, 0.5], [1, 0], 0.5),
        ([0.5, 1], [0.5, 1.0], 1.0),
        ([True, False], [1, 1], 0.5),
        (np.array([1, 0]), np.array([1, 1]), 0.5),
        (np.array(["a", "b"]), ["a", "a"], 0.5),
    ],
)
def test_accuracy(predictions: Any, references: Any, expected: float) -> None:
    found = metrics.load("accuracy").compute(predictions=predictions, references=references)
    assert found == {"accuracy": expected, "n": len(predictions)}


def test_accuracy_of_nothing_is_an_error() -> None:
    with pytest.raises(DataError):
        metrics.load("accuracy").per_row([], [])


def test_an_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no metric 'vqa_acuracy'; did you mean 'vqa_accuracy'"):
        metrics.load("vqa_acuracy")
    with pytest.raises(ConfigError, match="did you mean 'rouge'"):
        metrics.load("roug")
    with pytest.raises(ConfigError, match=", ".join(["there are accuracy", *OURS[1:]])):
        metrics.load("qqqqqq")


def test_a_metric_of_the_library_without_a_network_is_not_a_slip_of_the_user() -> None:
    with pytest.raises(
        ToolError, match=r"rouge has to be fetched .* there are accuracy, anls, coverage, .*, vqa_accuracy"
    ) as caught:
        metrics.load("rouge")
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)


def test_no_script_from_the_disk_or_from_a_repository_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("rouge", "evaluate-metric/rouge"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "rouge" / "rouge.py").write_text("raise SystemExit('the script ran')\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ToolError):
        metrics.load("rouge")
    for name in ("./rouge", str(tmp_path / "rouge"), "somebody/metric", "rouge.py", ""):
        with pytest.raises(ConfigError, match="plain name"):
            metrics.load(name)


def test_a_home_that_can_not_be_written_is_no_hindrance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import evaluate

    (tmp_path / "file").write_text("")
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", str(tmp_path / "file" / "cache"))
    found = metrics.load("accuracy").compute(predictions=["a"], references=["a"])
    assert found == {"accuracy": 1.0, "n": 1}


def test_the_library_is_left_as_it_was() -> None:
    import evaluate

    before = (evaluate.logging.get_verbosity(), evaluate.config.HF_EVALUATE_OFFLINE)
    with pytest.raises(ToolError):
        metrics.load("rouge")
    assert (evaluate.logging.get_verbosity(), evaluate.config.HF_EVALUATE_OFFLINE) == before
    assert evaluate.logging.is_progress_bar_enabled()


def test_other_packages_add_metrics_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    added = [
        EntryPoint("theirs", "tasks.metrics.accuracy:Accuracy", metrics.ENTRY_POINTS),
        EntryPoint("accuracy", "nowhere:Nothing", metrics.ENTRY_POINTS),
    ]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: added if group == metrics.ENTRY_POINTS else [])
    assert metrics.names() == [*OURS, "theirs"]
    for name in ("theirs", "accuracy"):  # ours can't be replaced
        assert metrics.load(name).compute(predictions=["a"], references=["a"])["accuracy"] == 1.0
