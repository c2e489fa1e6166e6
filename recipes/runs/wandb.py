"""Settings of the W&B library: silence, time limits, and reading of its run folders."""

from __future__ import annotations

import contextlib
import logging
import os
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

INIT_SECONDS = 30.0
CLOSE_SECONDS = 10.0
FLUSH_SECONDS = 5.0
BLOCK = 32768

# Figures and the machine's load go to W&B; code, packages, git, host name, command line and console don't.
SETTINGS = {
    "silent": True,
    "quiet": True,
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "disable_job_creation": True,
    "label_disable": True,
    "save_code": False,
    "symlink": False,
    "host": "",
    "program": "tool",
    "x_disable_meta": True,
    "x_save_requirements": False,
    "x_transaction_log_flush_interval": FLUSH_SECONDS,
    "init_timeout": INIT_SECONDS,
    "finish_timeout": CLOSE_SECONDS,
    "finish_timeout_raises": True,
}


def hush() -> None:
    """Before the library is used: no words of its own, no question for a login, no report of its errors to its makers."""
    os.environ["WANDB_SILENT"] = "true"
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    # Without a handler Python prints its warnings on stderr; a run's own go into its folder.
    logging.getLogger("wandb").addHandler(logging.NullHandler())


def settings(wandb: Any) -> Any:
    """Those of ours that this version knows: most are internal, and come and go."""
    known = wandb.Settings.model_fields
    return wandb.Settings(**{name: value for name, value in SETTINGS.items() if name in known})


def brief(error: BaseException) -> str:
    """The first line of an error, without the API key."""
    text = next(iter(str(error).splitlines()), "") or type(error).__name__
    key = os.environ.get("WANDB_API_KEY")
    return (text.replace(key, "...") if key else text).rstrip(".")


@contextlib.contextmanager
def drawing_into(file: Path) -> Iterator[None]:
    """What is written to stdout and stderr meanwhile, and for good by processes started meanwhile, goes to `file`."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    try:
        with open(file, "ab") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, descriptor in enumerate(kept, start=1):
            os.dup2(descriptor, number)
            os.close(descriptor)


def within(seconds: float, call: Callable[[], None]) -> bool:
    """Whether `call` ended in time. Where it didn't, the process of W&B that it waited for is killed."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        _kill_service()
        thread.join(2)
        return False
    if failed:
        raise failed[0]
    return True


def folders(run: Path) -> list[Path]:
    """W&B's folders in a run folder, one a process that logged."""
    found = [*run.glob("wandb/run-*"), *run.glob("wandb/offline-run-*")]
    return sorted(folder.resolve() for folder in found if folder.is_dir())


def is_sent(folder: Path) -> bool:
    """Whether what a folder holds went to W&B, while it ran or by `wandb sync`."""
    return not folder.name.startswith("offline-run-") or any(folder.glob("*.synced"))


def last_step(folder: Path, start: int = 0) -> int:
    """The last step whose row is in a folder's file on the disk; -1 where there is none.

    The file is a LevelDB log: blocks of 32 KiB with records that are cut where a block ends, each piece after 4 bytes checksum, 2
    bytes length and 1 byte kind (1 whole, 2 first, 3 middle, 4 last).

    Args:
        start: read from the block of this byte on.
    """
    data = _read(folder, start - start % BLOCK)
    at, last, record = (7 if start < BLOCK else 0), -1, None
    while at + 7 <= len(data):
        length, kind = struct.unpack_from("<HB", data, at + 4)
        if BLOCK - at % BLOCK < 7 or kind == 0:
            at += BLOCK - at % BLOCK
            continue
        piece, at = data[at + 7 : at + 7 + length], at + 7 + length
        if kind in (1, 2):
            record = piece
        elif record is not None:
            record += piece
        if kind in (1, 4) and record is not None and at <= len(data):
            last = max(last, _step_of(record))
    return last


def file_size(folder: Path) -> int:
    """Bytes of a folder's file; 0 where there is none."""
    return sum(file.stat().st_size for file in folder.glob("*.wandb"))


def _read(folder: Path, start: int) -> bytes:
    for file in folder.glob("*.wandb"):
        with open(file, "rb") as opened:
            opened.seek(start)
            return opened.read()
    return b""


def _step_of(record: bytes) -> int:
    from wandb.proto.wandb_internal_pb2 import Record

    with contextlib.suppress(Exception):  # a piece that is still being written
        found = Record.FromString(record)
        if found.WhichOneof("record_type") == "history":
            return int(found.history.step.num)
    return -1


def _kill_service() -> None:
    import psutil

    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if child.name().startswith("wandb-core"):
                child.kill()
                child.wait(1)
