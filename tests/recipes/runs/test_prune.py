"""Freeing disk: only what can go, exactly counted, never what a living process has, nor what a link leads to."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
from pathlib import Path

import pytest
from run_folders import held, make_run, tree

from recipes.runs import prune
from recipes.runs.find import find_unfinished, runs_in
from recipes.runs.folder import Run
from tasks.errors import ToolError

FILES = {
    "model/config.json": 10,
    "report.html": 20,
    "checkpoints/step-00000010/model.safetensors": 100,
    "checkpoints/step-00000010/state.json": 50,
    "checkpoints/.step-00000020.ab12.part/model.safetensors": 30,
    ".model.cd34.part/config.json": 7,
    ".status.json.ef56.part": 3,
    "model/.keep": 1,
}


def planned(*runs: Path, **options):
    return prune.plan([Run(run) for run in runs], **options)


def shown(plan):
    return [(item.what, str(item.path.relative_to(item.run.path)), item.bytes) for item in plan.items]


def test_checkpoints_and_leftovers_of_a_finished_run_go_and_sizes_add_up(tmp_path):
    run = make_run(tmp_path, "run", files=FILES)
    before = tree(run)
    plan = planned(run)
    assert shown(plan) == [
        ("checkpoints", "checkpoints", 180),
        ("leftover", ".model.cd34.part", 7),
        ("leftover", ".status.json.ef56.part", 3),
    ]
    assert plan.bytes == 190
    assert tree(run) == before
    assert prune.remove(plan).bytes == 190
    gone = ("checkpoints", ".model.cd34.part", ".status.json.ef56.part")
    assert tree(run) == {path: content for path, content in before.items() if not path.startswith(gone)}
    assert planned(run).items == []


@pytest.mark.parametrize("state", ["preempted", "failed", "running"])
def test_an_unfinished_run_keeps_its_checkpoints_unless_asked(tmp_path, state):
    run = make_run(tmp_path, "run", state=state, files=FILES)
    plan = planned(run)
    assert [path for what, path, _ in shown(plan)] == [
        ".model.cd34.part",
        ".status.json.ef56.part",
        "checkpoints/.step-00000020.ab12.part",
    ]
    name = "interrupted" if state == "running" else state
    assert [reason for _, reason in plan.kept] == [f"{name}, the same command goes on with it; --unfinished removes it"]
    prune.remove(plan)
    assert (run / "checkpoints/step-00000010/model.safetensors").is_file()
    whole = planned(run, unfinished=True)
    assert [item.what for item in whole.items] == ["run"]
    prune.remove(whole)
    assert not list(tmp_path.iterdir())


def test_whole_finished_runs_only_when_asked(tmp_path):
    done = make_run(tmp_path, "done", files=FILES)
    stopped = make_run(tmp_path, "stopped", state="preempted")
    plan = planned(done, stopped, whole=True)
    assert [(item.run.path.name, item.what) for item in plan.items] == [("done", "run")]
    assert plan.bytes == sum(path.stat().st_size for path in done.rglob("*") if path.is_file())
    prune.remove(plan)
    assert [path.name for path in tmp_path.iterdir()] == ["stopped"]


@pytest.mark.parametrize("state", ["finished", "running", "preempted"])
def test_a_run_of_a_living_process_is_left_alone(tmp_path, state):
    run = make_run(tmp_path, "run", state=state, files=FILES)
    before = tree(run)
    with held(run):
        plan = planned(run, unfinished=True, whole=True)
        assert plan.items == []
        assert [reason for _, reason in plan.kept] == ["a living process has it"]
    late = planned(run, unfinished=True, whole=True)
    with held(run):
        done = prune.remove(late)
    assert done.items == []
    assert [reason for _, reason in done.kept] == ["a living process has it"]
    assert tree(run) == before


def test_a_process_of_its_own_holds_the_run(tmp_path):
    run = make_run(tmp_path, "run", files=FILES)
    code = (
        "import sys; from pathlib import Path; from recipes.runs.folder import Run;"
        "run = Run(Path(sys.argv[1])); print(run.acquire(), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, run], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "True\n"
        assert planned(run).items == []
        process.communicate("")
    assert len(planned(run).items) == 3


def test_a_run_that_changed_after_the_plan_is_left_alone(tmp_path):
    run = make_run(tmp_path, "run", state="preempted", files=FILES)
    plan = planned(run, unfinished=True)
    Run(run).update(state="finished")
    done = prune.remove(plan)
    assert [reason for _, reason in done.kept] == ["it changed meanwhile"]
    assert (run / "model/config.json").is_file()


def test_links_are_not_followed(tmp_path):
    outside = tmp_path / "outside"
    (outside / "folder").mkdir(parents=True)
    (outside / "folder/file").write_text("precious")
    run = make_run(tmp_path / "runs", "run", files=FILES)
    (run / "checkpoints/step-00000005").symlink_to(outside / "folder")
    (run / "checkpoints/step-00000010/link").symlink_to(outside / "folder/file")
    (run / ".x.part").symlink_to(outside / "folder")
    (run / ".y.old").symlink_to(outside / "folder/file")
    (run / "deep").symlink_to(outside)
    (outside / ".z.part").write_text("somebody's")
    before = tree(outside)
    plan = planned(run)
    assert [path for what, path, _ in shown(plan) if what == "leftover"] == [
        ".model.cd34.part", ".status.json.ef56.part", ".x.part", ".y.old",
    ]  # fmt: skip
    prune.remove(plan)
    assert tree(outside) == before
    assert not (run / ".x.part").is_symlink()
    prune.remove(planned(run, whole=True))
    assert tree(outside) == before
    assert not run.exists()


def test_what_is_itself_a_link_stays(tmp_path):
    elsewhere = make_run(tmp_path / "elsewhere", "run", files=FILES)
    before = tree(elsewhere)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/run").symlink_to(elsewhere)
    plan = planned(tmp_path / "runs/run", whole=True)
    assert (plan.items, [reason for _, reason in plan.kept]) == ([], ["it is a link to another place"])
    run = make_run(tmp_path / "runs", "other", files={"model/a": 1})
    (run / "checkpoints").symlink_to(elsewhere / "checkpoints")
    plan = planned(run)
    assert (plan.items, [reason for _, reason in plan.kept]) == ([], ["its checkpoints are a link to another place"])
    assert tree(elsewhere) == before


def test_checkpoints_stay_where_they_are_all_there_is(tmp_path):
    run = make_run(tmp_path, "run", files={"checkpoints/step-00000010/model.safetensors": 9})
    (run / "model").mkdir()
    plan = planned(run)
    assert plan.items == []
    assert "no model/" in plan.kept[0][1]


def test_only_runs_as_old_as_asked(tmp_path):
    now = datetime.datetime(2026, 11, 30, tzinfo=datetime.UTC)
    old = make_run(tmp_path, "old", files=FILES, status={"updated": "2026-11-22T23:59:00.000+00:00"})
    young = make_run(tmp_path, "young", files=FILES, status={"updated": "2026-11-23T00:01:00.000+00:00"})
    plan = planned(old, young, older_than=7, whole=True, now=now)
    assert [item.run.path.name for item in plan.items] == ["old"]
    # Without a time in it, the file's own counts.
    nameless = make_run(tmp_path, "nameless", files=FILES)
    os.utime(nameless / "status.json", (0, 0))
    assert prune.age(Run(nameless), now) > 20_000


def test_a_removal_cut_short_leaves_nothing_that_is_taken_for_a_checkpoint_or_a_run(tmp_path, monkeypatch):
    run = make_run(tmp_path, "run", files=FILES)
    monkeypatch.setattr(prune, "remove_tree", lambda path: None)
    with pytest.raises(ToolError, match="can't remove all of"):
        prune.remove(planned(run))
    assert not (run / "checkpoints").exists()
    with pytest.raises(ToolError):
        prune.remove(planned(run, whole=True))
    assert list(runs_in(tmp_path)) == []
    monkeypatch.undo()
    rest = prune.stray(tmp_path)
    assert [item.what for item in rest] == ["leftover"]
    prune.remove(prune.Plan(rest))
    assert list(tmp_path.iterdir()) == []


def test_a_pruned_preempted_run_is_not_gone_on_with(tmp_path):
    from recipes.runs.folder import create
    from recipes.vqa.config import Train

    config = Train()
    run = create(tmp_path, "vqa", config)
    run.update(state="preempted")
    run.lock.close()
    assert find_unfinished(tmp_path, "vqa", config) is not None
    prune.remove(planned(run.path, unfinished=True))
    assert find_unfinished(tmp_path, "vqa", config) is None
