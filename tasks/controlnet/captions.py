"""The captions in the cells of a table: texts, or lists of texts, which a cell may write out as text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tasks.cells import as_list, as_text, without_missing

WRONG = "caption that can't be read"
# So begins a list of texts; anything else in brackets may be a caption that stands in them.
_LIST = re.compile(r"""\s*\[\s*(?:(?:np\.|numpy\.)?str_\(\s*)?['"]""")


def captions(cell: Any) -> list[str]:
    """The captions in one cell: a text, or a list of them, which a text may write out in JSON's, Python's or NumPy's form; blank
    ones are none.

    Raises:
        ValueError: a list that can't be read, or no text; says what is wrong.
    """
    value = _written_out(cell) if isinstance(cell, str) else cell
    if isinstance(value, (list, tuple)):
        return [text for part in value for text in ([_text(part)] if isinstance(part, str) else captions(part)) if text]
    return [text for text in [_text(value)] if text]


def column_captions(cells: Sequence[Any]) -> tuple[list[list[str]], dict[int, str]]:
    """The captions of each cell of a column, and what is wrong with those that can't be read, by number.

    `NA`, `null` and their like are captions where the column has other words.
    """
    texts, wrong = [], {}
    for number, cell in enumerate(cells):
        try:
            texts.append(captions(cell))
        except ValueError as error:
            texts.append([])
            wrong[number] = f"its caption is {error}"
    present = iter(without_missing([text for given in texts for text in given]))
    return [[text for _ in given if (text := next(present)) is not None] for given in texts], wrong


def _text(value: Any) -> str:
    if isinstance(value, (dict, bytes)):
        kind = "an object" if isinstance(value, dict) else "bytes"
        raise ValueError(f"{kind}, not a text or a list of texts")
    return as_text(value) or ""


def _written_out(text: str) -> str | list[Any]:
    """The list that a text writes out, else the text itself."""
    begins = _LIST.match(text) is not None
    if begins and "]" not in text:
        raise ValueError("a list that has no end")
    try:
        items = as_list(text)
    except ValueError:
        if begins and text.rstrip().endswith("]"):
            raise
        return text
    # "('a caption in quotes')" is no list of one.
    return text if items is None or (text.lstrip().startswith("(") and len(items) < 2) else items
