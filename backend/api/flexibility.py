"""Endpoints for flexibility: events by hand, every event's life from announcement to settlement, and the units."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Annotated, Any
from uuid import UUID

from flask import Response
from flask_openapi3.models.tag import Tag
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)

from api.places import Place, place_of, read_place
from api.workloads import WrittenTime
from database.interface import Calls, Database
from flexibility.event_model import (
    DECIMALS,
    LARGEST_NEED_MW,
    LARGEST_PRICE_GBP_PER_MWH,
    MOST_HALF_HOURS,
    Door,
    EventState,
    NewEvent,
    Programme,
    StoredEvent,
)
from flexibility.events import Announcing, Cancelling, announce, cancel
from flexibility.rules.baseline import InDay
from flexibility.rules.cashflows import CashflowKind
from flexibility.rules.p415 import Compensation
from grid.half_hours import is_half_hour, rfc3339
from ontology.types import Moment
from printable import printable
from web.api_blueprint import APIBlueprint
from web.application import answer, problem_answer
from web.parameters import Paged
from web.problems import Problem

TAG = Tag(name="Flexibility", description="Deferrable work that gives way for the grid, and what it is paid")

LONGEST_REASON = 500
_PLACES = Decimal(1).scaleb(-DECIMALS)


def _a_number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("a number is wanted here")  # noqa: TRY004 - a ValueError is what pydantic tells
    return value


def _rounded(value: Decimal) -> Decimal:
    return value.quantize(_PLACES, rounding=ROUND_HALF_EVEN)


def _on_a_half_hour(moment: datetime) -> datetime:
    if not is_half_hour(moment):
        raise ValueError("an event begins on the hour or at half past")
    return moment


def _numbers(described: str) -> Any:
    return Field(
        min_length=1,
        max_length=MOST_HALF_HOURS,
        description=f"{described}, one for each half-hour; rounded to {DECIMALS} decimals",
    )


Needs = list[
    Annotated[
        Decimal,
        BeforeValidator(_a_number),
        Field(ge=0, le=LARGEST_NEED_MW, allow_inf_nan=False),
        AfterValidator(_rounded),
        WithJsonSchema({"type": "number", "minimum": 0, "maximum": int(LARGEST_NEED_MW)}),
    ]
]
Prices = list[
    Annotated[
        Decimal,
        BeforeValidator(_a_number),
        Field(ge=0, le=LARGEST_PRICE_GBP_PER_MWH, allow_inf_nan=False),
        AfterValidator(_rounded),
        WithJsonSchema({"type": "number", "minimum": 0, "maximum": int(LARGEST_PRICE_GBP_PER_MWH)}),
    ]
]


class EventBody(BaseModel):
    """An event by hand: how much less is to be drawn in half-hours to come, and what is paid for it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "name": "evening-peak",
                "programme": "P415",
                "starts_at": "2026-11-24T17:00:00Z",
                "need_mw": [2, 2, 2, 2],
                "price_gbp_per_mwh": [180, 220, 240, 160],
            }
        },
    )

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,64}$")] = Field(
        description="The caller's own name for it: the same event sent again under it is the same event"
    )
    programme: Programme = Field(Programme.P415, description="The rule that it is paid by")
    starts_at: Annotated[WrittenTime, AfterValidator(_on_a_half_hour)] = Field(
        description="Start of its first half-hour, more than an hour ahead"
    )
    need_mw: Needs = _numbers("How much less is to be drawn, MW")
    price_gbp_per_mwh: Prices = _numbers("What is paid for it, £/MWh")
    penalty_gbp_per_mwh: Prices | None = Field(
        None, description="DEG alone: what is charged for each MWh that is promised and does not come"
    )
    compensation: Compensation = Field(Compensation.MUTUALISED, description="P415 alone: who pays the suppliers")
    in_day: InDay = Field(
        InDay.NONE,
        description="Not with DEG. `additive`: baselines are moved by how far the six half-hours before gate closure "
        "were from theirs",
    )


class CancelEventBody(BaseModel):
    """Why an event is taken back."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"example": {"reason": "the margin has recovered"}}
    )

    reason: Annotated[str, StringConstraints(max_length=LONGEST_REASON)] | None = Field(
        None, description="It is kept"
    )


class FlexibilityEvent(BaseModel):
    """An event. Money and volumes are decimal numbers in text, which keeps every digit."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    event_id: UUID
    tenant: str = Field(description="Whose it is: an operator's, or the platform's, which all may read")
    door: Door = Field(description="How it came in")
    source_id: str = Field(description="What its source calls it")
    programme: Programme
    starts_at: Moment
    ends_at: Moment
    gate_closes_at: Moment = Field(description="From then on nothing about it changes")
    need_mw: list[str]
    price_gbp_per_mwh: list[str]
    penalty_gbp_per_mwh: list[str] | None
    compensation: Compensation
    in_day: InDay
    state: EventState
    state_reason: str | None
    announced_at: Moment


class EventDecision(BaseModel):
    """Why an event went on, and on what figures; a link of its owner's chain of hashes."""

    decision_id: UUID
    from_state: EventState | None
    to_state: EventState
    reason: str | None
    content: dict[str, Any]
    decided_at: Moment
    chain_position: int
    previous_hash: str | None
    chain_hash: str


class EventMove(BaseModel):
    """A workload that gave way: from where to where, what that costs in J, and what it freed, by half-hour."""

    operator: str
    job_id: str
    unit_id: str
    from_dc_id: str
    from_starts_at: Moment
    to_dc_id: str
    to_starts_at: Moment
    it_power_kw: str
    keep_gbp: str
    delta_gbp: str
    freed_mwh: list[str]


class EventCommitment(BaseModel):
    """What a unit sold in a half-hour."""

    unit_id: str
    half_hour: Moment
    committed_mwh: str


class EventBaseline(BaseModel):
    """What a data centre would have drawn, and what it drew (null until it is over)."""

    dc_id: str
    unit_id: str
    half_hour: Moment
    method: str = Field(description="BL01: the days before. SEV: without such days, what was booked")
    version: str
    days: list[date]
    wanted_days: int
    unadjusted_mwh: str
    adjustment_mwh: str
    in_day: str
    baseline_mwh: str
    metered_mwh: str | None


class EventBattery(BaseModel):
    """What a battery does in a half-hour: it gives in the event's, and takes its energy back in others."""

    asset_id: str
    unit_id: str
    half_hour: Moment
    charge_mw: str
    discharge_mw: str


class EventNotification(BaseModel):
    """What would be told before gate closure. Simulated: nobody receives it."""

    unit_id: str
    half_hour: Moment
    kind: str = Field(description="WMAN: the unit trades. ECVN: what it sold. SEV: what it is expected to import")
    volume_mwh: str | None
    sent_at: Moment
    is_simulated: bool


class EventCashflow(BaseModel):
    kind: CashflowKind
    half_hour: Moment
    payer: str
    payee: str
    amount_gbp: str


class EventSettlement(BaseModel):
    """A run of the settlement: the later wins, and changes no earlier one. All cashflows come to nothing together."""

    run: int
    settled_at: Moment
    received_gbp: str = Field(description="By whoever sold")
    inputs: dict[str, Any] = Field(description="By half-hour and unit: all that the amounts are worked out from")
    cashflows: list[EventCashflow]


class EventLife(BaseModel):
    """An event from its announcement on."""

    event: FlexibilityEvent
    document: dict[str, Any] = Field(description="What its source said, as it came")
    decisions: list[EventDecision]
    moves: list[EventMove]
    commitments: list[EventCommitment]
    baselines: list[EventBaseline]
    storage: list[EventBattery]
    notifications: list[EventNotification]
    settlements: list[EventSettlement]


class EventPage(BaseModel):
    """Events, those that begin last first."""

    events: list[FlexibilityEvent]
    next: str | None = Field(description="Pass this as after= to go on; null at the end")


class FlexibilityUnit(BaseModel):
    """What is sold together: the data centres and batteries of one owner in one GSP group."""

    unit_id: str
    operator: str
    gsp_group: str
    region_id: int
    dc_ids: list[str]
    asset_ids: list[str]


class UnitList(BaseModel):
    units: list[FlexibilityUnit]


class EventsQuery(Paged):
    after: Place | None = Field(None, description="Go on after this: `next` of the previous answer")


class EventPath(BaseModel):
    event_id: UUID = Field(
        description="Identity of the event", json_schema_extra={"example": "6f1c2a3e-0d4b-4c5f-8a9b-1e2d3c4b5a69"}
    )


def flexibility_endpoints(database: Database, clock: Callable[[], datetime]) -> APIBlueprint:
    """`/api/v1/flexibility/…`"""
    endpoints = APIBlueprint("flexibility", __name__, url_prefix="/api/v1/flexibility", abp_tags=[TAG])

    @endpoints.get("/events", summary="Flexibility events, newest first", responses={200: EventPage})
    def events(query: EventsQuery) -> Response:
        return answer(read_events(database, query.limit, query.after))

    @endpoints.post(
        "/events",
        summary="Announce a flexibility event by hand",
        description="What can give way for it is worked out at once and again until its gate closes, an hour before "
        "it begins. The same event under the same name is answered like the first time, with 200.",
        responses={
            201: FlexibilityEvent,
            200: FlexibilityEvent,
            409: problem_answer("Its gate has closed, it overlaps another, or another event has its name"),
        },
    )
    def announce_by_hand(body: EventBody) -> Response:
        now = clock()
        outcome = announce(database, _new_event(body), now)
        stored = outcome.event
        if outcome.state is Announcing.CLOSED:
            raise Problem(409, "its gate has closed: an event begins more than an hour ahead")
        if outcome.state is Announcing.OVERLAPPING and stored:
            raise Problem(
                409,
                f"event {stored.event_id} is open from {rfc3339(stored.starts_at)}: cancel it, or choose other hours",
            )
        if outcome.state is Announcing.TOO_MANY:
            raise Problem(409, "a hundred events of yours are ahead, the most there may be: cancel one, or wait")
        if outcome.state is Announcing.DIFFERENT:
            raise Problem(409, f"another event is called {body.name}: give this one a name of its own")
        return answer(_shown(stored), 201 if outcome.state is Announcing.ANNOUNCED else 200)

    @endpoints.get(
        "/events/<event_id>",
        summary="A flexibility event's life",
        responses={200: EventLife, 404: problem_answer("There is no such event")},
    )
    def event(path: EventPath) -> Response:
        life = read_event_life(database, path.event_id)
        if life is None:
            raise Problem(404, f"there is no event {path.event_id}")
        return answer(life)

    @endpoints.post(
        "/events/<event_id>/cancel",
        summary="Take a flexibility event back",
        description="Before its gate closes. Its power is free again; what has moved stays where it is.",
        responses={
            200: FlexibilityEvent,
            404: problem_answer("There is no such event"),
            409: problem_answer("Its gate has closed, or it has ended"),
        },
    )
    def cancel_event(path: EventPath, body: CancelEventBody) -> Response:
        reason = printable(body.reason or "by its owner", LONGEST_REASON)
        outcome = cancel(database, path.event_id, reason, clock())
        if outcome.state is Cancelling.UNKNOWN:
            raise Problem(404, f"there is no event {path.event_id} that may be cancelled here")
        if outcome.state is not Cancelling.CANCELLED:
            closed = outcome.state is Cancelling.CLOSED
            raise Problem(409, "its gate has closed: nothing about it changes now" if closed else "it has ended")
        return answer(_shown(outcome.event))

    @endpoints.get("/units", summary="What is sold together", responses={200: UnitList})
    def units() -> Response:
        return answer(read_units(database))

    return endpoints


def read_events(database: Calls, limit: int, after: Place | None = None) -> EventPage:
    """A page of events, newest first."""
    before, before_id = read_place(after)
    arguments = {"p_before": before, "p_before_id": before_id, "p_limit": limit + 1}
    rows: list[Any] = database.call("flexibility_events_page", arguments, repeatable=True)
    found = [FlexibilityEvent.model_validate(row) for row in rows[:limit]]
    last = found[-1] if len(rows) > limit else None
    return EventPage(events=found, next=None if last is None else place_of(last.starts_at, last.event_id))


def read_event_life(database: Calls, event_id: UUID) -> EventLife | None:
    """All that is kept of an event; None where there is none."""
    row = database.call("flexibility_event_life", {"p_event_id": str(event_id)}, repeatable=True)
    return None if row is None else EventLife.model_validate(row)


def read_units(database: Calls) -> UnitList:
    """The units that the caller may see."""
    return UnitList(units=database.call("flexibility_units_of", {}, repeatable=True))


def _new_event(body: EventBody) -> NewEvent:
    try:
        return NewEvent(
            door=Door.MANUAL,
            source_id=body.name,
            document=body.model_dump(mode="json"),
            **body.model_dump(exclude={"name"}),
        )
    except ValidationError as error:
        raise Problem(422, "; ".join(one["msg"] for one in error.errors())) from error


def _shown(event: StoredEvent | None) -> FlexibilityEvent:
    if event is None:
        raise Problem(404, "there is no such event")
    return FlexibilityEvent.model_validate(event.model_dump(mode="json"))
