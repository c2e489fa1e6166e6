"""A finding of `tool doctor`: verdict, facts and how to mend it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

VERDICTS = ("ok", "warn", "stop")  # from harmless to what keeps a run from working


@dataclass(frozen=True)
class Finding:
    """One line of the report. `mend` is a command to copy where there is one; None where nothing is to be done."""

    name: str
    verdict: str
    found: str
    mend: str | None = None


def ok(name: str, found: str) -> Finding:
    """Nothing to do."""
    return Finding(name, "ok", found)


def warn(name: str, found: str, mend: str) -> Finding:
    """Runs work, but slower, in part, or not for long."""
    return Finding(name, "warn", found, mend)


def stop(name: str, found: str, mend: str) -> Finding:
    """A run fails on this, or spends its hours on the wrong device."""
    return Finding(name, "stop", found, mend)


def worst(findings: list[Finding]) -> str:
    """The gravest verdict among them."""
    return max((finding.verdict for finding in findings), key=VERDICTS.index, default="ok")


def pip_install(*requirements: str) -> str:
    """The command that installs them, quoted for a shell."""
    return shlex.join(["pip", "install", *requirements])
