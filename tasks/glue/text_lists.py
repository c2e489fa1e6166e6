"""Texts that a file has as lists of words or tokens, joined by spaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tasks.cells import as_list
from tasks.glue.readers.source import Raw

# So many cells tell whether a column holds lists.
LOOKED_AT = 100


def join_tokens(raw: Raw) -> tuple[Raw, list[str]]:
    """The split with texts in place of lists of words, where a text column holds nothing else; and a line that says so.

    A cell that looks like a list and can't be read, or holds more than words, stays a list, which is no text.
    """
    columns = {"first": raw.first, "second": raw.second}
    lists = {name: cells for name, cells in columns.items() if cells is not None and _are_lists(cells)}
    joined: dict[str, Any] = {name: [_joined(cell) for cell in cells] for name, cells in lists.items()}
    if not joined:
        return raw, []
    which = "texts" if raw.second is None or len(joined) == 2 else f"{next(iter(joined))} texts"
    return replace(raw, **joined), [f"the {which} are lists of words, joined by spaces"]


def _are_lists(cells: Sequence[Any]) -> bool:
    shown = [cell for cell in cells[:LOOKED_AT] if cell not in (None, "") and cell == cell]
    return bool(shown) and all(_words(cell) is not None or _is_abridged(cell) for cell in shown)


def _words(cell: Any) -> list[str] | None:
    """The list of texts that a cell is or writes out; None where it is something else."""
    if isinstance(cell, str):
        try:
            cell = as_list(cell) if cell.lstrip()[:1] == "[" else None
        except ValueError:
            return None
    if not isinstance(cell, list) or not all(isinstance(word, str) for word in cell):
        return None
    return cell


def _is_abridged(cell: Any) -> bool:
    """Whether a text looks like a list that can't be read: NumPy's with its middle left out, say."""
    return isinstance(cell, str) and cell.strip()[:2] in ("['", '["') and cell.strip()[-1:] == "]"


def _joined(cell: Any) -> Any:
    words = _words(cell)
    if words is not None:
        return " ".join(words)
    return [cell] if _is_abridged(cell) else cell
