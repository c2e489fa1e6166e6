"""Overviews of run folders: the list of runs, one run, and whether a run is alive."""

from __future__ import annotations

from typing import Any

from recipes.report.facts import estimated_cost, mapping
from recipes.report.figures import between, duration, figure, is_number, money, one_line, plain, size
from recipes.runs.folder import Run, held, state
from recipes.terminal.tables import table

BLANK = "–"
# Of one run: what a line is called, and what status.json calls it.
LINES = (
    ("verdict", "verdict"),
    ("reason", "error"),
    ("started", "started"),
    ("updated", "updated"),
    ("pushed", "pushed"),
)


def as_of_now(run: Run, status: dict[str, Any]) -> dict[str, Any]:
    """The status with the step and the seconds that a living run has logged last; status.json has those that are saved."""
    if status.get("state") != "running" or not held(run):
        return status
    last = run.last_metrics()
    newer = {name: last[name] for name in ("step", "seconds") if is_number(last.get(name))}
    return status | {name: value for name, value in newer.items() if value > (status.get(name) or 0)}


def steps(status: dict[str, Any]) -> str:
    """`412 of 1,250`, or how many there were."""
    known = [plain(status[key]) for key in ("step", "total_steps") if is_number(status.get(key))]
    return " of ".join(dict.fromkeys(known)) or "0"


def list_text(found: list[tuple[Run, dict[str, Any]]]) -> str:
    """A row a run, and a line of totals."""
    rows = [
        [
            run.path.name,
            status.get("recipe", ""),
            state(run, status),
            status.get("score", ""),
            steps(status),
            duration(status.get("seconds") or 0),
            money(status.get("cost")),
        ]
        for run, status in found
    ]
    names = ["run", "recipe", "state", "score", "steps", "time", "cost"]
    if not any(row[-1] for row in rows):
        names, rows = names[:-1], [row[:-1] for row in rows]
    judged = [
        f"verdict  {run.path.name}: {one_line(status['verdict'], 300)}"
        for run, status in found
        if status.get("verdict")
    ]
    return "\n".join([table(names, rows), *judged, _total([status for _, status in found])])


def _total(statuses: list[dict[str, Any]]) -> str:
    seconds = sum(status["seconds"] for status in statuses if is_number(status.get("seconds")))
    priced = [status["cost"] for status in statuses if is_number(status.get("cost"))]
    parts = [f"{len(statuses)} run{'s' if len(statuses) != 1 else ''}", duration(seconds)]
    if priced:
        known = "" if len(priced) == len(statuses) else f" (known of {len(priced)})"
        parts.append(f"cost {money(sum(priced))}{known}")
    return "total  " + " · ".join(parts)


def show_text(run: Run, status: dict[str, Any], config: dict[str, Any], on_disk: int) -> str:
    """One run: what it is, its figures, the estimate beside the truth, its options."""
    import yaml

    head = [
        run.path.name,
        str(status.get("recipe", "")),
        state(run, status),
        f"{steps(status)} steps",
        str(status.get("score", "")),
    ]
    lines = [" · ".join(part for part in head if part)]
    lines += [f"{name:<10}{' '.join(str(status[key]).split())}" for name, key in LINES if status.get(key)]
    figures = figure_rows(status.get("metrics"))
    parts = ["\n".join(lines)]
    if figures:
        parts.append(table(["figure", "value", "95 % interval"], figures))
    parts.append(table(["", "estimated", "measured"], estimate_rows(status, config, on_disk)))
    options = {key: value for key, value in config.items() if key != "recipe"}
    parts.append("options\n" + yaml.safe_dump(options, sort_keys=False, allow_unicode=True).rstrip())
    return "\n\n".join(parts)


def figure_rows(metrics: Any) -> list[list[str]]:
    """Name, value and interval of each number among a run's metrics, nested ones by their own name."""
    rows: list[list[str]] = []
    for name, value in (metrics if isinstance(metrics, dict) else {}).items():
        if isinstance(value, dict):
            rows += figure_rows(value)
        elif is_number(value) and not name.endswith(("_low", "_high")):
            ends = between(metrics.get(f"{name}_low"), metrics.get(f"{name}_high"))
            rows.append([name.replace("_", " "), figure(value), ends])
    return rows


def estimate_rows(status: dict[str, Any], config: dict[str, Any], on_disk: int) -> list[list[str]]:
    """What was said before the start beside what it took; a dash where it isn't known."""
    guess, was = mapping(status.get("estimate")), mapping(status.get("measured"))
    seconds = was.get("seconds", status.get("seconds"))
    counts = [plain(count) if is_number(count) else "" for count in (guess.get("steps"), status.get("step"))]
    rows = [
        ["steps", *counts],
        ["time", duration(guess.get("seconds")), duration(seconds)],
        ["memory", size(guess.get("memory_bytes")), size(was.get("memory_bytes"))],
        ["disk", size(guess.get("disk_bytes")), size(was.get("disk_bytes"))],
        ["disk now", "", size(on_disk)],
        ["cost", money(estimated_cost(guess, config)), money(status.get("cost"))],
    ]
    return [[cell or BLANK for cell in row] for row in rows]
