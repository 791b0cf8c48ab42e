"""The tool about negotiations: which there are, and how one was settled."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from pydantic import Field

from agent_tools.definitions import Asked, Call, Given, Place, Time, ToolDefinition
from agent_tools.refusals import ToolRefused

PAGE = 10
MOST_SENTENCES = 20
NEGOTIATIONS = "/api/v1/negotiations"


class NegotiationsAsked(Asked):
    negotiation_id: UUID | None = None
    after: Place | None = None


class NegotiationRow(Given):
    negotiation_id: str
    name: str
    started_by: str
    state: str
    state_reason: str | None
    starts_at: Time
    half_hours: int
    round: int


class Awarded(Given):
    agent: str
    draw_mw: list[float] = Field(description="Below 0 it gives")
    cost_gbp: float
    pays_gbp: str = Field(description="Below 0 it is paid")
    alone_gbp: float = Field(description="Its cost if alone")
    gains_gbp: float


class Negotiations(Given):
    negotiations: list[NegotiationRow]
    next: str | None
    limit_mw: list[float] | None = Field(description="With negotiation_id, as all below")
    price_gbp_per_mwh: list[float] | None
    cost_gbp: float | None
    bound_gbp: float | None = Field(description="No plan costs less")
    alone_gbp: float | None
    saving_gbp: float | None
    awards: list[Awarded]
    explanation: list[str]
    truncated: bool = False


async def get_negotiations(asked: NegotiationsAsked, call: Call) -> Negotiations:
    if asked.negotiation_id is None:
        page = await call.platform.get(NEGOTIATIONS, {"limit": PAGE, "after": asked.after})
        return _told(page["negotiations"], page["next"], {})
    found = await call.platform.get_if_there(f"{NEGOTIATIONS}/{asked.negotiation_id}")
    if found is None:
        raise ToolRefused("there is no such negotiation of this caller: without negotiation_id they are listed")
    return _told([found["negotiation"]], None, found)


def _told(rows: list[dict[str, Any]], after: str | None, detail: dict[str, Any]) -> Negotiations:
    figures = ("limit_mw", "price_gbp_per_mwh", "cost_gbp", "bound_gbp", "alone_gbp", "saving_gbp")
    return Negotiations(
        negotiations=[NegotiationRow(**NegotiationRow.those_of(row)) for row in rows],
        next=after,
        awards=[Awarded(**Awarded.those_of(award)) for award in detail.get("awards", [])],
        explanation=detail.get("explanation", [])[:MOST_SENTENCES],
        **{name: detail.get(name) for name in figures},
    )


GET_NEGOTIATIONS = ToolDefinition(
    name="get_negotiations",
    description="Negotiations of agents that share a limit of power, newest first. With negotiation_id one of "
    "them: prices, who draws and pays what, and why. Lists are by half-hour.",
    takes=NegotiationsAsked,
    gives=Negotiations,
    run=get_negotiations,
    rows="awards",
)
