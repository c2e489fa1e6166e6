"""Which column of a table holds the text, its partner, the label, and the row's own id."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.errors import ConfigError, DataError
from tasks.glue.named import TASKS
from tasks.glue.readers.source import Options, Raw

# Usual names, looked for in this order, in any case.
PAIRS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("sentence_a", "sentence_b"),
    ("question_a", "question_b"),
    ("#1 string", "#2 string"),
    ("question", "sentence"),
    ("question", "answer"),
    ("question", "passage"),
    ("question", "context"),
    ("query", "passage"),
    ("query", "document"),
    ("query", "text"),
    ("query", "title"),
    ("claim", "evidence"),
    ("text", "text_pair"),
    ("sentence", "sentence_pair"),
    ("first", "second"),
)
TEXTS = (
    "text",
    "sentence",
    "review",
    "review_text",
    "content",
    "comment",
    "comment_text",
    "tweet",
    "message",
    "document",
    "body",
    "utterance",
    "question",
    "query",
    "headline",
    "title",
    "description",
    "input",
)
LABELS = (
    "label",
    "labels",
    "gold_label",
    "class",
    "category",
    "target",
    "sentiment",
    "polarity",
    "intent",
    "topic",
    "emotion",
    "is_duplicate",
    "quality",
    "similarity",
    "similarity_score",
    "relatedness_score",
    "score",
    "rating",
    "stars",
    "grade",
    "tags",
    "topics",
    "categories",
    "emotions",
    "genres",
)
INDICES = ("index", "idx", "id")


@dataclass(frozen=True)
class Layout:
    """The column that holds each field; None where there is none."""

    first: str
    second: str | None
    label: str | None
    index: str | None
    indicators: tuple[str, ...] = ()

    @property
    def used(self) -> list[str]:
        """The columns to read, each once."""
        names = (self.first, self.second, self.label, self.index, *self.indicators)
        return list(dict.fromkeys(name for name in names if name))

    def raw(self, cells: Callable[[str], list[Any]], source: str, rows: Sequence[int], columns: Sequence[str]) -> Raw:
        """A split of these columns.

        Args:
            cells: gives those of a column.
            columns: all that the file has.
        """
        first = cells(self.first)
        second, label, index = (None if name is None else cells(name) for name in (self.second, self.label, self.index))
        raw = Raw(first, second, label, index, source, rows, self.label, columns=columns)
        if self.indicators:
            raw.indicators, raw.label_column = self.indicators, ", ".join(self.indicators)
            raw.label = [list(cells) for cells in zip(*map(cells, self.indicators), strict=True)]
        return raw


def layout(names: Sequence[str], options: Options, source: str) -> Layout:
    """Finds the columns: those that the user named, then those of the GLUE task, then those of usual names.

    A label column that is not there is no error here: predictions and test sets do without.

    Raises:
        ConfigError: the user named a column that is not there.
        DataError: there is no text.
    """
    _check_given(names, options, source)
    first, second = _texts([name for name in names if name not in (options.label_columns or ())], options, source)
    usual = LABELS if options.task is None else TASKS[options.task].label
    index = _find(names, INDICES)
    if options.label_columns:
        taken = [name for name in (first, second, index) if name is not None]
        return Layout(first, second, None, index, _indicators(names, options.label_columns, taken, source))
    label = options.label_column or _find(names, usual)
    if label not in names or label in (first, second):
        label = None
    return Layout(first, second, label, index)


def _indicators(names: Sequence[str], wanted: Sequence[str], taken: Sequence[str], source: str) -> tuple[str, ...]:
    """The columns that --label-columns means, in the order given, those of a pattern in the file's; () where the file has none.

    Raises:
        ConfigError: it has some of them only.
    """
    columns: list[str] = []
    missing = []
    for pattern in wanted:
        matching = [name for name in names if name == pattern] or [
            name for name in names if name not in taken and fnmatch.fnmatchcase(name, pattern)
        ]
        columns += matching
        missing += [] if matching else [pattern]
    if columns and missing:
        raise ConfigError(f"--label-columns {missing[0]}: {source} has the columns {listed(names)}")
    return tuple(dict.fromkeys(columns))


def _check_given(names: Sequence[str], options: Options, source: str) -> None:
    for flag, name in (("--text-column", options.text_column), ("--text-pair-column", options.text_pair_column)):
        if name is not None and name not in names:
            near = difflib.get_close_matches(name, names, 1, 0.6)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"{flag} {name}: {source} has the columns {listed(names)}{hint}")
    if options.text_pair_column is not None and options.text_pair_column == options.text_column:
        raise ConfigError(f"--text-pair-column {options.text_pair_column}: is the same as --text-column")


def _texts(names: Sequence[str], options: Options, source: str) -> tuple[str, str | None]:
    if options.text_column is not None:
        return options.text_column, options.text_pair_column
    pairs = TASKS[options.task].columns if options.task is not None else PAIRS
    for wanted in pairs:
        matches = [_find(names, (name,)) for name in wanted]
        if matches[0] is not None and None not in matches:
            return matches[0], options.text_pair_column or (matches[1] if len(matches) > 1 else None)
    if options.task is not None:
        usual = " or ".join(", ".join(form) for form in pairs)
        raise DataError(
            f"{source}: found columns {listed(names)}; {options.task} has {usual}; give --text-column, or leave --task out"
        )
    skip = (options.text_pair_column, options.label_column)
    text = _find([name for name in names if name not in skip], TEXTS)
    if text is None:
        raise DataError(f"{source}: no text column; found columns {listed(names)}; give --text-column")
    return text, options.text_pair_column


def _find(names: Iterable[str], wanted: Iterable[str]) -> str | None:
    """The first of the wanted names that is there, in any case, as it is written there."""
    lowered = {name.strip().lower(): name for name in reversed(list(names))}
    return next((lowered[name.lower()] for name in wanted if name.lower() in lowered), None)


def listed(names: Sequence[str], most: int = 12) -> str:
    """Columns for a message, cut short where they are many."""
    shown = ", ".join(name[:40] for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
