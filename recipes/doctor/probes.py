"""Starts `probe.py` in a process of its own: a library that hangs or crashes there doesn't take the report with it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tasks.hub import one_line

LIMIT_SECONDS = 60.0  # eight GPUs, woken one after the other, from a disk across the network


class Unanswered(Exception):
    """A probe that came to no answer: it crashed, or (`late`) it was still at it when the time was up."""

    def __init__(self, message: str, late: bool) -> None:
        super().__init__(message)
        self.late = late


class Probes:
    """A process that makes some probes in their order; it begins at once and is asked later."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self._deadline = time.monotonic() + LIMIT_SECONDS
        self._answers: dict[str, dict[str, Any]] | None = None
        self._ended, self._late = "", False
        # -P: like the installed command, no folder of the user's shadows a library.
        command = [sys.executable, "-P", str(Path(__file__).with_name("probe.py")), *names]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, encoding="utf-8", errors="replace"
        )

    def answer(self, name: str) -> dict[str, Any]:
        """What the probe found.

        Raises:
            Unanswered: the process ended before, or did not end in time.
        """
        if self._answers is None:
            self._answers = self._wait()
        if name in self._answers:
            return self._answers[name]
        at = next(each for each in self.names if each not in self._answers)
        raise Unanswered(f"importing {at} {self._ended}", self._late)

    def close(self) -> None:
        """Ends the process where it still runs."""
        if self._process.poll() is None:
            self._process.kill()

    def _wait(self) -> dict[str, dict[str, Any]]:
        try:
            out, err = self._process.communicate(timeout=max(0.1, self._deadline - time.monotonic()))
            self._ended = _ending(self._process.returncode, err)
        except subprocess.TimeoutExpired:
            self._process.kill()
            out, _ = self._process.communicate()
            self._ended, self._late = f"took more than {LIMIT_SECONDS:.0f} s", True
        lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
        return {line["name"]: line for line in lines}


def _ending(code: int, err: str) -> str:
    if code < 0:
        return f"crashed ({signal.Signals(-code).name})"
    last = (err.strip().splitlines() or [""])[-1]
    return f"ended with code {code}{': ' + one_line(last) if last else ''}"
