"""kill -9 before and after each step of an event: nothing of it is lost, and nothing happens twice."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from booked_work import the_booking, the_workload
from capacity_oracle import check_capacity
from database.embedded import EmbeddedPostgres
from database.interface import OrderBy
from database.postgres import PostgresDatabase
from flexibility.book import EventBook
from flexibility.steps import Steps
from flexibility_world import ENDS_AT, SUPPLIER_PRICES, announced, carry_on, store_flexible_world
from grid_world import NOW
from killed_steps import run_until_killed
from new_database import new_database

PROGRAM = "flexibility_process.py"
LEASE = timedelta(seconds=61)

# When each process starts, and the line at which it is killed. Between them every step is lost before it is stored or
# known no more after it was, or both.
KILLED: tuple[tuple[datetime, str], ...] = (
    (NOW, "storing OFFERED"),
    (NOW + LEASE, "storing COMMITTED"),
    (NOW + 2 * LEASE, "storing NOTIFIED"),
    (NOW + 3 * LEASE, "stored NOTIFIED"),
    (ENDS_AT, "storing DELIVERED"),
    (ENDS_AT + LEASE, "stored DELIVERED"),
    (ENDS_AT + 2 * LEASE, "stored SETTLED"),
)
STEPS_AT = (NOW + LEASE, NOW + 2 * LEASE, NOW + 3 * LEASE, ENDS_AT + LEASE, ENDS_AT + 2 * LEASE)
"""When the step that counts was made."""


def came_of_it(database: PostgresDatabase, event_id: object) -> dict[str, Any]:
    """All that is kept of an event, without identities and the hashes of them."""
    life: dict[str, Any] = database.call("flexibility_event_life", {"p_event_id": str(event_id)})
    left_out = {"event_id", "decision_id", "previous_hash", "chain_hash", "updated_at"}

    def masked(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: masked(one) for name, one in value.items() if name not in left_out}
        return [masked(one) for one in value] if isinstance(value, list) else value

    bookings = database.select("capacity_bookings", order=OrderBy(("booking_id",)))
    return {
        **masked(life),
        "bookings": [(row["dc_id"], row["source"], row["starts_at"], row["state"]) for row in bookings],
        "decided": len(database.select("orchestration_decisions", order=OrderBy(("decision_id",)))),
        "workload": (the_workload(database, "job-1")["status"], the_booking(database, "job-1")["starts_at"]),
    }


@pytest.mark.thorough
def test_kill_9_between_any_two_states_loses_and_repeats_nothing(
    postgres: PostgresDatabase, conninfo: str, postgres_server: EmbeddedPostgres
) -> None:
    store_flexible_world(postgres)
    event_id = announced(postgres).event_id
    for now, line in KILLED:
        run_until_killed(PROGRAM, conninfo, now, line)
    carry_on(postgres, ENDS_AT + 3 * LEASE)
    check_capacity(postgres)
    assert postgres.call("flexibility_chain_check", {"p_operator": "platform"}) == {"decisions": 6, "broken_at": None}

    with new_database(postgres_server) as other:
        undisturbed = PostgresDatabase(other, max_connections=2)
        store_flexible_world(undisturbed)
        same = announced(undisturbed).event_id
        book = EventBook(undisturbed)
        steps = Steps(book, 100, SUPPLIER_PRICES)
        for now in STEPS_AT:
            (claimed,), _ = book.claim_due("one", now, lease_seconds=60, limit=1)
            book.store(claimed, steps.next_step(claimed, now), now)
        expected = came_of_it(undisturbed, same)
        undisturbed.close()
    assert [one["to_state"] for one in expected["decisions"]][-1] == "SETTLED"
    assert came_of_it(postgres, event_id) == expected
