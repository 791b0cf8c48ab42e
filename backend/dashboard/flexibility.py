"""The pages of flexibility: the events, and one event's life with its baseline against what was metered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from flask import Blueprint, Response
from markupsafe import Markup
from pydantic import ValidationError

from api.flexibility import EventLife, EventsQuery, read_event_life, read_events
from dashboard.charts import Chart, Line, line_chart
from dashboard.grid_charts import KeyEntry
from dashboard.page import JsonLink, Pages
from dashboard.paging import following, given_values
from dashboard.published_flexibility import published_today
from dashboard.time_axis import TimeAxis
from dashboard.words import number
from dashboard.workloads import faults_of
from database.interface import Database
from decimal_text import decimal_text as text
from flexibility.event_model import Door
from flexibility.rules.exact import HOURS
from flexibility.tracing import Freed, shares_of
from grid.half_hours import HALF_HOUR
from web.problems import Problem

ROWS_A_PAGE = 50
BASELINE, METERED = "line-1", "line-2"
"""What colours the two curves."""
DOORS = {
    "beckn": "asked for over Beckn",
    "dfs": "published by NESO for the Demand Flexibility Service",
    "manual": "announced by hand",
    "openadr": "asked for over OpenADR",
}
"""By which way an event came, in words."""

KEY = (KeyEntry("baseline", BASELINE, is_layer=False), KeyEntry("metered", METERED, is_layer=False))


def flexibility_pages(dashboard: Blueprint, pages: Pages, database: Database, clock: Callable[[], datetime]) -> None:
    """`/dashboard/flexibility` and `/dashboard/flexibility/<event_id>`"""

    @dashboard.get("/flexibility")
    def flexibility() -> Response:
        given = given_values()
        try:
            query, faults = EventsQuery.model_validate({"limit": ROWS_A_PAGE, **given}), {}
        except ValidationError as error:
            query, faults = EventsQuery(limit=ROWS_A_PAGE), faults_of(error)
        found = read_events(database, query.limit, query.after)
        published = published_today(database, clock()) if query.after is None else []
        return pages.page(
            "flexibility.html",
            "flexibility",
            "Flexibility",
            json=JsonLink(f"/api/v1/flexibility/events?limit={ROWS_A_PAGE}"),
            events=found.events,
            published=published,
            doors=DOORS,
            faults=faults,
            following=following("dashboard.flexibility", found.next),
        )

    @dashboard.get("/flexibility/<event_id>")
    def flexibility_event(event_id: str) -> Response:
        life = read_event_life(database, _identity(event_id))
        if life is None:
            raise Problem(404, f"there is no event {event_id}")
        brought = _brought(life)
        return pages.page(
            "flexibility_event.html",
            "flexibility",
            f"Event {life.event.source_id}",
            json=JsonLink(f"/api/v1/flexibility/events/{life.event.event_id}"),
            life=life,
            event=life.event,
            doors=DOORS,
            drawn=_drawn(life, clock()),
            key=KEY,
            half_hours=_half_hours(life),
            moves=[
                (move, None if brought is None else brought.get(number, Decimal(0)))
                for number, move in enumerate(life.moves)
            ],
            batteries=_batteries(life, brought),
            bid=_bid(life),
            warnings=_warnings(life),
        )


def _identity(event_id: str) -> UUID:
    try:
        return UUID(event_id)
    except ValueError:
        raise Problem(404, f"{event_id} is no event's identity") from None


@dataclass(frozen=True)
class HalfHourRow:
    """One half-hour of an event; volumes in MWh, None where there is none yet."""

    starts_at: datetime
    need_mw: str
    price: str
    committed: Decimal | None
    baseline: Decimal | None
    metered: Decimal | None


def _half_hours(life: EventLife) -> list[HalfHourRow]:
    committed = _sums([(one.half_hour, one.committed_mwh) for one in life.commitments])
    baseline = _sums([(one.half_hour, one.baseline_mwh) for one in life.baselines])
    metered = _sums([(one.half_hour, one.metered_mwh) for one in life.baselines if one.metered_mwh is not None])
    return [
        HalfHourRow(start, need_mw, price, committed.get(start), baseline.get(start), metered.get(start))
        for start, need_mw, price in zip(
            _axis(life, life.event.starts_at).slots(), life.event.need_mw, life.event.price_gbp_per_mwh, strict=True
        )
    ]


def _brought(life: EventLife) -> dict[int | str | None, Decimal] | None:
    """What each that gave way brought by the newest run, £: workloads by their place, batteries by their names."""
    if not life.settlements:
        return None
    freed = [
        Freed(number, move.unit_id, life.event.starts_at + place * HALF_HOUR, Decimal(mwh))
        for number, move in enumerate(life.moves)
        for place, mwh in enumerate(move.freed_mwh)
    ]
    brought: dict[int | str | None, Decimal] = defaultdict(Decimal)
    for share in shares_of(max(life.settlements, key=lambda run: run.run).inputs, freed):
        brought[share.giver] += share.received_gbp
    return brought


@dataclass(frozen=True)
class BatteryRow:
    """What a battery gives in the event's half-hours, and what that brought, once it is settled."""

    asset_id: str
    gives_mwh: Decimal
    brought_gbp: Decimal | None


def _batteries(life: EventLife, brought: dict[int | str | None, Decimal] | None) -> list[BatteryRow]:
    event = life.event
    given: dict[str, Decimal] = defaultdict(Decimal)
    for one in life.storage:
        if event.starts_at <= one.half_hour < event.ends_at:
            given[one.asset_id] += Decimal(one.discharge_mw) * HOURS
    return [
        BatteryRow(name, mwh, None if brought is None else brought.get(name, Decimal(0)))
        for name, mwh in given.items()
    ]


def _bid(life: EventLife) -> str | None:
    """At what an event of the Demand Flexibility Service is bid for, and why; None for any other."""
    if life.event.door is not Door.DFS:
        return None
    bid, accepted = Decimal(life.event.price_gbp_per_mwh[0]), life.document.get("accepted_price_gbp_per_mwh")
    is_accepted = accepted is not None and Decimal(accepted) == bid
    why = f"the mean accepted in event {life.document['accepted_in']}" if is_accepted else "what NESO guarantees"
    return f"At {number(float(bid), 2)} £/MWh: {why}"


def _warnings(life: EventLife) -> list[str]:
    """What is to be said of the signals behind the newest offer."""
    offers = [one.content["warnings"] for one in life.decisions if one.content.get("warnings")]
    return offers[-1] if offers else []


def _sums(amounts: Iterable[tuple[datetime, str]]) -> dict[datetime, Decimal]:
    found: dict[datetime, Decimal] = defaultdict(Decimal)
    for half_hour, mwh in amounts:
        found[half_hour] += Decimal(mwh)
    return dict(found)


def _axis(life: EventLife, now: datetime) -> TimeAxis:
    return TimeAxis(life.event.starts_at, len(life.event.need_mw), now)


def _drawn(life: EventLife, now: datetime) -> Markup | None:
    """The baseline against what was metered; None before there is a baseline."""
    if not life.baselines:
        return None
    rows = _half_hours(life)
    baseline, metered = [row.baseline for row in rows], [row.metered for row in rows]
    told = f"The baseline comes to {_total(baseline)} MWh"
    if any(mwh is not None for mwh in metered):
        told += f", and {_total(metered)} MWh were metered"
    unit, size = ("MWh", 1) if max(_known([*baseline, *metered]), default=0) >= 1 else ("kWh", 1000)
    lines = [
        Line(_floats(baseline, size), BASELINE, "baseline", is_stepped=True),
        Line(_floats(metered, size), METERED, "metered", is_stepped=True),
    ]
    return line_chart(Chart(_axis(life, now), unit, f"{told}."), lines)


def _known(volumes: Iterable[Decimal | None]) -> list[Decimal]:
    return [mwh for mwh in volumes if mwh is not None]


def _total(volumes: list[Decimal | None]) -> str:
    return text(sum(_known(volumes), Decimal(0)))


def _floats(volumes: list[Decimal | None], size: int) -> list[float | None]:
    return [None if mwh is None else float(mwh * size) for mwh in volumes]
