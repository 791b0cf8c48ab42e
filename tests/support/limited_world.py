"""A region whose data centres have work booked under a limit, and whoever looks at it, for tests of negotiations."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from booked_work import book, the_booking
from database.interface import OrderBy, Where
from database.postgres import PostgresDatabase
from grid.half_hours import from_rfc3339, half_hour_of
from grid_world import NOW, data_centre, store_data_centres, store_grid
from negotiation.life import CoordinatorThread
from negotiation.model import NegotiationLife
from negotiation.talk import read_negotiation, read_negotiations
from negotiation.watch import LimitWatch, WatchedLimits

HALF_HOUR = timedelta(minutes=30)
STARTS_AT = NOW.replace(hour=10, minute=0, second=0)
REGION = 13
SITE_MW = 1.44
"""What a workload of 1.2 MW draws at a PUE of 1.2."""
NEEDS = {"required_gpu_mins": 480, "estimated_energy_kwh": 2400, "deferral_window_mins": 720}


def store_region(database: PostgresDatabase) -> None:
    """A grid, and two empty data centres of one region."""
    store_grid(database)
    store_data_centres(database, [data_centre(n, region_id=REGION, current_load_percentage=0) for n in (1, 2)])


def book_movable(
    database: PostgresDatabase, job_id: str, *, starts_at: datetime = STARTS_AT, hours: float = 2, **facts: Any
) -> None:
    """Two hours of 1.2 MW, which may begin up to twelve hours from now."""
    book(database, job_id, starts_at=starts_at, hours=hours, **{"it_power_kw": 1200, **NEEDS, **facts})


def watch(database: PostgresDatabase, limit_mw: float | None = SITE_MW + 0.1) -> LimitWatch:
    limits = {} if limit_mw is None else {REGION: limit_mw}
    return LimitWatch(database, WatchedLimits(of_regions_mw=limits, carbon_price_gbp_per_t=100))


def carry_on(database: PostgresDatabase, limit_mw: float | None = SITE_MW + 0.1) -> None:
    """Look at the limits, and make every step that is due."""
    one = CoordinatorThread(
        database,
        worker="one",
        clock=lambda: NOW,
        carbon_price_gbp_per_t=100,
        watch=watch(database, limit_mw),
    )
    while one.run_due(NOW).taken:
        pass
    assert not one.troubles()


def the_negotiation(database: PostgresDatabase) -> NegotiationLife:
    (negotiation,) = read_negotiations(database, 10)
    life = read_negotiation(database, negotiation.negotiation_id)
    assert life is not None
    return life


def drawn_mw(database: PostgresDatabase) -> float:
    """The most that the region draws in any half-hour."""
    booked = database.select("capacity_bookings", where=[Where("state", "HELD")], order=OrderBy(("booking_id",)))
    runs = [(from_rfc3339(row["starts_at"]), from_rfc3339(row["ends_at"]), row["it_power_kw"]) for row in booked]
    at = [half_hour_of(NOW) + number * HALF_HOUR for number in range(48)]
    return max(sum(float(kw) * 1.2 / 1000 for begins, ends, kw in runs if begins <= one < ends) for one in at)


def begins(database: PostgresDatabase, job_id: str) -> datetime:
    return from_rfc3339(the_booking(database, job_id)["starts_at"])
