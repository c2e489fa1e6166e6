"""`tool runs` as a user meets it: on folders made by hand, and once on a run that was really trained."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "recipes"))
from run_folders import held, logged, make_run, measured, tree, write_scores

from cli.main import main

TOOL = str(Path(sys.executable).with_name("tool"))
OLD, NEW = [1.0] * 50 + [0.0] * 50, [0.0] * 10 + [1.0] * 70 + [0.0] * 20
KEPT = "kept stopped: preempted, the same command goes on with it; --unfinished removes it"
CHECKPOINT = {"model/config.json": 10, "checkpoints/step-00000010/model.safetensors": 1500}


@pytest.fixture
def tool(tmp_path, monkeypatch, capsys):
    """Runs the command in the folder that holds runs/; gives its stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*args, code=0):
        with pytest.raises(SystemExit) as end:
            main([str(arg) for arg in ("runs", *args)])
        out, err = capsys.readouterr()
        assert end.value.code == code, out + err
        return out, err

    return run


@pytest.fixture
def runs(tmp_path):
    """A finished run `one`, and `two`, which is 20 points better."""
    folder = tmp_path / "runs"
    one = make_run(folder, "one", status=measured(0.5) | {"cost": 0.5}, lines=logged(20, 10), files=CHECKPOINT)
    two = make_run(folder, "two", status=measured(0.7), options={"seed": 1}, lines=logged(20, 10), files=CHECKPOINT)
    write_scores(one, OLD)
    write_scores(two, NEW)
    return folder


def test_list_shows_state_score_cost_and_a_total(tool, runs):
    killed = make_run(runs, "killed", state="running", status={"seconds": 7.0, "step": 3})
    alive = make_run(runs, "alive", state="running", status={"seconds": 8.0, "step": 4})
    before = (killed / "status.json").read_bytes()
    with held(alive):
        out, _ = tool("list")
        states = {row["path"]: row["state"] for row in json.loads(tool("list", "--json")[0])["runs"]}
    rows = {line.split()[0]: line.split() for line in out.splitlines()}
    assert rows["run"] == ["run", "recipe", "state", "score", "steps", "time", "cost"]
    assert rows["one"] == ["one", "vqa", "finished", "accuracy", "50.0", "%", "20", "1", "min", "00", "s", "0.50"]
    assert rows["killed"] == ["killed", "vqa", "interrupted", "3", "of", "20", "7", "s"]
    assert rows["alive"][2] == "running"
    assert out.splitlines()[-1] == "total  4 runs · 2 min 15 s · cost 0.50 (known of 1)"
    assert states["runs/killed"] == "interrupted"
    assert (killed / "status.json").read_bytes() == before
    assert tool("list")[0].count("interrupted") == 2


def test_list_of_nothing_says_how_to_make_one(tool):
    assert tool("list") == (
        "",
        "no runs under runs/ yet; one is made by: tool train vqa --model tiny --data sample\n",
    )


def test_show_has_the_estimate_beside_the_truth(tool, runs):
    status = {
        "estimate": {"steps": 20, "seconds": 50.0, "memory_bytes": 2e9, "disk_bytes": 3e6},
        "measured": {"seconds": 62.0, "memory_bytes": 1.5e9},
        "cost": 0.62,
    }
    make_run(runs, "told", status=measured(0.5) | status, options={"price_per_hour": 36.0}, files=CHECKPOINT)
    out, _ = tool("show", "told")
    lines = out.splitlines()
    assert lines[0] == "told · vqa · finished · 20 steps · accuracy 50.0 %"
    rows = {line.split()[0]: line.split()[1:] for line in lines if line}
    assert rows["estimated"] == ["measured"]
    assert rows["time"] == ["50", "s", "1", "min", "02", "s"]
    assert rows["memory"] == ["2.0", "GB", "1.5", "GB"]
    assert rows["cost"] == ["0.50", "0.62"]
    assert rows["accuracy"] == ["0.5000", "0.4000", "to", "0.6000"]
    assert rows["majority"] == ["0.3000"]
    assert [line.split() for line in lines if line.startswith("disk  ")] == [["disk", "3.0", "MB", "–"]]
    assert "price_per_hour: 36.0" in lines
    value = json.loads(tool("show", "told", "--json")[0])
    assert value["state"] == "finished"
    assert value["status"]["measured"] == status["measured"]
    assert value["config"]["price_per_hour"] == 36.0


def test_compare_gives_the_difference_its_interval_and_a_word(tool, runs):
    out, _ = tool("compare", "one", "two")
    assert "1 option" not in out
    assert "5 options are the same." in out
    assert ["seed", "–", "1"] in [line.split() for line in out.splitlines()]
    row = next(line for line in out.splitlines() if "+20.0 points" in line)
    assert "better" in row
    value = json.loads(tool("compare", "one", "two", "--json")[0])
    pair = value["paired"][0]
    assert pair["difference"] == pytest.approx(0.2)
    assert 0 < pair["low"] < 0.2 < pair["high"]
    assert pair["verdict"] == "better"
    assert [run["metrics"]["accuracy"]["value"] for run in value["runs"]] == [0.5, 0.7]
    turned = json.loads(tool("compare", "two", "runs/one", "--json")[0])["paired"][0]
    assert (turned["difference"], turned["verdict"]) == (pytest.approx(-0.2), "worse")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["compare", "one", "one"], "error: one is named twice; name each run once\n"),
        (["compare", "one", "runs/one"], "error: one is named twice; name each run once\n"),
        (["compare", "one", "twoo"], "error: there is no run 'twoo'; did you mean 'two'?\n"),
        (["compare", "one"], "error: `tool runs compare` needs 2 runs or more; see `tool runs list`\n"),
        (["report", "onn"], "error: there is no run 'onn'; did you mean 'one'?\n"),
        (["prune", "twoo"], "error: there is no run 'twoo'; did you mean 'two'?\n"),
        (
            ["prune", "--runs"],
            "error: --runs removes whole finished runs; name them, or give --older-than DAYS\n",
        ),
    ],
)
def test_wrong_names_are_told_in_a_line(tool, runs, args, message):
    before = tree(runs)
    assert tool(*args, "--yes" if args[0] == "prune" else "--json", code=2)[1] == message
    assert tree(runs) == before


def test_a_finished_runs_report_is_left_as_it_is(tool, runs):
    (runs / "one/report.html").write_text("rich")
    out, err = tool("report", "one")
    assert out == "runs/one/report.html\n"
    assert "has its report" in err
    assert tool("report", "one", "--output", "copy.html")[0] == "copy.html\n"
    assert Path("copy.html").read_text() == "rich"
    tool("report", "one", "--output", "runs/one/report.html")
    assert (runs / "one/report.html").read_text() == "rich"


def test_a_report_is_made_for_a_run_that_has_none(tool, runs):
    make_run(runs, "cut", state="running", status={"step": 12}, lines=logged(12, 5, accuracy=0.25))
    value = json.loads(tool("report", "cut", "--json")[0])
    assert value == {"report": "runs/cut/report.html", "written": True}
    first = (runs / "cut/report.html").read_text()
    assert "interrupted" in first
    assert "last validation, at step 10" in first
    (runs / "cut/metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in logged(16, 5, 0.25)))
    tool("report", "cut")
    assert "last validation, at step 15" in (runs / "cut/report.html").read_text()


def test_a_report_of_several_is_the_comparison(tool, runs):
    assert tool("report", "one", "two")[0] == "runs/compare.html\n"
    tool("compare", "one", "two", "--output", "page.html")
    assert Path("page.html").read_text() == Path("runs/compare.html").read_text()
    assert len(tool("list")[0].splitlines()) == 4


def test_prune_lists_first_and_removes_when_told(tool, runs):
    stopped = make_run(runs, "stopped", state="preempted", files=CHECKPOINT)
    before = tree(runs)
    out, err = tool("prune")
    assert [line.split() for line in out.splitlines()] == [
        ["run", "what", "size"],
        ["one", "checkpoints", "1.5", "kB"],
        ["two", "checkpoints", "1.5", "kB"],
        KEPT.split(),
        ["total", "3.0", "kB"],
    ]
    assert err == "nothing was removed; add --yes to remove it\n"
    assert tree(runs) == before
    with held(runs / "two"):
        value = json.loads(tool("prune", "--yes", "--json")[0])
    assert (value["removed"], value["bytes"]) == (True, 1500)
    assert [item["path"] for item in value["items"]] == ["runs/one/checkpoints"]
    assert {"run": "two", "reason": "a living process has it"} in value["kept"]
    assert set(before) - set(tree(runs)) == {
        "one/checkpoints",
        "one/checkpoints/step-00000010",
        "one/checkpoints/step-00000010/model.safetensors",
    }
    assert tool("prune", "one", "--runs", "--yes")[0].splitlines()[-1].startswith("freed")
    assert not (runs / "one").exists()
    tool("prune", "--unfinished", "--older-than", "1", "--yes")
    assert stopped.exists()
    tool("prune", "--unfinished", "--yes")
    assert sorted(path.name for path in runs.iterdir()) == ["two"]
    assert tool("prune", "--yes") == ("nothing to remove\n", "")


@pytest.mark.slow
def test_after_pruning_everything_goes_on(tmp_path):
    """A trained run without its checkpoints: shown, evaluated, and equal to what its command gives again."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "160", "CUDA_VISIBLE_DEVICES": ""}

    def tool(*args):
        done = subprocess.run(
            [TOOL, *args, "--json"], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    command = ["train", "vqa", "--model", "tiny", "--data", "sample", "--max-samples", "96", "--max-eval-samples", "40"]
    command += ["--max-steps", "3", "--batch-size", "32", "--threads", "1"]
    first = tool(*command)
    run = tmp_path / first["run"]
    kept = json.loads((run / "scores.json").read_text())
    assert (kept["metric"], kept["greater_is_better"], kept["data"]["name"]) == ("accuracy", True, "sample")
    assert len(kept["ids"]) == len(kept["scores"]) == len(kept["groups"]) == len(kept["contents"]) == 40
    assert sum(kept["scores"]) / 40 == pytest.approx(first["metrics"]["accuracy"])
    assert [str(entry["question_id"]) for entry in json.loads((run / "predictions.json").read_text())] == [
        str(name) for name in kept["ids"]
    ]
    freed = tool("runs", "prune", "--yes")
    assert [item["what"] for item in freed["items"]] == ["checkpoints"]
    assert freed["bytes"] > 1_000_000
    assert not (run / "checkpoints").exists()
    assert tool("runs", "show", run.name)["status"]["state"] == "finished"
    assert tool("eval", "vqa", "--model", first["run"])["accuracy"] == pytest.approx(first["metrics"]["accuracy"])
    again = tool(*command)
    assert again["run"] != first["run"]
    pair = tool("runs", "compare", first["run"], again["run"])
    assert pair["options"]["differ"] == {}
    assert pair["paired"][0]["difference"] == 0.0
    assert (pair["paired"][0]["verdict"], pair["paired"][0]["examples"]) == ("equal", 40)
