"""The messages of `pylon.v1`, what goes over the WebSocket `/stream`, one class each.

They are what the gateway validates, and what `/asyncapi.json` describes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from decisions.publishing.topics import Detail, Selection, Topic
from gateway.endpoints.parameters import JsonSequence, TaskId
from ontology.types import Moment
from tenancy.tickets import LONGEST_TICKET

PROTOCOL = "pylon.v1"
HEARTBEAT_S = 15
LONGEST_TOKEN = 8192


class _FromClient(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Auth(_FromClient):
    """Who is listening; where that is needed and no header said it. Either a token or a ticket."""

    type: Literal["auth"]
    token: str | None = Field(
        None, min_length=1, max_length=LONGEST_TOKEN, description="A key or a token, as after `Bearer`"
    )
    ticket: str | None = Field(
        None,
        min_length=1,
        max_length=LONGEST_TICKET,
        description="Instead of a token: what POST /beckn/broadcast/ticket or the API's /api/v1/events/ticket gave",
    )
    operator: str | None = Field(None, max_length=200, description="As the header Pylon-Operator, beside a token")

    @model_validator(mode="after")
    def _shows_one(self) -> Auth:
        if (self.token is None) == (self.ticket is None):
            raise ValueError("show either a token or a ticket")
        return self


class Filter(_FromClient):
    job_id: TaskId | None = Field(None, description="Only what is about this workload")


class Subscribe(_FromClient):
    """What the client wants to hear from now on; a later one takes the place of an earlier."""

    type: Literal["subscribe"]
    topics: list[Topic] = Field(default=[Topic.DECISIONS], min_length=1, max_length=len(Topic))
    after: JsonSequence | None = Field(None, description="The newest event it knows; without it, from now on")
    detail: Detail = Field(Detail.FULL, description="`summary`: some hundred bytes of each event")
    filter: Filter = Field(default_factory=Filter)

    @property
    def selection(self) -> Selection:
        return Selection(frozenset(self.topics), self.filter.job_id)


ClientMessage = Annotated[Auth | Subscribe, Field(discriminator="type")]
CLIENT_MESSAGE: TypeAdapter[Auth | Subscribe] = TypeAdapter(ClientMessage)


class Welcome(BaseModel):
    """The first message, and again after `auth`. The numbers are null as long as nobody is known."""

    type: Literal["welcome"] = "welcome"
    protocol: Literal["pylon.v1"] = "pylon.v1"
    oldest: int | None = Field(description="The oldest event that is kept")
    newest: int | None = Field(description="The newest event there has been")
    heartbeat_s: int = Field(HEARTBEAT_S, description="At least so often something comes to who has subscribed")
    auth: Literal["required", "done"] = Field("done", description="`required`: send `auth` within 5 seconds")


class Subscribed(BaseModel):
    """What is sent from now on, beginning after the event `from`."""

    model_config = ConfigDict(populate_by_name=True)

    type: Literal["subscribed"] = "subscribed"
    topics: list[Topic]
    detail: Detail
    filter: Filter
    from_: int = Field(alias="from")


class CaughtUp(BaseModel):
    """What was missed has been sent, up to this number."""

    type: Literal["caught_up"] = "caught_up"
    sequence: int


class StreamedEvent(BaseModel):
    """One event: the same, under the same number, as server-sent events and polling bring."""

    type: Literal["event"] = "event"
    topic: Topic
    event: str = Field(description="Its type", examples=["decision"])
    sequence: int
    created_at: Moment
    subject: str | None
    job_id: str | None
    data: dict[str, Any] = Field(description="The whole of it, or its summary")


class Heartbeat(BaseModel):
    """Nothing for this client up to this number: resume after it."""

    type: Literal["heartbeat"] = "heartbeat"
    newest: int


class Mistake(BaseModel):
    """A message that was not understood. After five the connection is closed with 4400."""

    type: Literal["error"] = "error"
    detail: str


CLOSE_CODES = {
    1001: "the gateway stops: come back, with `after`",
    1003: "a binary message",
    1007: "a message that is no UTF-8",
    1009: "a message over 16 KiB",
    1013: "the database is away, or there are too many streams: come back later",
    4400: "five messages that were not understood",
    4401: "nobody is known, in time or any more",
    4403: "the credential may not listen",
    4408: "no subscription within 10 seconds",
    4409: "`after` is of another database: start anew",
    4429: "too slow: come back with `after`, and nothing is lost",
}
SERVER_MESSAGES: tuple[type[BaseModel], ...] = (Welcome, Subscribed, CaughtUp, StreamedEvent, Heartbeat, Mistake)
CLIENT_MESSAGES: tuple[type[BaseModel], ...] = (Auth, Subscribe)
