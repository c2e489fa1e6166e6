"""What a run says beforehand, what it does on a full disk or in little memory, and how it is gone on with; through the command."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
import yaml
from running import (
    ENVIRONMENT,
    TOOL,
    checkpoints,
    ended,
    gone,
    leftovers,
    living,
    losses,
    only_run,
    options,
    runs,
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

from recipes.checkpoints import format as checkpoint

SMALL = options(max_samples=128, max_eval_samples=20, epochs=2, batch_size=32, threads=1, log_steps=1)
# The schedule is the same however long the run.
STEADY = [*SMALL, "--lr-scheduler", "constant", "--warmup-steps", "0", "--checkpoint-steps", "1"]
TELL = 'echo "$TOOL_STATUS $TOOL_EXIT_CODE $TOOL_RUN" >> "$OUTSIDE"; echo told-on-exit; exit 9'


def words(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(place, run) of an undisturbed run, with a failing --on-exit."""
    place = tmp_path_factory.mktemp("finished")
    tool(*SMALL, "--on-exit", TELL, cwd=place, OUTSIDE=str(place / "told"))
    return place, only_run(place)


# -- --on-exit -------------------------------------------------------------------------------------------------------


def test_on_exit_tells_of_a_finished_run_and_fails_for_itself(finished):
    place, run = finished
    assert (place / "told").read_text() == f"finished 0 {run}\n"
    for path in run.rglob("*"):
        if path.is_file():
            assert b"told-on-exit" not in path.read_bytes(), path
            assert b"OUTSIDE" not in path.read_bytes(), path


def test_on_exit_tells_of_bad_data(tmp_path):
    (tmp_path / "bad.csv").write_text("image,question,answer\nnone.png,what is it?,cat\n")
    done = tool(*SMALL, "--data", "bad.csv", "--on-exit", TELL, cwd=tmp_path, code=3, OUTSIDE=str(tmp_path / "told"))
    assert (tmp_path / "told").read_text() == "failed 3 \n"
    assert "--on-exit: ended with code 9" in done.stderr
    assert "told-on-exit" in done.stderr
    assert "told-on-exit" not in done.stdout


def test_on_exit_tells_nothing_of_an_earlier_run_of_the_same_command(finished):
    place, _ = finished
    told = str(place / "told-later")
    tool(*SMALL, "--push-to-hub", "nobody/nothing", "--on-exit", TELL, cwd=place, code=1, OUTSIDE=told)
    assert Path(told).read_text() == "failed 1 \n"


@pytest.mark.slow
def test_on_exit_tells_of_a_preempted_run(tmp_path):
    done = tool(
        *(*SMALL, "--epochs", "4000", "--max-hours", "0.005", "--on-exit", TELL),
        cwd=tmp_path,
        code=75,
        OUTSIDE=str(tmp_path / "told"),
    )
    assert (tmp_path / "told").read_text() == f"preempted 75 {only_run(tmp_path)}\n"
    assert "--on-exit: ended with code 9" in done.stderr


# -- --dry-run -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_dry_run_says_all_and_writes_nothing(tmp_path, processes):
    done = tool(
        *SMALL,
        *("--dry-run", "--price-per-hour", "3.6", "--num-processes", processes, "--json"),
        cwd=tmp_path,
    )
    told = json.loads(done.stdout)
    assert told["steps"] == 8
    assert (told["batch_size"], told["micro_batch_size"]) == (32, 32 // processes)
    assert told["seconds"] > 0
    assert told["memory_bytes"] > told["model_bytes"] > 3_000_000
    # Three checkpoints of model and two moments, the model, and the report.
    assert told["disk_bytes"] > 3 * told["checkpoint_bytes"] + told["model_bytes"] > 20_000_000
    assert told["cost"] == pytest.approx(told["seconds"] / 1000, abs=1e-4)
    assert list(tmp_path.iterdir()) == []


# -- the disk --------------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path):
    """A small file system of its own, that can be made larger: (folder, resize)."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["mount", "-t", "tmpfs", *arguments, "tmpfs", str(folder)], capture_output=True, text=True, check=False
        )

    if shutil.which("mount") is None or (tried := mount("-o", "size=20m")).returncode:
        pytest.skip("mounting a tmpfs is not allowed here")
    assert tried.returncode == 0
    yield folder, lambda size: mount("-o", f"remount,size={size}")
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_too_small_a_disk_is_told_before_the_first_step(tmp_path, disk):
    folder, _ = disk
    done = tool(*SMALL, "--output-dir", folder, cwd=tmp_path, code=5)
    last = done.stderr.splitlines()[-1]
    # Three checkpoints of 7.6 MB, the model of 3.6 MB, 8 MB for the rest; the disk has 21 MB.
    assert re.match(
        r"error: the run needs 34\.\d MB: 3 checkpoints of 7\.\d MB \(.*\), model 3\.\d MB, report and logs 8\.0 MB; "
        rf"{re.escape(str(folder))} has 2[01]\.\d MB free\. .*tool runs prune.*--output-dir.*--no-check-disk",
        last,
    ), done.stderr
    (run,) = folder.iterdir()
    assert status(run)["state"] == "failed"
    assert not (run / "checkpoints").exists()
    assert steps(run, "train") == []
    assert leftovers(run) == []


def test_the_check_of_the_disk_can_be_left_out(tmp_path):
    for flags, value in (([], True), (["--check-disk"], True), (["--no-check-disk"], False)):
        done = tool(*SMALL, *flags, "--print-config", cwd=tmp_path)
        assert yaml.safe_load(done.stdout)["check_disk"] is value


@pytest.mark.slow
@pytest.mark.parametrize("size", ["4m", "9m", "20m"])
def test_a_disk_that_fills_up_leaves_the_last_checkpoint_whole(tmp_path, disk, finished, size):
    """Of two checkpoints and a half, of one and a bit, of none."""
    folder, resize = disk
    assert resize(size).returncode == 0
    command = [*SMALL, "--checkpoint-steps", "1", "--keep-checkpoints", "3", "--output-dir", folder]
    done = tool(*command, "--no-check-disk", cwd=tmp_path, code=5)
    assert "no space left on the disk while writing" in done.stderr
    assert "Traceback" not in done.stderr
    (run,) = folder.iterdir()
    assert len(checkpoints(run)) == {"4m": 0, "9m": 1, "20m": 2}[size]
    for path in checkpoints(run):
        assert checkpoint.problem(path) is None
        assert checkpoint.read(path).state["step"] == int(path.name.removeprefix("step-"))
    assert leftovers(run) == []
    assert status(run)["state"] == "failed"
    assert resize("200m").returncode == 0
    tool(*command, cwd=tmp_path)
    assert [run] == list(folder.iterdir())
    assert same(weights(run), weights(finished[1]))
    assert steps(run, "train") == list(range(1, 9))
    assert leftovers(run) == []


# -- memory ----------------------------------------------------------------------------------------------------------

HEAVY = options(
    max_samples=512, max_eval_samples=60, batch_size=256, max_steps=4, dropout=0, augment="none", threads=1, log_steps=1
)


def limited(place: Path, kilobytes: int, *more: str) -> subprocess.CompletedProcess[str]:
    """The heavy run with its address space limited, each process for itself."""
    place.mkdir()
    return subprocess.run(
        ["bash", "-c", f'ulimit -v {kilobytes}; exec "$0" "$@"', TOOL, *HEAVY, *more],
        capture_output=True,
        text=True,
        cwd=place,
        env=ENVIRONMENT,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "shards"), [(1, False), (2, False), (2, True)])
def test_in_little_memory_the_batch_is_cut_and_the_losses_stay(tmp_path, processes, shards):
    more = ["--num-processes", str(processes)]
    if shards:
        (tmp_path / "fsdp.yaml").write_text("distributed_type: FSDP\nnum_processes: 2\n")
        more += ["--accelerate-config", str(tmp_path / "fsdp.yaml")]
    tool(*HEAVY, *more, cwd=tmp_path)
    expected = losses(only_run(tmp_path))
    assert len(expected) == 4
    # How much the libraries take differs from machine to machine: less and less, until it doesn't fit at once.
    tried: list[str] = []
    for kilobytes in range(2_700_000, 1_400_000, -200_000):
        place = tmp_path / str(kilobytes)
        done = limited(place, kilobytes, *more)
        tried.append(f"{kilobytes} kB: exit {done.returncode}\n{words(done)}")
        assert done.returncode == 0, "\n".join(tried)
        assert losses(only_run(place)) == pytest.approx(expected, abs=1e-5), "\n".join(tried)
        if "doesn't fit at once" in done.stderr:
            break
    else:
        pytest.fail("never cut into pieces\n" + "\n".join(tried))


@pytest.mark.slow
def test_where_not_one_example_fits_it_says_what_to_do(tmp_path):
    # Down to where the libraries themselves find no room.
    codes = {}
    for kilobytes in range(1_500_000, 500_000, -150_000):
        done = limited(tmp_path / str(kilobytes), kilobytes)
        codes[kilobytes] = done.returncode
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode in (0, 4), f"{kilobytes} kB: exit {done.returncode}\n{words(done)}"
        if done.returncode == 4:
            assert done.stderr.splitlines()[-1].startswith("error: out of memory"), done.stderr
            assert re.search(r"try --|lower --|use a smaller", done.stderr.splitlines()[-1]), done.stderr
    print(codes)
    assert 4 in codes.values()


@pytest.mark.slow
def test_the_batch_that_fits_is_found_and_kept(tmp_path):
    command = options(
        max_samples=64, max_eval_samples=20, epochs=3, batch_size="auto", threads=1, log_steps=1, checkpoint_steps=1
    )
    (tmp_path / "whole").mkdir()
    tool(*command, cwd=tmp_path / "whole")
    whole = only_run(tmp_path / "whole")
    assert yaml.safe_load((whole / "config.yaml").read_text())["batch_size"] == "auto"
    assert status(whole)["estimate"]["batch_size"] == 64
    assert steps(whole, "train") == [1, 2, 3]
    place = tmp_path / "place"
    process = start(command, place)
    assert until(lambda: list(place.glob("runs/*/checkpoints/step-*/complete.json")), process)
    assert stop(process, signal.SIGKILL, place) == -9
    tool(*command, cwd=place)
    assert same(weights(only_run(place)), weights(whole))
    assert steps(only_run(place), "train") == [1, 2, 3]


# -- going on --------------------------------------------------------------------------------------------------------


def test_resume_with_other_options_is_refused(finished):
    place, run = finished
    done = tool(*SMALL, "--seed", "7", "--resume", run, cwd=place, code=2)
    assert done.stderr.startswith(f"error: --resume: {run} was started with other options (seed: 0 there, 7 here)")
    assert status(run)["state"] == "finished"


def test_what_is_not_given_with_resume_is_as_the_run_was_started(finished):
    place, run = finished
    kept = ("model", "data", "epochs", "batch_size", "seed", "max_samples", "lr_scheduler", "output_dir")
    before = yaml.safe_load((run / "config.yaml").read_text())
    again = tool("train", "vqa", "--resume", run, "--log-steps", "7", "--print-config", cwd=place)
    found = yaml.safe_load(again.stdout)
    assert {name: found[name] for name in kept} == {name: before[name] for name in kept}
    assert found["log_steps"] == 7
    done = tool("train", "glue", "--resume", run, cwd=place, code=2)
    assert done.stderr == f"error: --resume: {run} is a run of vqa, not of glue\n"
    done = tool("train", "vqa", "--resume", "runs/none", cwd=place, code=2)
    assert done.stderr == "error: --resume: there is no runs/none; see `tool runs list`\n"


@pytest.mark.slow
def test_resume_of_a_checkpoint_goes_on_from_that_one(tmp_path, finished):
    command = [*SMALL, "--checkpoint-steps", "1", "--keep-checkpoints", "4"]
    process = start(command, tmp_path)
    assert until(lambda: list(tmp_path.glob("runs/*/checkpoints/step-00000004/complete.json")), process)
    assert stop(process, signal.SIGTERM, tmp_path) == 75
    run = only_run(tmp_path)
    oldest = checkpoints(run)[0]
    done = tool("train", "vqa", "--resume", oldest, cwd=tmp_path)  # the options are the run's
    assert f"at step {int(oldest.name.removeprefix('step-'))}" in done.stderr
    assert only_run(tmp_path) == run
    assert same(weights(run), weights(finished[1]))
    assert steps(run, "train") == list(range(1, 9))
    assert steps(run, "validation") == [4, 8]


@pytest.mark.slow
def test_a_finished_run_of_a_steady_schedule_may_be_made_longer(tmp_path):
    (tmp_path / "once").mkdir()
    tool(*STEADY, "--epochs", "3", cwd=tmp_path / "once")
    tool(*STEADY, cwd=tmp_path)
    run = only_run(tmp_path)
    tool(*STEADY, "--epochs", "3", "--resume", run, cwd=tmp_path)
    assert only_run(tmp_path) == run
    assert steps(run, "train") == list(range(1, 13))
    assert steps(run, "validation") == [4, 8, 12]
    assert same(weights(run), weights(only_run(tmp_path / "once")))
    done = tool(*STEADY, "--epochs", "1", "--resume", run, cwd=tmp_path, code=2)
    assert "past the 4 asked for" in done.stderr


@pytest.mark.slow
def test_other_data_are_refused(tmp_path):
    from PIL import Image

    colours = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
    rows = ["image,question,answer"]
    for number in range(60):
        name = list(colours)[number % 3]
        image = Image.effect_noise((40, 40), 10 + number).convert("RGB")  # no two are alike: those would stay together
        Image.blend(image, Image.new("RGB", image.size, colours[name]), 0.7).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,what colour is it?,{name}")
    data = tmp_path / "data.csv"
    data.write_text("\n".join(rows) + "\n")
    command = ["train", "vqa", "--model", "tiny", "--data", "data.csv", "--batch-size", "8", "--epochs", "20"]
    command += ["--threads", "1", "--checkpoint-steps", "1"]
    process = start(command, tmp_path)
    assert until(lambda: list(tmp_path.glob("runs/*/checkpoints/step-*/complete.json")), process)
    assert stop(process, signal.SIGTERM, tmp_path) == 75
    rows[7] = rows[7].replace("what colour", "which colour")
    data.write_text("\n".join(rows) + "\n")
    before = [path.name for path in checkpoints(only_run(tmp_path))]
    done = tool(*command, cwd=tmp_path, code=2)
    assert re.search(r"error: --data: .* began with other data than is there now; .*--fresh", done.stderr)
    assert [path.name for path in checkpoints(only_run(tmp_path))] == before
    rows[7] = rows[7].replace("which colour", "what colour")
    data.write_text("\n".join(rows) + "\n")
    done = tool(*command, "--max-hours", "0.0001", cwd=tmp_path, code=2)
    assert re.search(
        r"error: --max-hours: 0.0001 hours were over before a step was done: preparing alone took \d+ s", done.stderr
    )
    assert [path.name for path in checkpoints(only_run(tmp_path))] == before


# -- several processes -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_worker_that_dies_ends_the_others_and_is_named(tmp_path):
    process = start([*SMALL, "--epochs", "50", "--num-processes", "2"], tmp_path)
    assert until(lambda: any(steps(run, "train") for run in runs(tmp_path)), process)
    (second,) = [worker for worker in psutil.Process(process.pid).children() if worker.environ().get("RANK") == "1"]
    second.kill()
    began = time.monotonic()
    code = ended(process, 15)
    assert code == 1, f"exit {code}\n{said(tmp_path)}"
    last = said(tmp_path).splitlines()[-1]
    assert last.startswith("error: process 1 failed (killed by SIGKILL"), said(tmp_path)
    assert gone(tmp_path, max(0.0, 15 - (time.monotonic() - began)))
    assert living(tmp_path) == []
    assert status(only_run(tmp_path))["state"] == "failed"
