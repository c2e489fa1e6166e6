"""Progress of a long job: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from typing import Any

LINE_SECONDS = 10.0


def duration(seconds: float) -> str:
    """'41 s', '2 min 10 s', '3 h 05 min'."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def size(count: float) -> str:
    """Bytes in a unit to read."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


def print_line(text: str) -> None:
    """A line for the reader, on stderr; one who is gone, a closed pipe or terminal, doesn't end the run."""
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def print_line_once(text: str) -> None:
    """The same from the first of a run's processes alone, for what all of them find."""
    if os.environ.get("RANK", "0") == "0":
        print_line(text)


class Progress:
    """Counts from `done` to `total`; only the main process shows anything. With `speed` it says how many `unit` a second."""

    def __init__(
        self, label: str, total: int, *, done: int = 0, unit: str = "", show: bool = True, speed: bool = False
    ) -> None:
        self.label, self.total, self.done, self.unit, self.show = label, total, done, unit, show
        self._bar: Any = None
        self._task: Any = None
        self._started = self._shown = time.monotonic()
        self._first, self._speed = done, speed

    def __enter__(self) -> Progress:
        if self.show and sys.stderr.isatty():
            self._open_bar()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            with suppress(OSError):  # the terminal may be gone
                self._bar.stop()
            self._bar = None

    def advance(self, count: int = 1, **facts: str) -> None:
        """Moves on by `count`; `facts` are shown beside it (loss, speed)."""
        self.done += count
        if not self.show:
            return
        if self._bar is not None:
            self._update(completed=self.done, facts=self._facts(facts))
        elif time.monotonic() - self._shown >= LINE_SECONDS and self.done < self.total:
            self._shown = time.monotonic()
            self.line(f"{self.label} {self.done}/{self.total} · {self._facts(facts)}")

    def line(self, text: str) -> None:
        """A line that stays."""
        if not self.show:
            return
        if self._bar is not None:
            with suppress(OSError):
                self._bar.console.print(text, highlight=False, markup=False)
        else:
            print_line(text)

    def relabel(self, label: str) -> None:
        """Changes what stands before the bar."""
        self.label = label
        self._update(description=label)

    def _update(self, **fields: Any) -> None:
        if self._bar is not None:
            with suppress(OSError):  # the terminal may be gone
                self._bar.update(self._task, **fields)

    def left(self) -> float | None:
        """Seconds left at the speed so far, or None before there is one."""
        moved = self.done - self._first
        if moved <= 0:
            return None
        return (time.monotonic() - self._started) / moved * (self.total - self.done)

    def _facts(self, facts: dict[str, str]) -> str:
        left = self.left()
        parts = [
            f"{name} {value}" if value[:1].isdigit() and name == "loss" else value for name, value in facts.items()
        ]
        if self._speed:
            moved, elapsed = self.done - self._first, max(time.monotonic() - self._started, 1e-9)
            parts.append(f"{moved / elapsed:.1f} {self.unit}/s")
        return " · ".join([*parts, *([f"{duration(left)} left"] if left is not None else [])])

    def _open_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as RichProgress

        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task(self.label, total=self.total, completed=self.done, facts="")


def parameters_text(model: Any) -> str:
    """'0.9 M' or '7.0 B': how many parameters a torch model has."""
    count = sum(parameter.numel() for parameter in model.parameters())
    return f"{count / 1e6:.1f} M" if count < 1e9 else f"{count / 1e9:.1f} B"
