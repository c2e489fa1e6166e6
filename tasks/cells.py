"""Cells of tables as their writers meant them: lists written out as text, and numbers and texts that are one value."""

from __future__ import annotations

import ast
import json
import math
import re
import warnings
from collections.abc import Sequence
from typing import Any

# What spreadsheets, pandas and databases write for "no value". In a column of other words each of them is a word.
MISSING_WORDS = frozenset(("na", "n/a", "#n/a", "<na>", "nan", "null", "none", "nil", "-", "--", "?"))
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<quoted>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
      | (?P<number>[+-]?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|inf(?:inity)?\b|nan\b))
      | (?P<abridged>\.\.\.|…)
      | (?P<call>(?:np\.|numpy\.)?\w+\()
      | (?P<dtype>dtype\s*=\s*[^\s,)\]]+|shape\s*=\s*\([^)]*\))
      | (?P<name>\w+)
      | (?P<mark>[\[\](){}:,])
    )""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_NAMES = {"none": None, "null": None, "<na>": None, "true": True, "false": False}
# Calls in which NumPy and pandas print a value or a list.
_CALLS = re.compile(r"(?:np\.|numpy\.)?(?:array|str_|bool_?|u?int\d*|float\d*|list|tuple)\(", re.IGNORECASE)
_SPACE, _SHAPE = re.compile(r"\s*"), re.compile(r"\s*(?:dtype|shape)\s*=")
_CLOSING = {"[": "]", "(": ")", "{": "}"}
_WHOLE = re.compile(r"[+-]?\d+\.0*")


def as_list(text: str) -> list[Any] | None:
    """The list that a cell's text writes out, in JSON's, Python's or NumPy's form; None where the text is no list.

    NumPy prints elements without commas (`['red' 'pink']`, `[1. 0.3]`), over several lines, and leaves out the middle of long ones.

    Raises:
        ValueError: it begins and ends as a list does, and can't be read as one, or its middle was left out; says what is wrong.
    """
    stripped = text.strip()
    if not (stripped[:1] == "[" and stripped[-1:] == "]") and not re.fullmatch(
        r"""\(\s*['"].*\)""", stripped, re.DOTALL
    ):
        return None
    value = parse(stripped)
    return list(value) if isinstance(value, (list, tuple)) else None


def parse(text: str) -> Any:
    """The list, object or value that a text writes out in JSON's, Python's or NumPy's form.

    Raises:
        ValueError: it is none; says what is wrong with it.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return _Parser(text).whole()
    except RecursionError:
        raise ValueError("a list that is nested too deeply") from None


class _Parser:
    """A recursive descent over Python's literals, in which commas may be missing and values stand in NumPy's calls."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def whole(self) -> Any:
        value = self._value()
        if self.text[self.at :].strip():
            raise ValueError(f"text after the end of the list: {self.text[self.at :].strip()[:20]!r}")
        return value

    def _next(self) -> tuple[str, str]:
        match = _TOKEN.match(self.text, self.at)
        if match is None:
            rest = self.text[self.at :].strip()
            raise ValueError(f"a list that {f'has {rest[:20]!r} where a value should be' if rest else 'has no end'}")
        self.at = match.end()
        kind = match.lastgroup or ""
        return kind, match[kind]

    def _peek(self) -> str:
        space = _SPACE.match(self.text, self.at)
        at = space.end() if space else self.at
        return self.text[at : at + 1]

    def _value(self) -> Any:
        kind, token = self._next()
        if kind == "abridged":
            raise ValueError("a list whose middle was left out (...); write it out in full, as JSON or Parquet")
        if kind == "quoted":
            return _unquoted(token)
        if kind == "number":
            return int(token) if re.fullmatch(r"[+-]?\d+", token) else float(token)
        if kind == "name" and token.lower() in _NAMES:
            return _NAMES[token.lower()]
        if kind == "call" and _CALLS.fullmatch(token):
            items = self._items(")")
            return items[0] if items else []
        if kind == "mark" and token in _CLOSING:
            return self._object() if token == "{" else self._items(_CLOSING[token])
        raise ValueError(f"a list with {token[:20]!r} where a value should be; put texts in quotes")

    def _items(self, closing: str) -> list[Any]:
        items: list[Any] = []
        while self._peek() != closing:
            if self._peek() == "," or _SHAPE.match(self.text, self.at):
                self._next()
            else:
                items.append(self._value())
        self._next()
        return items

    def _object(self) -> dict[Any, Any]:
        members: dict[Any, Any] = {}
        while self._peek() != "}":
            if self._peek() == ",":
                self._next()
                continue
            key = self._value()
            if self._next()[1] != ":" or not isinstance(key, (str, int, float)):
                raise ValueError("an object with no ':' after a name")
            members[key] = self._value()
        self._next()
        return members


def _unquoted(token: str) -> str:
    """The text that a Python literal in quotes means, its line ends as they are."""
    if "\\" not in token:
        return token[1:-1]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that mean themselves, as '\d'
            return str(ast.literal_eval(token.replace("\r", "\\r").replace("\n", "\\n")))
    except SyntaxError:
        raise ValueError(f"a list with {token[:20]!r} in it, whose escapes (\\) can't be read") from None


def as_text(cell: Any) -> str | None:
    """A cell as text, equal for equal values: 1, 1.0, "1", "1.0" and " 1 " are "1", true is "true"; None where there is none."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return None
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    text = str(cell).strip()
    if _WHOLE.fullmatch(text):
        text = text.partition(".")[0]
    return text or None


def is_number(text: str) -> bool:
    """Whether a text is a number, be it infinite or NaN."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def without_missing(cells: Sequence[Any]) -> list[str | None]:
    """Each cell as `as_text` has it, None where it is empty; `NA`, `null` and their like are empty among numbers, and words
    where the column has other words.
    """
    texts = [as_text(cell) for cell in cells]
    words = any(text is not None and text.lower() not in MISSING_WORDS and not is_number(text) for text in texts)
    return texts if words else [None if text is not None and text.lower() in MISSING_WORDS else text for text in texts]
