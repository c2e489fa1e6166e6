"""Numbers with their nouns, as messages have them."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """'1 picture', '2,000 pictures'; for nouns that take an s."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def are(number: int) -> str:
    """The verb after such a number."""
    return "is" if number == 1 else "are"
