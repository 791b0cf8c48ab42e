"""A small world with work that can give way, for tests of flexibility."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from booked_work import book
from database.interface import Database
from flexibility.event_model import Door, NewEvent, Programme, StoredEvent
from flexibility.events import announce
from flexibility.life import FlexibilityLife
from flexibility.rules.supplier_prices import SupplierPrices
from grid_world import NOW, store_world

STARTS_AT = datetime(2026, 11, 22, 10, tzinfo=NOW.tzinfo)
HALF_HOURS = 4
ENDS_AT = STARTS_AT + timedelta(hours=2)
SITE_MWH = Decimal("0.72")
"""What the workload draws in half an hour: 1.2 MW and a PUE of 1.2."""
SUPPLIER_PRICES = SupplierPrices.read("2026Q4=98.53")


def new_event(source_id: str = "event-1", **changes: Any) -> NewEvent:
    """1 MW less for two hours from ten, at £200 a MWh."""
    facts = {
        "door": Door.MANUAL,
        "source_id": source_id,
        "programme": Programme.DFS,
        "starts_at": STARTS_AT,
        "need_mw": ["1"] * HALF_HOURS,
        "price_gbp_per_mwh": ["200"] * HALF_HOURS,
    }
    return NewEvent.model_validate(facts | changes)


def announced(database: Database, now: datetime = NOW, **changes: Any) -> StoredEvent:
    """An event that is announced."""
    event = announce(database, new_event(**changes), now).event
    assert event is not None
    return event


def book_movable(database: Database, job_id: str = "job-1", *, it_power_kw: float = 1200, **facts: Any) -> None:
    """Two hours of power, 1.2 MW, from ten o'clock at DC-001, which may wait for twelve hours."""
    needs = {"required_gpu_mins": 480, "estimated_energy_kwh": 2400, "deferral_window_mins": 720}
    book(database, job_id, starts_at=STARTS_AT, hours=2, it_power_kw=it_power_kw, **needs | facts)


def store_flexible_world(database: Database) -> None:
    """A grid, two data centres, and one workload that can give way."""
    store_world(database, data_centres=2)
    book_movable(database)


def life(database: Database, worker: str = "worker-1") -> FlexibilityLife:
    """Whoever carries events on, with nothing started."""
    return FlexibilityLife(
        database,
        worker=worker,
        carbon_price_gbp_per_t=100,
        supplier_prices=SUPPLIER_PRICES,
        clock=lambda: NOW,
    )


def carry_on(database: Database, now: datetime, worker: str = "worker-1") -> None:
    """Make every step that is due at `now`, and those that become due by them."""
    one = life(database, worker)
    while one.run_due(now).taken:
        pass
