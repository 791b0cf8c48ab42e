"""How a tool is declared: its name, what it takes and gives, what is said of it, and how large its answer may be."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from agent_tools.platform_calls import Platform
from agent_tools.strangers_text import LONGEST_TEXT

USUAL_BYTES = 4 * 1024
HARD_BYTES = 16 * 1024

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""RFC 3339 UTC, as the platform writes it."""
AskedTime = Annotated[AwareDatetime, Field(json_schema_extra={"format": "date-time"})]
Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]
RegionId = Annotated[int, Field(ge=1, le=17)]


class Asked(BaseModel):
    """What a tool takes. What it does not know is refused, not ignored; "13" is not taken for 13."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Given(BaseModel):
    """What a tool gives. null is unknown, 0 is zero."""


@dataclass(frozen=True)
class Call:
    """One call of a tool: whom to ask, and how to say how far it is."""

    platform: Platform
    progress: Callable[[float, float], Awaitable[None]]


AskedT = TypeVar("AskedT", bound=Asked)


@dataclass(frozen=True)
class ToolDefinition(Generic[AskedT]):
    """A tool.

    Attributes:
        description: what it is for, when not to use it, and which comes next; never anybody else's words.
        rows: the list in its answer that may be cut from its end when the answer is too long.
        cursor: what `next` is to be after a row, where the answer was cut.
        longest_text: of one text in its answer.
        writes: whether it changes anything.
    """

    name: str
    title: str
    description: str
    takes: type[AskedT]
    gives: type[Given]
    run: Callable[[AskedT, Call], Awaitable[Given]]
    rows: str | None = None
    cursor: Callable[[dict[str, Any]], str] | None = None
    longest_text: int = LONGEST_TEXT
    writes: bool = False

    @cached_property
    def input_schema(self) -> dict[str, Any]:
        return compact_schema(self.takes)

    @cached_property
    def output_schema(self) -> dict[str, Any]:
        schema: dict[str, Any] = _of_answer(compact_schema(self.gives, mode="serialization"))
        return schema


def size(document: object) -> int:
    """Bytes of a document as JSON."""
    return len(compact_json(document).encode())


def compact_json(document: object) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def compact_schema(model: type[BaseModel], mode: Any = "validation") -> dict[str, Any]:
    """A model's JSON schema without what no reader of it needs: titles, and null as an alternative of its own."""
    schema: dict[str, Any] = _compact(model.model_json_schema(mode=mode))
    schema.pop("description", None)  # said once, by the tool
    return schema


def _of_answer(node: Any) -> Any:
    """The schema of an answer without what is true of all of them: every member is there, and times are RFC 3339."""
    if isinstance(node, list):
        return [_of_answer(each) for each in node]
    if not isinstance(node, dict):
        return node
    if isinstance(node.get("properties"), dict):
        node = {name: value for name, value in node.items() if name != "required"}
    if node.get("format") == "date-time" and "properties" not in node:
        node = {name: value for name, value in node.items() if name != "format"}
    return {name: _of_answer(value) for name, value in node.items() if name != "default"}


def _compact(node: Any) -> Any:
    if isinstance(node, list):
        return [_compact(each) for each in node]
    if not isinstance(node, dict):
        return node
    compacted = {name: _compact(value) for name, value in node.items() if not _is_title(name, value)}
    if compacted.get("default", ...) is None:
        del compacted["default"]
    for members in ("properties", "$defs"):
        if isinstance(node.get(members), dict):
            compacted[members] = {name: _compact(value) for name, value in node[members].items()}
    return _with_null_among_types(compacted)


def _is_title(name: str, value: object) -> bool:
    return name == "title" and isinstance(value, str)


def _with_null_among_types(node: dict[str, Any]) -> dict[str, Any]:
    kinds = node.get("anyOf")
    if not isinstance(kinds, list) or len(kinds) != 2 or {"type": "null"} not in kinds:
        return node
    (kind,) = [each for each in kinds if each != {"type": "null"}]
    if not isinstance(kind.get("type"), str) or "enum" in kind:
        return node
    rest = {name: value for name, value in node.items() if name != "anyOf"}
    return {**kind, **rest, "type": [kind["type"], "null"]}
