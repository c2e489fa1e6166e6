"""Real faults, through the command: stopped at any moment, checkpoints damaged. The next run ends with the same weights."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import torch
from running import (
    checkpoints,
    ended,
    leftovers,
    living,
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

pytestmark = pytest.mark.slow

TRIALS = int(os.environ.get("TOOL_FAULT_TRIALS", "50"))
AT_ONCE = 2
SMALL = options(
    max_samples=256, max_eval_samples=60, epochs=2, batch_size=64, threads=1, log_steps=1, checkpoint_steps=1
)
# An evaluation of seconds.
LONG_EVALUATION = options(
    max_samples=128, max_eval_samples=1000, epochs=2, batch_size=64, threads=1, log_steps=1, eval_batch_size=4
)
# Steps of seconds.
LONG_STEPS = options(
    max_samples=512, max_eval_samples=60, epochs=5, batch_size=256, threads=1, log_steps=1, checkpoint_steps=1
)


@dataclass
class Whole:
    """A run that nobody disturbed: what others are measured by."""

    arguments: list[str]
    weights: dict[str, torch.Tensor]
    steps: list[int]
    evaluated: list[int]
    seconds: float


def undisturbed(arguments: list[str], place: Path) -> Whole:
    place.mkdir()
    began = time.monotonic()
    tool(*arguments, cwd=place)
    run = only_run(place)
    assert leftovers(run) == []
    return Whole(arguments, weights(run), steps(run, "train"), steps(run, "validation"), time.monotonic() - began)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    whole = undisturbed(SMALL, tmp_path_factory.mktemp("small") / "whole")
    assert (whole.steps, whole.evaluated) == ([1, 2, 3, 4, 5, 6, 7, 8], [4, 8])
    return whole


@pytest.fixture(scope="module", params=["whole", "shards"])
def pair(tmp_path_factory, request):
    """Two processes, each with the model or with a half of it."""
    place = tmp_path_factory.mktemp("pair")
    together = ["--num-processes", "2"]
    if request.param == "shards":
        (place / "fsdp.yaml").write_text(
            "distributed_type: FSDP\nnum_processes: 2\nfsdp_config: {fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP}\n"
        )
        together += ["--accelerate-config", str(place / "fsdp.yaml")]
    return undisturbed([*SMALL, *together], place / "whole")


@pytest.fixture(scope="module")
def long_evaluation(tmp_path_factory):
    return undisturbed(LONG_EVALUATION, tmp_path_factory.mktemp("evaluation") / "whole")


@pytest.fixture(scope="module")
def long_steps(tmp_path_factory):
    return undisturbed(LONG_STEPS, tmp_path_factory.mktemp("steps") / "whole")


def phase(place: Path) -> str:
    """What a run is at, from its files."""
    if not runs(place):
        return "1 imports, data"
    run = runs(place)[0]
    trained, evaluated = steps(run, "train"), steps(run, "validation")
    if status(run).get("state") == "finished":
        return "7 done"
    if list(run.glob("checkpoints/.step-*.part")):
        return "4 writing a checkpoint"
    if not trained:
        return "2 probing"
    if trained[-1] == 8 and evaluated and evaluated[-1] == 8:
        return "6 model, report"
    return "5 evaluation" if trained[-1] % 4 == 0 and trained[-1] not in evaluated else "3 steps"


@dataclass
class Trial:
    """One run, stopped at given seconds, once or twice, then run to its end; `hit`: in which phases."""

    whole: Whole
    place: Path
    number: int
    delays: list[float]
    of_worker: bool = False
    hit: list[str] = field(default_factory=list)

    def go(self) -> None:
        for count, delay in enumerate(self.delays):
            process = start(self.whole.arguments, self.place)
            code = ended(process, delay)
            if code is None:
                self.hit.append("after a resume" if count else phase(self.place))
                code = self.strike(process)
                assert self.fitting(code), f"exit {code} in {self.hit[-1]}\n{said(self.place)}"
            else:
                self.hit.append("7 done")
                assert code == 0, f"exit {code}\n{said(self.place)}"
            if self.finished():
                break
        if not self.finished():
            process = start(self.whole.arguments, self.place)
            assert ended(process, 300) == 0, f"after {self.hit}\n{said(self.place)}"
        check(self.place, self.whole)

    def strike(self, process) -> int:
        if self.number != signal.SIGKILL:
            return stop(process, self.number, self.place)
        workers = psutil.Process(process.pid).children()
        if self.of_worker and workers:
            random.Random(process.pid).choice(workers).kill()
            code = ended(process, 15)
            assert code is not None, f"still running 15 s after the death of a worker\n{said(self.place)}"
            assert living(self.place) == []
            return code
        process.kill()
        return process.wait()

    def fitting(self, code: int) -> bool:
        if self.number == signal.SIGKILL:
            return code == (1 if self.of_worker and code > 0 else -9)
        # Done in spite of the signal, or to be done by the same command.
        return code == (0 if self.finished() else 75)

    def finished(self) -> bool:
        return any(status(run).get("state") == "finished" for run in runs(self.place))


def check(place: Path, whole: Whole) -> None:
    """One run, finished, as if nothing had been."""
    run = only_run(place)
    assert status(run)["state"] == "finished"
    assert same(weights(run), whole.weights), f"other weights\n{said(place)}"
    assert steps(run, "train") == whole.steps
    assert steps(run, "validation") == whole.evaluated
    assert leftovers(run) == []
    assert "Traceback" not in said(place), said(place)


def all_of(trials: list[Trial]) -> None:
    """Runs the trials, a few at once; says in which phases they struck."""

    def attempt(trial: Trial) -> str:
        try:
            trial.go()
        except AssertionError as error:
            moments = ", ".join(f"{delay:.2f}" for delay in trial.delays)
            return f"{trial.place.name}, {signal.Signals(trial.number).name} at {moments} s ({trial.hit}): {error}"
        shutil.rmtree(trial.place)
        return ""

    with ThreadPoolExecutor(AT_ONCE) as pool:
        failed = [line for line in pool.map(attempt, trials) if line]
    for name, count in sorted(Counter(name for trial in trials for name in trial.hit).items()):
        print(f"{count:3} {name}")
    assert not failed, f"{len(failed)} of {len(trials)}\n" + "\n\n".join(failed)


def moments(rng: random.Random, first: float, last: float) -> list[float]:
    """One, for a third of the runs two."""
    return [rng.uniform(first, last) for _ in range(1 if rng.random() < 2 / 3 else 2)]


def test_killed_at_any_moment(tmp_path, small):
    rng = random.Random(9)
    all_of(
        [Trial(small, tmp_path / str(index), signal.SIGKILL, moments(rng, 0, small.seconds)) for index in range(TRIALS)]
    )


def test_asked_to_stop_at_any_moment(tmp_path, small):
    rng, numbers = random.Random(15), [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1]
    all_of(
        [
            Trial(small, tmp_path / str(index), numbers[index % 4], moments(rng, 0.5, small.seconds))
            for index in range(TRIALS)
        ]
    )


def test_one_of_two_processes_or_their_launcher_killed_at_any_moment(tmp_path, pair):
    rng = random.Random(2)
    all_of(
        [
            Trial(pair, tmp_path / str(index), signal.SIGKILL, moments(rng, 0, pair.seconds), of_worker=index % 2 == 1)
            for index in range(-(-TRIALS // 10))
        ]
    )


def test_two_processes_asked_to_stop_at_any_moment(tmp_path, pair):
    rng = random.Random(3)
    all_of(
        [
            Trial(pair, tmp_path / str(index), signal.SIGTERM, moments(rng, 0.5, pair.seconds))
            for index in range(-(-TRIALS // 10))
        ]
    )


@pytest.mark.parametrize("who", ["launcher", "worker 0", "worker 1"])
def test_one_of_two_processes_or_their_launcher_killed_while_they_train(tmp_path, pair, who):
    """Run again at once: after the launcher's death the workers may still be saving."""
    process = start(pair.arguments, tmp_path)
    assert until(lambda: any(steps(run, "train") for run in runs(tmp_path)), process)
    killed = {f"worker {worker.environ()['RANK']}": worker for worker in psutil.Process(process.pid).children()}.get(
        who, psutil.Process(process.pid)
    )
    killed.kill()
    assert ended(process, 15) == (-9 if who == "launcher" else 1), said(tmp_path)
    tool(*pair.arguments, cwd=tmp_path)
    check(tmp_path, pair)


# -- at one moment in particular -------------------------------------------------------------------------------------


def struck(place: Path, whole: Whole, number: int, seen: Callable[[], object], times: int = 5) -> None:
    """Strikes as soon as something is seen, and again in the runs that go on; then runs to the end."""
    hit = 0
    for _ in range(times):
        process = start(whole.arguments, place)
        if not until(seen, process, pause=0):  # some of what is looked for is there for less than a millisecond
            break
        hit += 1
        code = stop(process, number, place)
        done = any(status(run).get("state") == "finished" for run in runs(place))
        assert code == (-9 if number == signal.SIGKILL else 0 if done else 75), f"exit {code}\n{said(place)}"
        if done:
            break
    assert hit
    print(f"{hit} strikes")
    # The last start may have gone to its end.
    if not any(status(run).get("state") == "finished" for run in runs(place)):
        tool(*whole.arguments, cwd=place)
    check(place, whole)


BOTH = pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "stop"])


@BOTH
def test_while_the_run_folder_is_being_made(tmp_path, small, number):
    struck(tmp_path, small, number, lambda: runs(tmp_path), times=1)


@BOTH
def test_while_a_checkpoint_is_being_written(tmp_path, small, number):
    torn: list[Path] = []

    def seen() -> bool:
        new = [path for path in tmp_path.glob("runs/*/checkpoints/.step-*.part") if path not in torn]
        torn.extend(new)
        return bool(new)

    struck(tmp_path, small, number, seen)


@BOTH
def test_while_an_evaluation_is_under_way(tmp_path, long_evaluation, number):
    tried: list[int] = []

    def seen() -> bool:
        for run in runs(tmp_path):
            done, evaluated = steps(run, "train"), steps(run, "validation")
            if done and done[-1] in long_evaluation.evaluated and done[-1] not in [*evaluated, *tried]:
                tried.append(done[-1])
                return True
        return False

    struck(tmp_path, long_evaluation, number, seen)
    assert tried == long_evaluation.evaluated


@BOTH
@pytest.mark.parametrize("name", [".model.*.part", ".report.html.*.part", ".status.json.*.part"])
def test_while_the_end_is_being_written(tmp_path, small, number, name):
    def seen() -> bool:
        return any(8 in steps(path.parent, "validation") for path in tmp_path.glob(f"runs/*/{name}"))

    struck(tmp_path, small, number, seen, times=1)


@BOTH
def test_when_all_is_written(tmp_path, small, number):
    """75 would have a caller train it once more."""
    struck(tmp_path, small, number, lambda: any(status(run).get("state") == "finished" for run in runs(tmp_path)))


def test_while_the_command_at_the_end_runs(tmp_path, small):
    whole = dataclasses.replace(small, arguments=[*SMALL, "--on-exit", "touch begun; sleep 2; touch ended"])
    struck(tmp_path, whole, signal.SIGTERM, (tmp_path / "begun").exists)
    assert (tmp_path / "ended").exists()


class Opened:
    """Whether a file, or one in a folder, was opened since; asks Linux, so that no moment is missed."""

    def __init__(self, path: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self.handle = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        in_open = 0x20
        assert libc.inotify_add_watch(self.handle, os.fsencode(path), in_open) >= 0

    def __call__(self) -> bool:
        try:
            return bool(os.read(self.handle, 4096))
        except BlockingIOError:
            return False


@pytest.fixture(scope="module")
def from_files(tmp_path_factory):
    place = tmp_path_factory.mktemp("files")
    tool("data", "sample", "vqa", "--output", "data", cwd=place)
    arguments = [*SMALL, "--data", str(place / "data")]
    return place / "data", undisturbed(arguments, place / "whole")


@BOTH
@pytest.mark.parametrize("name", ["shapes_train_questions.json", "shapes_val_annotations.json", "train"])
def test_while_data_are_being_read(tmp_path, from_files, number, name):
    data, whole = from_files
    struck(tmp_path, whole, number, Opened(data / name), times=1)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_the_second_ctrl_c_ends_it_at_once(tmp_path, long_steps, first):
    """Where the second comes before the first is answered; so at several moments of a step."""

    def logged() -> list[int]:
        return [step for run in runs(tmp_path) for step in steps(run, "train")]

    for delay in (0.6, 0.3, 0.9, 0.1, 1.2):
        process, before = start(long_steps.arguments, tmp_path), len(logged())
        assert until(lambda before=before: len(logged()) > before, process)
        time.sleep(delay)
        process.send_signal(first)
        time.sleep(0.2)
        code = stop(process, signal.SIGINT, tmp_path)
        assert code in (75, 130), f"exit {code}\n{said(tmp_path)}"
        if code == 130:
            break
    else:
        pytest.fail("never at once")
    tool(*long_steps.arguments, cwd=tmp_path)
    check(tmp_path, long_steps)


# -- checkpoints that were damaged -----------------------------------------------------------------------------------

DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda file: os.truncate(file, 0),
    "half": lambda file: os.truncate(file, file.stat().st_size // 2),
    "all but a byte": lambda file: os.truncate(file, file.stat().st_size - 1),
    "a byte": lambda file: flip(file, file.stat().st_size // 2),
    "missing": lambda file: file.unlink(),
}
FILES = ["complete.json", "model.safetensors", "optimizer.safetensors", "state.json"]


def flip(file: Path, where: int) -> None:
    content = bytearray(file.read_bytes())
    content[where] ^= 1
    file.write_bytes(content)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, small):
    """A run that was stopped with three checkpoints."""
    place = tmp_path_factory.mktemp("stopped")
    process = start([*SMALL, "--keep-checkpoints", "3"], place)
    assert until(lambda: list(place.glob("runs/*/checkpoints/step-00000004/complete.json")), process)
    assert stop(process, signal.SIGTERM, place) == 75
    assert len(checkpoints(only_run(place))) == 3
    return place


def test_a_checkpoint_damaged_anyhow_is_passed_over(tmp_path, stopped):
    kept = checkpoints(only_run(stopped))
    names = sorted(path.name for path in kept[-1].iterdir())
    assert names == FILES
    for name in names:
        for damage in DAMAGES.values():
            folder = shutil.copytree(only_run(stopped) / "checkpoints", tmp_path / "checkpoints")
            damage(folder / kept[-1].name / name)
            found, notes = checkpoint.newest_whole(folder)
            assert found == folder / kept[-2].name
            assert len(notes) == 1
            assert f"{folder / kept[-1].name} is not whole ({'its marker ' * (name == FILES[0])}{name} " in notes[0]
            shutil.rmtree(folder)


def test_every_cut_and_every_flipped_byte_of_the_marker_shows(tmp_path, stopped):
    folder = shutil.copytree(checkpoints(only_run(stopped))[-1], tmp_path / "step")
    marker = folder / FILES[0]
    content = marker.read_bytes()
    assert checkpoint.problem(folder) is None
    for where in range(len(content)):
        marker.write_bytes(content[:where])
        assert checkpoint.problem(folder) is not None, f"cut at {where}"
        marker.write_bytes(content)
        flip(marker, where)
        assert checkpoint.problem(folder) is not None, f"byte {where}"
    marker.write_bytes(content)
    assert checkpoint.problem(folder) is None


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("complete.json", "all but a byte"),
        ("model.safetensors", "half"),
        ("optimizer.safetensors", "a byte"),
        ("state.json", "missing"),
        ("model.safetensors", "empty"),
    ],
)
def test_the_command_goes_on_from_an_older_checkpoint(tmp_path, stopped, small, name, damage):
    place = shutil.copytree(stopped, tmp_path / "place")
    newest, older = checkpoints(only_run(place))[:-3:-1]
    DAMAGES[damage](newest / name)
    done = tool(*SMALL, "--keep-checkpoints", "3", cwd=place)
    told = [line for line in done.stderr.splitlines() if "is not whole" in line]
    assert len(told) == 1
    assert newest.name in told[0]
    assert name in told[0]
    assert f"at step {int(older.name.removeprefix('step-'))}" in done.stderr
    check(place, small)


def test_with_all_checkpoints_damaged_it_begins_again(tmp_path, stopped, small):
    place = shutil.copytree(stopped, tmp_path / "place")
    for path in checkpoints(only_run(place)):
        (path / FILES[0]).unlink()
    done = tool(*SMALL, cwd=place)
    assert done.stderr.count("is not whole") == 3
    check(place, small)
