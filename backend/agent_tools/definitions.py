"""How a tool is declared: its name, what it takes and gives, what is said of it, and how large its answer may be."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, WithJsonSchema

from agent_tools.platform_calls import Platform
from agent_tools.schemas import schema_of_answer, schema_of_arguments
from agent_tools.strangers_text import LONGEST_TEXT

USUAL_BYTES = 4 * 1024
HARD_BYTES = 16 * 1024

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""RFC 3339 UTC, as the platform writes it."""
AskedTime = Annotated[AwareDatetime, Field(json_schema_extra={"format": "date-time"})]
Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]
Named = Annotated[Key, WithJsonSchema({"type": "string"})]
"""A key of what is there already, which an answer has told: its pattern is checked, and not told again."""
Place = Annotated[str, Field(pattern=r"^[0-9a-f-]{1,60}$"), WithJsonSchema({"type": "string"})]
"""`next` of the answer before."""
RegionId = Annotated[int, Field(ge=1, le=17)]


class Asked(BaseModel):
    """What a tool takes. What it does not know is refused, not ignored; "13" is not taken for 13."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Given(BaseModel):
    """What a tool gives. null is unknown, 0 is zero."""

    @classmethod
    def those_of(cls, row: Mapping[str, Any]) -> dict[str, Any]:
        """What of a row of the platform's is told."""
        return {name: row[name] for name in cls.model_fields if name in row}


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
        return schema_of_arguments(self.takes)

    @cached_property
    def output_schema(self) -> dict[str, Any]:
        return schema_of_answer(self.gives)


def size(document: object) -> int:
    """Bytes of a document as JSON."""
    return len(compact_json(document).encode())


def compact_json(document: object) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))
