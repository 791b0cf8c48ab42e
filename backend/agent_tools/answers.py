"""A tool's answer as it is sent: every text in it quoted, and no longer than it may be."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from agent_tools.definitions import HARD_BYTES, ToolDefinition, size
from agent_tools.refusals import ToolRefused
from agent_tools.strangers_text import quoted_document

_LONGEST_MEMBER_BYTES = 600


def answer_document(tool: ToolDefinition[Any], given: BaseModel) -> dict[str, Any]:
    """The answer as a JSON document within `HARD_BYTES`.

    Where rows had to be cut, `truncated` is true and, if the tool has a cursor, `next` goes on after the last one
    that is left.

    Raises:
        ToolRefused: it is too long, and nothing can be cut.
    """
    document: dict[str, Any] = quoted_document(given.model_dump(mode="json"), tool.longest_text)
    if size(document) <= HARD_BYTES:
        return document
    rows = document.get(tool.rows) if tool.rows is not None else None
    while rows and size(document) > HARD_BYTES:
        del rows[-max(1, len(rows) // 8) :]
        document["truncated"] = True
    if not rows:
        raise ToolRefused("the answer is too long for a tool: ask for less")
    if tool.cursor is not None:
        document["next"] = tool.cursor(rows[-1])
    return document


def without_long_members(stored: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """An object without those members that are long documents, and their names."""
    kept = {
        name: value
        for name, value in stored.items()
        if not isinstance(value, dict | list) or size(value) <= _LONGEST_MEMBER_BYTES
    }
    return kept, [name for name in stored if name not in kept]
