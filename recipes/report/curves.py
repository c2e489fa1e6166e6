"""Training curves from a run's metrics: loss, learning rate, validation, gradient norm, throughput."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from recipes.report.content import Cell, Headline, Line, LineChart, Table
from recipes.report.figures import finite, is_number
from recipes.report.folder import Record

MAX_POINTS = 600
"""Points of one line; of more, the lowest and the highest of each stretch are kept, so no spike is lost."""

# Points of a line below which it is not smoothed.
LEAST_TO_SMOOTH = 10
MAX_METRICS = 6
MAX_VALIDATIONS = 60

_NOT_A_METRIC = {"kind", "step", "epoch", "seconds", "n", "loss"}


def metric_names(validation: list[dict[str, Any]], headline: Headline | None) -> list[str]:
    """Names of the validation metrics in order of appearance, the headline's first."""
    seen: dict[str, None] = {}
    for entry in validation:
        for key, value in entry.items():
            if is_number(value) and key not in _NOT_A_METRIC and not key.endswith(("_low", "_high")):
                seen.setdefault(key)
    names = list(seen)
    if headline is not None and headline.name in seen:
        names = [headline.name, *(name for name in names if name != headline.name)]
    return names


def curves(record: Record, headline: Headline | None) -> tuple[list[LineChart], list[str]]:
    """All curves that have something to show, and what was left out, in words."""
    names = metric_names(record.validation, headline)
    charts = [
        _loss(record),
        *(_validation(record.validation, name, _unit(name, headline)) for name in names[:MAX_METRICS]),
        _plain(record.training, "learning_rate", "Learning rate", from_zero=True),
        _plain(record.training, "gradient_norm", "Gradient norm", smooth=True),
        _plain(record.training, "examples_per_second", "Examples per second", from_zero=True),
    ]
    last = max((entry["step"] for entry in record.training + record.validation), default=0)
    for chart in charts:
        chart.x_range = (0, last) if last > 0 else None
    left_out = [f"Curves of {len(names) - MAX_METRICS} further validation metrics."] if len(names) > MAX_METRICS else []
    return [chart for chart in charts if any(len(line.x) for line in chart.lines) or chart.marks], left_out


def validation_table(record: Record, headline: Headline | None) -> Table | None:
    """Every validation with its metrics and intervals, fractions of a `percent` headline times 100."""
    if not record.validation:
        return None
    names = metric_names(record.validation, headline)[:MAX_METRICS]
    keys = [key for name in names for key in (name, f"{name}_low", f"{name}_high")] + ["loss", "n", "seconds"]
    keys = ["step", "epoch"] + [key for key in keys if any(is_number(entry.get(key)) for entry in record.validation)]
    scales = {
        key: 100.0 for key in keys if _unit(key.removesuffix("_low").removesuffix("_high"), headline) == "percent"
    }
    rows = [[_scaled(entry.get(key), scales.get(key)) for key in keys] for entry in record.validation]
    note = ""
    if len(rows) > MAX_VALIDATIONS:
        note = f"The last {MAX_VALIDATIONS} of {len(rows):,} validations; metrics.jsonl holds all."
        rows = rows[-MAX_VALIDATIONS:]
    columns = [key.replace("_", " ") + (" %" if key in scales else "") for key in keys]
    return Table("Validations", columns, rows, note)


def window(y: np.ndarray) -> int:
    """The odd number of points (n,) that a smoothed line takes its means over."""
    return max(3, len(y) // 25 | 1)


def is_wide(y: np.ndarray) -> bool:
    """Whether the values (n,) lie so far apart that a logarithmic scale shows them better; NaN are left out."""
    known = y[np.isfinite(y)]
    return bool(len(known)) and bool(known.min() > 0 and known.max() / known.min() > 50)


def smoothed(y: np.ndarray, width: int) -> np.ndarray:
    """Centred mean over `width` points of y (n,), shorter at the ends; NaN are left out of each mean and stay NaN."""
    kernel = np.ones(width)
    known = np.isfinite(y)
    half = slice(width // 2, width // 2 + len(y))
    total = np.convolve(np.where(known, y, 0.0), kernel)[half]
    count = np.convolve(known.astype(float), kernel)[half]
    return np.where(known, total / np.maximum(count, 1.0), np.nan)


def thinned(x: np.ndarray, y: np.ndarray) -> tuple[list[float], list[float]]:
    """At most `MAX_POINTS` of the points (x, y), both (n,): of each stretch its lowest and its highest."""
    keep = np.arange(len(x))
    if len(x) > MAX_POINTS:
        keep = np.concatenate([_ends(part, y) for part in np.array_split(keep, MAX_POINTS // 2)])
    return x[keep].tolist(), y[keep].tolist()


def _ends(part: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of the places `part` (k,) those of the lowest and highest y, in order; one place where no y is known."""
    if not np.isfinite(y[part]).any():
        return part[:1]
    return np.unique([part[np.nanargmin(y[part])], part[np.nanargmax(y[part])]])


def _with_mean(x: np.ndarray, y: np.ndarray) -> list[Line]:
    mean = smoothed(y, window(y))
    return [Line("logged", *thinned(x, y), look="faint"), Line("smoothed", *thinned(x, mean))]


def _loss(record: Record) -> LineChart:
    x, y, marks = points(record.training, "loss")
    lines, note = [Line("training", *thinned(x, y))] if len(x) else [], ""
    if len(x) >= LEAST_TO_SMOOTH:
        lines = _with_mean(x, y)
        note = f"Smoothed: centred mean over {window(y)} logged values."
    validated, values, _ = points(record.validation, "loss")
    if len(validated):
        lines.append(Line("validation", *thinned(validated, values), look="plain"))
    if marks:
        note = f"{note} {len(marks):,} logged values were not finite; crosses mark their steps.".strip()
    wide = is_wide(np.concatenate([y, values]))
    y_label = "log scale" if wide else ""
    return LineChart("Loss", lines, "step", y_label, log_y=wide, marks=_few(marks), note=note)


def _validation(entries: list[dict[str, Any]], name: str, unit: str) -> LineChart:
    x, y, marks = points(entries, name)
    bounds = [
        [finite(entry.get(f"{name}_{end}")) for entry in entries if entry.get(name) is not None]
        for end in ("low", "high")
    ]
    banded = len(x) <= MAX_POINTS and not any(math.isnan(value) for value in bounds[0] + bounds[1])
    low, high = bounds if banded else (None, None)
    xs, ys = (x.tolist(), y.tolist()) if banded else thinned(x, y)
    note = "The band is the 95 % interval." if banded and len(x) else ""
    title = f"Validation {name.replace('_', ' ')}"
    return LineChart(title, [Line(name, xs, ys, low, high)], "step", "", unit, marks=_few(marks), note=note)


def _plain(
    entries: list[dict[str, Any]], key: str, title: str, smooth: bool = False, from_zero: bool = False
) -> LineChart:
    x, y, marks = points(entries, key)
    lines = [Line(title, *thinned(x, y))]
    if smooth and len(x) >= LEAST_TO_SMOOTH:
        lines = _with_mean(x, y)
    return LineChart(title, lines, "step", from_zero=from_zero, marks=_few(marks))


def points(entries: list[dict[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Steps (n,) and values (n,) of the entries that have the key, NaN where not finite, and the steps of those.

    A null is a value that was not measured, so no point at all.
    """
    having = [entry for entry in entries if entry.get(key) is not None]
    x = np.array([float(entry["step"]) for entry in having])
    y = np.array([finite(entry[key]) for entry in having])
    return x, y, x[~np.isfinite(y)].tolist()


def _few(marks: list[float]) -> list[float]:
    """Marks for drawing: evenly taken where there are very many."""
    return marks[:: max(1, len(marks) // 200)]


def _unit(name: str, headline: Headline | None) -> str:
    return headline.unit if headline is not None and headline.name == name else ""


def _scaled(value: Any, scale: float | None) -> Cell:
    if not is_number(value):
        return None
    return value if scale is None else value * scale
