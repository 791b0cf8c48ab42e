"""What NESO publishes of its Demand Flexibility Service for today and later, and what becomes of each event here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from api.balancing import DfsEvent, read_dfs_events
from api.flexibility import FlexibilityEvent, read_events
from dashboard.words import utc_words
from database.interface import Database
from flexibility.event_model import Door
from flexibility.rules.gate_closure import gate_closure
from grid.half_hours import LONDON, as_utc

DOWNWARDS = "Downwards"
EVENTS_LOOKED_AT = 500
AHEAD = timedelta(days=7)


@dataclass(frozen=True)
class PublishedEvent:
    """An event as NESO publishes it; `here` is the platform's own for it, or `why_not` says why there is none."""

    published: DfsEvent
    here: FlexibilityEvent | None
    why_not: str | None

    @property
    def wanted_mw(self) -> list[Decimal]:
        return _known([half_hour.requirement_mw for half_hour in self.published.half_hours])

    @property
    def bought_mw(self) -> list[Decimal]:
        return _known([half_hour.procured_mw for half_hour in self.published.half_hours])


def published_today(database: Database, now: datetime) -> list[PublishedEvent]:
    """Those of today, by the clock of London, and later ones, the latest first.

    Raises:
        DatabaseError: the database does not answer.
    """
    today = as_utc(now).astimezone(LONDON).replace(hour=0, minute=0, second=0, microsecond=0)
    published = read_dfs_events(database, as_utc(today), now + AHEAD, now).events
    if not published:
        return []
    listed = read_events(database, EVENTS_LOOKED_AT, None).events
    own = {event.source_id: event for event in listed if event.door is Door.DFS}
    return [
        PublishedEvent(event, here, None if here else _why_not(event, now))
        for event in published
        for here in [own.get(event.event_ref)]
    ]


def _why_not(event: DfsEvent, now: datetime) -> str:
    if event.direction != DOWNWARDS:
        return "More load is wanted, and nothing is offered for that."
    closes_at = gate_closure(event.starts_at)
    if closes_at <= now:
        return f"Nothing was offered: its gate closed at {utc_words(closes_at)}, before it was known here."
    return "It is no event here yet: one is made of it within half a minute, where it has a price."


def _known(values: Sequence[Decimal | None]) -> list[Decimal]:
    return [value for value in values if value is not None]
