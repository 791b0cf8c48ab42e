"""For whoever runs the platform: who decides and what it takes, the log of events, dead messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from flask import Response
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field

from beckn.network.dead_letters import DeadLetters, dead_letters
from database.interface import Database, OrderBy, Row, Where
from decisions.publishing.topics import Topic
from decisions.work.agent import AGENT_TYPE
from ontology.types import Agent, AgentState, Moment, OrchestrationDecision
from web.api_blueprint import APIBlueprint
from web.application import answer
from web.parameters import NoParameters

TAG = Tag(name="Operations", description="For whoever runs the platform")
DAY = timedelta(hours=24)
HOUR = timedelta(hours=1)
MOST_GATEWAYS = 50
MOST_STATES = 500
MOST_DECISIONS = 1000
MOST_EVENTS = 1000
MOST_DEAD_LETTERS = 20
_TOKENS = {"prompt_tokens", "thinking_tokens", "answer_tokens", "calls"}


class GatewayState(BaseModel):
    """A gateway as it last said itself."""

    agent_id: str
    name: str
    version: str | None
    is_active: bool = Field(description="Whether it has not said that it stops")
    state: str | None = Field(description="STARTED, MODEL, DETERMINISTIC or STOPPED; null where it said nothing")
    detail: str | None = Field(description="More about it, such as why no model decides")
    since: Moment | None = Field(description="Since when it is so")


class Deciding(BaseModel):
    """What the newest decisions of the last 24 hours were made with."""

    decisions: int = Field(description=f"How many were counted: the newest, and no more than {MOST_DECISIONS}")
    is_whole: bool = Field(description="Whether these are all of the 24 hours")
    newest_at: Moment | None
    by_scorer: dict[str, int]
    by_model: dict[str, int] = Field(description="Of those that a model was asked about")
    fallbacks: dict[str, int] = Field(description="Why the model's scores were not used, and how often")
    model_calls: int
    prompt_tokens: int
    thinking_tokens: int
    answer_tokens: int


class EventLog(BaseModel):
    """The log that every stream, WebSocket and poll is fed from."""

    newest: int | None = Field(description="Number of the newest event; null before the first")
    newest_at: Moment | None
    last_hour: dict[Topic, int] = Field(description="How many came in the last hour, by topic")
    is_whole: bool = Field(description=f"Whether these are all of the hour: no more than {MOST_EVENTS} are counted")


class Operations(BaseModel):
    """The state of what stands behind decisions, streams and messages, as the database knows it."""

    as_of: Moment
    gateways: list[GatewayState]
    deciding: Deciding
    events: EventLog
    dead_letters: DeadLetters = Field(description="The newest Beckn messages that were given up, either way")


def operations_endpoints(database: Database, clock: Callable[[], datetime]) -> APIBlueprint:
    """`/api/v1/operations`"""
    endpoints = APIBlueprint("operations", __name__, url_prefix="/api/v1/operations", abp_tags=[TAG])

    @endpoints.get(
        "",
        summary="Gateways, models and tokens, the log of events, dead messages",
        description="How many streams are open is each gateway's own to say: GET /health there.",
        responses={200: Operations},
    )
    def operations(query: NoParameters) -> Response:  # noqa: ARG001 - refuses parameters
        return answer(read_operations(database, clock()))

    return endpoints


def read_operations(database: Database, now: datetime) -> Operations:
    """All of it, counted now.

    Raises:
        DatabaseError: the database does not answer.
    """
    return Operations(
        as_of=now,
        gateways=_gateways(database),
        deciding=_deciding(database, now),
        events=_events(database, now),
        dead_letters=dead_letters(database, MOST_DEAD_LETTERS),
    )


def _gateways(database: Database) -> list[GatewayState]:
    agents = database.select(
        Agent.table,
        where=[Where("agent_type", AGENT_TYPE)],
        order=OrderBy(("agent_id",)),
        limit=MOST_GATEWAYS,
        columns=("agent_id", "name", "version", "status"),
    )
    if not agents:
        return []
    states = database.select(
        AgentState.table,
        where=[Where("agent_id", [agent["agent_id"] for agent in agents], "in")],
        order=OrderBy(("observed_at", "state_id"), descending=True),
        limit=MOST_STATES,
        columns=("agent_id", "state", "detail", "observed_at", "state_id"),
    )
    newest: dict[str, Row] = {}
    for state in states:
        newest.setdefault(state["agent_id"], state)
    return [_gateway(agent, newest.get(agent["agent_id"], {})) for agent in agents]


def _gateway(agent: Row, state: Row) -> GatewayState:
    return GatewayState(
        agent_id=agent["agent_id"],
        name=agent["name"],
        version=agent["version"],
        is_active=agent["status"] == "ACTIVE",
        state=state.get("state"),
        detail=state.get("detail"),
        since=state.get("observed_at"),
    )


def _deciding(database: Database, now: datetime) -> Deciding:
    rows = database.select(
        OrchestrationDecision.table,
        where=[Where("decided_at", now - DAY, "gte")],
        order=OrderBy(("decided_at", "decision_id"), descending=True),
        limit=MOST_DECISIONS + 1,
        columns=("decision_id", "decided_at", "scorer", "model", "fallback_reason", "token_usage"),
    )
    counted = rows[:MOST_DECISIONS]
    tokens: Counter[str] = Counter()
    for row in counted:
        tokens.update({name: number for name, number in (row["token_usage"] or {}).items() if name in _TOKENS})
    return Deciding(
        decisions=len(counted),
        is_whole=len(rows) == len(counted),
        newest_at=counted[0]["decided_at"] if counted else None,
        by_scorer=_counted(counted, "scorer"),
        by_model=_counted(counted, "model"),
        fallbacks=_counted(counted, "fallback_reason"),
        model_calls=tokens["calls"],
        prompt_tokens=tokens["prompt_tokens"],
        thinking_tokens=tokens["thinking_tokens"],
        answer_tokens=tokens["answer_tokens"],
    )


def _events(database: Database, now: datetime) -> EventLog:
    columns = ("sequence", "topic", "created_at")
    newest_first = OrderBy(("sequence",), descending=True)
    newest = database.select("broadcast_log", order=newest_first, limit=1, columns=columns)
    rows = database.select(
        "broadcast_log",
        where=[Where("created_at", now - HOUR, "gte")],
        order=newest_first,
        limit=MOST_EVENTS + 1,
        columns=columns,
    )
    counted = rows[:MOST_EVENTS]
    return EventLog(
        newest=newest[0]["sequence"] if newest else None,
        newest_at=newest[0]["created_at"] if newest else None,
        last_hour={Topic(topic): number for topic, number in _counted(counted, "topic").items()},
        is_whole=len(rows) == len(counted),
    )


def _counted(rows: Sequence[Row], column: str) -> dict[str, int]:
    """How often each value is there, the most frequent first."""
    return dict(Counter(row[column] for row in rows if row[column] is not None).most_common())
