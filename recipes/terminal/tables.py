"""Plain text tables for stdout."""

from __future__ import annotations

import sys
from typing import Any


def table(columns: list[str], rows: list[list[Any]]) -> str:
    """A table as text: rich draws it, as wide as the terminal."""
    from io import StringIO

    from rich.console import Console
    from rich.table import Table

    grid = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[number], (int, float)) or row[number] in (None, "") for row in rows)
        grid.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        grid.add_row(*["" if cell is None else _cell(cell) for cell in row])
    out = StringIO()
    width = None if sys.stdout.isatty() else 160
    console = Console(file=out, width=width, force_terminal=sys.stdout.isatty(), highlight=False, markup=False)
    console.print(grid)
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip("\n").split("\n"))


def _cell(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else str(value)
