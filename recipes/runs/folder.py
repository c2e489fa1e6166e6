"""Run folders: creation, locking, and the small files that describe a run."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import errno
import fcntl
import hashlib
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recipes.config import default_options, read_yaml, result_options, to_yaml
from recipes.runs.environment import environment
from tasks.errors import Preempted, ToolError
from tasks.files import LEFTOVER, defined, disk_errors, remove_leftovers, write_json, write_text

# Options about one start of a command, and what stands in their place in a run's config.yaml.
OF_A_START = {"resume": None, "fresh": False, "dry_run": False}
UNFINISHED = {"running", "preempted", "failed"}
# Said of a run whose status is "running" although no process has it: it was killed. Shown only, never written.
INTERRUPTED = "interrupted"
# Bytes at the end of metrics.jsonl that surely hold a whole line.
TAIL = 65536


@dataclass
class Run:
    """One run folder. Only the main process writes to it."""

    path: Path
    lock: Any = field(default=None, repr=False)
    # Recipe and config of a run that is to go on, until it does: what is refused before leaves the run as it was.
    taken_up: tuple[str, Any] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.checkpoints, self.model = self.path / "checkpoints", self.path / "model"
        self.metrics = self.path / "metrics.jsonl"

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
            content = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def log(self, line: dict[str, Any]) -> None:
        """Adds a line to metrics.jsonl."""
        with disk_errors(self.metrics), open(self.metrics, "a", encoding="utf-8") as file:
            file.write(json.dumps(defined(line), allow_nan=False) + "\n")

    def read_metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl; a torn last line, or any other that is none, is left out."""
        return _metrics(self.metrics.read_bytes()) if self.metrics.exists() else []

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


@contextlib.contextmanager
def recording_the_end(run: Run, *, main: bool = True) -> Iterator[None]:
    """Writes into status.json how the run ended, whatever ended it but SIGKILL."""
    try:
        yield
    except BaseException as error:
        begun = run.taken_up is None
        if main and begun and run.path.exists() and run.status().get("state") != "finished":
            with contextlib.suppress(ToolError):  # the disk may be what it failed for
                run.update(state="preempted" if isinstance(error, Preempted) else "failed", error=str(error))
        raise


def _metrics(content: bytes) -> list[dict[str, Any]]:
    lines = []
    for text in content.decode(errors="replace").splitlines():
        with contextlib.suppress(ValueError):
            line = json.loads(text)
            if isinstance(line, dict) and isinstance(line.get("step"), int):
                lines.append(line)
    return lines


def held(run: Run) -> bool:
    """Whether a living process has the run. Where that can't be told, it counts as held."""
    try:
        # A shared lock: two readers don't take each other for the run's process.
        with open(run.path / ".lock", encoding="utf-8") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def state(run: Run, status: dict[str, Any] | None = None) -> str:
    """running, finished, preempted, failed, or interrupted."""
    said = str((run.status() if status is None else status).get("state", ""))
    return INTERRUPTED if said == "running" and not held(run) else said


def identity(recipe: str, config: Any) -> str:
    """A digest of the recipe and of every option that its result depends on, but for those that are as they are by default: a newer
    version may have more. `data/` is `data`."""
    defaults = default_options(type(config))
    options = {
        name: value.rstrip("/") or value if isinstance(value, str) else value
        for name, value in result_options(config).items()
        if value != defaults.get(name)
    }
    text = json.dumps([recipe, options], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def create(output_dir: str | Path, recipe: str, config: Any, label: str = "") -> Run:
    """Makes a new run folder with its config and environment, and takes it."""
    digest = identity(recipe, config)
    minute = datetime.datetime.now().strftime("%Y%m%d-%H%M")
    stem = "-".join(word for word in (recipe, label, minute, digest[:4]) if word)
    facts = environment()
    with disk_errors(Path(output_dir)):
        run = _take_folder(Path(output_dir), stem, f"{recipe}-*-{digest[:4]}*")
    write_text(run.path / "config.yaml", as_yaml(config, recipe))
    write_json(run.path / "environment.json", facts)
    run.update(recipe=recipe, state="running", identity=digest, started=now(), step=0, seconds=0.0)
    return run


def as_yaml(config: Any, recipe: str) -> str:
    """For config.yaml: given again by --config it goes on, not anew."""
    closed = {name: value for name, value in OF_A_START.items() if hasattr(config, name)}
    return to_yaml(dataclasses.replace(config, **closed), recipe)


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
