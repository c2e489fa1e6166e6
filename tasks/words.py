"""Numbers with their nouns, for messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """'; did you mean 'x'?' where a known name is near, else ''."""
    match = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {match[0]!r}?" if match else ""


def counted(number: int, noun: str) -> str:
    """'1 picture', '2,000 pictures'; for nouns that take an s."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def are(number: int) -> str:
    """The verb after such a number."""
    return "is" if number == 1 else "are"
