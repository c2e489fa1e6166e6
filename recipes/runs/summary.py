"""The result of a training on stdout: its score and time, where things are, and the command that comes next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recipes.runs.folder import Run
from recipes.terminal.progress import duration


def text(run: Run, summary: dict[str, Any], score: str, following: str, lines: Sequence[str] = ()) -> str:
    """The whole result: the score with its baselines, notes, the recipe's own lines, places, and the command to go on with."""
    notes = [f"          {note}" for note in summary["notes"]]
    judged = verdict_lines(summary.get("verdict"))
    return "\n".join(
        [f"done      {score} · {took(summary)}", *judged, *notes, *lines, *places(run, summary, following)]
    )


def verdict_lines(verdict: dict[str, Any] | None) -> list[str]:
    """What a verdict (`tasks.verdict`) has to say, if anything."""
    return [f"verdict   {verdict['line']}"] if verdict and verdict["line"] else []


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
