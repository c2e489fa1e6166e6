"""Spellings of a label that are one class, or might be meant as one: told, never guessed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from tasks.cells import MISSING_WORDS, as_text, is_number
from tasks.glue.readers.source import Raw
from tasks.words import counted

SHOWN = 3


def cells_of(raw: Raw) -> list[tuple[Any, int]]:
    """The different cells, by value and type since 1, 1.0 and true are equal in Python, and how many rows have each; of lists
    their items.
    """
    cells: Iterable[Any] = raw.label or ()
    items = (item for cell in cells for item in (cell if isinstance(cell, (list, tuple)) else (cell,)))
    counts = Counter((type(item), item) for item in items if not isinstance(item, (list, dict)))
    return [(item, count) for (_, item), count in counts.items()]


def spelling_notes(raws: Sequence[Raw], classes: Sequence[str] | None) -> list[str]:
    """Lines on labels that are joined (1, 1.0, "1" and " 1 "), on those that differ in case alone, and on `NA` and its like.

    Args:
        raws: the splits, with their cells as they stand.
        classes: the data's own, as they were made from the cells; None where the classes were given.
    """
    forms: dict[str, dict[str, None]] = {}
    counts: Counter[str] = Counter()
    for raw in raws:
        for cell, count in cells_of(raw):
            text = as_text(cell)
            if text is not None:
                counts[text] += count
                forms.setdefault(text, {})[repr(cell) if isinstance(cell, str) else str(cell)] = None
    joined = {text: list(spellings) for text, spellings in forms.items() if len(spellings) > 1}
    lines = []
    if joined:
        shown = "; ".join(
            f"{', '.join(spellings[:4])} are {text!r}" for text, spellings in list(joined.items())[:SHOWN]
        )
        more = f"; and {len(joined) - SHOWN} more" if len(joined) > SHOWN else ""
        lines.append(f"spellings of a label that are read as one: {shown}{more}")
    if classes is None:
        return lines
    return [*lines, *_case_notes(classes, counts), *_missing_notes(classes, counts)]


def _case_notes(classes: Sequence[str], counts: Counter[str]) -> list[str]:
    alike: dict[str, list[str]] = {}
    for name in classes:
        alike.setdefault(" ".join(name.casefold().split()), []).append(name)
    groups = [names for names in alike.values() if len(names) > 1]
    lower = {name.lower(): name for name in classes}
    others = [(text, lower[text.lower()]) for text in counts if text not in classes and text.lower() in lower]
    if not groups:
        shown = ", ".join(f"{text!r} ({counts[text]:,}) is read as {name!r}" for text, name in others[:SHOWN])
        return [f"labels in another case than training's: {shown}"] if others else []
    shown = "; ".join(" and ".join(f"{name!r} ({counts[name]:,})" for name in names) for names in groups[:SHOWN])
    more = f"; and {len(groups) - SHOWN} more" if len(groups) > SHOWN else ""
    return [
        f"labels that differ in case or spaces alone are classes of their own: {shown}{more}; write them alike where they are one"
    ]


def _missing_notes(classes: Sequence[str], counts: Counter[str]) -> list[str]:
    if all(map(is_number, classes)):
        return []
    words = [name for name in classes if name.lower() in MISSING_WORDS]
    shown = ", ".join(f"{name!r} ({counted(counts[name], 'row')})" for name in words[:SHOWN])
    return (
        [
            f"{shown} {'is a class' if len(words) == 1 else 'are classes'} like the others; leave a cell empty where there is no label"
        ]
        if words
        else []
    )
