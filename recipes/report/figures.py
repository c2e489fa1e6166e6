"""Formatting of figures: percentages, durations, sizes, and columns of equal decimals."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, TypeGuard

from recipes.report.content import Cell, Headline, Unit
from recipes.terminal import progress

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_MINUS = "\u2212"


def is_number(value: Any) -> TypeGuard[int | float]:
    """True for int and float, not for bool."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def finite(value: Any) -> float:
    """The value as a float; NaN where it is missing, not a number or not finite."""
    return float(value) if is_number(value) and math.isfinite(value) else math.nan


def figure(value: Any, unit: Unit = "", bare: bool = False) -> str:
    """One measured figure, as `94.6 %` or `0.9300`; `bare` leaves the unit out, and an unknown value is empty."""
    number = finite(value)
    if math.isnan(number):
        return ""
    if unit == "percent":
        return _signed(f"{100 * number:.1f}") + ("" if bare else " %")
    if unit == "points":
        return _signed(f"{number:.1f}") + ("" if bare else " points")
    # Four digits even where they are zeros: figures that stand beside each other show the same care.
    text = plain(value) if isinstance(value, int) or abs(number) >= 1000 else _signed(f"{number:#.4g}".rstrip("."))
    return text + (f" {unit}" if unit and not bare else "")


def plain(value: float | int) -> str:
    """A number by itself: integers with thousands separators, others to four significant digits."""
    if not math.isfinite(value):
        return str(float(value))
    if float(value).is_integer() and abs(value) < 1e15:
        return _signed(f"{int(value):,}")
    if abs(value) >= 1000:
        return _signed(f"{value:,.1f}" if abs(value) < 1e7 else f"{value:.4g}")
    return _signed(f"{value:.4g}")


def interval(headline: Headline) -> str:
    """The 95 % interval as `93.0 to 96.1`, empty where it wasn't measured."""
    return between(headline.low, headline.high, headline.unit)


def between(low: Any, high: Any, unit: Unit = "") -> str:
    """`93.0 to 96.1`, empty where an end is unknown."""
    ends = [figure(end, unit, bare=True) for end in (low, high)]
    return " to ".join(ends) if all(ends) else ""


def difference(value: float, reference: float, unit: Unit) -> str:
    """How far a figure is from a reference, in words that don't judge: `42.6 points above`."""
    gap = value - reference
    size = f"{abs(100 * gap):.1f} points" if unit == "percent" else figure(abs(gap), unit)
    return f"{size} {'above' if gap >= 0 else 'below'}"


def signed(value: Any, unit: Unit, bare: bool = False) -> str:
    """A difference with its sign, as `+3.9 points` of a percentage or `−0.0310`; an unknown one is empty."""
    number = finite(value)
    if math.isnan(number):
        return ""
    shown = f"{100 * number:.1f}" if unit == "percent" else f"{number:#.3g}".rstrip(".")
    if float(shown) == 0:
        shown = shown.lstrip("-")
    elif number > 0:
        shown = f"+{shown}"
    after = " points" if unit == "percent" else f" {unit}" if unit else ""
    return _signed(shown) + ("" if bare else after)


def duration(seconds: Any) -> str:
    """Seconds as `41 s`, `2 min 10 s` or `3 h 05 min`; empty where unknown."""
    number = finite(seconds)
    return "" if math.isnan(number) else progress.duration(number)


def size(count: Any) -> str:
    """Bytes as `24.0 MB` (powers of ten); empty where unknown."""
    number = finite(count)
    return "" if math.isnan(number) or number < 0 else progress.size(number)


def money(value: Any) -> str:
    """An amount in the price's currency; empty where unknown."""
    number = finite(value)
    return "" if math.isnan(number) else f"{number:,.2f}"


def column(cells: Sequence[Cell]) -> tuple[list[str], bool]:
    """The cells of one column as text, and whether they are figures to be aligned on the right.

    Integers get thousands separators, fractions one number of decimals for the whole column.
    """
    numbers = [cell for cell in cells if is_number(cell)]
    if not numbers or len(numbers) < sum(cell is not None for cell in cells):
        return ["" if cell is None else str(cell) for cell in cells], False
    whole = all(isinstance(number, int) for number in numbers)
    largest = max((abs(number) for number in numbers if math.isfinite(number)), default=0.0)
    return [_cell(cell, whole, largest) for cell in cells], True


def columns_of(rows: Sequence[Sequence[Cell]], count: int) -> list[tuple[list[str], bool]]:
    """`column` of each of the first `count` columns; short rows end in blanks."""
    return [column([row[at] if at < len(row) else None for row in rows]) for at in range(count)]


def one_line(text: Any, limit: int) -> str:
    """Text without control characters or line breaks, cut to `limit` characters with an ellipsis."""
    flat = " ".join(_CONTROL.sub(" ", str(text)).split())
    return flat if len(flat) <= limit else flat[: limit - 1].rstrip() + "…"


def value_text(value: Any) -> str:
    """A config or environment value as its YAML would read: `null`, `true`, numbers as they were written."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (list, tuple)):
        return ", ".join(value_text(item) for item in value)
    return str(value)


def flatten(values: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Nested mappings as (dotted name, value) pairs in their own order; empty mappings vanish."""
    if not isinstance(values, dict):
        return [(prefix, values)] if prefix else []
    return [pair for key, value in values.items() for pair in flatten(value, f"{prefix}.{key}" if prefix else str(key))]


def _cell(cell: Cell, whole: bool, largest: float) -> str:
    if cell is None:
        return ""
    number = float(cell)
    if not math.isfinite(number):
        return str(number)
    if whole:
        return _signed(f"{int(cell):,}")
    if largest >= 1e6 or 0 < largest < 0.001:
        return _signed(f"{number:.3g}")
    decimals = 1 if largest >= 100 else 2 if largest >= 10 else 3 if largest >= 0.1 else 5
    return _signed(f"{number:,.{decimals}f}")


def _signed(text: str) -> str:
    """A true minus sign is as wide as a digit, so columns stay aligned."""
    return _MINUS + text[1:] if text.startswith("-") else text
