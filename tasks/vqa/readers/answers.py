"""Cells that hold answers: a text, a number, a list of either, in whatever form they were written out; and soft labels."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from tasks.cells import as_list, as_text, parse
from tasks.errors import printable

UNREADABLE = "list that can't be read"


class Answers:
    """Reads the cells of a split that hold answers, and keeps how each answer was spelled, to tell which were joined."""

    def __init__(self, verbatim: bool = False) -> None:
        """`verbatim`: texts stay as they stand, as the official evaluation compares them."""
        self.verbatim = verbatim
        self._texts: dict[tuple[type, Any], str | None] = {}

    def of(self, cell: Any) -> list[str]:
        """The answers in one cell: a text, a number, a list of either, of {"answer": ...}, or {"answer": [...]}. Any of these
        may be written out as text, as A-OKVQA and `to_csv` do.

        Raises:
            ValueError: a text that was written as a list and can't be read as one; says what is wrong.
        """
        return self._of(written_out(cell) if isinstance(cell, str) else cell)

    def _of(self, cell: Any) -> list[str]:
        if isinstance(cell, dict):
            return self.of(cell.get("answer"))
        if isinstance(cell, (list, tuple, np.ndarray)):
            return [answer for part in cell for answer in self._of(part)]
        text = self.text(cell)
        return [] if text is None else [text]

    def text(self, cell: Any) -> str | None:
        """A single answer, equal for equal values; None where there is none."""
        if self.verbatim and isinstance(cell, str):
            return cell if cell.strip() else None
        key = (type(cell), cell)
        if key not in self._texts:
            self._texts[key] = as_text(cell)
        return self._texts[key]

    def notes(self) -> tuple[str, ...]:
        """A line on the spellings that were joined as one answer; none where each answer has but one."""
        spellings: dict[str, set[str]] = {}
        for (_, cell), text in self._texts.items():
            if text is not None:
                spellings.setdefault(text, set()).add(str(cell))
        several = {text: sorted(known) for text, known in spellings.items() if len(known) > 1}
        if not several:
            return ()
        joined = sum(len(known) for known in several.values()) - len(several)
        first, known = next(iter(several.items()))
        shown = ", ".join(repr(printable(each)) for each in known[:4])
        return (f"{joined:,} spellings joined with others of the same answer: {shown} are all {printable(first)!r}",)


_BRACKETED_WORD = re.compile(r"\[\s*[^\W\d]\w*\s*\]")


def written_out(text: str) -> Any:
    """The list or object that a cell's text writes out in JSON's, Python's or NumPy's form, or the text. A single bare word in
    brackets ("[UNK]") is a text.

    Raises:
        ValueError: it was written as a list or object and can't be read; says what is wrong.
    """
    stripped = text.strip()
    if stripped[:1] == "{" and stripped[-1:] == "}" and stripped[1:].lstrip()[:1] in ("'", '"'):
        return parse(stripped)
    try:
        listed = as_list(stripped)
    except ValueError:
        if _BRACKETED_WORD.fullmatch(stripped):
            return text
        raise
    return text if listed is None else listed


def soft_label(ids: list[str], weights: Any) -> tuple[dict[str, float], str | None]:
    """One row of the guide's layout: {answer: weight}, and what is wrong with it or None.

    Raises:
        ValueError: weights written as a list that can't be read.
    """
    if isinstance(weights, str):
        weights = written_out(weights) if weights.strip() else []
    weights = [1.0] * len(ids) if weights is None else weights
    weights = list(weights) if isinstance(weights, (list, tuple, np.ndarray)) else [weights]
    if len(ids) != len(weights):
        return {}, f"has {len(ids)} answers and {len(weights)} weights"
    label: dict[str, float] = {}
    for answer, weight in zip(ids, map(_number, weights), strict=True):
        if isinstance(weight, bool) or not isinstance(weight, (int, float)):
            return {}, f"the weight of {answer!r} is {weight!r}, not a number"
        if not 0.0 <= float(weight) <= 1.0:  # NaN too
            return {}, f"the weight of {answer!r} is {weight}; weights go from 0 to 1"
        label[answer] = max(float(weight), label.get(answer, 0.0))
    return label, None


def _number(weight: Any) -> Any:
    """A number written as text as one; else what it is."""
    try:
        return float(weight) if isinstance(weight, str) else weight
    except ValueError:
        return weight


def is_object(cell: Any) -> bool:
    """Whether a cell is an object, or one written out as text."""
    return isinstance(cell, dict) or (isinstance(cell, str) and cell.strip()[:1] == "{")
