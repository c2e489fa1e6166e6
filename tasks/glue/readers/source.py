"""What every reader is told and what it gives: a recognised format, its splits, and the cells of a split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tasks.readers import source as base
from tasks.readers.options import DataOptions
from tasks.readers.problems import Problems
from tasks.readers.source import WHOLE

__all__ = ["WHOLE", "Load", "Options", "Raw", "Source"]


@dataclass(frozen=True)
class Options(DataOptions):
    """What a user says about texts with labels; None is "find out".

    Attributes:
        data: a GLUE task's name too; None: the Hub's GLUE where a task is given, else the sample.
        task: a GLUE task's name.
        labels: classes in the order of their numbers; a trained model's where the data are for one.
        regression: whether labels are scores.
        multi_label: whether a text may have several labels; None: where cells are lists.
        label_separator: what parts the labels in a cell.
        label_columns: names or patterns of columns of 0 and 1, one a label.
    """

    data: str | None = None
    task: str | None = None
    text_column: str | None = None
    text_pair_column: str | None = None
    label_column: str | None = None
    labels: list[str] | None = None
    regression: bool | None = None
    multi_label: bool | None = None
    label_separator: str | None = None
    label_columns: list[str] | None = None


@dataclass
class Raw:
    """The cells of one split as they stand, before they are checked.

    Attributes:
        rows: the number of each row in `source`, from 1.
        label: cells; lists of texts where `sets`; lists of 0 and 1 where `indicators` names their columns.
        label_column: its name; None where the split has no labels.
        names: of the classes, where the file gives them to its numbers.
        columns: all that the file has, for messages.
        sets: whether labels were read as sets.
        unreadable: row -> what is wrong with its label, and its sort.
    """

    first: list[Any]
    second: list[Any] | None
    label: list[Any] | None
    index: list[Any] | None
    source: str
    rows: Sequence[int]
    label_column: str | None = None
    names: list[str] | None = None
    columns: Sequence[str] = ()
    indicators: Sequence[str] = ()
    sets: bool = False
    unreadable: dict[int, tuple[str, str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.first)

    def where(self, i: int) -> str:
        """How to name row `i` to the user: file and row."""
        return f"{self.source}, row {self.rows[i]}"

    def take(self, keep: Sequence[int]) -> Raw:
        """The rows at `keep`, in that order."""

        def pick(values: Any) -> Any:
            return None if values is None else [values[i] for i in keep]

        return replace(
            self,
            first=pick(self.first),
            second=pick(self.second),
            label=pick(self.label),
            index=pick(self.index),
            rows=pick(self.rows),
        )


Load = Callable[[Problems], Raw]


@dataclass
class Source(base.Source[Raw]):
    """Recognised data; splits bear the names that the data give them.

    Attributes:
        task: the GLUE task that the data are, if any.
    """

    task: str | None = None
