"""What a worker and its launcher tell each other: names in the environment, exit codes, and the errors that carry them.

Imports next to nothing: until the signal handlers, which need it, are there, a signal ends the process as if killed.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from tasks.errors import ToolError

# A worker's environment: that it is one, the pieces to cut its share of a batch into, and, where the launcher can start all anew,
# the file in which to ask for more pieces.
WORKER, ACCUMULATION, NEEDED = "TOOL_WORKER", "TOOL_ACCUMULATION", "TOOL_NEEDED_ACCUMULATION"
# When the launcher began (`time.monotonic`), and whether others before have begun the run.
OPENED, AGAIN = "TOOL_OPENED", "TOOL_AGAIN"
# Between workers and launcher only; the command never ends with these.
SMALLER_PIECES, PEER_LOST = 171, 172


class SmallerPieces(ToolError):
    """A process ran out of memory in a step; all begin anew from the last checkpoint, with so many micro-batches."""

    def __init__(self, accumulation: int, step: int) -> None:
        anew = NEEDED in os.environ
        way = f"run again with --gradient-accumulation-steps {accumulation}: it goes on from the last checkpoint"
        if anew:
            way = f"all processes go on from the last checkpoint in {accumulation} pieces"
        super().__init__(f"out of memory in step {step + 1}; {way}")
        self.exit_code = SMALLER_PIECES if anew else 4


class PeerLost(ToolError):
    """Another process of the run has ended, and this one can't go on alone."""

    def __init__(self) -> None:
        super().__init__("another process of the run has ended; its own message says why")
        self.exit_code = PEER_LOST if is_worker() else 1


def is_worker() -> bool:
    """Whether a launcher of ours has started this process."""
    return WORKER in os.environ


def goes_on() -> bool:
    """Whether this process's launcher has started workers before: it is their run, also with --fresh."""
    return AGAIN in os.environ


def end_worker(code: int) -> None:
    """Ends a worker after an error without a word to the others: the ends of exchanges wait for them, and they for it."""
    if is_worker() and code:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        if "multiprocessing" in sys.modules:  # data loaders, which os._exit would leave to notice by themselves
            for child in sys.modules["multiprocessing"].active_children():
                child.kill()
        os._exit(code)


def least_accumulation() -> int:
    """Micro-batches that the launcher asks for at least, after one of its workers ran out of memory."""
    return int(os.environ.get(ACCUMULATION, "1"))


def ask_for(accumulation: int) -> None:
    """Leaves word for the launcher that all are to begin anew with so many micro-batches."""
    from tasks.files import write_text

    if NEEDED in os.environ:
        with suppress(OSError, ToolError):  # a full disk: the launcher then doubles what it gave
            write_text(os.environ[NEEDED], str(accumulation))


def asked_for(file: Path) -> int:
    """What a worker has left word of; 0 without one."""
    return int(file.read_text(encoding="utf-8")) if file.exists() else 0
