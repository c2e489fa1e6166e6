"""Collected problems in the rows of a data set."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from tasks.errors import DataError, data_errors

# The first ten by file and row are shown; they may be found in another order.
MOST_KEPT = 10_000


def _by_number(text: str) -> list[tuple[int, str]]:
    """Sorts row 9 before row 10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", text)]


@dataclass
class Problems:
    """Collects what is wrong with the input, to be told at once or, with `skip`, left out and counted.

    Attributes:
        noun: what a row is, for the summary.
    """

    skip: bool = False
    noun: str = "row"
    messages: list[str] = field(default_factory=list)
    total: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)
    lost: Counter[str] = field(default_factory=Counter)

    def add(self, where: str, what: str, kind: str, rows: int = 1) -> None:
        """Notes one problem. `kind` names its sort in the summary; `rows` is how many it spoils."""
        if len(self.messages) < MOST_KEPT:
            self.messages.append(f"{where}: {what}")
        self.total += 1
        self.leave_out(where, kind, rows)

    def leave_out(self, where: str, kind: str, rows: int = 1) -> None:
        """Counts what is left out in any case, and is no reason to stop."""
        self.kinds[kind] += 1
        self.lost[kind] += rows
        self.first.setdefault(kind, where)

    def first_messages(self, count: int = 10) -> list[str]:
        """The first problems by file and row."""
        return sorted(self.messages, key=_by_number)[:count]

    def error(self) -> DataError:
        return data_errors(self.first_messages(), self.total, "Mend them, or leave them out with --skip-bad")

    def raise_if_any(self) -> None:
        """Ends with all problems in one error, unless they may be skipped."""
        if self.total and not self.skip:
            raise self.error()

    def summary(self) -> list[str]:
        """One line a kind: how many rows are left out, why, and where the first is."""
        return [
            f"{self.lost[kind]:,} {self.noun}{'s' if self.lost[kind] != 1 else ''} left out: {kind}"
            f"{f' ({count:,})' if count != self.lost[kind] else ''}, first {self.first[kind]}"
            for kind, count in self.kinds.items()
        ]
