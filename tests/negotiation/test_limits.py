"""Limits that bind by themselves: what is booked negotiates, moves by decisions, and is told in the log."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from api.negotiation_answers import detail
from booked_work import the_booking, the_workload
from capacity_oracle import check_capacity
from database.errors import DatabaseError
from database.interface import OrderBy, Row, Where
from database.postgres import PostgresDatabase
from decisions.work.record import replay
from flexibility_world import announced, store_flexible_world
from flexibility_world import carry_on as carry_event_on
from grid.half_hours import from_rfc3339
from grid_world import NOW, data_centre, store_data_centres, workload
from killed_steps import run_until_killed
from limited_world import (
    HALF_HOUR,
    REGION,
    SITE_MW,
    STARTS_AT,
    begins,
    book_movable,
    carry_on,
    drawn_mw,
    store_region,
    the_negotiation,
    watch,
)
from negotiation.book import NegotiationBook, Stepped
from negotiation.life import CoordinatorThread
from negotiation.model import NegotiationState, StartedBy
from negotiation.talk import read_negotiations
from negotiation.watch import LOOK_EVERY, LimitWatch


@pytest.fixture
def world(postgres: PostgresDatabase) -> PostgresDatabase:
    """Two empty data centres of one region, and two hours of 1.2 MW booked at each from ten o'clock on."""
    store_region(postgres)
    for number in (1, 2):
        book_movable(postgres, f"job-{number}", dc_id=f"DC-{number:03d}")
    return postgres


def events(database: PostgresDatabase) -> Iterator[Row]:
    yield from database.select("broadcast_log", order=OrderBy(("sequence",)))


def half_hours_of(database: PostgresDatabase, job_id: str) -> set[datetime]:
    return {begins(database, job_id) + number * HALF_HOUR for number in range(4)}


def test_a_regions_limit_that_binds_is_negotiated_and_booked_work_moves_by_a_decision(
    world: PostgresDatabase,
) -> None:
    assert drawn_mw(world) == pytest.approx(2 * SITE_MW)
    carry_on(world)
    life = the_negotiation(world)
    assert life.negotiation.state is NegotiationState.CONFIRMED, life.negotiation.state_reason
    assert (life.negotiation.started_by, life.negotiation.limit_key) == (StartedBy.REGION_LIMIT, f"region:{REGION}")
    assert {agent.agent for agent in life.agents} == {"DC-001", "DC-002"}
    assert drawn_mw(world) == pytest.approx(SITE_MW)
    assert sum(float(one.pays_gbp) for one in life.awards) == 0
    assert all(one.cost_gbp + float(one.pays_gbp) <= one.fallback_gbp + 1e-6 for one in life.awards)
    check_capacity(world)

    moved = [name for name in ("job-1", "job-2") if begins(world, name) != STARTS_AT]
    assert moved
    decisions = world.select("orchestration_decisions", order=OrderBy(("job_id",)))
    assert [decision["job_id"] for decision in decisions] == moved
    for decision in decisions:
        workload = the_workload(world, decision["job_id"])
        assert (the_booking(world, decision["job_id"])["state"], workload["status"]) == ("HELD", "QUEUED")
        assert from_rfc3339(workload["scheduled_start"]) == begins(world, decision["job_id"])
        assert decision["context"]["negotiation"]["negotiation_id"] == str(life.negotiation.negotiation_id)
        assert replay(decision["context"], sequence=1).decision.start == begins(world, decision["job_id"])
    told = [row["event_type"] for row in events(world)]
    assert {"negotiation.opened", "negotiation.awarded", "decision", "workload.moved"} <= set(told)
    accepted = [move["job_id"] for one in life.messages for move in one.body.get("moves", [])]
    assert sorted(accepted) == moved


def test_it_is_opened_once_and_not_again_once_it_no_longer_binds(world: PostgresDatabase) -> None:
    assert len(watch(world).look(NOW)) == 1
    assert watch(world).look(NOW) == [], "it is negotiated already"
    carry_on(world)
    assert watch(world).look(NOW + HALF_HOUR) == []
    assert len(read_negotiations(world, 10)) == 1


@pytest.mark.parametrize("limit_mw", [None, 2 * SITE_MW + 0.01], ids=["none is set", "it has room"])
def test_a_limit_that_does_not_bind_opens_nothing(world: PostgresDatabase, limit_mw: float | None) -> None:
    assert watch(world, limit_mw).look(NOW) == []


def test_what_may_not_move_stays_and_one_alone_negotiates_with_nobody(world: PostgresDatabase) -> None:
    world.update("compute_workloads", {"urgency": "CRITICAL"}, where=[Where("job_id", "job-2")])
    assert watch(world).look(NOW) == []


def test_work_that_its_owner_moves_meanwhile_ends_the_negotiation_and_nothing_is_paid(
    world: PostgresDatabase,
) -> None:
    (negotiation,) = watch(world).look(NOW)
    one = CoordinatorThread(world, worker="one", clock=lambda: NOW, carbon_price_gbp_per_t=100)
    for name in ("job-1", "job-2"):
        later = {"starts_at": (STARTS_AT + timedelta(hours=5)).isoformat()}
        moved = world.call("move_workload", {"p_job_id": name, "p_booking": later, "p_now": NOW})
        assert moved["state"] == "moved"
    while one.run_due(NOW).taken:
        pass
    life = the_negotiation(world)
    assert life.negotiation.state is NegotiationState.EXPIRED
    assert not life.awards
    assert not life.payments
    assert {begins(world, name) for name in ("job-1", "job-2")} == {STARTS_AT + timedelta(hours=5)}
    assert not world.select("orchestration_decisions", order=OrderBy(("decision_id",)))
    assert negotiation.limit_key == life.negotiation.limit_key


def test_a_coordinator_that_lost_its_lease_at_the_award_moves_nothing(
    world: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes to the award, sleeps through its lease, and another makes it."""
    watch(world).look(NOW)
    store = NegotiationBook.store
    late = NOW + timedelta(seconds=31)

    def overtaken(book: NegotiationBook, negotiation: object, step: object, now: object) -> object:
        monkeypatch.setattr(NegotiationBook, "store", store)
        other = CoordinatorThread(world, worker="other", clock=lambda: late, carbon_price_gbp_per_t=100)
        while other.run_due(late).taken:
            pass
        return store(book, negotiation, step, now)  # type: ignore[arg-type]

    monkeypatch.setattr(NegotiationBook, "store", overtaken)
    CoordinatorThread(world, worker="slow", clock=lambda: NOW, carbon_price_gbp_per_t=100).run_due(NOW)
    life = the_negotiation(world)
    assert (life.negotiation.state, life.negotiation.award_number) == (NegotiationState.CONFIRMED, 1)
    moved = [begins(world, name) for name in ("job-1", "job-2") if begins(world, name) != STARTS_AT]
    assert len(world.select("orchestration_decisions", order=OrderBy(("decision_id",)))) == len(moved)
    assert drawn_mw(world) == pytest.approx(SITE_MW)


def test_a_data_centre_that_promised_more_than_it_has_left_is_shared_by_the_owners(world: PostgresDatabase) -> None:
    world.insert("operators", [{"operator_id": "op-b", "name": "B"}])
    book_movable(world, "job-3", operator="op-b")
    world.update("data_centres", {"base_load_percentage": 90}, where=[Where("dc_id", "DC-001")])
    carry_on(world, None)
    life = the_negotiation(world)
    assert (life.negotiation.started_by, life.negotiation.limit_key) == (StartedBy.CONTENTION, "data_centre:DC-001")
    assert [agent.agent for agent in life.agents] == ["DC-001", "DC-001.2"]
    assert len({agent.operator for agent in life.agents}) == 2
    assert life.negotiation.state is NegotiationState.CONFIRMED, life.negotiation.state_reason
    check_capacity(world)


def test_limits_of_which_nothing_comes_hold_up_no_other(world: PostgresDatabase) -> None:
    """Ten data centres whose work may not move come before the region, in the order of their names."""
    numbers = range(101, 111)
    store_data_centres(world, [data_centre(number, region_id=1, current_load_percentage=0) for number in numbers])
    for number in numbers:
        book_movable(world, f"fixed-{number}", dc_id=f"DC-{number:03d}", urgency="CRITICAL")
        world.update("data_centres", {"base_load_percentage": 99}, where=[Where("dc_id", f"DC-{number:03d}")])
    looks = (watch(world).look(NOW + number * timedelta(seconds=30)) for number in range(20))
    (opened,) = next(found for found in looks if found)
    assert opened.started_by is StartedBy.REGION_LIMIT


def test_flexibility_that_is_sold_is_a_limit_to_what_is_booked_after_it(postgres: PostgresDatabase) -> None:
    store_flexible_world(postgres)
    event = announced(postgres)
    carry_event_on(postgres, NOW)
    begun = begins(postgres, "job-1")
    assert begun != STARTS_AT, (
        "it gave way: 0.5 of the 0.72 MWh that it freed are sold, and 0.44 MW may still be drawn"
    )
    postgres.insert("operators", [{"operator_id": "op-b", "name": "B"}])
    small: dict[str, Any] = {"it_power_kw": 200, "estimated_energy_kwh": 400}
    book_movable(postgres, "job-2", **small)
    book_movable(postgres, "job-3", operator="op-b", **small)
    carry_on(postgres, None)
    life = the_negotiation(postgres)
    assert life.negotiation.started_by is StartedBy.FLEXIBILITY_NEED
    told = f"{life.negotiation.limit_key} {life.negotiation.name} {[dict(row) for row in events(postgres)][-1]}"
    assert told.startswith("flexibility:")
    assert str(event.event_id) not in told, "op-b, who takes part, is not to learn whose event it is"
    assert "V__" not in told
    assert life.negotiation.state is NegotiationState.CONFIRMED, life.negotiation.state_reason
    event_half_hours = {STARTS_AT + number * HALF_HOUR for number in range(4)}
    both_run = event_half_hours.intersection(*(half_hours_of(postgres, name) for name in ("job-2", "job-3")))
    assert not both_run, "0.48 MW would be too much"
    assert watch(postgres, None).look(NOW + HALF_HOUR) == []


@pytest.mark.parametrize(("error", "is_foreseen"), [(RuntimeError("a bug"), False), (DatabaseError("busy"), True)])
def test_a_look_at_the_limits_that_fails_holds_up_no_negotiation_and_is_told_once(
    world: PostgresDatabase,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    is_foreseen: bool,
) -> None:
    watch(world).look(NOW)

    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(LimitWatch, "look", broken)
    one = CoordinatorThread(world, worker="one", clock=lambda: NOW, carbon_price_gbp_per_t=100, watch=watch(world))
    while one.run_due(NOW).taken:
        pass
    assert one.troubles()
    assert the_negotiation(world).negotiation.state is NegotiationState.CONFIRMED
    one.run_due(NOW + LOOK_EVERY)
    told = [record for record in caplog.records if "cannot be looked at" in record.getMessage()]
    assert [record.exc_info is None for record in told] == [is_foreseen]


def meter(database: PostgresDatabase, job_id: str, site_wh: float) -> None:
    """Four half-hours of a run that has ended, each of so much site energy."""
    booking = the_booking(database, job_id)
    over = {"state": "ENDED", "work_state": "completed"}
    database.update("capacity_bookings", over, where=[Where("booking_id", booking["booking_id"])])
    readings = [
        {
            "booking_id": booking["booking_id"],
            "dc_id": booking["dc_id"],
            "tenant": booking["tenant"],
            "job_id": job_id,
            "half_hour": half_hour,
            "it_energy_wh": site_wh / 1.2,
            "site_energy_wh": site_wh,
            "source": "simulated",
            "revision": 1,
        }
        for half_hour in half_hours_of(database, job_id)
    ]
    database.insert("meter_readings", readings)


def test_what_was_drawn_is_told_once_it_is_metered_and_more_than_awarded_is_owed_at_the_dearer_price(
    world: PostgresDatabase,
) -> None:
    carry_on(world)
    ends_at = the_negotiation(world).negotiation.ends_at
    one = CoordinatorThread(world, worker="one", clock=lambda: NOW, carbon_price_gbp_per_t=100)
    one.run_due(ends_at)
    assert the_negotiation(world).negotiation.state_reason == "What ran in its half-hours is yet to be metered."
    meter(world, "job-1", 720_000)
    meter(world, "job-2", 820_000)
    one.run_due(ends_at + timedelta(minutes=5))
    life = the_negotiation(world)
    assert (
        life.negotiation.state_reason == "More was drawn than awarded, and the system price of it is not known yet."
    )
    prices = [
        {
            "half_hour": half_hour,
            "revision": 1,
            "system_price_gbp_mwh": 500,
            "published_at": NOW,
            "fetched_at": NOW,
        }
        for half_hour in half_hours_of(world, "job-2")
    ]
    world.insert("system_price_revisions", prices)
    one.run_due(ends_at + timedelta(minutes=35))
    life = the_negotiation(world)
    assert life.negotiation.state is NegotiationState.SETTLED
    informed = {message.agent: message.body for message in life.messages if message.performative == "inform"}
    assert (informed["DC-001"]["above_award_mwh"], informed["DC-001"]["owes_gbp"]) == ("0", "0")
    assert Decimal(informed["DC-002"]["above_award_mwh"]) == Decimal("0.4")
    assert Decimal(informed["DC-002"]["owes_gbp"]) == Decimal(200)
    assert sum(map(Decimal, informed["DC-001"]["metered_mwh"])) == Decimal("2.88")
    assert detail(life).rounds


def test_a_step_that_moves_work_waits_for_whoever_opens_a_negotiation_before_it_locks_anything(
    world: PostgresDatabase, conninfo: str
) -> None:
    """Whoever opens one has the table and then wants the publishing lock: the other order would be a deadlock."""
    watch(world).look(NOW)
    publishing_lock = "select pg_try_advisory_xact_lock(7263812)"
    waits = "select count(*) from pg_locks where relation = 'public.negotiations'::regclass and not granted"
    with psycopg.connect(conninfo) as opening, ThreadPoolExecutor(1) as pool:
        one = CoordinatorThread(world, worker="one", clock=lambda: NOW, carbon_price_gbp_per_t=100)
        # What claims the work does not wait: it is claimed before the table is taken.
        (claimed,), _ = NegotiationBook(world).claim_due("one", NOW, lease_seconds=30, limit=1)
        opening.execute("lock table public.negotiations in share row exclusive mode")
        stepped = pool.submit(one._step, claimed, NOW)
        while opening.execute(waits).fetchone() == (0,):
            assert not stepped.done()
        assert opening.execute(publishing_lock).fetchone() == (True,)
        opening.execute("select from public.data_centres for no key update nowait")
        opening.commit()
        assert stepped.result()[1] is Stepped.CHANGED


def test_a_step_that_moves_work_waits_for_whoever_lets_the_same_ask_again_before_it_publishes(
    world: PostgresDatabase, conninfo: str
) -> None:
    """Whoever gives power back lets others ask again, and then wants the publishing lock to tell of it."""
    world.insert("compute_workloads", [workload("waiting", status="DEFERRED_CARBON")])
    watch(world).look(NOW)
    waits = "select count(*) from pg_locks where locktype = 'transactionid' and not granted"
    with psycopg.connect(conninfo) as cancelling, ThreadPoolExecutor(1) as pool:
        one = CoordinatorThread(world, worker="one", clock=lambda: NOW, carbon_price_gbp_per_t=100)
        (claimed,), _ = NegotiationBook(world).claim_due("one", NOW, lease_seconds=30, limit=1)
        assert cancelling.execute("select public.let_waiting_ask_again()").fetchone() == (1,)
        stepped = pool.submit(one._step, claimed, NOW)
        while cancelling.execute(waits).fetchone() == (0,):
            assert not stepped.done()
        assert cancelling.execute("select pg_try_advisory_xact_lock(7263812)").fetchone() == (True,)
        cancelling.commit()
        assert stepped.result()[1] is Stepped.CHANGED


def test_a_coordinator_that_is_killed_at_the_award_has_moved_nothing_or_all(
    world: PostgresDatabase, conninfo: str
) -> None:
    watch(world).look(NOW)
    run_until_killed("negotiation_process.py", conninfo, NOW, "storing CONFIRMED")
    assert begins(world, "job-1") == begins(world, "job-2") == STARTS_AT
    assert not the_negotiation(world).awards
    later = NOW + timedelta(seconds=31)
    run_until_killed("negotiation_process.py", conninfo, later, "stored CONFIRMED")
    life = the_negotiation(world)
    assert (life.negotiation.state, life.negotiation.award_number) == (NegotiationState.CONFIRMED, 1)
    assert drawn_mw(world) == pytest.approx(SITE_MW)
    moved = [name for name in ("job-1", "job-2") if begins(world, name) != STARTS_AT]
    decisions = world.select("orchestration_decisions", order=OrderBy(("job_id",)))
    assert [decision["job_id"] for decision in decisions] == moved
    check_capacity(world)
