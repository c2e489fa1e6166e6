"""`tool eval --metric M --predictions P --references R` for classes and numbers: what is printed, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Score = Callable[..., tuple[int, str, str]]


@pytest.fixture
def score(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Score:
    """Scores p.csv against r.jsonl by the metric and options given: (exit code, stdout, stderr)."""
    from cli.console import State
    from cli.main import main

    monkeypatch.setattr(State, "json", False)
    files = ["--predictions", str(tmp_path / "p.csv"), "--references", str(tmp_path / "r.jsonl")]

    def run(*args: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["eval", "--metric", *args, *files])
        return (int(end.value.code or 0), *capsys.readouterr())

    return run


def test_the_task_of_glue_is_a_variant(tmp_path: Path, score: Score) -> None:
    predictions, references = tmp_path / "p.csv", tmp_path / "r.jsonl"
    predictions.write_text("prediction\n1\n0\n1\n1\n")
    references.write_text("".join(f'{{"label": {label}}}\n' for label in (1, 0, 0, 1)))

    code, out, _ = score("glue", "--config-name", "mrpc")
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["value", "low", "high"]
    assert [(line[0], line[1]) for line in lines[1:]] == [("accuracy", "0.75"), ("f1", "0.8"), ("n", "4")]
    assert [len(line) for line in lines] == [3, 4, 4, 2]
    code, _, told = score("glue")
    assert (code, "glue needs the name of a task (--config-name): cola" in told) == (2, True)
    code, _, told = score("nd", "--config-name", "mrpc")
    assert (code, "nd has no option config_name" in told) == (2, True)


def test_files_of_several_labels_a_row(tmp_path: Path, score: Score) -> None:
    """Lists, lists written as text and labels by themselves; the values are scikit-learn's."""
    predictions, references = tmp_path / "p.csv", tmp_path / "r.jsonl"
    predictions.write_text('label\n"[""a"", ""b""]"\n[]\na\n"[\'b\' \'c\']"\n')
    rows = [["a", "b"], ["b"], ["a"], ["c"]]
    references.write_text("\n".join(json.dumps({"label": row}) for row in rows))

    code, out, _ = score("multilabel", "--json")
    found = json.loads(out)
    assert (code, found["n"], found["exact_match"]) == (0, 4, 0.5)
    assert found["micro_f1"] == pytest.approx(8 / 10)
    assert found["macro_f1"] == pytest.approx((1 + 2 / 4 + 1) / 3)
    assert set(found["intervals"]) == {"micro_f1", "macro_f1", "exact_match"}
    predictions.write_text('label\n"[a, b]"\nx\nx\nx\n')
    code, _, said = score("multilabel")
    assert code == 3
    assert "p.csv, row 1: a list with 'a' where a value should be" in said
