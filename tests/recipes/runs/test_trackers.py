"""Trackers: one run over all resumes, each step once, and nothing in them ends the training."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from wandb_files import expected_rows, offline_folders, plain, records, rows, run_ids
from wandb_server import Wandb, serve

from recipes.runs import wandb as wandb_tools
from recipes.runs.folder import Run
from recipes.runs.trackers import Trackers, check
from tasks.errors import ConfigError, Preempted

pytest.importorskip("wandb")
pytest.importorskip("tensorboard")

TOOL = str(Path(sys.executable).with_name("tool"))
CONFIG = {"recipe": "vqa", "model": "tiny"}


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "vqa-20261122-1403-a1b2"
    folder.mkdir()
    return Run(folder)


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("NETRC", raising=False)
    yield
    import wandb

    wandb.teardown()


@pytest.fixture
def server(monkeypatch):
    wandb = Wandb()
    server = serve(wandb)
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", wandb.url)
    monkeypatch.setenv("WANDB_API_KEY", "5ecre7" * 6 + "5ecr")
    # The limits are for a bad day; here they would only make the suite slow.
    monkeypatch.setitem(wandb_tools.SETTINGS, "finish_timeout", 1.0)
    monkeypatch.setitem(wandb_tools.SETTINGS, "init_timeout", 2.0)
    yield wandb
    wandb.answers.set()
    server.shutdown()
    server.server_close()


def train(step):
    return {"kind": "train", "step": step, "epoch": step / 4, "loss": 1.5 / step, "seconds": step * 0.25}


def validation(step):
    return {
        "kind": "validation",
        "step": step,
        "epoch": step / 4,
        "accuracy": step / 100,
        "n": 20,
        "seconds": step * 0.25,
    }


def log(run, trackers, steps):
    """As the loop does: metrics.jsonl, then the trackers; a validation every fourth step."""
    for step in steps:
        for line in [train(step), validation(step)] if step % 4 == 0 else [train(step)]:
            run.log(line)
            trackers.log(line)


def start(run, names=("wandb",)):
    return Trackers(list(names), run.path, "shapes", CONFIG)


def preempt(trackers):
    try:
        raise Preempted("stopped by SIGTERM")
    except Preempted:
        trackers.close()


def board(run):
    """What TensorBoard's own reader finds: tag -> [(step, value)]."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(run.path / "tensorboard"))
    reader.Reload()
    return {tag: [(event.step, event.value) for event in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


def only(found):
    (one,) = found
    return one


# -- W&B offline ------------------------------------------------------------------------------------------------------


def test_an_offline_run_holds_the_rows_of_metrics_jsonl(run, capfd):
    trackers = start(run)
    log(run, trackers, range(1, 10))
    trackers.close()
    folder = only(offline_folders(run.path))
    assert plain(rows(folder)) == expected_rows(run.path)
    assert run_ids(folder) == {run.path.name}
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [f"          wandb: kept offline; to send it: wandb sync {os.path.relpath(folder)}"]


def killed(run, first, last, flush=0.0):
    """Another process logs these steps and is killed; after `flush` seconds, so that its rows are on the disk or not."""
    child = os.fork()
    if not child:
        try:
            wandb_tools.SETTINGS["x_transaction_log_flush_interval"] = flush / 4 or 15.0
            trackers = start(run, ["wandb", "tensorboard"])
            log(run, trackers, range(first, last))
            time.sleep(flush)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL


def test_killed_and_resumed_it_is_one_run_with_each_step_once(run):
    """Killed at steps 7 and 11, with its rows on the disk or not; each time it goes on from a checkpoint that lies before."""
    killed(run, 1, 8, flush=1.0)
    run.cut_metrics(5)
    killed(run, 6, 12)
    run.cut_metrics(8)
    assert [max((row["_step"] for row in rows(folder)), default=0) for folder in offline_folders(run.path)] == [6, 0]
    trackers = start(run, ["tensorboard", "wandb"])
    log(run, trackers, range(9, 14))
    assert [step for step, _ in board(run)["train/loss"]][:8] == list(range(1, 9))
    trackers.close()
    folder = only(offline_folders(run.path))
    assert [row["_step"] for row in rows(folder)] == list(range(1, 14))
    assert plain(rows(folder)) == expected_rows(run.path)
    assert run_ids(folder) == {run.path.name}
    only((run.path / "tensorboard").glob("events*"))
    assert [step for step, _ in board(run)["train/loss"]] == list(range(1, 14))


def test_the_older_folder_goes_only_when_the_new_one_has_it_all_on_the_disk(run, monkeypatch):
    first = start(run)
    log(run, first, range(1, 8))
    first.close()
    old = only(offline_folders(run.path))
    monkeypatch.setitem(wandb_tools.SETTINGS, "x_transaction_log_flush_interval", 1.0)
    second = start(run)
    assert old in offline_folders(run.path)
    log(run, second, [8])
    new = only(set(offline_folders(run.path)) - {old})
    deadline, step = time.monotonic() + 30, 9
    while old.exists() and time.monotonic() < deadline:
        assert max((row["_step"] for row in rows(new)), default=0) < 7
        time.sleep(0.1)
        log(run, second, [step])
        step += 1
    assert not old.exists()
    assert [row["_step"] for row in rows(new)][:7] == list(range(1, 8))
    second.close()
    assert plain(rows(new)) == expected_rows(run.path)
    assert only(offline_folders(run.path)) == new


def test_a_history_longer_than_a_block_is_found_on_the_disk(run):
    first = start(run)
    log(run, first, range(1, 400))
    first.close()
    folder = only(offline_folders(run.path))
    assert wandb_tools.file_size(folder) > 2 * wandb_tools.BLOCK
    assert wandb_tools.last_step(folder) == 399
    assert wandb_tools.last_step(folder, wandb_tools.file_size(folder) - 5000) == 399
    second = start(run)
    log(run, second, [400])
    second.close()
    assert [row["_step"] for row in rows(only(offline_folders(run.path)))] == list(range(1, 401))


def test_a_resume_without_a_checkpoint_begins_anew(run):
    first = start(run, ["wandb", "tensorboard"])
    log(run, first, range(1, 4))
    preempt(first)
    run.cut_metrics(0)
    trackers = start(run, ["wandb", "tensorboard"])
    log(run, trackers, range(1, 3))
    trackers.close()
    assert [row["_step"] for row in rows(only(offline_folders(run.path)))] == [1, 2]
    assert [step for step, _ in board(run)["train/loss"]] == [1, 2]


def test_what_was_synced_is_not_there_twice(run):
    """`wandb sync` of a preempted run leaves a mark; rows sent again would be there twice."""
    first = start(run)
    log(run, first, range(1, 8))
    preempt(first)
    synced = only(offline_folders(run.path))
    file = only(synced.glob("*.wandb"))
    file.with_name(file.name + ".synced").touch()
    run.cut_metrics(6)
    second = start(run)
    log(run, second, range(7, 12))
    second.close()
    assert synced.exists()
    new = only(set(offline_folders(run.path)) - {synced})
    assert [row["_step"] for row in rows(synced)] == list(range(1, 8))
    assert [row["_step"] for row in rows(new)] == list(range(8, 12))
    assert plain(rows(synced) + rows(new)) == expected_rows(run.path)


def test_a_validation_that_a_preemption_put_off_joins_its_step(run):
    first = start(run)
    log(run, first, range(1, 4))
    run.log(train(4))
    first.log(train(4))
    preempt(first)
    assert [row["_step"] for row in rows(only(offline_folders(run.path)))] == [1, 2, 3, 4]
    second = start(run)
    run.log(validation(4))
    second.log(validation(4))
    second.close()
    found = rows(only(offline_folders(run.path)))
    assert [row["_step"] for row in found] == [1, 2, 3, 4]
    assert (found[3]["train/loss"], found[3]["validation/accuracy"]) == (1.5 / 4, 0.04)


def test_it_says_nothing_of_the_machine_the_code_or_the_command_line(run, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tool", "train", "--password=sesame"])
    monkeypatch.setenv("WANDB_API_KEY", "5ecre7" * 6 + "5ecr")
    monkeypatch.setenv("HF_TOKEN", "hf_sesame")
    trackers = start(run)
    log(run, trackers, range(1, 3))
    trackers.close()
    folder = only(offline_folders(run.path))
    kinds = {record.WhichOneof("record_type") for record in records(folder)}
    assert kinds <= {"header", "run", "telemetry", "stats", "summary", "history", "exit"}
    run_record = only(record.run for record in records(folder) if record.WhichOneof("record_type") == "run")
    assert (run_record.host, run_record.git.commit, run_record.git.remote_url) == ("", "", "")
    config = {item.key: json.loads(item.value_json) for item in run_record.config.update if item.key != "_wandb"}
    assert config == CONFIG
    for path in run.path.rglob("*"):
        if path.is_file():
            assert not any(word in path.read_bytes() for word in (b"sesame", b"5ecre7")), path


def test_signal_handlers_and_the_standard_streams_are_left_alone(run, capfd):
    numbers = [number for number in signal.valid_signals() if number not in (signal.SIGKILL, signal.SIGSTOP)]
    handlers = {number: signal.getsignal(number) for number in numbers}
    streams = sys.stdout, sys.stderr, sys.excepthook
    trackers = start(run, ["wandb", "tensorboard"])
    assert {number: signal.getsignal(number) for number in numbers} == handlers
    print("out")
    print("err", file=sys.stderr)
    log(run, trackers, range(1, 3))
    preempt(trackers)
    assert {number: signal.getsignal(number) for number in numbers} == handlers
    assert (sys.stdout, sys.stderr) == streams[:2]
    assert not [child for child in psutil.Process().children() if "wandb" in child.name()]
    assert capfd.readouterr() == ("out\n", "err\n")


def test_disabled_it_touches_nothing(run, monkeypatch):
    first = start(run)
    log(run, first, range(1, 3))
    preempt(first)
    before = sorted(path for path in run.path.rglob("*") if path.is_file())
    monkeypatch.setenv("WANDB_MODE", "disabled")
    second = start(run)
    second.log(train(3))
    second.close()
    assert sorted(path for path in run.path.rglob("*") if path.is_file()) == sorted({*before, run.path / "log.txt"})


# -- W&B online -------------------------------------------------------------------------------------------------------


def test_online_each_step_is_sent_once_over_a_resume(run, server, capfd):
    """The server has steps that lie after the checkpoint, and lacks the validation that a preemption put off."""
    first = start(run)
    log(run, first, range(1, 8))
    run.log(train(8))
    first.log(train(8))
    preempt(first)
    assert server.steps() == list(range(1, 8))
    assert server.exit_codes == [75]
    assert server.preempting
    run.cut_metrics(5)
    second = start(run)
    log(run, second, range(6, 8))
    preempt(second)
    assert server.steps() == list(range(1, 8))
    run.log(train(8))
    third = start(run)
    run.log(validation(8))
    third.log(validation(8))
    log(run, third, range(9, 11))
    third.close()
    assert plain(server.rows) == expected_rows(run.path)
    assert server.exit_codes == [75, 75, 0]
    assert {given["name"] for given in server.runs} == {run.path.name}
    assert len(wandb_tools.folders(run.path)) == 1
    assert capfd.readouterr() == ("", "")


def test_what_a_broken_network_kept_back_is_sent_at_the_next_start(run, server, capfd):
    first = start(run)
    log(run, first, range(1, 4))
    server.answers.clear()
    log(run, first, range(4, 7))
    began = time.monotonic()
    preempt(first)
    assert time.monotonic() - began < 20
    assert "wandb: what W&B didn't take within 10 s is kept; the next start sends it" in capfd.readouterr().err
    server.answers.set()
    second = start(run)
    log(run, second, range(7, 9))
    second.close()
    assert plain(server.rows) == expected_rows(run.path)
    assert capfd.readouterr() == ("", "")


def test_a_run_that_ends_without_a_network_says_how_to_send_it(run, server, capfd):
    trackers = start(run)
    log(run, trackers, range(1, 4))
    server.answers.clear()
    trackers.close()
    folder = only(wandb_tools.folders(run.path))
    assert capfd.readouterr().err.splitlines() == [
        f"          wandb: what W&B didn't take within 10 s is kept; to send it: wandb sync {os.path.relpath(folder)}"
    ]
    assert plain(rows(folder)) == expected_rows(run.path)


def test_a_service_that_hangs_is_ended(run, monkeypatch, capfd):
    """W&B's own process stopped dead: closing is bounded all the same, and leaves no process."""
    monkeypatch.setattr(wandb_tools, "CLOSE_SECONDS", 0.5)
    trackers = start(run)
    log(run, trackers, range(1, 4))
    service = only(child for child in psutil.Process().children() if child.name().startswith("wandb-core"))
    service.suspend()
    preempt(trackers)
    assert "the next start sends it" in capfd.readouterr().err
    assert not service.is_running() or service.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("how", ["no login", "bad key", "nobody there", "silence"])
def test_what_stands_in_the_way_at_the_start_is_one_line_with_the_ways_out(run, server, monkeypatch, capfd, how):
    if how == "no login":
        monkeypatch.delenv("WANDB_API_KEY")
    elif how == "bad key":
        monkeypatch.setenv("WANDB_API_KEY", "sesame")
    elif how == "nobody there":
        monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    else:
        server.answers.clear()

    def begin():
        check(["wandb"])
        start(run)

    with pytest.raises(ConfigError) as told:
        begin()
    message = str(told.value)
    assert message.startswith("--tracker wandb")
    assert message.endswith("log in with `wandb login`, or log without a network: WANDB_MODE=offline")
    assert "\n" not in message
    assert "sesame" not in message
    assert capfd.readouterr() == ("", "")
    assert not [child for child in psutil.Process().children() if "wandb" in child.name()]


def test_a_resumed_run_goes_on_offline_where_w_and_b_is_gone(run, server, capfd):
    first = start(run)
    log(run, first, range(1, 6))
    preempt(first)
    server.answers.clear()
    second = start(run)
    assert capfd.readouterr().err.startswith("          --tracker wandb goes on offline: ")
    log(run, second, range(6, 9))
    second.close()
    # The server has the first steps; what is kept offline are the others.
    assert server.steps() == [1, 2, 3, 4]
    assert [row["_step"] for row in rows(only(offline_folders(run.path)))] == [5, 6, 7, 8]


def test_an_offline_run_that_goes_on_online_is_sent_whole(run, server, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    first = start(run)
    log(run, first, range(1, 6))
    preempt(first)
    monkeypatch.setenv("WANDB_MODE", "online")
    second = start(run)
    log(run, second, range(6, 9))
    second.close()
    assert plain(server.rows) == expected_rows(run.path)
    assert offline_folders(run.path) == []


# -- TensorBoard ------------------------------------------------------------------------------------------------------


def test_tensorboard_has_each_step_once_after_a_resume(run):
    first = start(run, ["tensorboard"])
    log(run, first, range(1, 10))
    preempt(first)
    run.cut_metrics(6)
    second = start(run, ["tensorboard"])
    log(run, second, range(7, 13))
    second.close()
    found = board(run)
    assert found["train/loss"] == [(step, pytest.approx(1.5 / step)) for step in range(1, 13)]
    assert found["validation/accuracy"] == [(step, pytest.approx(step / 100)) for step in (4, 8, 12)]
    only((run.path / "tensorboard").iterdir())


def test_an_open_tensorboard_forgets_the_older_file(run):
    """Its reader has read the first file when the run is resumed, and looks again now and then."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    first = start(run, ["tensorboard"])
    log(run, first, range(1, 10))
    first.close()
    reader = EventAccumulator(str(run.path / "tensorboard"))
    reader.Reload()
    run.cut_metrics(6)
    time.sleep(1.1)  # the files are ordered by the second of their making
    second = start(run, ["tensorboard"])
    reader.Reload()
    log(run, second, range(7, 13))
    second.close()
    reader.Reload()
    assert [event.step for event in reader.Scalars("train/loss")] == list(range(1, 13))


# -- faults -----------------------------------------------------------------------------------------------------------


FAULTS = """
import os, sys, time
sys.path[:0] = [{here!r}, {helpers!r}, {root!r}]
from pathlib import Path
import psutil
from test_trackers import log, only, start
from recipes.runs.folder import Run

run = Run(Path({run!r}))
trackers = start(run, ["wandb", "tensorboard"])
log(run, trackers, range(1, 4))
only(child for child in psutil.Process().children() if child.name().startswith("wandb-core")).kill()
file = only((run.path / "tensorboard").iterdir())
file.unlink()
file.symlink_to("/dev/full")
time.sleep(0.5)
log(run, trackers, range(4, 400))
trackers.close()
"""


def test_a_dead_service_and_a_full_disk_are_told_once_each_and_the_run_goes_on(run):
    """W&B's process is killed, and TensorBoard's file is put on /dev/full, which takes nothing."""
    here, helpers, _, root = map(str, Path(__file__).parents[:4])
    places = {"here": here, "helpers": helpers, "root": root, "run": str(run.path)}
    done = subprocess.run([sys.executable, "-c", FAULTS.format(**places)], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (0, "")
    told = sorted(line.split(" (")[0] for line in done.stderr.splitlines())
    assert told == ["          --tracker tensorboard failed", "          --tracker wandb failed"], done.stderr
    assert len(run.read_metrics()) == 399 + 399 // 4
    again = start(run, ["wandb", "tensorboard"])
    again.close()
    assert plain(rows(only(offline_folders(run.path)))) == expected_rows(run.path)
    assert [step for step, _ in board(run)["train/loss"]] == list(range(1, 400))


def test_a_stop_in_the_middle_of_a_trackers_call_is_no_fault_of_the_tracker(run, monkeypatch):
    trackers = start(run, ["tensorboard"])

    def stop(*_, **__):
        raise Preempted("stopped by SIGTERM")

    monkeypatch.setattr(trackers._open["tensorboard"]._writer, "add_scalar", stop)
    with pytest.raises(Preempted):
        trackers.log(train(1))
    trackers.close()


# -- through the command ----------------------------------------------------------------------------------------------


def finished_after(command, place, stops):
    """Runs the command, stopped by these signals one after the other, until it is through: the exit codes and all it said."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    codes, said = [], ""
    for number in [*stops, None]:
        process = subprocess.Popen(
            command, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if number is not None:
            before = last_checkpoint(place)
            while last_checkpoint(place) == before and process.poll() is None:
                time.sleep(0.02)
            process.send_signal(number)
        said += process.communicate(timeout=200)[0]
        codes.append(process.returncode)
    return codes, said


def last_checkpoint(place):
    return max((path.parent.name for path in place.glob("runs/*/checkpoints/step-*/complete.json")), default="")


@pytest.mark.slow
def test_the_command_killed_and_preempted_leaves_one_run(tmp_path):
    command = [TOOL, "train", "vqa", "--model", "tiny", "--data", "sample", "--threads", "1", "--log-steps", "1"]
    command += ["--max-samples", "300", "--max-eval-samples", "20", "--max-steps", "30", "--checkpoint-steps", "5"]
    command += ["--batch-size", "8", "--eval-steps", "10", "--tracker", "wandb,tensorboard"]
    codes, said = finished_after(command, tmp_path, [signal.SIGKILL, signal.SIGTERM])
    assert codes == [-signal.SIGKILL, 75, 0], said
    run = Run(only((tmp_path / "runs").iterdir()))
    steps = [line["step"] for line in run.read_metrics() if line["kind"] == "train"]
    assert steps == list(range(1, 31))
    folder = only(offline_folders(run.path))
    assert run_ids(folder) == {run.path.name}
    assert plain(rows(folder)) == expected_rows(run.path)
    only((run.path / "tensorboard").iterdir())
    found = board(run)
    assert [step for step, _ in found["train/loss"]] == steps
    assert [step for step, _ in found["validation/accuracy"]] == [10, 20, 30]
    assert "wandb:" not in said.replace(
        f"          wandb: kept offline; to send it: wandb sync runs/{run.path.name}", ""
    )
