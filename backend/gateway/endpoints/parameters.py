"""Parameters that several of the gateway's endpoints take."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from decisions.publishing.topics import Detail, Selection, Topic
from web.parameters import StrictQuery

KEY = r"^[A-Za-z0-9._:-]{1,64}$"
DEFAULT_CONSUMER = "bpp"
LAST_SEQUENCE = 2**63 - 1


def _number(value: object) -> object:
    # Pydantic would also take true for 1, and text.
    if isinstance(value, bool | str):
        raise PydanticCustomError("number", "must be a whole number")
    return value


Consumer = Annotated[str, StringConstraints(pattern=KEY)]
TaskId = Annotated[str, StringConstraints(pattern=KEY)]
Sequence = Annotated[int, Field(ge=0, le=LAST_SEQUENCE)]
JsonSequence = Annotated[Sequence, BeforeValidator(_number)]


def _topics(value: str) -> str:
    unknown = [name for name in value.split(",") if name not in set(Topic)]
    if unknown:
        raise PydanticCustomError(
            "topics", "must be some of {known}, with commas between them", {"known": ", ".join(Topic)}
        )
    return value


_ONE_TOPIC = f"({'|'.join(Topic)})"
Topics = Annotated[
    str, AfterValidator(_topics), Field(json_schema_extra={"pattern": f"^{_ONE_TOPIC}(,{_ONE_TOPIC})*$"})
]


class EventChoice(StrictQuery):
    """Which events are wanted, and how much of each: decisions, whole, where nothing is said."""

    topics: Topics | None = Field(
        None,
        description=f"Some of {', '.join(Topic)}, with commas between them; without it decisions alone",
        json_schema_extra={"example": "decisions,grid"},
    )
    job_id: TaskId | None = Field(None, description="Only what is about this workload")
    detail: Detail = Field(
        Detail.FULL, description="`summary`: some hundred bytes of each event instead of all of it"
    )

    @property
    def selection(self) -> Selection:
        topics = Selection().topics if self.topics is None else frozenset(map(Topic, self.topics.split(",")))
        return Selection(topics, self.job_id)
