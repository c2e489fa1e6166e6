"""Tables and the HTML page of a comparison of runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from recipes.report.compare import Comparison, Paired, Side
from recipes.report.content import BarChart, Line, LineChart, Section, Table
from recipes.report.curves import LEAST_TO_SMOOTH, MAX_METRICS, is_wide, points, smoothed, thinned, window
from recipes.report.figures import between, duration, figure, is_number, money, one_line, plain, signed, value_text
from recipes.report.html import write_sections
from recipes.report.overview import BLANK, steps
from recipes.terminal.tables import table


def text(found: Comparison) -> str:
    """The comparison as text, for stdout."""
    shown = [runs_table(found), paired_table(found), options_table(found), environment_table(found)]
    parts = []
    for each in shown:
        if each.rows:
            drawn = table(each.columns, [list(row) for row in each.rows])
            parts.append("\n".join(part for part in (each.title, drawn, each.note) if part))
        elif each.note:
            parts.append(each.note)
    return "\n\n".join([*parts, *found.notes])


def write_page(found: Comparison, target: Path) -> Path:
    """One self-contained page: figures, differences, curves over one axis, options.

    Raises:
        OutOfDisk: no room for the file; an older one stays.
    """
    runs = [(side.label, side.run.path.name, side.state, _about(side)) for side in found.sides]
    return write_sections(target, f"{len(runs)} runs compared", runs, sections(found))


def sections(found: Comparison) -> list[Section]:
    """The page's parts."""
    charts = [chart for name in found.metrics[:MAX_METRICS] if (chart := _bars(found, name))]
    lines = curves(found)
    note = "" if lines else "No metrics were logged."
    pairs, machines = paired_table(found), environment_table(found)
    differing = [options_table(found), *([machines] if machines.rows else [])]
    return [
        Section("Figures", tables=[_on_page(runs_table(found))], charts=charts),
        Section(pairs.title, tables=[_on_page(pairs)], charts=_differences(found)),
        Section("Curves", note, charts=lines),
        *(Section(table.title, tables=[_on_page(table)]) for table in differing),
        *([Section("Notes", "\n\n".join(found.notes))] if found.notes else []),
    ]


# -- tables --------------------------------------------------------------------------------------------------------------


def runs_table(found: Comparison) -> Table:
    """A row a run: its figures, and what it took."""
    recipes = {side.record.status.get("recipe") for side in found.sides}
    columns: list[tuple[str, Callable[[Side], str]]] = [
        ("", lambda side: side.label),
        ("run", lambda side: side.run.path.name),
        ("recipe", lambda side: str(side.record.status.get("recipe") or "") if len(recipes) > 1 else ""),
        ("state", lambda side: side.state),
        *((name.replace("_", " "), _shows(name, found.units.get(name, ""))) for name in found.metrics),
        ("n", lambda side: plain(side.n) if is_number(side.n) else ""),
        ("at step", lambda side: plain(side.at_step) if is_number(side.at_step) else ""),
        ("steps", lambda side: steps(side.record.status)),
        ("time", lambda side: duration(side.record.status.get("seconds"))),
        ("cost", lambda side: money(side.record.status.get("cost"))),
    ]
    cells = [(name, [show(side) for side in found.sides]) for name, show in columns]
    kept = [(name, column) for name, column in cells if any(column)]
    note = "In brackets: 95 % interval." if any(math.isfinite(each.low) for each in _figures(found)) else ""
    if any(side.state != "finished" and side.figures for side in found.sides):
        note += " A run that isn't finished shows its last validation."
    rows = [[column[at] for _, column in kept] for at in range(len(found.sides))]
    return Table("Runs", [name for name, _ in kept], rows, note.strip())


def paired_table(found: Comparison) -> Table:
    """A row for each run but the first: how far it is from that, and whether that is more than chance."""
    rows = [_paired_row(side, pair) for side, pair in zip(found.sides[1:], found.paired, strict=True)]
    metric = next((pair.metric for pair in found.paired if pair.metric), "")
    title = f"Against {found.sides[0].label}, {found.sides[0].run.path.name}"
    if not metric:
        return Table(title, ["", "run", "no paired figure"], [[row[0], row[1], row[-1]] for row in rows])
    names = ["", "run", f"{metric} difference", "95 % interval", "p", "verdict", "examples", "note"]
    if not any(row[-1] for row in rows):
        names, rows = names[:-1], [row[:-1] for row in rows]
    note = "Paired bootstrap over the examples that both were measured on. Other seeds would move each run further."
    return Table(title, names, rows, note)


def _paired_row(side: Side, pair: Paired) -> list[str]:
    if pair.difference is None:
        return [side.label, pair.run, "", "", "", "", "", pair.reason]
    ends = " to ".join(signed(end, pair.unit, bare=True) for end in (pair.low, pair.high))
    return [
        side.label,
        pair.run,
        signed(pair.difference, pair.unit),
        ends,
        f"{pair.p:.3f}",
        pair.verdict,
        f"{pair.examples:,}",
        pair.note,
    ]


def options_table(found: Comparison) -> Table:
    """A row for each option that isn't the same in all runs."""
    count = found.same_options
    note = f"{count:,} option{' is' if count == 1 else 's are'} the same."
    if not found.options:
        note = f"No option differs; {note}" if count else "No options are known."
    return _values("Options that differ", found, found.options, note)


def environment_table(found: Comparison) -> Table:
    """A row for each version or piece of hardware that isn't the same for all runs."""
    rows = [
        (name, [value[:10] if name == "git" and isinstance(value, str) else value for value in values])
        for name, values in found.environment
    ]
    return _values("Versions and hardware that differ", found, rows)


def _values(title: str, found: Comparison, rows: list[tuple[str, list[Any]]], note: str = "") -> Table:
    shown = [
        [name, *(BLANK if value is ... else value_text(value) or '""' for value in values)] for name, values in rows
    ]
    return Table(title, ["", *(side.label for side in found.sides)], shown, note)


def _shows(name: str, unit: str) -> Callable[[Side], str]:
    def show(side: Side) -> str:
        each = side.figures.get(name)
        if each is None:
            return ""
        ends = between(each.low, each.high, unit)
        return figure(each.value, unit) + (f" ({ends})" if ends else "")

    return show


def _figures(found: Comparison) -> list[Any]:
    return [each for side in found.sides for each in side.figures.values()]


def _on_page(table: Table) -> Table:
    """A table in a section of its name, on a page that tells the runs' names and states at its head."""
    kept = [at for at, name in enumerate(table.columns) if name not in ("run", "state")]
    return Table("", [table.columns[at] for at in kept], [[row[at] for at in kept] for row in table.rows], table.note)


def _about(side: Side) -> str:
    """What the run trained, on what."""
    config = side.record.config
    known = [side.record.status.get("recipe"), config.get("model"), config.get("data")]
    return " · ".join(str(part) for part in known if part)


# -- charts --------------------------------------------------------------------------------------------------------------


def _name(side: Side) -> str:
    return f"{side.label}  {one_line(side.run.path.name, 28)}"


def _bars(found: Comparison, name: str) -> BarChart | None:
    """One metric of all runs that have it."""
    having = [(side, side.figures[name]) for side in found.sides if name in side.figures]
    if len(having) < 2:
        return None
    banded = all(math.isfinite(each.low) and math.isfinite(each.high) for _, each in having)
    return BarChart(
        name.replace("_", " "),
        [_name(side) for side, _ in having],
        [each.value for _, each in having],
        [each.low for _, each in having] if banded else None,
        [each.high for _, each in having] if banded else None,
        unit=found.units.get(name, ""),
    )


def _differences(found: Comparison) -> list[BarChart]:
    """The paired differences of one metric with their intervals; those that hold 0 are within chance."""
    pairs = [pair for pair in zip(found.sides[1:], found.paired, strict=True) if pair[1].difference is not None]
    metrics = {(pair.metric, pair.unit) for _, pair in pairs}
    if len(metrics) != 1:
        return []
    metric, unit = metrics.pop()
    scale = 100 if unit == "percent" else 1
    return [
        BarChart(
            f"{metric}: difference from {found.sides[0].label}" + (", in points" if unit == "percent" else ""),
            [_name(side) for side, _ in pairs],
            [scale * (pair.difference or 0.0) for _, pair in pairs],
            [scale * (pair.low or 0.0) for _, pair in pairs],
            [scale * (pair.high or 0.0) for _, pair in pairs],
            unit="points" if unit == "percent" else unit,
        )
    ]


def curves(found: Comparison) -> list[LineChart]:
    """Training loss, validation loss and each validation metric, a line a run over the steps."""
    sizes = [side.record.config.get("batch_size") for side in found.sides]
    told = ", ".join(
        f"{count:,} in {side.label}" for count, side in zip(sizes, found.sides, strict=True) if is_number(count)
    )
    note = f"Examples a step: {told}." if len(set(sizes)) > 1 and told else ""
    charts = [_curve(found, "training", "loss", "Training loss, smoothed", note, smooth=True)]
    charts.append(_curve(found, "validation", "loss", "Validation loss", note))
    for name in [name for name in found.metrics if name != "loss"][:MAX_METRICS]:
        title = f"Validation {name.replace('_', ' ')}"
        charts.append(_curve(found, "validation", name, title, note, found.units.get(name, "")))
    last = max((x for chart in charts for line in chart.lines for x in line.x), default=0)
    for chart in charts:
        chart.x_range = (0, last) if last > 0 else None
    return [chart for chart in charts if chart.lines]


def _curve(
    found: Comparison, kind: str, key: str, title: str, note: str, unit: str = "", smooth: bool = False
) -> LineChart:
    lines, values = [], []
    for number, side in enumerate(found.sides):
        x, y, _ = points(getattr(side.record, kind), key)
        if not np.isfinite(y).any():
            continue
        if smooth and len(y) >= LEAST_TO_SMOOTH:
            y = smoothed(y, window(y))
        values.append(y)
        lines.append(Line(side.label, *thinned(x, y), series=number))
    wide = bool(values) and is_wide(np.concatenate(values))
    return LineChart(title, lines, "step", "log scale" if wide else "", unit, log_y=wide, note=note)
