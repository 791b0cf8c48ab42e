"""Text that somebody else wrote, made fit for an agent to read: short, on one line, with nothing hidden in it.

Names, reasons and rationales may hold instructions. They are told as values of JSON fields, quoted, and nowhere
else: no description, prompt or error holds them. What a reader cannot see (control characters, marks that turn the
direction of writing, characters without width, tags) is taken out, so that nothing reads otherwise than it looks.
"""

from __future__ import annotations

import unicodedata
from typing import Any

LONGEST_TEXT = 200
LONGEST_NAME = 64
"""Of a member's name, which may come from outside too."""

# Control, format (bidi, zero width, tags), half a surrogate pair, private use, separators of lines and paragraphs.
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def quoted(text: str, longest: int = LONGEST_TEXT) -> str:
    """The text without what cannot be seen, its white space made single spaces, cut with "…" where it is too long."""
    # What comes later can only be left out: 8 times as much is enough to fill the answer unless it is all hidden.
    seen = "".join(
        " " if character in "\t\n\r" else "" if unicodedata.category(character) in _HIDDEN else character
        for character in text[: 8 * longest + 1]
    )
    shown = " ".join(seen.split())
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def quoted_document(document: Any, longest: int = LONGEST_TEXT) -> Any:
    """A JSON document with every text in it quoted, names of members too."""
    if isinstance(document, str):
        return quoted(document, longest)
    if isinstance(document, list):
        return [quoted_document(each, longest) for each in document]
    if isinstance(document, dict):
        return {quoted(str(name), LONGEST_NAME): quoted_document(each, longest) for name, each in document.items()}
    return document
