"""Signal handling: SIGTERM, SIGINT, SIGUSR1 and SIGHUP become a request that the loop answers at its safe points."""

from __future__ import annotations

import os
import signal
import sys
import time
from types import FrameType
from typing import Any

from recipes.process.worker import OPENED, is_worker
from tasks.errors import Preempted

# So long an import may take to end after a signal; a worker has nothing to do after it but to end.
IMPORT_SECONDS, IMPORT_SECONDS_OF_WORKER = 6.0, 2.0
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)

TIME_IS_UP = "--max-hours"
_NAMES = {signal.Signals(number).name for number in SIGNALS}


class _Asked:
    """What was asked of this process, whichever `Interrupts` was open then: a library may swallow the first exception."""

    reason: str | None = None
    depth: int = 0
    opened: float = 0.0
    counted: float = 0.0
    since: float = 0.0
    settled: bool = False


def settle() -> None:
    """From here on signals change nothing: the run is finished, and code 75 would make a caller train it once more."""
    _Asked.settled = _Asked.depth > 0  # without one open nobody listens


def listened() -> list[signal.Signals]:
    """The signals to answer: SIGHUP, of a terminal that is closed, not under nohup."""
    return [number for number in SIGNALS if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN]


def opened() -> float:
    """When this process began, as --max-hours counts (`time.monotonic`)."""
    return _Asked.counted if _Asked.depth else time.monotonic()


class Interrupts:
    """Outside `deferred`, a signal raises Preempted where it strikes; inside, it is kept until `check`.

    May be nested; the command line opens one before the heavy imports. A second Ctrl-C ends the process at once; what is on disk
    stays whole, since every write is a rename.

    Args:
        max_hours: from the opening of the outermost on; `reserve` seconds (for the last checkpoint) end it earlier.
    """

    def __init__(self, max_hours: float | None = None) -> None:
        self.deferred = False
        self.reserve = 0.0
        self._previous: dict[int, Any] = {}
        self._hook = sys.unraisablehook
        self._limit = max_hours * 3600 if max_hours else None

    @property
    def opened(self) -> float:
        """When the outermost was opened (`time.monotonic`): about when the process began."""
        return _Asked.opened

    @property
    def requested(self) -> str | None:
        """The signal that asked for a stop, or None."""
        return _Asked.reason

    def __enter__(self) -> Interrupts:
        if _Asked.reason:  # asked of an outer one, and swallowed since, or still waiting for an import's end
            self._raise()
        for number in listened():
            self._previous[number] = signal.signal(number, self._handle)
        self._previous[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._look_again)
        if not _Asked.depth:
            _Asked.opened = time.monotonic()
            # A worker's hours are its launcher's, who may have started others before.
            _Asked.counted = float(os.environ.get(OPENED, _Asked.opened)) if is_worker() else _Asked.opened
            self._hook, sys.unraisablehook = sys.unraisablehook, self._dropped
        _Asked.depth += 1
        return self

    def __exit__(self, *error: object) -> None:
        if _Asked.depth == 1:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        _Asked.depth -= 1
        if not _Asked.depth:
            _Asked.reason, _Asked.settled = None, False
            sys.unraisablehook = self._hook

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if _Asked.settled:
            return
        if _Asked.reason in _NAMES and number == signal.SIGINT:
            os._exit(130)
        if _Asked.reason not in _NAMES:  # --max-hours may have asked before
            _Asked.reason = signal.Signals(number).name
            _Asked.since = time.monotonic()
        self._look_again(number, frame)

    def _look_again(self, number: int, frame: FrameType | None) -> None:
        """Raises where it is safe. Within an import it isn't: the C++ of a half-made module would end the process by abort. Nor is it
        within a `__del__`, which would be cut short."""
        if self.deferred or _Asked.settled or not _Asked.reason:
            return
        if not _unsafe(frame):
            self._raise()
        limit = IMPORT_SECONDS_OF_WORKER if is_worker() else IMPORT_SECONDS
        if time.monotonic() - _Asked.since > limit:
            os.write(2, f"error: {_stopped()}\n".encode())
            os._exit(Preempted.exit_code)
        signal.setitimer(signal.ITIMER_REAL, 0.05)

    def _dropped(self, what: Any) -> None:
        """Raises again what struck where nothing can be raised: around a fork, in a weak reference's or a C library's callback."""
        if isinstance(what.exc_value, Preempted):
            signal.setitimer(signal.ITIMER_REAL, 0.05)
        else:
            self._hook(what)

    def _raise(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        raise Preempted(_stopped())

    def stop_asked(self) -> str | None:
        """The signal that asked for a stop, or the time limit, or None."""
        elapsed = time.monotonic() - _Asked.counted + self.reserve
        if _Asked.reason is None and self._limit is not None and elapsed > self._limit:
            _Asked.reason = TIME_IS_UP
        return _Asked.reason

    def check(self) -> None:
        """Raises Preempted where a stop was asked for."""
        reason = self.stop_asked()
        if reason:
            raise Preempted(f"stopped by {reason}")


def _stopped() -> str:
    return f"stopped by {_Asked.reason}; what is on disk is whole: run the same command again"


def _unsafe(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib") or frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False
