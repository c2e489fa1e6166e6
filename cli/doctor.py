"""`tool doctor`."""

from __future__ import annotations

import io
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.console import State, result
from cli.lazy import command

if TYPE_CHECKING:
    from recipes.doctor import Finding


def build(name: str, help: str) -> Any:
    """The command."""
    return command(doctor, name, help)


def doctor(
    output_dir: Annotated[str, typer.Option("--output-dir", help="Where run folders are to be made.")] = "runs",
    offline: Annotated[bool, typer.Option("--offline", help="Ask nothing of the network.")] = False,
) -> None:
    """A table of verdicts, then the mends; exit code 1 where something will stop a run."""
    from recipes.doctor import examine, worst
    from tasks.errors import ToolError

    findings = examine(output_dir, offline=offline, debug=State.debug)
    # A terminal or a path in a foreign encoding is a finding, not a reason to say nothing.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    result({"verdict": worst(findings), "checks": [asdict(finding) for finding in findings]}, _text(findings))
    stops = [finding.name for finding in findings if finding.verdict == "stop"]
    if stops:
        raise ToolError(f"{len(stops)} of {len(findings)} checks will stop a run: {', '.join(stops)}")


def _text(findings: list[Finding]) -> str:
    """Mends stand below the table, each on a line of its own, so that they can be copied whole."""
    from recipes.terminal.tables import table

    rows = [[finding.verdict, finding.name, finding.found] for finding in findings]
    mends = [
        f"{finding.verdict}  {finding.name}: {finding.mend}"
        for verdict in ("stop", "warn")
        for finding in findings
        if finding.verdict == verdict
    ]
    return "\n".join([table(["verdict", "check", "found"], rows), *(["", "how to mend it", *mends] if mends else [])])
