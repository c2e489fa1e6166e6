"""report.html: everything that a run has to say, in one file that loads nothing from anywhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.report.content import BarChart, Example, Headline, LineChart, Section, Table
from recipes.report.curves import curves, validation_table
from recipes.report.facts import facts
from recipes.report.figures import column, difference, figure, finite, flatten, interval, one_line, plain, value_text
from recipes.report.folder import Record, read_run
from recipes.report.images import Thumbnail, thumbnail

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup
    from PIL.Image import Image

MAX_ROWS = 300
MAX_COLUMNS = 30
MAX_EXAMPLES = 60
MAX_CHARTS = 24
MAX_IMAGE_BYTES = 6_000_000
MAX_CELL = 300
MAX_TEXT = 1_000

_TEMPLATES = Path(__file__).parent / "templates"
_MARKS = {"right": "Right", "partly": "Partly right", "wrong": "Wrong"}


def write_report(
    run: Path,
    *,
    title: str,
    headline: Headline | None,
    sections: list[Section],
    state: str | None = None,
    target: Path | None = None,
) -> Path:
    """Writes `report.html` into a run folder, or `target`, from the run's own files and what the recipe adds.

    `state` is shown instead of the one in status.json, which a killed run couldn't change.

    The same input gives the same bytes. What the limits of this module cut is said in its place and at the end.

    Raises:
        OutOfDisk: no room for the file; an older report stays.
    """
    from tasks.files import write_text

    page = _Page(read_run(run))
    if state is not None:
        page.record.status["state"] = state
    target = target or run / "report.html"
    write_text(target, page.render(run.absolute().name, title, headline, sections))
    return target


def write_sections(
    target: Path, title: str, runs: Sequence[tuple[str, str, str, str]], sections: list[Section]
) -> Path:
    """Writes a page on several runs; each run is (label, name, state, what it is).

    Raises:
        OutOfDisk: no room for the file; an older one stays.
    """
    from recipes.report.plots import SERIES
    from tasks.files import write_text

    page = _Page(Record())
    parts = [page.part(section) for section in sections]
    named = [(*(one_line(text, 200) for text in run), f"series-{number % SERIES}") for number, run in enumerate(runs)]
    write_text(
        target,
        _template("compare.html.j2").render(
            css=_css(), title=title, name="", runs=named, parts=parts, left_out=page.left_out
        ),
    )
    return target


def _template(name: str) -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name)


def _css() -> Markup:
    from markupsafe import Markup

    return Markup((_TEMPLATES / "report.css").read_text(encoding="utf-8"))


@dataclass
class _Figure:
    title: str
    svg: Markup
    note: str


@dataclass
class _Grid:
    """A table's columns with a flag for figures, and its rows as text."""

    title: str
    columns: list[tuple[str, bool]]
    rows: list[list[tuple[str, bool]]]
    note: str


@dataclass
class _Card:
    images: list[Thumbnail]
    title: str
    lines: list[tuple[str, str]]
    verdict: str
    mark: str
    score: str


@dataclass
class _Part:
    title: str
    paragraphs: list[str]
    charts: list[_Figure]
    tables: list[_Grid]
    cards: list[_Card]
    note: str


@dataclass
class _Page:
    """Turns a run and a recipe's content into what the template shows, counting what the limits leave out."""

    record: Record
    left_out: list[str] = field(default_factory=list)
    charts: int = 0
    image_bytes: int = 0

    def render(self, name: str, title: str, headline: Headline | None, sections: list[Section]) -> str:
        """The whole page."""
        drawn, cut = curves(self.record, headline)
        validations = validation_table(self.record, headline)
        self.left_out += cut
        return _template("report.html.j2").render(
            css=_css(),
            name=name,
            title=one_line(title, 200),
            state=one_line(self.record.status.get("state", "state unknown"), 40),
            reason=one_line(self.record.status.get("message") or self.record.status.get("error") or "", MAX_TEXT),
            facts=facts(self.record),
            headline=self._headline(headline) if headline is not None else None,
            curves=[self._figure(chart) for chart in drawn],
            validations=self._grid(validations) if validations else None,
            parts=[self.part(section) for section in sections],
            config=self._pairs(self.record.config),
            environment=self._pairs(self.record.environment),
            problems=self.record.problems,
            left_out=self.left_out,
        )

    def _headline(self, headline: Headline) -> dict[str, Any]:
        from recipes.report.plots import headline_svg

        value = finite(headline.value)
        against = [
            f"{difference(value, reference, headline.unit)} {name} ({figure(reference, headline.unit)})"
            for name, reference in headline.baselines.items()
            if not math.isnan(value) and not math.isnan(finite(reference))
        ]
        details = [
            f"95 % interval {interval(headline)}" if interval(headline) else "",
            f"n {plain(headline.n)}" if headline.n is not None else "",
            f"ceiling {figure(headline.ceiling, headline.unit)}" if headline.ceiling is not None else "",
        ]
        return {
            "name": headline.name,
            "value": figure(value, headline.unit) or "not measured",
            "details": [detail for detail in details if detail],
            "against": against,
            "svg": self._markup(headline_svg(headline, self._name())) if not math.isnan(value) else "",
        }

    def part(self, section: Section) -> _Part:
        """A section as the template shows it."""
        shown = section.charts[:MAX_CHARTS]
        if len(section.charts) > len(shown):
            self.left_out.append(
                f"{section.title}: {len(section.charts) - len(shown):,} of {len(section.charts):,} charts."
            )
        charts = [self._figure(chart) for chart in shown]
        tables = [self._grid(table) for table in section.tables]
        cards, note = self._cards(section)
        paragraphs = [" ".join(part.split()) for part in section.text.split("\n\n") if part.strip()]
        return _Part(one_line(section.title, 200), paragraphs, charts, tables, cards, note)

    def _figure(self, chart: BarChart | LineChart) -> _Figure:
        from recipes.report.plots import MAX_BARS, bar_svg, line_svg

        note = one_line(chart.note, MAX_TEXT)
        if isinstance(chart, LineChart):
            return _Figure(one_line(chart.title, 120), self._markup(line_svg(chart, self._name())), note)
        if chart.baseline is not None:
            note = f"Upright strokes: {one_line(chart.baseline_name, 60)}. {note}".strip()
        if chart.low is not None and chart.high is not None:
            note = f"Lines with ends: 95 % interval. {note}".strip()
        if len(chart.labels) > MAX_BARS:
            note = f"The first {MAX_BARS} of {len(chart.labels):,} bars. {note}".strip()
            self.left_out.append(f"{chart.title}: {len(chart.labels) - MAX_BARS:,} of {len(chart.labels):,} bars.")
        return _Figure(one_line(chart.title, 120), self._markup(bar_svg(chart, self._name())), note)

    def _grid(self, table: Table) -> _Grid:
        rows = [list(row[:MAX_COLUMNS]) for row in table.rows[:MAX_ROWS]]
        names = table.columns[:MAX_COLUMNS]
        note = one_line(table.note, MAX_TEXT)
        if len(table.rows) > MAX_ROWS:
            note = f"The first {MAX_ROWS} of {len(table.rows):,} rows. {note}".strip()
            self.left_out.append(f"{table.title}: {len(table.rows) - MAX_ROWS:,} of {len(table.rows):,} rows.")
        if len(table.columns) > MAX_COLUMNS:
            self.left_out.append(
                f"{table.title}: {len(table.columns) - MAX_COLUMNS:,} of {len(table.columns):,} columns."
            )
        columns = [column([row[at] if at < len(row) else None for row in rows]) for at in range(len(names))]
        flags = [figures for _, figures in columns]
        body = [[(one_line(cells[at], MAX_CELL), figures) for cells, figures in columns] for at in range(len(rows))]
        heads = [one_line(name, 80) for name in names]
        return _Grid(one_line(table.title, 200), list(zip(heads, flags, strict=True)), body, note)

    def _cards(self, section: Section) -> tuple[list[_Card], str]:
        """The examples that fit, and a note on the others."""
        total, cards = len(section.examples), []
        for example in section.examples[:MAX_EXAMPLES]:
            images = [thumbnail(image) for image in _images(example)]
            added = sum(len(image.uri) for image in images)
            if self.image_bytes + added > MAX_IMAGE_BYTES:
                break
            self.image_bytes += added
            cards.append(_card(example, images))
        if len(cards) == total:
            return cards, ""
        self.left_out.append(f"{section.title}: {total - len(cards):,} of {total:,} examples.")
        return cards, f"The first {len(cards):,} of {total:,} examples."

    def _pairs(self, values: dict[str, Any]) -> list[tuple[str, str]]:
        return [(one_line(key, 120), one_line(value_text(value), MAX_CELL)) for key, value in flatten(values)]

    def _name(self) -> str:
        self.charts += 1
        return f"c{self.charts}"

    @staticmethod
    def _markup(svg: str) -> Markup:
        """Marks a chart as safe: matplotlib escapes every text that it draws."""
        from markupsafe import Markup

        return Markup(svg)


def _images(example: Example) -> Sequence[Image]:
    if example.image is None:
        return []
    return example.image if isinstance(example.image, Sequence) else [example.image]


def _card(example: Example, images: list[Thumbnail]) -> _Card:
    lines = [(one_line(name, 80), one_line(text, MAX_TEXT)) for name, text in example.lines]
    score = figure(example.score, "percent")
    verdict = example.verdict or ""
    return _Card(images, one_line(example.title, MAX_TEXT), lines, verdict, _MARKS.get(verdict, ""), score)
