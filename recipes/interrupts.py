"""Preemption: SIGTERM, SIGINT and SIGUSR1 become one question that the loop asks at every safe point."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType, TracebackType
from typing import Any

from tasks.errors import Preempted

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class Interrupts:
    """Outside `deferred`, a signal raises Preempted where it strikes; inside, it is kept until `check`.

    A second Ctrl-C ends the process at once; what is on disk stays whole, since every write is a rename.
    """

    def __init__(self, max_hours: float | None = None) -> None:
        self.requested: str | None = None
        self.deferred = False
        self._previous: dict[int, Any] = {}
        self._deadline = time.monotonic() + max_hours * 3600 if max_hours else None

    def __enter__(self) -> Interrupts:
        for number in SIGNALS:
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self.requested and number == signal.SIGINT:
            os._exit(130)
        self.requested = self.requested or name
        if not self.deferred:
            raise Preempted(f"stopped by {name} before training began; run the same command again")

    def stop_asked(self) -> str | None:
        """The signal that asked for a stop, or the time limit, or None."""
        if self.requested is None and self._deadline is not None and time.monotonic() > self._deadline:
            self.requested = "--max-hours"
        return self.requested

    def check(self) -> None:
        """Raises Preempted where a stop was asked for."""
        reason = self.stop_asked()
        if reason:
            raise Preempted(f"stopped by {reason}")
