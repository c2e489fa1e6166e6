"""What the result of every training says alike, on stdout: the time it took, where things are, and what comes next."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from recipes.runs.folder import Run
from recipes.terminal.progress import duration


def took(summary: dict[str, Any]) -> str:
    """'2 min (estimated 3 min)', of a run's summary."""
    estimated = summary["estimated_seconds"]
    return duration(summary["seconds"]) + (f" (estimated {duration(estimated)})" if estimated else "")


def places(run: Run, summary: dict[str, Any], following: str) -> list[str]:
    """The last lines: model and report, the Hub's address where it was uploaded, and the command to go on with."""
    lines = [f"model     {run.model}       report  {run.path / 'report.html'}"]
    if "url" in summary:
        lines.append(f"uploaded  {summary['url']}")
    if run.path.parent != Path("runs") and "--model" not in following:  # where the next command wouldn't look by itself
        following += f" --model {shlex.quote(str(run.path))}"
    return [*lines, f"next      {following}"]
