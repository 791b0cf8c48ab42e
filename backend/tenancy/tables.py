"""Plain tables for a terminal: columns side by side under their names, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from printable import printable

LONGEST_CELL = 60
NOTHING = "-"


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """The rows under the names of their columns. What cannot be printed is escaped; times are UTC, to the minute."""
    cells = [[name.upper() for name in columns], *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def _cell(value: Any) -> str:
    if value is None or value == "" or value == ():
        return NOTHING
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%MZ")
    if isinstance(value, list | tuple):
        return printable(",".join(map(str, value)), LONGEST_CELL)
    return printable(value, LONGEST_CELL)
