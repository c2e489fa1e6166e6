"""Runs of the command: starting, stopping, and what they leave."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors.torch import load_file

TOOL = str(Path(sys.executable).with_name("tool"))
ENVIRONMENT = {
    **os.environ,
    "HF_HUB_OFFLINE": "1",
    "COLUMNS": "120",
    "CUDA_VISIBLE_DEVICES": "",
    "OMP_NUM_THREADS": "1",
}
STOP_SECONDS = 10.0


def options(**given: Any) -> list[str]:
    """`tool train vqa` with tiny model and sample data; `batch_size=8` becomes `--batch-size 8`, True a flag alone."""
    found = ["train", "vqa", "--model", "tiny", "--data", "sample"]
    for name, value in given.items():
        flag = "--" + name.replace("_", "-")
        found += [flag] if value is True else [flag, str(value)]
    return found


def tool(
    *arguments: Any, cwd: Path, code: int = 0, seconds: float = 300, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end, which must be `code`."""
    done = subprocess.run(
        [TOOL, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**ENVIRONMENT, **environment},
        timeout=seconds,
        check=False,
    )
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def start(arguments: list[str], place: Path) -> subprocess.Popen[bytes]:
    """Starts the command in `place`; what it says on stderr is added to `said.txt` there."""
    place.mkdir(parents=True, exist_ok=True)
    with open(place / "said.txt", "ab") as said:
        return subprocess.Popen([TOOL, *arguments], cwd=place, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=said)


def said(place: Path) -> str:
    return (place / "said.txt").read_text(errors="replace")


def ended(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """The exit code, or None where it still runs after so many seconds."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def stop(process: subprocess.Popen[bytes], number: int, place: Path) -> int:
    """Sends the signal; the exit code, which must be there soon."""
    process.send_signal(number)
    code = ended(process, STOP_SECONDS)
    if code is None:
        process.kill()
        process.wait()
        raise AssertionError(f"still running {STOP_SECONDS} s after {signal.Signals(number).name}\n{said(place)}")
    return code


def until(seen: Callable[[], Any], process: subprocess.Popen[bytes], pause: float = 0.001) -> bool:
    """Waits for something; False where the process ends before."""
    while process.poll() is None:
        if seen():
            return True
        time.sleep(pause)
    return False


def living(place: Path) -> list[psutil.Process]:
    """Processes that work in this folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(place) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def gone(place: Path, seconds: float) -> bool:
    """Whether nothing works in this folder any more, at the latest after so many seconds."""
    deadline = time.monotonic() + seconds
    while living(place):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def runs(place: Path) -> list[Path]:
    """All that lies in runs/, hidden or not."""
    folder = place / "runs"
    return sorted(folder.iterdir()) if folder.is_dir() else []


def only_run(place: Path) -> Path:
    found = runs(place)
    assert len(found) == 1, f"{[path.name for path in found]}\n{said(place) if (place / 'said.txt').exists() else ''}"
    return found[0]


def status(run: Path) -> dict[str, Any]:
    """status.json; {} before there is one."""
    try:
        return dict(json.loads((run / "status.json").read_text()))
    except FileNotFoundError:
        return {}


def metrics(run: Path, kind: str) -> list[dict[str, Any]]:
    """The lines of a kind, `train` or `validation`; a line that is just being written is left out."""
    path = run / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    return [line for line in map(json.loads, text[: text.rfind("\n") + 1].splitlines()) if line["kind"] == kind]


def steps(run: Path, kind: str) -> list[int]:
    return [line["step"] for line in metrics(run, kind)]


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in metrics(run, "train")]


def checkpoints(run: Path) -> list[Path]:
    return sorted((run / "checkpoints").glob("step-*"))


def leftovers(folder: Path) -> list[str]:
    """What a write that was cut off may leave: any hidden name but the lock."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob(".*") if path.name != ".lock")


def weights(run: Path) -> dict[str, torch.Tensor]:
    (path,) = (run / "model").glob("*.safetensors")
    return load_file(str(path))


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """To the bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def within(*arguments: Any, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """The command in this process, which has its libraries imported already; for what ends by itself."""
    from cli.main import main

    out, said, code_found = io.StringIO(), io.StringIO(), 0
    handlers = {
        number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
    }
    before, given = Path.cwd(), sys.argv
    os.chdir(cwd)
    sys.argv = ["tool", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
            main(list(map(str, arguments)))
    except SystemExit as ended:
        code_found = ended.code if isinstance(ended.code, int) else 1
    finally:
        os.chdir(before)
        sys.argv = given
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert code_found == code, f"exit {code_found}\n{out.getvalue()}\n{said.getvalue()}"
    return subprocess.CompletedProcess(["tool"], code_found, out.getvalue(), said.getvalue())
