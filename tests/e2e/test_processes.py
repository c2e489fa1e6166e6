"""Several processes of a run, and its loaders: unlike pieces of a batch, signals to all of them at once, one that hangs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from running import (
    ENVIRONMENT,
    TOOL,
    checkpoints,
    ended,
    gone,
    living,
    losses,
    only_run,
    said,
    same,
    start,
    status,
    steps,
    stop,
    tool,
    until,
    weights,
)

COMMAND = [
    *("train", "glue", "--model", "tiny", "--data", "sample", "--max-samples", "203", "--max-eval-samples", "40"),
    *("--batch-size", "8", "--dropout", "0", "--threads", "1", "--log-steps", "1", "--cpu"),
]


def test_processes_with_unlike_numbers_of_pieces_end_and_give_the_losses_of_one(tmp_path):
    """The last batch of an epoch has 3 examples: two pieces for one process, one for the other."""
    losses_of = []
    for name, cut in (("one", []), ("two", ["--num-processes", "2", "--gradient-accumulation-steps", "2"])):
        (tmp_path / name).mkdir()
        tool(*COMMAND, "--max-steps", "30", *cut, cwd=tmp_path / name, seconds=120)
        losses_of.append(losses(only_run(tmp_path / name)))
    assert len(losses_of[0]) == 30
    assert losses_of[1] == pytest.approx(losses_of[0], abs=2e-5)


def test_a_signal_to_the_whole_group_saves_with_loaders_at_work(tmp_path):
    """As a machine that shuts down, `timeout` and Slurm send it."""
    arguments = [*COMMAND, "--max-steps", "60", "--num-workers", "2"]
    (tmp_path / "whole").mkdir()
    tool(*arguments, cwd=tmp_path / "whole")
    place = tmp_path / "stopped"
    place.mkdir()
    with open(place / "said.txt", "wb") as words:
        process = subprocess.Popen(
            [TOOL, *arguments],
            cwd=place,
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=words,
            start_new_session=True,
        )
    assert until(lambda: len(losses(only_run(place))) > 5 if (place / "runs").exists() else False, process)
    os.killpg(process.pid, signal.SIGTERM)
    assert ended(process, 30) == 75, said(place)
    assert gone(place, 10)
    tool(*arguments, cwd=place)
    assert same(weights(only_run(place)), weights(only_run(tmp_path / "whole")))


def test_the_second_ctrl_c_ends_workers_that_hang(tmp_path):
    process = start([*COMMAND, "--max-steps", "4000", "--num-processes", "2", "--checkpoint-steps", "5"], tmp_path)
    assert until(
        lambda: len(steps(only_run(tmp_path), "train")) > 12 if (tmp_path / "runs").exists() else False, process
    )
    workers = sorted(psutil.Process(process.pid).children(), key=lambda child: child.pid)
    workers[1].suspend()  # the first now waits for it in an exchange
    process.send_signal(signal.SIGINT)
    time.sleep(2.0)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert ended(process, 10) == 130, said(tmp_path)
    assert gone(tmp_path, 5), living(tmp_path)
    assert [path for path in checkpoints(only_run(tmp_path)) if (path / "complete.json").exists()]


def test_an_error_of_one_process_ends_all_with_its_message_and_code(tmp_path):
    """The first one alone reads the checkpoint that is named; the other waits for it meanwhile."""
    arguments = [*COMMAND, "--max-steps", "8", "--checkpoint-steps", "4", "--keep-checkpoints", "2"]
    tool(*arguments, cwd=tmp_path)
    run = only_run(tmp_path)
    step = sorted((run / "checkpoints").glob("step-*"))[0]
    (step / "model.safetensors").write_bytes(b"x")
    began = time.monotonic()
    done = tool(*arguments, "--num-processes", "2", "--resume", step, cwd=tmp_path, code=2)
    assert time.monotonic() - began < 60
    assert "is not whole (model.safetensors has 1 of" in done.stderr
    assert status(run)["state"] == "finished"


def test_a_terminal_that_is_closed_saves_and_under_nohup_changes_nothing(tmp_path):
    arguments = [*COMMAND, "--max-steps", "1200", "--on-exit", "echo $TOOL_STATUS > told"]
    process = start(arguments, tmp_path)
    assert until(lambda: len(losses(only_run(tmp_path))) > 5 if (tmp_path / "runs").exists() else False, process)
    shown = json.loads(tool("runs", "list", "--json", cwd=tmp_path).stdout)["runs"][0]
    assert shown["state"] == "running"
    assert shown["step"] > 5  # though no checkpoint is saved yet
    process.send_signal(signal.SIGHUP)
    assert ended(process, 20) == 75, said(tmp_path)
    assert (tmp_path / "told").read_text() == "preempted\n"
    reached = status(only_run(tmp_path))["step"]
    assert reached > 5
    process = subprocess.Popen(
        ["nohup", TOOL, *arguments], cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    assert until(lambda: len(losses(only_run(tmp_path))) > reached + 5, process)
    process.send_signal(signal.SIGHUP)
    assert ended(process, 60) == 0
    assert len(losses(only_run(tmp_path))) == 1200


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_change_nothing(tmp_path, closed):
    command = " ".join(["exec", TOOL, *COMMAND, "--max-steps", "3", "--on-exit", "'echo $TOOL_STATUS > told'", closed])
    assert subprocess.run(["bash", "-c", command], cwd=tmp_path, env=ENVIRONMENT, check=False).returncode == 0
    assert (tmp_path / "told").read_text() == "finished\n"
    assert status(only_run(tmp_path))["state"] == "finished"


def test_words_that_the_terminal_has_no_letters_for(tmp_path):
    done = tool(*COMMAND, "--max-steps", "3", cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert "accuracy" in done.stdout
    assert "\\xb7" in done.stdout
    assert "finished" in tool("runs", "list", cwd=tmp_path, PYTHONIOENCODING="ascii").stdout


def test_a_figure_that_is_undefined_is_null_in_every_file(tmp_path):
    """All labels of the evaluation are alike, so that there is no correlation."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name, labels in (("train", [0.5, 1.0, 2.5, 3.0] * 8), ("validation", [2.5] * 8)):
        rows = [f"word {number % 5} is good,word {number % 3} is bad,{label}" for number, label in enumerate(labels)]
        (folder / f"{name}.csv").write_text("\n".join(["sentence1,sentence2,label", *rows]) + "\n")
    small = ["--max-steps", "8", "--eval-steps", "4", "--batch-size", "8", "--threads", "1", "--cpu", "--json"]
    done = tool("train", "glue", "--model", "tiny", "--data", folder, *small, cwd=tmp_path)

    def strict(text: str) -> Any:
        return json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))

    assert strict(done.stdout)["metrics"]["pearson"] is None
    run = only_run(tmp_path)
    assert status(run)["state"] == "finished"
    for path in [*run.rglob("*.json"), *run.rglob("*.jsonl")]:
        for text in path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]:
            strict(text)


def test_a_run_goes_on_where_its_data_lie_now(tmp_path):
    for name in ("here", "there"):
        folder = tmp_path / name
        folder.mkdir()
        for part, count in (("train", 64), ("validation", 16)):
            rows = [f"word {number} is {'good' if number % 2 else 'bad'},{number % 2}" for number in range(count)]
            (folder / f"{part}.csv").write_text("\n".join(["sentence,label", *rows]) + "\n")
    command = ["train", "glue", "--model", "tiny", "--data", "here/", "--batch-size", "8", "--epochs", "60", "--cpu"]
    command += ["--threads", "1", "--log-steps", "1"]
    process = start(command, tmp_path)
    assert until(lambda: len(losses(only_run(tmp_path))) > 5 if (tmp_path / "runs").exists() else False, process)
    assert stop(process, signal.SIGTERM, tmp_path) == 75
    run = only_run(tmp_path)
    (tmp_path / "here").rename(tmp_path / "gone")
    arguments = [part if part != "here/" else "there" for part in command]
    done = tool(*arguments, "--resume", run, cwd=tmp_path)
    assert "resuming" in done.stderr
    assert status(run)["state"] == "finished"


def test_an_empty_value_is_no_value(tmp_path):
    done = tool("train", "glue", "--model", "tiny", "--data", "", cwd=tmp_path, code=2)
    assert done.stderr == "error: --data: is empty; an unset variable of the shell?\n"


def test_a_reader_who_is_gone_does_not_end_the_run(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(
        [TOOL, *COMMAND, "--max-steps", "5"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=writing,
        timeout=120,
        check=False,
    )
    os.close(writing)
    assert process.returncode == 0
    assert status(only_run(Path(tmp_path)))["state"] == "finished"
