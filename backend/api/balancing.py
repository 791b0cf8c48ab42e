"""Endpoints about the balancing of the grid: imbalance prices, the margin ahead, the Demand Flexibility Service.

Money, power and energy are text, so that no reader makes floats of what is settled in pounds and pence.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Literal

from flask import Response
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, ConfigDict, Field

from api.what_if import refuse
from api.workloads import WrittenTime
from database.interface import Database
from grid.half_hours import HALF_HOUR, from_rfc3339, half_hour_of, rfc3339, settlement_date, settlement_period
from grid.model import margin_stress_score
from ontology.types import Moment
from web.api_blueprint import APIBlueprint
from web.kept_answers import UNCHANGED, KeptAnswers
from web.parameters import NoParameters, StrictQuery
from web.problems import Problem

TAG = Tag(name="Balancing", description="Imbalance prices, the margin ahead and the Demand Flexibility Service")

USUAL_PRICES = timedelta(days=2)
USUAL_EVENTS_BACK = timedelta(days=7)
AHEAD = timedelta(days=2)
LONGEST_PERIOD = timedelta(days=31)


class SystemPriceRevision(BaseModel):
    """The imbalance price of one half-hour as one settlement run found it."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "half_hour": "2026-08-01T01:00:00Z",
                "settlement_date": "2026-08-01",
                "settlement_period": 5,
                "revision": 1,
                "system_price_gbp_per_mwh": "160.00",
                "net_imbalance_volume_mwh": "344.24949231481480183",
                "reserve_scarcity_price_gbp_per_mwh": "0",
                "derivation_code": "P",
                "bsad_defaulted": False,
                "published_at": "2026-08-02T01:44:33Z",
                "fetched_at": "2026-08-02T02:04:11Z",
            }
        }
    )

    half_hour: Moment
    settlement_date: date = Field(description="In London")
    settlement_period: int = Field(description="1 to 50 of that day")
    revision: int = Field(description="1 is what was read first")
    system_price_gbp_per_mwh: Decimal = Field(description="Both for who buys and for who sells; may be negative")
    net_imbalance_volume_mwh: Decimal | None = Field(description="Above 0 the system was short")
    reserve_scarcity_price_gbp_per_mwh: Decimal | None
    derivation_code: str | None = Field(description="Elexon's letters for how the price came about")
    bsad_defaulted: bool | None = Field(description="Whether the balancing services data was a default")
    published_at: Moment = Field(description="When the settlement run made it")
    fetched_at: Moment


class SystemPrices(BaseModel):
    """Imbalance prices by half-hour; one that is not there is not published yet, or was never read."""

    as_of: Moment
    system_prices: list[SystemPriceRevision]


class MarginHalfHour(BaseModel):
    """How safe one half-hour ahead looks."""

    half_hour: Moment
    derated_margin_mw: Decimal = Field(description="Spare supply that is to be expected; below 0 too little")
    loss_of_load_probability: Decimal = Field(description="That demand cannot be met, 0 to 1")
    margin_stress_score: float = Field(
        description="0 to 1; a second opinion on grid stress beside grid_stress_score, which is reckoned from demand"
    )
    source: Literal["elexon"] = "elexon"
    horizon_hours: int | None = Field(description="How long ahead it was forecast")
    published_at: Moment
    fetched_at: Moment


class Margin(BaseModel):
    """What is forecast of the margin from the present half-hour on, as far as there is a forecast."""

    as_of: Moment
    margin: list[MarginHalfHour]


class DfsHalfHour(BaseModel):
    """What was wanted, bought and settled in one half-hour; null what is not known, or not yet."""

    half_hour: Moment
    requirement_mw: Decimal | None = Field(description="Wanted, which does not mean bought")
    guaranteed_price_gbp_per_mwh: Decimal | None = Field(description="Bids up to it are accepted")
    zonal_caps_mw: dict[int, Decimal] = Field(description="The most that is bought in a zone; empty: no such limit")
    procured_mw: Decimal | None = Field(description="Bought")
    accepted_cost_gbp: Decimal | None = Field(description="Of the accepted bids, each at its own price")
    settled_mw: Decimal | None = Field(description="Delivered, known after weeks; may be negative")
    settled_cost_gbp: Decimal | None = Field(description="Paid for it; may be negative")
    bids: int = Field(description="How many are known")


class DfsEvent(BaseModel):
    """An event of the Demand Flexibility Service: half-hours in which NESO buys less, or more, demand."""

    event_ref: str = Field(description="Its delivery year (April to March) and its number there: 2026-136")
    event_id: int = Field(description="NESO's number")
    direction: Literal["Downwards", "Upwards"] = Field(description="Downwards: less demand is bought")
    tag: Literal["Energy", "System"]
    requirement_type: Literal["Live", "Test"]
    delivery_date: date = Field(description="In London")
    starts_at: Moment
    ends_at: Moment
    submitted_at: Moment | None = Field(description="When it was announced")
    dispatch_type: str | None
    participants: list[str] = Field(description="Whose bids are eligible")
    fetched_at: Moment
    half_hours: list[DfsHalfHour]


class DfsEvents(BaseModel):
    """Events, the latest first."""

    as_of: Moment
    events: list[DfsEvent]


class DfsBid(BaseModel):
    """One bid of one unit for one half-hour."""

    half_hour: Moment
    participant: str
    unit_id: str
    zone: int
    bid_mw: Decimal
    price_gbp_per_mwh: Decimal
    status: Literal["Accepted", "Rejected"]
    cost_gbp: Decimal = Field(description="bid_mw x 0.5 h x its price where it is accepted, else 0")


class DfsEventAndBids(BaseModel):
    """One event with every bid."""

    as_of: Moment
    event: DfsEvent
    bids: list[DfsBid]


class PeriodQuery(StrictQuery):
    from_: WrittenTime | None = Field(None, alias="from", description="From this time on")
    to: WrittenTime | None = Field(None, description="Before this time, at most 31 days after `from`")


class SystemPricesQuery(PeriodQuery):
    revisions: Literal["newest", "all"] = Field(
        "newest", description="The newest revision of each half-hour, or every one"
    )


class DfsEventPath(BaseModel):
    event_ref: str = Field(description="The event's name here", json_schema_extra={"example": "2026-136"})


def balancing_endpoints(database: Database, clock: Callable[[], datetime], answers: KeptAnswers) -> APIBlueprint:
    """`/api/v1/grid/system-prices`, `/margin` and `/dfs-events`"""
    endpoints = APIBlueprint("balancing", __name__, url_prefix="/api/v1/grid", abp_tags=[TAG])

    @endpoints.get("/system-prices", summary="Imbalance prices", responses={200: SystemPrices, **UNCHANGED})
    def system_prices(query: SystemPricesQuery) -> Response:
        _period(query, clock(), back=USUAL_PRICES, ahead=timedelta(0))

        def read(now: datetime) -> SystemPrices:
            start, until = _period(query, now, back=USUAL_PRICES, ahead=timedelta(0))
            return read_system_prices(database, start, until, every=query.revisions == "all", now=now)

        return answers.answer(read)

    @endpoints.get("/margin", summary="The margin in the next 48 hours", responses={200: Margin, **UNCHANGED})
    def margin(query: NoParameters) -> Response:  # noqa: ARG001 - refuses parameters
        return answers.answer(lambda now: read_margin(database, now))

    @endpoints.get(
        "/dfs-events",
        summary="Events of the Demand Flexibility Service",
        responses={200: DfsEvents, **UNCHANGED},
    )
    def dfs_events(query: PeriodQuery) -> Response:
        _period(query, clock(), back=USUAL_EVENTS_BACK, ahead=AHEAD)

        def read(now: datetime) -> DfsEvents:
            start, until = _period(query, now, back=USUAL_EVENTS_BACK, ahead=AHEAD)
            return read_dfs_events(database, start, until, now)

        return answers.answer(read)

    @endpoints.get(
        "/dfs-events/<event_ref>",
        summary="One event of the Demand Flexibility Service with every bid",
        responses={200: DfsEventAndBids, **UNCHANGED},
    )
    def dfs_event(path: DfsEventPath, query: NoParameters) -> Response:  # noqa: ARG001 - refuses parameters
        def read(now: datetime) -> DfsEventAndBids:
            found = None
            if "\x00" not in path.event_ref:
                found = database.call("dfs_event", {"p_event_ref": path.event_ref}, repeatable=True)
            if found is None:
                detail = f"there is no event {path.event_ref!r}: GET /api/v1/grid/dfs-events lists them"
                raise Problem(404, detail)
            return DfsEventAndBids.model_validate({"as_of": now, **found})

        return answers.answer(read)

    return endpoints


def _period(query: PeriodQuery, now: datetime, *, back: timedelta, ahead: timedelta) -> tuple[datetime, datetime]:
    until = query.to or now + ahead
    start = query.from_ or until - ahead - back
    if start >= until:
        raise refuse("from", "is not earlier than to")
    if until - start > LONGEST_PERIOD + HALF_HOUR:
        raise refuse("from", f"is more than {LONGEST_PERIOD.days} days before to ({rfc3339(until)}): ask in pieces")
    return start, until


def read_system_prices(
    database: Database, start: datetime, until: datetime, *, every: bool, now: datetime
) -> SystemPrices:
    """Prices of the half-hours from that of `start` on that begin before `until`.

    Raises:
        DatabaseError: the database does not answer.
    """
    arguments = {"p_from": half_hour_of(start), "p_until": until, "p_every": every}
    rows = database.call("system_prices_between", arguments, repeatable=True)
    return SystemPrices(as_of=now, system_prices=[_revision(row) for row in rows])


def _revision(row: dict[str, object]) -> SystemPriceRevision:
    half_hour = from_rfc3339(str(row["half_hour"]))
    return SystemPriceRevision.model_validate(
        {
            **row,
            "settlement_date": settlement_date(half_hour),
            "settlement_period": settlement_period(half_hour),
            "system_price_gbp_per_mwh": row["system_price_gbp_mwh"],
            "reserve_scarcity_price_gbp_per_mwh": row["reserve_scarcity_price_gbp_mwh"],
            "published_at": row["created_at"],
        }
    )


def read_dfs_events(database: Database, start: datetime, until: datetime, now: datetime) -> DfsEvents:
    """Events that are not over at `start` and begin before `until`, the latest first.

    Raises:
        DatabaseError: the database does not answer.
    """
    found = database.call("dfs_events_between", {"p_from": start, "p_until": until}, repeatable=True)
    return DfsEvents.model_validate({"as_of": now, "events": found})


def read_margin(database: Database, now: datetime) -> Margin:
    """The forecast from the half-hour of `now` on.

    Raises:
        DatabaseError: the database does not answer.
    """
    slot = half_hour_of(now)
    rows = database.call("loss_of_load_between", {"p_from": slot, "p_until": slot + AHEAD}, repeatable=True)
    return Margin(as_of=now, margin=[_margin(row) for row in rows])


def _margin(row: dict[str, object]) -> MarginHalfHour:
    margin_mw, probability = float(str(row["derated_margin_mw"])), float(str(row["probability"]))
    return MarginHalfHour.model_validate(
        {
            **row,
            "derated_margin_mw": str(row["derated_margin_mw"]),
            "loss_of_load_probability": str(row["probability"]),
            "margin_stress_score": margin_stress_score(margin_mw, probability),
        }
    )
