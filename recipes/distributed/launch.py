"""Several processes: one worker a GPU, each the installed `tool` with the same command line, joined by torch.distributed.

The workers' environment is the one that Accelerate and torchrun use. torchrun itself turns every exit code into 1 and gives workers
30 seconds after a signal; here a preempted run ends with 75 and each signal reaches each worker once.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from recipes.distributed import accelerate_config
from recipes.options import TrainOptions
from recipes.process import cgroups
from recipes.process.interrupts import listened, opened, settle
from recipes.process.worker import (
    ACCUMULATION,
    AGAIN,
    NEEDED,
    OPENED,
    PEER_LOST,
    SMALLER_PIECES,
    WORKER,
    PeerLost,
    asked_for,
    is_worker,
)
from tasks.errors import ConfigError, ToolError

GRACE_SECONDS, SAVING_SECONDS = 5.0, 120.0
# How gloo and NCCL say that the other end is gone.
LOST = (
    "Connection closed by peer",
    "Connection reset by peer",
    "gloo",
    "NCCL error",
    "ncclRemoteError",
    "Broken pipe",
)


class WorkersFailed(ToolError):
    """A worker ended with an error; the exit code is its own."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = code


def must_launch(config: TrainOptions) -> bool:
    """Whether this process is to start workers rather than be one."""
    return (config.num_processes > 1 or config.num_machines > 1) and not is_worker() and "RANK" not in os.environ


@contextmanager
def as_process(config: TrainOptions) -> Iterator[None]:
    """Within it this process is one of the run's; the process group is taken down at the end. After an error the command must end
    without: `end_worker`."""
    if "RANK" not in os.environ:
        yield
        return
    import torch.distributed as dist

    try:
        yield
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or any(word in str(error) for word in LOST):
            raise PeerLost from error
        raise
    # Not after an error: NCCL waits for the others there, who may wait for this one in an exchange.
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def launch(config: TrainOptions) -> dict[str, Any]:
    """Starts this machine's workers and waits for them.

    Returns:
        Nothing to print: worker 0 has printed the result.

    Raises:
        WorkersFailed: with the exit code of the worker that failed first.
    """
    pieces = config.gradient_accumulation_steps
    for number in itertools.count():
        code, message, needed = _run(config, pieces, again=number > 0)
        if code == SMALLER_PIECES:
            # The workers may have been at more than they were given: they try before the first step what fits.
            pieces = max(needed, 2 * pieces)
            continue
        if code:
            raise WorkersFailed(message, 1 if code == PEER_LOST else code)
        settle()
        return {}
    raise AssertionError


def _run(config: TrainOptions, pieces: int, *, again: bool) -> tuple[int, str, int]:
    """The workers, once: (exit code, what to say of it, the pieces that one asked for).

    Args:
        again: others before have begun the run.
    """
    with tempfile.TemporaryDirectory(prefix="tool-launch-") as folder:
        logs: list[IO[bytes]] = [open(Path(folder) / f"{rank}.log", "w+b") for rank in range(config.num_processes)]  # noqa: SIM115
        needed = Path(folder) / "needed"
        shared = _environment(config, pieces, needed) | ({AGAIN: "1"} if again else {})
        workers: list[subprocess.Popen[bytes]] = []
        asked: list[int] = []

        def pass_on(number: int, frame: Any) -> None:
            if asked and number == signal.SIGINT:  # at once, also where a worker hangs in an exchange and hears nothing
                _send(workers, signal.SIGKILL)
                raise KeyboardInterrupt
            asked.append(number)
            _send(workers, number)

        previous = {number: signal.signal(number, pass_on) for number in listened()}
        code: int | None = None
        try:
            for local, log in enumerate(logs):
                if not asked:
                    workers.append(_start(config, local, shared, log))
            code, failed = _wait(workers, asked)
        finally:
            _stop(workers, saving=code == 75)
            for number, handler in previous.items():
                signal.signal(number, handler)
            said = _message(code, failed, logs) if code else ""
            for log in logs:
                log.close()
        if code in (75, PEER_LOST) and workers and workers[0].returncode == 0:
            return 0, "", 0  # a signal that struck the others when all was written
        return (code if code >= 0 else 1), said, asked_for(needed)


def _environment(config: TrainOptions, pieces: int, needed: Path) -> dict[str, str]:
    """What all workers of this machine are given."""
    host, port = _address(config)
    threads = config.threads or max(1, cgroups.usable_cpus() // config.num_processes)
    return {
        **os.environ,
        **accelerate_config.settings(config),
        "WORLD_SIZE": str(config.num_processes * config.num_machines),
        "LOCAL_WORLD_SIZE": str(config.num_processes),
        "MASTER_ADDR": host,
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": str(threads),
        ACCUMULATION: str(pieces),
        OPENED: str(opened()),
        WORKER: "1",
        **({NEEDED: str(needed)} if config.num_machines == 1 else {}),
    }


def _start(config: TrainOptions, local: int, shared: dict[str, str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    rank = config.machine_rank * config.num_processes + local
    # Worker 0 speaks for all; the words of the others are kept for when one of them fails.
    out = None if local == 0 else log
    return subprocess.Popen(
        [_executable(), *sys.argv[1:]],
        env={**shared, "RANK": str(rank), "LOCAL_RANK": str(local)},
        stdout=out,
        stderr=out,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_die_with_parent,
    )


def _executable() -> str:
    beside = Path(sys.executable).with_name("tool")
    executable = str(beside) if beside.exists() else shutil.which("tool")
    if executable is None:
        raise ToolError(
            "the command `tool` is not installed in this environment, so workers can't be started: pip install -e ."
        )
    return executable


def _die_with_parent() -> None:
    """Asks Linux for a SIGTERM when the launcher is killed, so that no worker is left alone on a paid GPU."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").prctl(1, signal.SIGTERM)


def _wait(workers: list[subprocess.Popen[bytes]], asked: list[int]) -> tuple[int, int]:
    """Until all ended well, or one ended otherwise: (exit code, minus the signal that killed it, which).

    Where one dies, the others soon fail for want of it; the first cause counts, not who was noticed first. A worker that a passed-on
    signal strikes before it can listen had nothing to save yet, and one that is out of memory is not begun anew after a signal.
    """
    if asked and not workers:
        return 75, 0
    while all(worker.poll() in (None, 0) for worker in workers):
        if all(worker.poll() == 0 for worker in workers):
            return 0, 0
        time.sleep(0.05)
    time.sleep(0.5)
    ended = {local: code for local, worker in enumerate(workers) if (code := worker.poll())}

    def blame(local: int) -> tuple[bool, bool, int]:
        return ended[local] == PEER_LOST, ended[local] == 75, local

    for local, code in ended.items():
        if -code in asked or (asked and code == SMALLER_PIECES):
            ended[local] = 75
    first = min(ended, key=blame)
    return ended[first], first


def _stop(workers: list[subprocess.Popen[bytes]], *, saving: bool) -> None:
    """Ends what still runs: asked, then killed.

    After a preemption the others are about to end by themselves, the first perhaps writing its checkpoint; after a failure they wait
    for one that is no more.
    """
    began = asked = time.monotonic()
    while any(worker.poll() is None for worker in workers):
        late = time.monotonic() - began
        if late > (SAVING_SECONDS if saving else GRACE_SECONDS):
            break
        if late > (2.0 if saving else 0.0) and time.monotonic() >= asked:
            _send(workers, signal.SIGTERM)
            asked = time.monotonic() + 2.0
        time.sleep(0.05)
    for worker in workers:
        if worker.poll() is None:
            worker.kill()
        worker.wait()


def _send(workers: list[subprocess.Popen[bytes]], number: int) -> None:
    for worker in workers:
        if worker.poll() is None:
            worker.send_signal(number)


def _message(code: int, failed: int, logs: list[IO[bytes]]) -> str:
    """What the user is told: worker 0 has said its own error already."""
    if code == 75:
        return "preempted on all processes; run the same command again"
    logs[failed].seek(0)
    lines = logs[failed].read().decode(errors="replace").strip().splitlines()
    said = [line for line in lines if line.startswith("error: ")] or lines
    if failed and said:
        return f"process {failed} failed: {said[-1].removeprefix('error: ')}"
    return f"process {failed} failed ({_ending(code)}); the others were stopped"


def _ending(code: int) -> str:
    if code == -signal.SIGKILL:
        return "killed by SIGKILL; the system does that to what takes too much memory"
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _address(config: TrainOptions) -> tuple[str, int]:
    if config.main_address:
        host, _, port = config.main_address.rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise ConfigError(f"--main-address: {config.main_address!r} must be HOST:PORT")
        return host, int(port)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return "127.0.0.1", int(probe.getsockname()[1])
