"""Text from outside, made fit for a log line or an error message: printable, on one line, and short."""

from __future__ import annotations

from typing import Any

LONGEST = 200
LONGEST_REASON = 1000
"""Of an error's message, where it is stored, or told to who has to act on it."""


def printable(value: Any, longest: int = LONGEST) -> str:
    """The value as one short line: what cannot be printed is escaped, and what is too long ends in "…".

    Args:
        value: anything; what is not a string is taken as `str` gives it.
        longest: the most characters of the answer.
    """
    text = value if isinstance(value, str) else str(value)
    escaped = "".join(c if c.isprintable() else _escaped(c) for c in text[: longest + 1])
    return escaped if len(escaped) <= longest else escaped[: longest - 1] + "…"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
