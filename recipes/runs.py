"""Run folders: making, finding, locking, and the small files that describe a run."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import errno
import fcntl
import hashlib
import itertools
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.config import default_options, read_yaml, result_options, to_yaml
from recipes.progress import print_line
from tasks.errors import ConfigError, ToolError
from tasks.files import LEFTOVER, defined, disk_errors, remove_leftovers, write_json, write_text

if TYPE_CHECKING:
    import torch

# So long is waited for a run of the same command that a living process holds, before another is begun.
HELD_SECONDS = 15.0
# Options about one start of a command, and what stands in their place in a run's config.yaml.
OF_A_START = {"resume": None, "fresh": False, "dry_run": False}
# Bytes at the end of metrics.jsonl that surely hold a whole line.
TAIL = 65536
UNFINISHED = {"running", "preempted", "failed"}


@dataclass
class Run:
    """One run folder. Only the main process writes to it."""

    path: Path
    lock: Any = field(default=None, repr=False)
    # Recipe and config of a run that is to go on, until it does: what is refused before leaves the run as it was.
    taken_up: tuple[str, Any] | None = field(default=None, repr=False)

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    def status(self) -> dict[str, Any]:
        """status.json, or {} where there is none that can be read."""
        return self._read("status.json")

    def update(self, **values: Any) -> None:
        """Changes fields of status.json."""
        write_json(self.path / "status.json", {**self.status(), **values, "updated": now()})

    def config(self) -> dict[str, Any]:
        """The resolved config the run was started with."""
        return read_yaml(self.path / "config.yaml", flag=str(self.path))

    def environment(self) -> dict[str, Any]:
        """environment.json, or {} where there is none that can be read."""
        return self._read("environment.json")

    def _read(self, name: str) -> dict[str, Any]:
        try:
            found = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def log(self, line: dict[str, Any]) -> None:
        """Adds a line to metrics.jsonl."""
        with disk_errors(self.metrics), open(self.metrics, "a", encoding="utf-8") as file:
            file.write(json.dumps(defined(line), allow_nan=False) + "\n")

    def read_metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl; a torn last line, or any other that is none, is left out."""
        lines: list[dict[str, Any]] = []
        if self.metrics.exists():
            lines = _metrics(self.metrics.read_bytes())
        return lines

    def last_metrics(self) -> dict[str, Any]:
        """The last line of metrics.jsonl; {} where there is none yet."""
        if not self.metrics.exists():
            return {}
        with open(self.metrics, "rb") as file:
            file.seek(max(0, self.metrics.stat().st_size - TAIL))
            lines = _metrics(file.read())
        return lines[-1] if lines else {}

    def cut_metrics(self, step: int) -> None:
        """Drops what was logged after `step`, since a resumed run logs it again."""
        if self.metrics.exists():
            kept = [line for line in self.read_metrics() if line["step"] <= step]
            write_text(self.metrics, "".join(json.dumps(line) + "\n" for line in kept))

    def acquire(self) -> bool:
        """Takes the run for this process; False where a living process has it, or has removed it meanwhile.

        Raises:
            ToolError: the file system keeps no locks.
        """
        try:
            handle = open(self.path / ".lock", "w", encoding="utf-8")  # noqa: SIM115 - held until the process ends
        except FileNotFoundError:
            return False
        for _ in range(3):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
                    handle.close()
                    raise ToolError(
                        f"{self.path}: its file system keeps no locks ({error.strerror}), which keep two commands out of one run; give "
                        f"an --output-dir elsewhere, or mount it with locks (NFS: lockd; Lustre: -o flock)"
                    ) from None
                time.sleep(0.05)  # who only looks whether a run is alive has it for a moment
            else:
                self.lock = handle
                return True
        handle.close()
        return False

    def let_go(self) -> None:
        """Gives the run back."""
        if self.lock is not None:
            self.lock.close()
            self.lock = None


def _metrics(content: bytes) -> list[dict[str, Any]]:
    lines = []
    for text in content.decode(errors="replace").splitlines():
        with contextlib.suppress(ValueError):
            line = json.loads(text)
            if isinstance(line, dict) and isinstance(line.get("step"), int):
                lines.append(line)
    return lines


def identity(recipe: str, config: Any) -> str:
    """A digest of the recipe and of every option that its result depends on, but for those that are as they are by default: a newer
    version may have more. `data/` is `data`."""
    defaults = default_options(type(config))
    given = {name: _bare(value) for name, value in result_options(config).items() if value != defaults.get(name)}
    text = json.dumps([recipe, given], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _bare(value: Any) -> Any:
    return value.rstrip("/") or value if isinstance(value, str) else value


def find_unfinished(output_dir: str | Path, recipe: str, config: Any) -> Run | None:
    """The newest unfinished run that the same command started and no living process holds."""
    wanted = identity(recipe, config)
    deadline = time.monotonic() + HELD_SECONDS
    held: Run | None = None
    while True:
        held, before = None, held
        for run in reversed(list(runs_in(output_dir))):
            if not _may_go_on(run, wanted):
                continue
            if run.acquire():
                if _may_go_on(run, wanted):
                    return run
                run.let_go()  # it was finished meanwhile
                continue
            held = run
        # A launcher that was killed may have left a process that still saves.
        if held is None:
            return None
        if before is None:
            print_line(f"waiting   the same command is at work in {held.path}: {HELD_SECONDS:.0f} s for its end")
        if time.monotonic() > deadline:
            print_line(f"          it goes on there; this is another run beside {held.path.name}")
            return None
        time.sleep(0.5)


def _may_go_on(run: Run, wanted: str) -> bool:
    status = run.status()
    return status.get("identity") == wanted and status.get("state") in UNFINISHED


def newest_of(output_dir: str | Path, recipe: str, config: Any) -> Run | None:
    """The run that was written last by the same command, in whatever state; a resumed one counts too."""
    if config.resume:
        return open_to_resume(config.resume)[0]
    wanted = identity(recipe, config)
    found = [run for run in runs_in(output_dir) if run.status().get("identity") == wanted]
    return max(found, key=lambda run: str(run.status().get("updated", "")), default=None)


def create(output_dir: str | Path, recipe: str, config: Any, label: str = "") -> Run:
    """Makes a new run folder with its config and environment, and takes it."""
    digest = identity(recipe, config)
    stem = "-".join(
        part for part in (recipe, label, datetime.datetime.now().strftime("%Y%m%d-%H%M"), digest[:4]) if part
    )
    facts = environment()
    with disk_errors(Path(output_dir)):
        run = _take_folder(Path(output_dir), stem, f"{recipe}-*-{digest[:4]}*")
    write_text(run.path / "config.yaml", _as_yaml(config, recipe))
    write_json(run.path / "environment.json", facts)
    run.update(recipe=recipe, state="running", identity=digest, started=now(), step=0, seconds=0.0)
    return run


def open_run(path: str | Path) -> Run:
    """The run at a folder given by the user.

    Raises:
        ConfigError: it is not a run folder.
    """
    run = Run(Path(path))
    if not (run.path / "status.json").exists():
        raise ConfigError(f"{path} is not a run folder (it has no status.json); see `tool runs list`")
    return run


def open_to_resume(path: str | Path) -> tuple[Run, Path | None]:
    """The run at a folder given by the user, or of a checkpoint given; the latter as well, then.

    Raises:
        ConfigError: it is neither.
    """
    given = Path(path)
    if given.parent.name == "checkpoints" and (given.parent.parent / "status.json").exists():
        run = Run(given.parent.parent)
        if run.status().get("went_back_to") == given.name:
            return run, None  # the same command run again: on from the newest since
        if not given.is_dir():
            there = ", ".join(sorted(step.name for step in given.parent.glob("step-*"))) or "none"
            raise ConfigError(f"--resume: there is no checkpoint {given}; there are: {there}")
        return run, given
    if not given.exists():
        raise ConfigError(f"--resume: there is no {given}; see `tool runs list`")
    return open_run(given), None


def options_to_resume(path: str, recipe: str) -> dict[str, Any]:
    """The options that the run which --resume names was started with, without those that were about that start alone.

    Raises:
        ConfigError: there is no such run or checkpoint, or it is another recipe's.
    """
    run, _ = open_to_resume(path)
    was = _config_of(run, recipe)
    return {name: value for name, value in was.items() if name not in ("recipe", *OF_A_START)}


def _as_yaml(config: Any, recipe: str) -> str:
    """For config.yaml: given again by --config it goes on, not anew."""
    closed = {name: value for name, value in OF_A_START.items() if hasattr(config, name)}
    return to_yaml(dataclasses.replace(config, **closed), recipe)


def _moved(name: str, value: Any) -> bool:
    """Whether it is a place on this machine where the data lie now: that they are the same is seen by their content."""
    return name == "data" and isinstance(value, str) and Path(value).exists()


def _config_of(run: Run, recipe: str) -> dict[str, Any]:
    was = run.config()
    if was.get("recipe") != recipe:
        raise ConfigError(f"--resume: {run.path} is a run of {was.get('recipe')}, not of {recipe}")
    return was


def check_resumable(run: Run, recipe: str, config: Any) -> None:
    """Refuses a resume whose options would change the result, naming the differences."""
    was = _config_of(run, recipe)
    defaults = default_options(type(config))
    differing = [
        f"{name.replace('_', '-')}: {earlier} there, {value} here"
        for name, value in result_options(config).items()
        if (earlier := was.get(name, defaults.get(name))) != value and not _moved(name, value)
    ]
    if differing:
        raise ConfigError(
            f"--resume: {run.path} was started with other options ({'; '.join(differing)}); "
            f"give the same, or start a new run without --resume"
        )
    if run.status().get("state") == "finished" and not any(run.checkpoints.glob("step-*")):
        raise ConfigError(
            f"--resume: {run.path} is finished and its checkpoints were pruned; train on from {run.model} by --model"
        )
    if not run.acquire():
        raise ToolError(f"--resume: {run.path} is being written by a living process; wait for it or stop it")


def take_up(run: Run, recipe: str, config: Any) -> Run:
    """Makes ready a run that is to go on, with the options of now: those that don't change the result may be others."""
    remove_leftovers(run.path)
    remove_leftovers(run.checkpoints)
    run.taken_up = recipe, config
    return run


def note_going_on(run: Run) -> None:
    """Notes that a run that was taken up goes on."""
    if run.taken_up is None:
        return
    recipe, config = run.taken_up
    status = run.status()
    run.update(
        recipe=recipe,
        identity=identity(recipe, config),
        started=status.get("started") or now(),
        state="running",
        error=None,
        resumed=int(status.get("resumed") or 0) + 1,
    )
    write_text(run.path / "config.yaml", _as_yaml(config, recipe))
    run.taken_up = None


def runs_in(output_dir: str | Path) -> Iterator[Run]:
    """All run folders, oldest first."""
    folder = Path(output_dir)
    if not folder.is_dir():
        return
    found = [Run(path) for path in folder.iterdir() if (path / "status.json").is_file()]
    yield from sorted(found, key=lambda run: (str(run.status().get("started", "")), run.path.name))


def newest_finished(output_dir: str | Path, fitting: tuple[str, ...]) -> Run:
    """The newest finished run of one of the recipes.

    Raises:
        ConfigError: there is none; names the ways to give a model.
    """
    for run in reversed(list(runs_in(output_dir))):
        status = run.status()
        if status.get("state") == "finished" and status.get("recipe") in fitting:
            return run
    raise ConfigError(
        f"--model: there is no finished {' or '.join(fitting)} run under {output_dir}/; give --model with a run folder, "
        f"a model folder or a Hub id, or train one first: tool train {fitting[0]} --model tiny --data sample"
    )


def conditions(processes: int, device: torch.device, shards: int = 1) -> dict[str, Any]:
    """What a run's arithmetic depends on beside its options: on the same it goes on to the bit.

    Args:
        shards: into how many the model is cut.
    """
    import torch

    return {
        "processes": processes,
        "shards": shards,
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
    }


def environment() -> dict[str, Any]:
    """Versions, hardware, git revision and command line, for environment.json."""
    import importlib.metadata as metadata

    import psutil
    import torch

    versions = {}
    for name in ("modeltool", "torch", "transformers", "accelerate", "datasets", "evaluate", "numpy", "safetensors"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    gpus = (
        [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": gpus,
        "cuda": torch.version.cuda,
        "versions": versions,
        "git": _git_revision(),
        "command": shlex.join(["tool", *sys.argv[1:]]),
    }


def now() -> str:
    """The time as status.json has it: UTC, ISO 8601, comparable as text."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def _take_folder(folder: Path, stem: str, like: str) -> Run:
    """A new folder, taken for this process; or one that the same command had only begun to fill when it was killed."""
    begun = (path for path in sorted(folder.glob(like)) if _only_begun(path))
    new = (folder / (f"{stem}-{number}" if number > 1 else stem) for number in itertools.count(1))
    for path in itertools.chain(begun, (path for path in new if not path.exists())):
        path.mkdir(parents=True, exist_ok=True)
        run = Run(path)
        # Another process may have been quicker, or even be done.
        if run.acquire() and not run.status():
            remove_leftovers(path)
            return run
    raise AssertionError("numbers have no end")


def _only_begun(path: Path) -> bool:
    names = {entry.name for entry in path.iterdir()} if path.is_dir() else {path.name}
    return all(name in (".lock", "config.yaml", "environment.json") or LEFTOVER.fullmatch(name) for name in names)


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor()


def _git_revision() -> str | None:
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
