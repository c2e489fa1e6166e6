"""Runs side by side: paired differences with known values, what differs, and why a figure is not given."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from run_folders import logged, make_run, measured, write_scores

from recipes.report import comparison
from recipes.report.compare import as_dict, compare
from recipes.runs import scores
from recipes.runs.folder import Run
from tasks.errors import DataError
from tasks.stats import paired_bootstrap

# Of a hundred examples A has 50 right; B gains 30 of the others and loses 10 of these: 0.2 better.
OLD = [1.0] * 50 + [0.0] * 50
NEW = [0.0] * 10 + [1.0] * 70 + [0.0] * 20


def two(folder: Path, old=OLD, new=NEW, **other):
    """Two finished runs with these scores; `other` goes to the second's."""
    runs = [make_run(folder, name, status=measured(0.5)) for name in ("a", "b")]
    write_scores(runs[0], old)
    write_scores(runs[1], new, **other)
    return [Run(run) for run in runs]


def test_the_paired_difference_is_the_known_one(tmp_path):
    found = compare(two(tmp_path)).paired[0]
    expected = paired_bootstrap(NEW, OLD)
    assert found.difference == pytest.approx(0.2)
    assert (found.low, found.high, found.p) == (expected.low, expected.high, expected.p)
    assert found.low < 0.2 < found.high
    assert (found.verdict, found.examples, found.note, found.reason) == ("better", 100, "", "")
    assert (found.run, found.against, found.metric) == ("b", "a", "accuracy")


def test_examples_are_matched_by_id_whatever_their_order(tmp_path):
    order = list(range(100))
    random.Random(0).shuffle(order)
    shuffled = compare(two(tmp_path / "1", new=[NEW[at] for at in order], ids=order)).paired[0]
    assert shuffled == compare(two(tmp_path / "2")).paired[0]


def test_the_same_scores_differ_by_nothing(tmp_path):
    found = compare(two(tmp_path, new=OLD)).paired[0]
    assert (found.difference, found.low, found.high, found.p, found.verdict) == (0.0, 0.0, 0.0, 1.0, "equal")


def test_a_difference_whose_interval_holds_nothing_is_within_chance(tmp_path):
    new = [*OLD[:49], 0.0, 1.0, 1.0, *OLD[52:]]
    found = compare(two(tmp_path, new=new)).paired[0]
    assert found.difference == pytest.approx(0.01)
    assert found.low < 0 < found.high
    assert found.verdict == "within chance"


@pytest.mark.parametrize(("old", "new", "verdict"), [(OLD, NEW, "worse"), (NEW, OLD, "better")])
def test_where_less_is_better_the_verdict_turns(tmp_path, old, new, verdict):
    assert compare(two(tmp_path, old, new, greater_is_better=False)).paired[0].verdict == verdict


def test_groups_are_resampled_together(tmp_path):
    """All in one group: nothing varies, and the interval is the point."""
    runs = two(tmp_path)
    write_scores(runs[0].path, OLD, groups=[7] * 100)
    found = compare(runs).paired[0]
    assert found.low == found.high == found.difference == pytest.approx(0.2)


def test_other_data_are_compared_on_what_is_in_common(tmp_path):
    found = compare(two(tmp_path, new=[1.0] * 40, ids=list(range(30, 70)))).paired[0]
    # Of examples 30 to 69 A has twenty right.
    assert found.difference == pytest.approx(0.5)
    assert found.examples == 40
    assert found.note == "other evaluation data: 100 and 40 examples, 40 in common"


def test_too_few_in_common_give_a_reason_and_no_figure(tmp_path):
    found = compare(two(tmp_path, ids=list(range(71, 171)))).paired[0]
    assert found.difference is None
    assert found.reason == "other evaluation data: 100 and 100 examples, 29 in common"
    assert "other evaluation data" in comparison.text(compare([Run(tmp_path / "a"), Run(tmp_path / "b")]))


def test_an_id_used_for_another_example_is_not_a_match(tmp_path):
    runs = two(tmp_path, contents=[scores.digest("other", i) for i in range(100)])
    write_scores(runs[0].path, OLD, contents=[scores.digest("one", i) for i in range(100)])
    assert compare(runs).paired[0].reason == "other evaluation data: 100 and 100 examples, 0 in common"


def test_few_examples_are_compared_where_both_have_exactly_these(tmp_path):
    found = compare(two(tmp_path, [0.0, 1.0, 0.0], [1.0, 1.0, 1.0])).paired[0]
    assert (found.examples, found.difference) == (3, pytest.approx(2 / 3))


def test_other_metrics_are_not_compared(tmp_path):
    assert compare(two(tmp_path, metric="mase", unit="")).paired[0].reason == "other metrics: accuracy and mase"


def test_a_run_without_scores_is_shown_with_its_last_validation(tmp_path):
    first = two(tmp_path)[0]
    lines = logged(12, validated=5, accuracy=0.25)
    late = make_run(tmp_path, "late", state="preempted", status={"step": 12}, lines=lines)
    found = compare([first, Run(late)])
    assert found.paired[0].reason == "late has no scores.json (preempted)"
    side = found.sides[1]
    assert (side.state, side.at_step, side.n) == ("preempted", 10, 100)
    assert side.figures["accuracy"] == pytest.approx((0.25, 0.15, 0.35))
    text = comparison.text(found)
    assert "25.0 % (15.0 to 35.0)" in text
    assert "12 of 20" in text
    assert "A run that isn't finished shows its last validation." in text


def test_options_and_versions_that_differ_are_told_and_equal_ones_counted(tmp_path):
    one = make_run(tmp_path, "one", options={"seed": 0, "epochs": 3})
    other = make_run(tmp_path, "other", options={"seed": 1, "max_steps": 9})
    (other / "environment.json").write_text(
        json.dumps({"processor": "any", "versions": {"torch": "2.12.0"}, "command": "x"})
    )
    value = as_dict(compare([Run(one), Run(other)]))
    assert value["options"] == {"differ": {"epochs": [3, None], "seed": [0, 1], "max_steps": [None, 9]}, "same": 5}
    assert value["environment"] == {"differ": {"versions.torch": ["2.13.0", "2.12.0"]}}
    text = comparison.text(compare([Run(one), Run(other)]))
    assert "5 options are the same." in text
    assert "2.12.0" in text


def test_all_the_same_is_said(tmp_path):
    runs = [Run(make_run(tmp_path, name)) for name in ("one", "two")]
    text = comparison.text(compare(runs))
    assert "No option differs; 5 options are the same." in text
    assert "Versions" not in text


def test_a_missing_config_is_noted_and_hides_no_difference(tmp_path):
    runs = [make_run(tmp_path, name, options={"seed": seed}) for seed, name in enumerate("abc")]
    (runs[2] / "config.yaml").unlink()
    found = compare([Run(run) for run in runs])
    assert found.options == [("seed", [0, 1, ...])]
    assert found.notes == ["c: there is no config.yaml"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "can't be read"),
        ("[]", "can't be read"),
        ('{"metric": "accuracy"}', "can't be read"),
        ('{"ids": [1, 2], "scores": [1.0], "groups": [1, 2]}', "of one length"),
        ('{"ids": [], "scores": [], "groups": []}', "not empty"),
        ('{"ids": [1, 1], "scores": [1.0, 0.0], "groups": [1, 2]}', "the same id"),
        ('{"ids": [[1]], "scores": [1.0], "groups": [1]}', "numbers or texts"),
    ],
)
def test_damaged_scores_are_named_and_the_rest_is_compared(tmp_path, content, problem):
    runs = two(tmp_path)
    if content.startswith('{"ids"'):
        content = json.dumps({"metric": "accuracy", "greater_is_better": True, "data": {}, **json.loads(content)})
    (runs[1].path / "scores.json").write_text(content)
    with pytest.raises(DataError, match=problem):
        scores.read(runs[1].path)
    found = compare(runs)
    assert problem in found.paired[0].reason
    assert found.sides[1].figures["accuracy"].value == 0.5


def test_scores_come_back_as_they_were_written(tmp_path):
    given = scores.Scores("mase", False, {"name": "é"}, ["a", 2], [1 / 3, 0.1], ["g", "g"], ["x", "y"], unit="")
    scores.write(tmp_path, given)
    assert scores.read(tmp_path) == given
    assert len((tmp_path / "scores.json").read_text(encoding="utf-8").splitlines()) == 10
    assert scores.read(tmp_path / "none") is None


def test_many_comparisons_come_with_a_warning(tmp_path):
    runs = [make_run(tmp_path, name, status=measured(0.5)) for name in "abcd"]
    for run in runs:
        write_scores(run, OLD)
    assert any("by chance" in note for note in compare([Run(run) for run in runs]).notes)
    assert compare([Run(run) for run in runs[:3]]).notes == []


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [(0.039, "percent", "+3.9 points"), (-0.0391, "percent", "\u22123.9 points"), (-0.0001, "percent", "0.0 points"),
     (0.031, "", "+0.0310"), (-1.5, "", "\u22121.50"), (None, "", "")],
)  # fmt: skip
def test_differences_have_their_sign(value, unit, shown):
    from recipes.report.figures import signed

    assert signed(value, unit) == shown


def test_a_vqa_runs_questions_are_known_by_what_they_are():
    """The same questions in another selection match; the sample of another seed uses the same ids for other pictures."""
    from recipes.vqa.artefacts import per_question
    from recipes.vqa.config import Train
    from tasks.vqa.data import Options, load_splits

    def kept(seed, count):
        found = load_splits(Options("sample", max_eval_samples=count, seed=seed), need=("evaluation",)).evaluation
        return per_question(Train(data="sample", seed=seed), found, [0.5] * len(found))

    few, many, other = kept(0, 50), kept(0, None), kept(1, None)
    assert (few.metric, few.greater_is_better, few.data["questions"], few.scores) == ("accuracy", True, 50, [0.5] * 50)
    assert len(few.keys()) == 50 == len(set(few.keys()) & set(many.keys()))
    assert set(many.ids) == set(other.ids)
    assert not set(many.keys()) & set(other.keys())
    assert len(set(many.groups)) == many.data["images"] == 600
    assert {many.groups[at] for at in range(5)} == {many.groups[0]}
