"""Several processes of a run, and its loaders: unlike pieces of a batch, signals to all of them at once, one that hangs."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from running import (
    ENVIRONMENT,
    TOOL,
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
    (tmp_path / "runs").rename(tmp_path / "kept")
    assert any(
        (path / "complete.json").exists() or any(path.iterdir()) for path in tmp_path.glob("kept/*/checkpoints/step-*")
    )


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
