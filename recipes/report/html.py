"""report.html: a run's report in one self-contained file."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from recipes.report.content import BarChart, Example, Headline, LineChart, Section, Table
from recipes.report.facts import facts
from recipes.report.figures import (
    columns_of,
    difference,
    figure,
    finite,
    flatten,
    interval,
    one_line,
    plain,
    value_text,
)
from recipes.report.folder import Record, read_run
from recipes.report.images import Thumbnail, thumbnail
from recipes.report.plots import MAX_BARS, SERIES, bar_svg, headline_svg, line_svg
from tasks.files import write_text

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
# What a macro of templates/parts.html.j2 takes: the fields it names, as text or markup.
Fields = dict[str, Any]
T = TypeVar("T")


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
class _Page:
    """Turns a run and a recipe's content into what the template shows, counting what the limits leave out."""

    record: Record
    left_out: list[str] = field(default_factory=list)
    charts: int = 0
    image_bytes: int = 0

    def render(self, name: str, title: str, headline: Headline | None, sections: list[Section]) -> str:
        """The whole page."""
        from recipes.report.curves import curves, validation_table

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

    def _headline(self, headline: Headline) -> Fields:
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
            "name": headline.title,
            "value": figure(value, headline.unit) or "not measured",
            "details": [detail for detail in details if detail],
            "against": against,
            "verdict": one_line(headline.verdict, MAX_TEXT),
            "svg": self._svg(headline_svg, headline) if not math.isnan(value) else "",
        }

    def part(self, section: Section) -> Fields:
        """A section as the template shows it."""
        charts = self._first(section.charts, MAX_CHARTS, section.title, "charts")
        fields = {
            "title": one_line(section.title, 200),
            "paragraphs": [" ".join(text.split()) for text in section.text.split("\n\n") if text.strip()],
            "charts": [self._figure(chart) for chart in charts],
            "tables": [self._grid(table) for table in section.tables],
        }
        return fields | self._cards(section)

    def _figure(self, chart: BarChart | LineChart) -> Fields:
        title, note = one_line(chart.title, 120), one_line(chart.note, MAX_TEXT)
        if isinstance(chart, LineChart):
            return {"title": title, "svg": self._svg(line_svg, chart), "note": note}
        if chart.baseline is not None:
            note = f"Upright strokes: {one_line(chart.baseline_name, 60)}. {note}".strip()
        if chart.low is not None and chart.high is not None:
            note = f"Lines with ends: 95 % interval. {note}".strip()
        if len(chart.labels) > MAX_BARS:
            note = f"The first {MAX_BARS} of {len(chart.labels):,} bars. {note}".strip()
        self._first(chart.labels, MAX_BARS, chart.title, "bars")
        return {"title": title, "svg": self._svg(bar_svg, chart), "note": note}

    def _grid(self, table: Table) -> Fields:
        """A table's columns and rows as text, each cell with a flag for figures."""
        note = one_line(table.note, MAX_TEXT)
        if len(table.rows) > MAX_ROWS:
            note = f"The first {MAX_ROWS} of {len(table.rows):,} rows. {note}".strip()
        rows = self._first(table.rows, MAX_ROWS, table.title, "rows")
        names = self._first(table.columns, MAX_COLUMNS, table.title, "columns")
        columns = columns_of(rows, len(names))
        return {
            "title": one_line(table.title, 200),
            "columns": [(one_line(name, 80), figures) for name, (_, figures) in zip(names, columns, strict=True)],
            "rows": [
                [(one_line(cells[at], MAX_CELL), figures) for cells, figures in columns] for at in range(len(rows))
            ],
            "note": note,
        }

    def _cards(self, section: Section) -> Fields:
        """The examples that fit, and a note on the others."""
        total, cards = len(section.examples), []
        for example in section.examples[:MAX_EXAMPLES]:
            images = [thumbnail(image) for image in _images(example)]
            added = sum(len(image.uri) for image in images)
            if self.image_bytes + added > MAX_IMAGE_BYTES:
                break
            self.image_bytes += added
            cards.append(_card(example, images))
        self._first(section.examples, len(cards), section.title, "examples")
        return {
            "cards": cards,
            "note": f"The first {len(cards):,} of {total:,} examples." if len(cards) < total else "",
        }

    def _first(self, items: Sequence[T], limit: int, title: str, noun: str) -> Sequence[T]:
        """At most `limit` of the items; the others are counted among what is left out."""
        if len(items) > limit:
            self.left_out.append(f"{title}: {len(items) - limit:,} of {len(items):,} {noun}.")
        return items[:limit]

    def _pairs(self, values: dict[str, Any]) -> list[tuple[str, str]]:
        return [(one_line(key, 120), one_line(value_text(value), MAX_CELL)) for key, value in flatten(values)]

    def _svg(self, draw: Callable[[T, str], str], chart: T) -> Markup:
        """The chart under a name of its own, as markup: matplotlib escapes every text that it draws."""
        from markupsafe import Markup

        self.charts += 1
        return Markup(draw(chart, f"c{self.charts}"))


def _images(example: Example) -> Sequence[Image]:
    if example.image is None:
        return []
    return example.image if isinstance(example.image, Sequence) else [example.image]


def _card(example: Example, images: list[Thumbnail]) -> Fields:
    verdict = example.verdict or ""
    return {
        "images": images,
        "title": one_line(example.title, MAX_TEXT),
        "lines": [(one_line(name, 80), one_line(text, MAX_TEXT)) for name, text in example.lines],
        "verdict": verdict,
        "mark": _MARKS.get(verdict, ""),
        "score": figure(example.score, "percent"),
    }
