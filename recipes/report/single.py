"""Report of a run from its files alone, where its recipe has written none."""

from __future__ import annotations

from pathlib import Path

from recipes.report.compare import Side, describe
from recipes.report.content import Headline, Section
from recipes.report.facts import mapping
from recipes.report.figures import finite, is_number, one_line
from recipes.report.html import write_report
from recipes.report.overview import steps
from recipes.runs.folder import Run
from tasks.files import write_text

FILE = "report.html"


def write(run: Run, target: Path | None = None) -> tuple[Path, bool]:
    """(where the report is, whether it was written now). A finished run's own report holds more than this one would: it
    stays, and is copied where a `target` is given.

    Raises:
        OutOfDisk: no room for the file; an older one stays.
    """
    own = run.path / FILE
    target = target or own
    side = describe(run)
    if side.state == "finished" and own.is_file():
        if target.absolute() == own.absolute():
            return own, False
        write_text(target, own.read_text(encoding="utf-8"))
        return target, True
    config, status = side.record.config, side.record.status
    title = " · ".join(str(part) for part in (status.get("recipe"), config.get("model"), config.get("data")) if part)
    sections = [Section("So far", _so_far(side))] if side.state != "finished" else []
    write_report(
        run.path,
        title=title or run.path.absolute().name,
        headline=headline(side),
        sections=sections,
        state=side.state,
        target=target,
    )
    return target, True


def headline(side: Side) -> Headline | None:
    """The run's first metric, with what it has to be seen beside where the run says that."""
    name = next((name for name in side.figures if name != "loss"), None)
    if name is None:
        return None
    unit = side.scores.unit if side.scores is not None and side.scores.metric == name else ""
    found = side.figures[name]
    metrics = mapping(side.record.status.get("metrics"))
    known = mapping(metrics.get("priors")) or mapping(metrics.get("baselines"))
    priors = {str(key): finite(value) for key, value in known.items()}
    ceiling = metrics.get("ceiling")
    ceiling = ceiling if is_number(ceiling) else None
    verdict = str(side.record.status.get("verdict") or "")
    return Headline(name, found.value, found.low, found.high, side.n, priors, ceiling, unit, verdict)


def _so_far(side: Side) -> str:
    """Where an unfinished run stands, and how it goes on."""
    done = f"The run is {side.state}, after {steps(side.record.status)} steps."
    if side.at_step is not None:
        done += f" The figure is that of its last validation, at step {side.at_step:,}."
    if side.state == "running":
        return f"{done} `tool runs report` writes this page anew."
    command = one_line(side.record.environment.get("command") or "", 1_000)
    return f"{done}\n\nThe same command goes on with it: {command}" if command else done
