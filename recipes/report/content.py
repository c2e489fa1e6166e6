"""Content types of reports and model cards: tables, charts, examples, sections. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

# Examples that a report shows.
EXAMPLES = 24

Cell = str | float | int | None
Verdict = Literal["right", "partly", "wrong"]
Unit = str
"""`percent`: a fraction from 0 to 1, shown times 100; `points`: already times 100, as differences of percentages are.
Anything else is written after the figure, `""` is none."""


@dataclass
class Table:
    """Rows under column names; a column whose cells are all numbers is aligned on its figures, `None` is left blank."""

    title: str
    columns: list[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


@dataclass
class Example:
    """One thing the model was shown and what it made of it.

    `image` is one PIL image, several that belong side by side (condition, target, output), or none. `lines` are
    (name, text) pairs, as ("answer", "two"). `score` is the example's share of the metric, from 0 to 1.
    """

    image: Image | Sequence[Image] | None = None
    title: str = ""
    lines: list[tuple[str, str]] = field(default_factory=list)
    verdict: Verdict | None = None
    score: float | None = None


@dataclass
class BarChart:
    """Horizontal bars. `low` and `high` bound each bar's 95 % interval; `baseline` is one figure or one a bar."""

    title: str
    labels: list[str]
    values: Sequence[float | None]
    low: Sequence[float | None] | None = None
    high: Sequence[float | None] | None = None
    baseline: float | Sequence[float | None] | None = None
    baseline_name: str = "baseline"
    unit: Unit = "percent"
    note: str = ""


@dataclass
class Line:
    """One line of a `LineChart`; `low` and `high` make a band around it. Values that aren't finite break the line.

    `look`: `main` is the accent colour, `faint` a thin one behind it, `plain` the colour of text, `dashed` a reference.
    `series` gives a line among equals its own colour: the page's first, second, ... from 0.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    look: Literal["main", "faint", "plain", "dashed"] = "main"
    series: int | None = None


@dataclass
class LineChart:
    """Lines over one axis. `marks` are places on x where a value was missing or not finite, drawn as crosses below."""

    title: str
    lines: list[Line]
    x_label: str = ""
    y_label: str = ""
    unit: Unit = ""
    log_y: bool = False
    from_zero: bool = False
    x_range: tuple[float, float] | None = None
    marks: Sequence[float] = ()
    note: str = ""


@dataclass
class Section:
    """A part of the report under its own heading: text, then charts, tables and a grid of examples."""

    title: str
    text: str = ""
    tables: list[Table] = field(default_factory=list)
    charts: Sequence[BarChart | LineChart] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)


@dataclass
class Headline:
    """The figure that a run is judged by, its 95 % interval, and what it has to be seen beside.

    `value`, `low`, `high`, `ceiling` and the baselines share one unit: fractions for `percent`. A validation metric of
    the same name is drawn first and in that unit; `title` is what readers see in its place. `verdict` says in words that the
    figure clears no baseline (`tasks.verdict`), and is empty where it does.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    baselines: dict[str, float] = field(default_factory=dict)
    ceiling: float | None = None
    unit: Unit = "percent"
    verdict: str = ""
    title: str = ""

    def __post_init__(self) -> None:
        self.title = self.title or self.name


def evenly(numbers: np.ndarray, count: int) -> list[int]:
    """At most `count` of the numbers, evenly spread over them, the first and the last among them."""
    import numpy as np

    places = np.linspace(0, len(numbers) - 1, min(count, len(numbers))).round().astype(int)
    return [int(number) for number in numbers[places]]


def half_wrong(wrong: np.ndarray) -> list[int]:
    """Numbers of examples to show, by bool [n]: half of them wrong, where there are as many, spread evenly over all."""
    import numpy as np

    bad = evenly(np.flatnonzero(wrong), EXAMPLES // 2)
    return sorted([*bad, *evenly(np.flatnonzero(~wrong), EXAMPLES - len(bad))])
