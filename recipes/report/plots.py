"""Charts as SVG to be inlined: the same bytes for the same data, text as text, colours taken from the page's CSS.

Every chart is drawn `WIDTH` units wide, which is about a phone's width, so that its text stays legible there.
"""

from __future__ import annotations

import logging
import math
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any

from recipes.report.content import BarChart, Headline, Line, LineChart, Unit
from recipes.report.figures import figure, finite, one_line, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 460
LINE_HEIGHT = 230
ROW_HEIGHT = 24
MAX_BARS = 40
# Colours for lines among equals; further lines take them again, broken.
SERIES = 8

# matplotlib draws in these stand-ins; the page's custom properties take their places, so both colour schemes work.
_INK, _MUTED, _RULE, _ACCENT, _PAPER = "#010203", "#010204", "#010205", "#010206", "#010207"
_PROPERTIES = {_INK: "ink", _MUTED: "muted", _RULE: "rule", _ACCENT: "accent", _PAPER: "paper"}
_SERIES = {f"#0102{8 + number:02x}": f"series-{number}" for number in range(SERIES)}
_PROPERTIES |= _SERIES

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "text.parse_math": False,
    "font.size": 11,
    "font.family": ["DejaVu Sans"],
    "text.color": _INK,
    "axes.edgecolor": _RULE,
    "axes.labelcolor": _MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _RULE,
    "ytick.color": _RULE,
    "xtick.labelcolor": _MUTED,
    "ytick.labelcolor": _MUTED,
    "legend.frameon": False,
    "legend.labelcolor": _INK,
    "lines.solid_capstyle": "round",
}
_LOOKS: dict[str, dict[str, Any]] = {
    "main": {"color": _ACCENT, "linewidth": 1.8, "zorder": 3},
    "faint": {"color": _ACCENT, "linewidth": 0.8, "alpha": 0.5, "zorder": 2},
    "plain": {"color": _INK, "linewidth": 1.3, "zorder": 4},
    "dashed": {"color": _MUTED, "linewidth": 1.3, "linestyle": (0, (4, 3)), "zorder": 3},
}
_BROKEN: list[Any] = ["-", (0, (5, 2)), (0, (1.5, 1.5))]
_BLOCKS = re.compile(r"\A.*?(?=<svg)|<metadata>.*?</metadata>|<style.*?</style>", re.DOTALL)
_NAMESPACES = re.compile(r'\s(?:xmlns(?::\w+)?|version|width|height)="[^"]*"')


def line_svg(chart: LineChart, name: str) -> str:
    """A `LineChart` as SVG; `name` is unique in the page and prefixes the ids inside."""

    def draw(axes: Axes) -> None:
        for line in chart.lines:
            _draw_line(axes, line)
        _draw_marks(axes, chart.marks)
        _value_axis(axes, chart)
        axes.set_xlabel(one_line(chart.x_label, 40))
        axes.grid(axis="y", color=_RULE, linewidth=0.6)
        axes.set_axisbelow(True)
        if len(chart.lines) + bool(len(chart.marks)) > 1:
            # A legend fills column by column: letters stand in one row as long as they fit.
            short = all(len(line.name) <= 2 for line in chart.lines)
            axes.legend(
                loc="lower left",
                bbox_to_anchor=(0, 1),
                ncols=8 if short else 4,
                borderaxespad=0.2,
                handlelength=1.4,
                columnspacing=1.2,
            )

    return _svg(draw, LINE_HEIGHT, name, chart.title)


def bar_svg(chart: BarChart, name: str) -> str:
    """The first `MAX_BARS` bars of a `BarChart` as SVG, their values in a column on the right."""
    count = min(len(chart.labels), MAX_BARS)
    values = [finite(value) for value in chart.values[:count]]
    lows, highs = _floats(chart.low, count), _floats(chart.high, count)
    baseline = chart.baseline
    baselines = _floats(baseline if isinstance(baseline, Sequence) else [baseline] * count, count)

    def draw(axes: Axes) -> None:
        rows = range(count)
        axes.barh(rows, [0 if math.isnan(value) else value for value in values], height=0.56, color=_ACCENT, alpha=0.3)
        for row in rows:
            _interval(axes, row, lows[row], highs[row])
            axes.plot([baselines[row]] * 2, [row - 0.38, row + 0.38], color=_INK, linewidth=1.6, zorder=4)
        _rows(axes, chart.labels[:count], [figure(value, chart.unit, bare=True) for value in values])
        _scale(axes, [0.0, *values, *lows, *highs, *baselines], chart.unit)

    return _svg(draw, ROW_HEIGHT * count + 34, name, chart.title)


def headline_svg(headline: Headline, name: str) -> str:
    """The headline figure with its interval as a filled dot, above its ceiling and baselines as hollow ones."""
    references = [*headline.baselines.items()]
    if headline.ceiling is not None:
        references.insert(0, ("ceiling", headline.ceiling))
    labels = [headline.title, *(label for label, _ in references)]
    values = [finite(headline.value), *(finite(value) for _, value in references)]
    low, high = finite(headline.low), finite(headline.high)

    def draw(axes: Axes) -> None:
        axes.hlines(range(len(values)), 0, 1, transform=axes.get_yaxis_transform(), color=_RULE, linewidth=0.6)
        axes.plot(
            values[1:], range(1, len(values)), "o", color=_MUTED, markerfacecolor=_PAPER, markersize=6, clip_on=False
        )
        _interval(axes, 0, low, high)
        axes.plot(values[:1], [0], "o", color=_ACCENT, markersize=8, zorder=5, clip_on=False)
        _rows(axes, labels, [figure(value, headline.unit, bare=True) for value in values])
        _scale(axes, [0.0, *values, low, high], headline.unit)

    return _svg(draw, ROW_HEIGHT * len(values) + 34, name, f"{headline.name} beside what it is measured against")


def _draw_line(axes: Axes, line: Line) -> None:
    look = dict(_LOOKS[line.look])
    if line.series is not None:
        look |= {"color": list(_SERIES)[line.series % SERIES], "linestyle": _BROKEN[line.series // SERIES % 3]}
    if line.look in ("main", "plain") and sum(math.isfinite(value) for value in line.y) <= 40:
        look |= {"marker": "o", "markersize": 3.2}
    axes.plot(line.x, line.y, label=one_line(line.name, 32), **look)
    if line.low is not None and line.high is not None:
        axes.fill_between(line.x, line.low, line.high, color=look["color"], alpha=0.18, linewidth=0)


def _draw_marks(axes: Axes, marks: Sequence[float]) -> None:
    if len(marks):
        look: dict[str, Any] = {
            "color": _INK,
            "markersize": 5,
            "transform": axes.get_xaxis_transform(),
            "clip_on": False,
        }
        axes.plot(marks, [0.03] * len(marks), "x", label="not finite", **look)


def _value_axis(axes: Axes, chart: LineChart) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    steps = [x for line in chart.lines for x in line.x] + list(chart.marks)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=all(float(step).is_integer() for step in steps)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    axes.set_ylabel(one_line(chart.y_label, 30))
    if chart.x_range is not None:
        room = 0.02 * (chart.x_range[1] - chart.x_range[0])
        axes.set_xlim(chart.x_range[0] - room, chart.x_range[1] + room)
    if chart.log_y:
        axes.set_yscale("log")
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value, chart.unit)))
    if chart.from_zero:
        axes.set_ylim(bottom=0)


def _interval(axes: Axes, row: int, low: float, high: float) -> None:
    if math.isnan(low) or math.isnan(high):
        return
    axes.plot([low, high], [row, row], color=_ACCENT, linewidth=1.8, zorder=4)
    for end in (low, high):
        axes.plot([end, end], [row - 0.14, row + 0.14], color=_ACCENT, linewidth=1.8, zorder=4)


def _rows(axes: Axes, labels: Sequence[str], values: Sequence[str]) -> None:
    """One row a label from the top, the values in figures aligned at the right edge."""
    rows = range(len(labels))
    axes.set_yticks(rows, [one_line(label, 34) for label in labels], color=_INK)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    beside = axes.secondary_yaxis("right")
    widest = max((len(value) for value in values), default=0)
    # U+2007 is as wide as a digit.
    beside.set_yticks(rows, [(value or "\u2013").rjust(widest, "\u2007") for value in values], color=_INK)
    axes.tick_params(axis="y", length=0)
    beside.tick_params(axis="y", length=0, pad=9)
    for spine in ("left", "right"):
        axes.spines[spine].set_visible(False)
        beside.spines[spine].set_visible(False)


def _scale(axes: Axes, values: Sequence[float], unit: Unit) -> None:
    """The axis of values: 0 to 100 for percentages, else from the smallest (or zero) to the largest."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    known = [value for value in values if math.isfinite(value)]
    if unit == "percent" and min(known) >= 0 and max(known) <= 1:
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    else:
        room = 0.04 * (max(known) - min(known) or 1.0)
        axes.set_xlim(min(known) - (room if min(known) < 0 else 0), max(known) + room)
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value, unit)))
    axes.grid(axis="x", color=_RULE, linewidth=0.6)
    axes.set_axisbelow(True)


def _tick(value: float, unit: Unit) -> str:
    return f"{plain(round(100 * value, 6))} %" if unit == "percent" else plain(value)


def _floats(values: Sequence[float | None] | None, count: int) -> list[float]:
    return [finite(value) for value in values[:count]] if values is not None else [math.nan] * count


def _svg(draw: Callable[[Axes], None], height: int, name: str, label: str) -> str:
    with _drawing():
        from matplotlib.figure import Figure

        drawing = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")
        draw(drawing.add_subplot())
        text = StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        drawing.savefig(text, format="svg", metadata=nothing, transparent=True)
    return _inlined(text.getvalue(), name, label)


@contextmanager
def _drawing() -> Iterator[None]:
    """matplotlib as it comes, whatever the user's settings, and silent about its font cache and missing glyphs."""
    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import matplotlib

            with matplotlib.rc_context():
                matplotlib.rcdefaults()
                matplotlib.rcParams.update(_STYLE)
                yield
    finally:
        log.setLevel(level)


def _inlined(svg: str, name: str, label: str) -> str:
    """An SVG file as part of a page: no prolog or name spaces, ids of its own, colours and font of the page."""
    svg = re.sub(r"<[^>]*>", lambda tag: _tag(tag[0], name), _BLOCKS.sub("", svg))
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(one_line(label, 120))}"', 1).strip() + "\n"


def _tag(tag: str, name: str) -> str:
    """One tag; the text between tags, which a user may have written, is never touched."""
    if tag.startswith("<svg"):
        tag = _NAMESPACES.sub("", tag)
    tag = re.sub(r"font-family: [^;\"]*;? ?", "", tag)
    tag = re.sub(r'\bid="', f'id="{name}-', tag)
    tag = tag.replace("url(#", f"url(#{name}-").replace('xlink:href="#', f'href="#{name}-')
    return re.sub(r"#01020[3-9a-f]\b", lambda colour: f"var(--{_PROPERTIES[colour[0]]})", tag)
