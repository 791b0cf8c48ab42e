"""The tool about flexibility: events, what is offered for one and why, what moved, and what it came to."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from pydantic import Field

from agent_tools.definitions import Asked, Call, Given, Place, Time, ToolDefinition
from agent_tools.refusals import ToolRefused

PAGE = 10
EVENTS = "/api/v1/flexibility/events"


class FlexibilityAsked(Asked):
    event_id: UUID | None = None
    after: Place | None = None


class EventRow(Given):
    event_id: str
    programme: str
    state: str
    state_reason: str | None
    starts_at: Time
    ends_at: Time


class Offer(Given):
    gain_gbp: str
    revenue_gbp: str
    cost_gbp: str
    committed_mwh: list[str]
    considered: int = Field(description="Workloads")
    batteries: int


class Moved(Given):
    job_id: str
    from_dc_id: str
    from_starts_at: Time
    to_dc_id: str
    to_starts_at: Time
    delta_gbp: str = Field(description="What giving way costs")
    freed_mwh: list[str]
    received_gbp: str | None = Field(description="What it brought")


class EventSettled(Given):
    run: int
    settled_at: Time
    received_gbp: str


class Flexibility(Given):
    events: list[EventRow]
    next: str | None
    need_mw: list[str] = Field(description="With event_id, as all below")
    price_gbp_per_mwh: list[str]
    offer: Offer | None = Field(description="null: state_reason says why")
    moves: list[Moved]
    settlement: EventSettled | None
    truncated: bool = False


async def get_flexibility(asked: FlexibilityAsked, call: Call) -> Flexibility:
    if asked.event_id is not None:
        return await _one(asked.event_id, call)
    page = await call.platform.get(EVENTS, {"limit": PAGE, "after": asked.after})
    return Flexibility(
        events=[_event(event) for event in page["events"]],
        next=page["next"],
        need_mw=[],
        price_gbp_per_mwh=[],
        offer=None,
        moves=[],
        settlement=None,
    )


async def _one(event_id: UUID, call: Call) -> Flexibility:
    life = await call.platform.get_if_there(f"{EVENTS}/{event_id}")
    if life is None:
        raise ToolRefused("there is no such event of this caller: without event_id they are listed")
    newest = {"event_id": event_id, "limit": 1}
    runs = (await call.platform.get("/api/v1/flexibility/settlements", newest))["settlements"]
    settlement = runs[0] if runs else None
    offer = _offer(life["decisions"])
    moves = life["moves"] or _would_move(offer)
    brought = {} if settlement is None else {_whose(one): one["received_gbp"] for one in settlement["workloads"]}
    return Flexibility(
        events=[_event(life["event"])],
        next=None,
        need_mw=life["event"]["need_mw"],
        price_gbp_per_mwh=life["event"]["price_gbp_per_mwh"],
        offer=None if offer is None else _told(offer),
        moves=[_moved(move, brought.get(_whose(move))) for move in moves],
        settlement=None if settlement is None else EventSettled(**EventSettled.those_of(settlement)),
    )


def _event(event: dict[str, Any]) -> EventRow:
    return EventRow(**EventRow.those_of(event))


def _offer(decisions: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The newest offer among an event's decisions, which the caller may not be shown."""
    offers = [each["content"] for each in decisions if "committed_mwh" in each["content"]]
    return offers[-1] if offers else None


def _told(offer: dict[str, Any]) -> Offer:
    return Offer(**{**Offer.those_of(offer), "batteries": len(offer["batteries"])})


def _would_move(offer: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The moves of an offer, as those that were made are told."""
    return [
        {**move, **{f"{way}_{name}": move[way][name] for way in ("from", "to") for name in ("dc_id", "starts_at")}}
        for move in (offer or {}).get("moves", [])
    ]


def _moved(move: dict[str, Any], received_gbp: str | None) -> Moved:
    return Moved(**{**Moved.those_of(move), "received_gbp": received_gbp})


def _whose(move: dict[str, Any]) -> tuple[str, str]:
    return move["operator"], move["job_id"]


GET_FLEXIBILITY = ToolDefinition(
    name="get_flexibility",
    description="Flexibility events, newest first. With event_id one of them: what is offered and why, what "
    "gives way, what that costs and brought, and the settlement. Lists are by half-hour.",
    takes=FlexibilityAsked,
    gives=Flexibility,
    run=get_flexibility,
    rows="moves",
)
