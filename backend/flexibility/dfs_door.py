"""The door of the Demand Flexibility Service: what NESO publishes becomes events by itself."""

from __future__ import annotations

import logging
from datetime import datetime
from decimal import Decimal

from pydantic import BaseModel, ConfigDict, ValidationError

from database.interface import Database, Row
from flexibility.event_model import Door, NewEvent, Programme
from flexibility.events import Announcing, announce
from flexibility.rules.gate_closure import is_open
from grid.half_hours import HALF_HOUR
from workloads.model import UtcDatetime

_log = logging.getLogger(__name__)

DOWNWARDS = "Downwards"


class _Period(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    half_hour: UtcDatetime
    requirement_mw: Decimal
    guaranteed_price_gbp_per_mwh: Decimal | None


class _Requirement(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    event_id: str
    event_type: str
    from_utc: UtcDatetime
    accepted_price_gbp_per_mwh: Decimal | None = None
    half_hours: tuple[_Period, ...]


def announce_published(database: Database, now: datetime) -> int:
    """Announce every published requirement whose gate is open; how many were new."""
    rows: list[Row] = database.call("dfs_requirements_from", {"p_from": now}, repeatable=True)
    events = [event for row in rows if (event := event_of(row)) is not None and is_open(event.starts_at, now)]
    outcomes = [announce(database, event, now).state for event in events]
    new = outcomes.count(Announcing.ANNOUNCED)
    if new:
        _log.info("%d requirements of the Demand Flexibility Service are new events", new)
    return new


def event_of(row: Row) -> NewEvent | None:
    """A requirement as an event: bid at what was accepted last time, and never below what is guaranteed.

    The service pays as bid, so a bid at the guaranteed price alone, which is often nought, would give work away.
    None for one upwards, one whose price is unknown or below zero, one with half-hours missing, and one beyond what
    an event may be.
    """
    requirement = _Requirement.model_validate(row)
    periods = requirement.half_hours
    prices = [_bid(period.guaranteed_price_gbp_per_mwh, requirement.accepted_price_gbp_per_mwh) for period in periods]
    known = [price for price in prices if price is not None and price >= 0]
    begins = [requirement.from_utc + place * HALF_HOUR for place in range(len(periods))]
    if requirement.event_type != DOWNWARDS or not periods or len(known) < len(periods):
        return None
    if [period.half_hour for period in periods] != begins or min(period.requirement_mw for period in periods) < 0:
        return None
    try:
        return NewEvent(
            door=Door.DFS,
            source_id=requirement.event_id,
            programme=Programme.DFS,
            starts_at=requirement.from_utc,
            need_mw=[period.requirement_mw for period in periods],
            price_gbp_per_mwh=known,
            document=row,
        )
    except ValidationError as error:
        # What is published is somebody else's: no figure in it may keep the other events from being carried on.
        why = "; ".join(one["msg"] for one in error.errors())
        _log.warning("requirement %s of the Demand Flexibility Service is no event: %s", requirement.event_id, why)
        return None


def _bid(guaranteed: Decimal | None, accepted: Decimal | None) -> Decimal | None:
    known = [price for price in (guaranteed, accepted) if price is not None]
    return max(known, default=None)
