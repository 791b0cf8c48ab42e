"""Endpoints for what was sold of flexibility: baselines, commitments and settlements, each list over all events.

Every pound of a settlement leads back to what gave way: a run's `workloads` and `batteries` are what each of them
brought, and together they are what the run received, to the last digit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from flask import Response
from pydantic import BaseModel, Field, StringConstraints

from api.flexibility import TAG, EventBaseline, EventCashflow, EventCommitment
from api.places import NamedPlace, NumberedPlace, named_place_of, read_named_place
from database.interface import Calls, Database
from decimal_text import decimal_text as text
from flexibility.event_model import EventState, Programme
from flexibility.rules.exact import exactly
from flexibility.tracing import Freed, Share, shares_of
from grid.half_hours import HALF_HOUR, from_rfc3339
from ontology.types import Moment
from web.api_blueprint import APIBlueprint
from web.application import answer
from web.parameters import Paged

UnitId = Annotated[str, StringConstraints(pattern=r"^V__[A-Z0-9]{1,8}$")]


class SoldQuery(Paged):
    """Of which event and unit, and from where on."""

    event_id: UUID | None = Field(None, description="Only of this event")
    unit_id: UnitId | None = Field(None, description="Only of this unit")
    after: NamedPlace | None = Field(None, description="Go on after this: `next` of the previous answer")


class SettlementsQuery(SoldQuery):
    unit_id: UnitId | None = Field(None, description="Only of events that this unit sold something for")
    after: NumberedPlace | None = Field(None, description="Go on after this: `next` of the previous answer")


class Baseline(EventBaseline):
    """What a data centre would have drawn in a half-hour of an event, and what it drew (null until that is over)."""

    event_id: UUID
    operator: str = Field(description="Whose event it is")


class BaselinePage(BaseModel):
    """Baselines, the newest half-hours first."""

    baselines: list[Baseline]
    next: str | None = Field(description="Pass this as after= to go on; null at the end")


class Commitment(EventCommitment):
    """What a unit sold in a half-hour of an event, and at what price."""

    event_id: UUID
    operator: str = Field(description="Whose event it is")
    programme: Programme
    state: EventState = Field(description="What has become of the event")
    price_gbp_per_mwh: str
    is_notified: bool = Field(description="Whether WMAN was sent before its gate closed. Simulated")


class CommitmentPage(BaseModel):
    """Commitments, the newest half-hours first."""

    commitments: list[Commitment]
    next: str | None = Field(description="Pass this as after= to go on; null at the end")


class HalfHourBrought(BaseModel):
    half_hour: Moment
    freed_mwh: str
    received_gbp: str


class WorkloadBrought(BaseModel):
    """What a workload that moved brought, beside what its moving cost in J."""

    operator: str
    job_id: str
    unit_id: str
    from_dc_id: str
    from_starts_at: Moment
    to_dc_id: str
    to_starts_at: Moment
    decision_id: UUID | None = Field(description="The decision that moved it: an object OrchestrationDecision")
    delta_gbp: str = Field(description="What its moving costs in J")
    received_gbp: str = Field(description="Its share of what was received, by the energy it freed")
    half_hours: list[HalfHourBrought]


class BatteryBrought(BaseModel):
    """What a battery brought that gave its energy in the event's half-hours."""

    asset_id: str
    freed_mwh: str
    received_gbp: str = Field(description="Its share of what was received, by the energy it gave")


class Settlement(BaseModel):
    """A run of an event's settlement. A later run wins, and changes no earlier one."""

    event_id: UUID
    operator: str = Field(description="Whose event it is")
    programme: Programme
    starts_at: Moment = Field(description="When the event began")
    run: int
    is_newest: bool
    settled_at: Moment
    received_gbp: str = Field(description="By whoever sold")
    cashflows: list[EventCashflow] = Field(description="All of them: together all parties come to nothing")
    workloads: list[WorkloadBrought] = Field(
        description="Together with batteries and unassigned_gbp what was received"
    )
    batteries: list[BatteryBrought]
    unassigned_gbp: str = Field(description="What came where nothing freed anything")


class SettlementPage(BaseModel):
    """Runs of settlements, the newest first."""

    settlements: list[Settlement]
    next: str | None = Field(description="Pass this as after= to go on; null at the end")


def sold_flexibility_endpoints(database: Database) -> APIBlueprint:
    """`/api/v1/flexibility/baselines`, `commitments` and `settlements`"""
    endpoints = APIBlueprint("sold_flexibility", __name__, url_prefix="/api/v1/flexibility", abp_tags=[TAG])

    @endpoints.get("/baselines", summary="What data centres would have drawn", responses={200: BaselinePage})
    def baselines(query: SoldQuery) -> Response:
        return answer(read_baselines(database, query))

    @endpoints.get("/commitments", summary="What units have sold", responses={200: CommitmentPage})
    def commitments(query: SoldQuery) -> Response:
        return answer(read_commitments(database, query))

    @endpoints.get(
        "/settlements",
        summary="What events came to, and what each workload brought",
        responses={200: SettlementPage},
    )
    def settlements(query: SettlementsQuery) -> Response:
        return answer(read_settlements(database, query))

    return endpoints


def read_baselines(database: Calls, query: SoldQuery) -> BaselinePage:
    """A page of baselines, the newest half-hours first."""
    _, _, name = read_named_place(query.after)
    rows, goes_on = _page(database, "flexibility_baselines_page", query, p_before_name=name)
    found = [Baseline.model_validate(row) for row in rows]
    last = found[-1] if goes_on else None
    return BaselinePage(
        baselines=found, next=None if last is None else named_place_of(last.half_hour, last.event_id, last.dc_id)
    )


def read_commitments(database: Calls, query: SoldQuery) -> CommitmentPage:
    """A page of commitments, the newest half-hours first."""
    _, _, name = read_named_place(query.after)
    rows, goes_on = _page(database, "flexibility_commitments_page", query, p_before_name=name)
    found = [Commitment.model_validate(row) for row in rows]
    last = found[-1] if goes_on else None
    return CommitmentPage(
        commitments=found, next=None if last is None else named_place_of(last.half_hour, last.event_id, last.unit_id)
    )


def read_settlements(database: Calls, query: SettlementsQuery) -> SettlementPage:
    """A page of settlements' runs, the newest first."""
    _, _, name = read_named_place(query.after)
    run = None if name is None else int(name)
    rows, goes_on = _page(database, "flexibility_settlements_page", query, p_before_run=run)
    found = [_settlement(row) for row in rows]
    last = found[-1] if goes_on else None
    return SettlementPage(
        settlements=found,
        next=None if last is None else named_place_of(last.settled_at, last.event_id, str(last.run)),
    )


def _page(database: Calls, function: str, query: SoldQuery, **place: str | int | None) -> tuple[list[Any], bool]:
    """The rows of a page, and whether there are more."""
    before, before_id, _ = read_named_place(query.after)
    rows: list[Any] = database.call(
        function,
        {
            "p_event_id": None if query.event_id is None else str(query.event_id),
            "p_unit_id": query.unit_id,
            "p_before": before,
            "p_before_id": before_id,
            "p_limit": query.limit + 1,
            **place,
        },
        repeatable=True,
    )
    return rows[: query.limit], len(rows) > query.limit


class _Move(BaseModel):
    operator: str
    job_id: str
    unit_id: str
    from_dc_id: str
    from_starts_at: Moment
    to_dc_id: str
    to_starts_at: Moment
    decision_id: UUID | None
    delta_gbp: str
    freed_mwh: list[Decimal]


def _settlement(row: dict[str, Any]) -> Settlement:
    moves = [_Move.model_validate(move) for move in row["moves"]]
    starts_at = from_rfc3339(row["starts_at"])
    freed = [
        Freed(number, move.unit_id, starts_at + place * HALF_HOUR, mwh)
        for number, move in enumerate(moves)
        for place, mwh in enumerate(move.freed_mwh)
    ]
    shares: dict[int | str | None, list[Share]] = defaultdict(list)
    for share in shares_of(row["inputs"], freed):
        shares[share.giver].append(share)
    return Settlement(
        **{name: value for name, value in row.items() if name not in {"inputs", "moves"}},
        workloads=[_brought(move, shares[number]) for number, move in enumerate(moves)],
        batteries=[
            BatteryBrought(asset_id=giver, freed_mwh=_sum_mwh(each), received_gbp=_sum(each))
            for giver, each in shares.items()
            if isinstance(giver, str)
        ],
        unassigned_gbp=_sum(shares[None]),
    )


def _brought(move: _Move, shares: list[Share]) -> WorkloadBrought:
    return WorkloadBrought(
        **move.model_dump(exclude={"freed_mwh"}),
        received_gbp=_sum(shares),
        half_hours=[
            HalfHourBrought(
                half_hour=share.half_hour, freed_mwh=text(share.freed_mwh), received_gbp=text(share.received_gbp)
            )
            for share in shares
        ],
    )


@exactly
def _sum(shares: Iterable[Share]) -> str:
    return text(sum((share.received_gbp for share in shares), Decimal(0)))


@exactly
def _sum_mwh(shares: Iterable[Share]) -> str:
    return text(sum((share.freed_mwh for share in shares), Decimal(0)))
