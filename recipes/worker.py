"""What a worker and its launcher tell each other: names in the environment, exit codes, and the errors that carry them.

Imports nothing heavy: signal handlers and the launcher need it before any library.
"""

from __future__ import annotations

import os

from tasks.errors import ToolError

# The environment of a worker: that it is one, the pieces to cut its share of a batch into.
WORKER, ACCUMULATION = "TOOL_WORKER", "TOOL_ACCUMULATION"
# Between workers and launcher only; the command never ends with these.
SMALLER_PIECES, PEER_LOST = 171, 172


class SmallerPieces(ToolError):
    """A process ran out of memory in a step; all begin anew from the last checkpoint, with so many micro-batches."""

    def __init__(self, accumulation: int, step: int) -> None:
        launched = is_worker()
        super().__init__(
            f"out of memory in step {step + 1}; "
            + (
                f"all processes go on from the last checkpoint in {accumulation} pieces"
                if launched
                else f"run again with --gradient-accumulation-steps {accumulation}: it goes on from the last checkpoint"
            )
        )
        self.accumulation = accumulation
        self.exit_code = SMALLER_PIECES if launched else 4


class PeerLost(ToolError):
    """Another process of the run has ended, and this one can't go on alone."""

    def __init__(self) -> None:
        super().__init__("another process of the run has ended; its own message says why")
        self.exit_code = PEER_LOST if is_worker() else 1


def is_worker() -> bool:
    """Whether a launcher of ours has started this process."""
    return WORKER in os.environ


def least_accumulation() -> int:
    """Micro-batches that the launcher asks for at least, after one of its workers ran out of memory."""
    return int(os.environ.get(ACCUMULATION, "1"))
