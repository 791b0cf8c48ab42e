"""From the API server through the gateway to the executor: whatever was ever decided comes to an end.

Time is an argument: two days pass in steps of a quarter of an hour, with grid stress that comes and goes, executors
that die with work in hand, and one that sleeps through some hours.
"""

from __future__ import annotations

import random
from collections import Counter
from datetime import datetime, timedelta

from flask.testing import FlaskClient

from api_application import create_app
from booked_work import HOUR
from database.interface import Database, OrderBy, Where
from database.postgres import PostgresDatabase
from decisions.work.worker import DecisionWorkers
from execution.bookings import BookedRuns, executor_of_bookings
from grid.half_hours import half_hour_of, rfc3339
from grid_world import NOW, data_centre, store_data_centres, store_grid
from ingest.reconsidering import reconsider_deferred, settle_unbooked
from settings import load_settings

WORKLOADS = 60
STEP = timedelta(minutes=15)
ENDED = {"COMPLETED", "FAILED", "CANCELLED"}


class House:
    """An API server, a gateway's engine and executors over one database, at a moment that the test moves."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now = NOW
        app = create_app(database, load_settings({}), clock=self.clock)
        self.client: FlaskClient = app.test_client()
        self.gateway = DecisionWorkers(
            database,
            agent_id="gateway:test:5050",
            clock=self.clock,
            carbon_price_gbp_per_t=100,
            judge=None,
            workers=1,
            poll_seconds=1,
        )

    def clock(self) -> datetime:
        return self.now

    def submit(self, chance: random.Random) -> None:
        workloads = [
            {
                "job_id": f"job-{number}",
                "workload_type": chance.choice(["RAG_QUERY", "FINE_TUNING", "INFERENCE_BATCH"]),
                "urgency": chance.choice(["LOW", "MEDIUM", "HIGH", "CRITICAL"]),
                "required_gpu_mins": chance.choice([20, 60, 240, 1200]),
                **chance.choice(
                    [
                        {"deferral_window_mins": chance.choice([0, 120, 720])},
                        {"deadline": rfc3339(NOW + chance.choice([2, 6, 24]) * HOUR)},
                        {"carbon_cap_gco2": 25, "deferral_window_mins": 600},
                    ]
                ),
            }
            for number in range(WORKLOADS)
        ]
        assert self.client.post("/api/v1/workloads", json=workloads).status_code == 201

    def decide(self) -> None:
        while self.gateway.work_once():
            pass

    def run(self, worker: str) -> None:
        executor = executor_of_bookings(self.database, worker=worker, carbon_price_gbp_per_t=100, clock=self.clock)
        while executor.run_due(self.now).taken:
            pass

    def die_with_work_in_hand(self) -> None:
        """An executor claims what is due, and is never heard of again."""
        BookedRuns(self.database).claim_due("dead", self.now, lease_seconds=20, limit=5)

    def stress(self, score: float) -> None:
        slots = [Where("timestamp", half_hour_of(self.now), "gte"), Where("timestamp", self.now + HOUR, "lt")]
        self.database.update("grid_signals", {"grid_stress_score": score}, where=slots)

    def statuses(self) -> Counter[str]:
        return Counter(row["status"] for row in self.database.select("compute_workloads", order=OrderBy(("job_id",))))


def test_whatever_was_ever_decided_ends_and_has_actuals_where_it_ran(postgres: PostgresDatabase) -> None:
    chance = random.Random(11)
    store_grid(postgres)
    store_data_centres(postgres, [data_centre(number, total_capacity_mw=0.02) for number in range(1, 4)])
    house = House(postgres)
    house.submit(chance)
    for step in range(48 * 4 - 8):
        house.now = NOW + step * STEP
        house.decide()
        house.stress(chance.choice([0.3, 0.3, 0.97]))
        if chance.random() < 0.2:
            house.die_with_work_in_hand()
            house.now += timedelta(seconds=21)
        if not 20 <= step < 30:  # asleep for some hours
            house.run(f"worker-{step % 3}")
        if step % 2 == 0:
            reconsider_deferred(postgres, house.now)
            settle_unbooked(postgres, house.now)
    house.now = NOW + timedelta(days=20)
    reconsider_deferred(postgres, house.now)
    house.run("last")
    assert set(house.statuses()) <= ENDED, house.statuses()
    assert house.statuses()["COMPLETED"] > WORKLOADS / 3

    workloads = postgres.select("compute_workloads", order=OrderBy(("job_id",)))
    for row in workloads:
        ran = row["status"] == "COMPLETED"
        assert (row["actual_end"] is not None) is ran, row
        assert (row["actual_energy_kwh"] is not None) is ran, row
    bookings = postgres.select("capacity_bookings", order=OrderBy(("booking_id",)))
    assert {booking["state"] for booking in bookings} <= {"ENDED", "RELEASED"}
    ended = Counter(booking["job_id"] for booking in bookings if booking["state"] == "ENDED")
    assert ended == Counter(row["job_id"] for row in workloads if row["status"] == "COMPLETED")
    assert not [row for row in postgres.select("held_power", order=OrderBy(("dc_id",))) if float(row["held_kw"])]
    loads = postgres.select("data_centres", order=OrderBy(("dc_id",)))
    assert {centre["current_load_percentage"] for centre in loads} == {50}
