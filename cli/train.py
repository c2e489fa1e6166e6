"""`tool train RECIPE`."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cli.console import result
from cli.recipe import recipe_group
from recipes.process.interrupts import SIGNALS, Interrupts


def build(name: str, help: str) -> Any:
    """One command a recipe."""
    return recipe_group(name, help, "train", present, around=interruptible)


@contextmanager
def interruptible() -> Iterator[None]:
    """Signals stop the run in an orderly way; once it has ended, one more must not change the exit code."""
    try:
        with Interrupts():
            yield
    finally:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def present(outcome: dict[str, Any]) -> None:
    """The run, its model and its score, on stdout."""
    if outcome:  # several processes: the first of them has printed it
        result(outcome, str(outcome.get("text", "")))
