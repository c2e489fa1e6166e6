"""What every benchmark needs: timed processes in turns, ratios by pair, disk, memory, and the machine they ran on.

This process stays light (no torch): what it holds when it starts a child would count in the child's peak memory.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psutil

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = REPOSITORY / "scripts"
DATA = REPOSITORY.parent / "shared" / "data"
POLL_SECONDS = 0.05
VERSIONS = ("torch", "transformers", "datasets", "accelerate", "numpy", "pillow")


class BenchmarkFailed(Exception):
    """A side failed or the two disagree: there is no figure to report."""


@dataclass
class Options:
    """What the command line asks of every benchmark."""

    data: Path
    work: Path
    keep: bool = False
    quick: bool = False
    pairs: int | None = None
    steps: int | None = None
    batch_size: int | None = None
    only: tuple[str, ...] = ()
    profile: bool = False


@dataclass
class Process:
    """A finished child.

    Attributes:
        began: clock time (`time.time`) at its start.
        seconds: from its start to its end.
        peak_bytes: the largest resident size (`ru_maxrss`), or that of its whole tree where it has children. Pages of mapped files
            count while they are in memory.
        private_bytes: the largest resident size without mapped files, over the tree, sampled each 50 ms.
        seen: clock time at which `watch` first said yes, to 50 ms; None: never.
        seen_bytes: the largest resident size of the tree until then, sampled each 50 ms.
    """

    began: float
    seconds: float
    peak_bytes: int
    private_bytes: int
    seen: float | None
    seen_bytes: int


class Spread(NamedTuple):
    """Median, least and greatest of a list of ratios."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} (min {self.low:.2f}, max {self.high:.2f})"


def spread(values: Sequence[float]) -> Spread:
    """Of at least one value."""
    return Spread(statistics.median(values), min(values), max(values))


def run(command: Sequence[str | Path], folder: Path, *, watch: Callable[[], bool] = lambda: False) -> Process:
    """Runs a command in `folder`, to which its temporary files and caches go too; its output goes to output.txt there.

    Raises:
        BenchmarkFailed: with the end of the output.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "output.txt"
    peak = private = seen_bytes = 0
    seen = None
    with open(log, "wb") as output:
        began = time.time()
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            env=environment(folder),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            while True:
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
                if pid:
                    break
                resident, alone = tree_memory(process.pid)
                peak, private = max(peak, resident), max(private, alone)
                if seen is None and watch():
                    seen, seen_bytes = time.time(), peak
                time.sleep(POLL_SECONDS)
        except BaseException:  # stopped: the child must not go on alone
            process.kill()
            process.wait()
            raise
        ended = time.time()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        tail = log.read_text(encoding="utf-8", errors="replace")[-3000:]
        raise BenchmarkFailed(f"exit code {process.returncode} of {' '.join(map(str, command))}\n{tail}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Process(began, ended - began, max(peak, usage.ru_maxrss * unit), private, seen, seen_bytes)


def environment(folder: Path) -> dict[str, str]:
    """This process's environment, offline, with every cache below `folder`, so that what is written there can be counted."""
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    return {
        **os.environ,
        "HF_HOME": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
        "TMPDIR": str(temporary),
        # This checkout's own code, wherever the package in this environment is installed from.
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(SCRIPTS)]),
    }


def tree_memory(pid: int) -> tuple[int, int]:
    """(resident bytes, those of them that are no mapped file) of a process and all below it; 0 once it has ended."""
    resident = private = 0
    try:
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            memory = process.memory_info()
            resident += memory.rss
            private += memory.rss - getattr(memory, "shared", 0)
    except psutil.Error:
        pass
    return resident, private


def folder_bytes(folder: Path, leave_out: Sequence[str] = ()) -> int:
    """Bytes of the files below `folder`, without folders and files of these names."""
    total = 0
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in leave_out]
        total += sum(os.lstat(os.path.join(root, name)).st_size for name in names if name not in leave_out)
    return total


def settle(folder: Path) -> None:
    """Removes what a run left and waits until it is on the disk, so that the next one doesn't pay for it."""
    shutil.rmtree(folder, ignore_errors=True)
    os.sync()


def tool() -> Path:
    """The installed command beside this Python.

    Raises:
        BenchmarkFailed: it is not installed here.
    """
    path = Path(sys.executable).parent / "tool"
    if not path.exists():
        raise BenchmarkFailed(
            f"{path} is not there; run this by `make bench`, or install the package into this environment"
        )
    return path


def machine() -> dict[str, Any]:
    """Processor, cores, memory, load and versions."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS", "all cores"),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "load": round(os.getloadavg()[0], 2),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in VERSIONS},
    }


def describe_machine(found: dict[str, Any]) -> str:
    """`machine()` in two lines."""
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return (
        f"machine   {found['processor']}, {found['cores']} cores (threads: {found['threads']}), {found['memory_gb']} GB · load "
        f"{found['load']} at the start\n          Python {found['python']}, {versions}"
    )


def megabytes(count: float) -> str:
    """Bytes in MB, with digits enough to compare."""
    mega = count / 1e6
    return f"{mega:,.0f} MB" if mega >= 100 else f"{mega:.1f} MB" if mega >= 1 else f"{mega:.3f} MB"


def verdict(value: float, target: float) -> str:
    """A target and whether it was met."""
    return f"target {target:g}: {'met' if value >= target else 'missed'}"


def say(text: str = "") -> None:
    """A line of the report, at once."""
    print(text, flush=True)


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
