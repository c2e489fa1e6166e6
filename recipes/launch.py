"""Several processes: one worker a GPU, each the installed `tool` with the same command line, joined by torch.distributed.

The workers' environment is the one that Accelerate and torchrun use. torchrun itself turns every exit code into 1 and gives workers
30 seconds after a signal; here a preempted run ends with 75 and each signal reaches each worker once.
"""

from __future__ import annotations

import ctypes
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

from recipes.options import TrainOptions
from tasks.errors import ToolError

GRACE_SECONDS = 10.0
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
WORKER = "TOOL_WORKER"


class WorkersFailed(ToolError):
    """A worker ended with an error; the exit code is its own."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = code


def must_launch(config: TrainOptions) -> bool:
    """Whether this process is to start workers rather than be one."""
    return (
        (config.num_processes > 1 or config.num_machines > 1) and WORKER not in os.environ and "RANK" not in os.environ
    )


@contextmanager
def as_process(config: TrainOptions) -> Iterator[None]:
    """Within it this process is one of the run's; the process group is taken down at the end, also after an error."""
    try:
        yield
    finally:
        if "RANK" in os.environ:
            import torch.distributed as dist

            if dist.is_available() and dist.is_initialized():
                dist.destroy_process_group()


def launch(config: TrainOptions) -> dict[str, Any]:
    """Starts this machine's workers and waits for them.

    Returns:
        Nothing to print: worker 0 has printed the result.

    Raises:
        WorkersFailed: with the exit code of the worker that failed first.
    """
    host, port = _address(config)
    with tempfile.TemporaryDirectory(prefix="tool-launch-") as folder:
        logs: list[IO[bytes]] = [open(Path(folder) / f"{rank}.log", "w+b") for rank in range(config.num_processes)]  # noqa: SIM115
        workers = [_start(config, local, host, port, logs[local]) for local in range(config.num_processes)]
        previous = {number: signal.signal(number, lambda got, _: _send(workers, got)) for number in FORWARDED}
        try:
            code, failed = _wait(workers)
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            _stop(workers)
        if code:
            raise WorkersFailed(_message(code, failed, logs), code)
    return {}


def _start(config: TrainOptions, local: int, host: str, port: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
    world = config.num_processes * config.num_machines
    rank = config.machine_rank * config.num_processes + local
    threads = config.threads or max(1, (os.cpu_count() or 1) // config.num_processes)
    environment = {
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(local),
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(config.num_processes),
        "MASTER_ADDR": host,
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": str(threads),
        WORKER: "1",
    }
    command = [_executable(), *sys.argv[1:]]
    # Worker 0 speaks for all; the words of the others are kept for when one of them fails.
    out = None if local == 0 else log
    return subprocess.Popen(
        command,
        env=environment,
        stdout=out,
        stderr=out,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_die_with_parent,
    )


def _executable() -> str:
    beside = Path(sys.executable).with_name("tool")
    found = str(beside) if beside.exists() else shutil.which("tool")
    if found is None:
        raise ToolError(
            "the command `tool` is not installed in this environment, so workers can't be started: pip install -e ."
        )
    return found


def _die_with_parent() -> None:
    """Asks Linux for a SIGTERM when the launcher is killed, so that no worker is left alone on a paid GPU."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").prctl(1, signal.SIGTERM)


def _wait(workers: list[subprocess.Popen[bytes]]) -> tuple[int, int | None]:
    """Until all ended well, or one ended otherwise: (exit code, which)."""
    while True:
        for local, worker in enumerate(workers):
            code = worker.poll()
            if code:
                return (code if code > 0 else 1), local
        if all(worker.poll() == 0 for worker in workers):
            return 0, None
        time.sleep(0.1)


def _stop(workers: list[subprocess.Popen[bytes]]) -> None:
    """Ends what still runs: asked first, then killed. After a preemption the others are about to end by themselves."""
    deadline = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < deadline and any(worker.poll() is None for worker in workers):
        if time.monotonic() > deadline - GRACE_SECONDS + 2:
            _send(workers, signal.SIGTERM)
            time.sleep(0.5)
        time.sleep(0.1)
    for worker in workers:
        if worker.poll() is None:
            worker.kill()
        worker.wait()


def _send(workers: list[subprocess.Popen[bytes]], number: int) -> None:
    for worker in workers:
        if worker.poll() is None:
            worker.send_signal(number)


def _message(code: int, failed: int | None, logs: list[IO[bytes]]) -> str:
    """What the user is told: worker 0 has said its own error already."""
    if code == 75:
        return "preempted on all processes; run the same command again"
    if failed:
        logs[failed].seek(0)
        lines = logs[failed].read().decode(errors="replace").strip().splitlines()
        return f"process {failed} failed: {lines[-1].removeprefix('error: ') if lines else f'exit code {code}'}"
    return f"process 0 failed with exit code {code}; the others were stopped"


def _address(config: TrainOptions) -> tuple[str, int]:
    if config.main_address:
        host, _, port = config.main_address.rpartition(":")
        if not host or not port.isdigit():
            raise ToolError(f"--main-address {config.main_address}: write it as HOST:PORT")
        return host, int(port)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return "127.0.0.1", int(probe.getsockname()[1])
