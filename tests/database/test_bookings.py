"""Promises of power: none beyond what there is, whatever happens in which order, and all of it given back."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capacity_oracle import check_capacity, held_kw_in_all
from database.interface import Database, OrderBy, Row, Where
from database.postgres import PostgresDatabase
from decisions.scoring.capacity import least_free_kw
from decisions.scoring.context import Capacity
from decisions.work.notifications import Claim, WorkQueue
from decisions.work.worker import DecisionWorkers
from described_events import assert_as_described
from grid.half_hours import HALF_HOUR, from_rfc3339, half_hour_of, rfc3339
from grid_world import NOW, data_centre, store_data_centres, store_grid, store_world, submit, workload
from hypothesis_profile import SHARES_A_FIXTURE

MINUTE = timedelta(minutes=1)
SLOT = half_hour_of(NOW)
HERE, THERE = "DC-001", "DC-002"
CAPACITY_KW = {HERE: 10.0, THERE: 6.0}


def small_centres(database: Database, **changes: Any) -> None:
    """Two data centres with 10 and 6 kW that are free."""
    centres = [
        data_centre(number, total_capacity_mw=kw / 1000, current_load_percentage=0, **changes)
        for number, kw in enumerate(CAPACITY_KW.values(), start=1)
    ]
    store_data_centres(database, centres)


def capacity(database: Database, now: datetime = NOW) -> Capacity:
    return Capacity.model_validate(database.call("capacity_at", {"p_now": now}))


def placed(claim: Claim, dc_id: str, start: datetime, end: datetime, kw: float, **changes: Any) -> Row:
    """A decision that places its workload, in as few words as can be."""
    return {
        "notification_id": claim.notification_id,
        "lease_token": claim.lease_token,
        "context": {"context_id": str(uuid4()), "task": {"job_id": claim.job_id}},
        "output": json.dumps({"_metadata": {"task_id": claim.job_id, "sequence": None}}),
        "chosen_dc_id": dc_id,
        "recommended_start": start,
        "workload_status": "QUEUED",
        "scorer": "deterministic",
        "scorer_version": "1",
        "booking": {"starts_at": start, "ends_at": end, "it_power_kw": kw, "run_now": None},
        **changes,
    }


def publish(database: Database, *decisions: Row) -> list[str]:
    """The states of what was published, in the order given."""
    arguments = {"p_agent_id": "test", "p_grid": {}, "p_decisions": list(decisions)}
    states = {
        result["notification_id"]: result["state"]
        for result in database.call("publish_decisions", arguments)["results"]
    }
    return [states[decision["notification_id"]] for decision in decisions]


def claim(database: Database, *job_ids: str) -> list[Claim]:
    """Claims of new workloads of these names."""
    submit(database, *map(workload, job_ids))
    claims = {found.job_id: found for found in WorkQueue(database, "test", lease_seconds=60).claim(1000).claimed}
    return [claims[job_id] for job_id in job_ids]


def bookings(database: Database, **where: Any) -> list[Row]:
    conditions = [Where(column, value) for column, value in where.items()]
    return database.select("capacity_bookings", where=conditions, order=OrderBy(("booking_id",)))


def status_of(database: Database, job_id: str) -> str:
    (row,) = database.select("compute_workloads", where=[Where("job_id", job_id)], order=OrderBy(("job_id",)))
    return str(row["status"])


def events(database: Database, kind: str) -> list[Row]:
    rows = database.select("broadcast_log", where=[Where("event_type", kind)], order=OrderBy(("sequence",)))
    assert_as_described(rows)
    return rows


def cancel(database: Database, job_id: str, now: datetime = NOW) -> Row:
    arguments = {"p_job_id": job_id, "p_reason": "no longer wanted", "p_now": now}
    answer: Row = database.call("cancel_workload", arguments)
    return answer


def move(database: Database, job_id: str, now: datetime = NOW, **where: Any) -> Row:
    answer: Row = database.call("move_workload", {"p_job_id": job_id, "p_booking": where, "p_now": now})
    return answer


def test_a_published_decision_holds_its_power_in_every_half_hour_that_it_touches(database: Database) -> None:
    small_centres(database)
    (one,) = claim(database, "job-1")
    assert publish(database, placed(one, HERE, SLOT + 40 * MINUTE, SLOT + 100 * MINUTE, 4)) == ["published"]
    (booking,) = bookings(database)
    assert (booking["state"], booking["carried_out_by"], booking["work_state"]) == ("HELD", "simulation", "available")
    assert from_rfc3339(booking["scheduled_at"]) == SLOT + 40 * MINUTE
    found = capacity(database)
    assert (found.start, found.half_hours) == (SLOT, 96)
    assert found.free_it_kw == {HERE: ((0, 10.0), (1, 6.0), (4, 10.0)), THERE: ((0, 6.0),)}


def test_what_finds_no_room_is_decided_again_and_nothing_of_it_is_stored(database: Database) -> None:
    small_centres(database)
    claims = claim(database, "job-1", "job-2", "job-3")
    wanted = [placed(one, HERE, SLOT, SLOT + HALF_HOUR, 6) for one in claims[:2]]
    wanted.append(placed(claims[2], HERE, SLOT, SLOT + HALF_HOUR, 4))
    assert publish(database, *wanted) == ["published", "displaced", "published"]
    assert status_of(database, "job-2") == "PENDING"
    assert len(database.select("orchestration_decisions", order=OrderBy(("sequence",)))) == 2
    (again,) = WorkQueue(database, "test", lease_seconds=60).claim(10).claimed
    assert (again.job_id, again.attempt) == ("job-2", 1)
    assert publish(database, wanted[1]) == ["fenced"]  # by its old lease


def test_power_is_taken_in_the_order_in_which_the_decisions_are_given(database: Database) -> None:
    small_centres(database)
    claims = claim(database, "job-1", "job-2")
    wanted = [placed(one, HERE, SLOT, SLOT + HALF_HOUR, 6) for one in reversed(claims)]
    assert publish(database, *wanted) == ["published", "displaced"]
    assert status_of(database, "job-2") == "QUEUED"


def test_a_data_centre_that_takes_no_work_takes_none(database: Database) -> None:
    small_centres(database, status="MAINTENANCE")
    (one,) = claim(database, "job-1")
    assert publish(database, placed(one, HERE, SLOT, SLOT + HALF_HOUR, 0)) == ["displaced"]


def test_the_base_load_counts_where_it_is_stated_else_the_present_load(postgres: PostgresDatabase) -> None:
    small_centres(postgres)
    postgres.run_script("update data_centres set current_load_percentage = 50")
    assert capacity(postgres).free_it_kw == {HERE: ((0, 5.0),), THERE: ((0, 3.0),)}
    postgres.run_script("update data_centres set base_load_percentage = 10 where dc_id = 'DC-001'")
    assert capacity(postgres).free_it_kw == {HERE: ((0, 9.0),), THERE: ((0, 3.0),)}
    postgres.run_script("update data_centres set status = 'OFFLINE' where dc_id = 'DC-002'")
    assert set(capacity(postgres).free_it_kw) == {HERE}


def test_a_program_that_books_nothing_holds_what_its_output_says(database: Database) -> None:
    small_centres(database)
    claims = claim(database, "job-1", "job-2", "job-3")
    summary = {
        "start": rfc3339(SLOT),
        "end": rfc3339(SLOT + HALF_HOUR),
        "workload": {"it_power_kw": 6},
    }
    outputs = [{"decision": summary, "_metadata": {}}, {"decision": summary, "_metadata": {}}, {"_metadata": {}}]
    wanted = [
        placed(one, HERE, SLOT, SLOT, 0, output=json.dumps(output), booking=None)
        for one, output in zip(claims, outputs, strict=True)
    ]
    assert publish(database, *wanted) == ["published", "fenced", "published"]
    (booking,) = bookings(database)
    assert (booking["job_id"], float(booking["it_power_kw"])) == ("job-1", 6)
    assert WorkQueue(database, "test", lease_seconds=60).claim(10).claimed == ()  # it waits for a minute


def test_a_runner_runs_what_is_booked_where_runners_run_it(postgres: PostgresDatabase) -> None:
    small_centres(postgres)
    postgres.run_script("update data_centres set execution = 'runner'")
    (one,) = claim(postgres, "job-1")
    publish(postgres, placed(one, HERE, SLOT, SLOT + HALF_HOUR, 1))
    assert [booking["carried_out_by"] for booking in bookings(postgres)] == ["runner"]


def test_a_cancelled_workload_gives_its_power_back_and_tells_it(database: Database) -> None:
    small_centres(database)
    (one,) = claim(database, "job-1")
    publish(database, placed(one, HERE, SLOT, SLOT + HALF_HOUR, 4))
    for _ in range(2):
        answer = cancel(database, "job-1")
        assert (answer["state"], answer["workload"]["status"]) == ("cancelled", "CANCELLED")
    assert capacity(database).free_it_kw[HERE] == ((0, 10.0),)
    (booking,) = bookings(database)
    assert (booking["state"], booking["reason"]) == ("RELEASED", "no longer wanted")
    (event,) = events(database, "workload.cancelled")
    assert (event["job_id"], event["sequence"], event["tenant_sequence"]) == ("job-1", 2, 2)
    assert event["event"]["dc_id"] == HERE
    told = database.call("events_after", {"p_after": 0, "p_limit": 10})
    assert [each["event_type"] for each in told["events"]] == ["decision"]


def test_a_workload_that_waits_for_a_decision_is_cancelled_with_its_notification(database: Database) -> None:
    small_centres(database)
    waiting, in_hand = claim(database, "job-1", "job-2")
    submit(database, workload("job-3"))
    assert [cancel(database, job)["state"] for job in ("job-2", "job-3", "job-4")] == [
        *("cancelled", "cancelled", "unknown")
    ]
    assert WorkQueue(database, "test", lease_seconds=60).claim(10).claimed == ()
    decided = [placed(one, HERE, SLOT, SLOT + HALF_HOUR, 1) for one in (waiting, in_hand)]
    assert publish(database, *decided) == ["published", "withdrawn"]
    assert [booking["job_id"] for booking in bookings(database)] == ["job-1"]


def test_what_runs_in_simulation_ends_now_and_what_a_runner_runs_when_it_has_stopped_it(
    postgres: PostgresDatabase,
) -> None:
    small_centres(postgres)
    claims = claim(postgres, "job-1", "job-2")
    publish(postgres, *(placed(one, HERE, SLOT, SLOT + HALF_HOUR, 1) for one in claims))
    postgres.run_script(
        "update capacity_bookings set state = 'RUNNING', lease_token = 7, work_state = 'running';"
        "update compute_workloads set status = 'RUNNING';"
        "update capacity_bookings set carried_out_by = 'runner' where job_id = 'job-2'"
    )
    assert [cancel(postgres, job)["state"] for job in ("job-1", "job-2")] == ["cancelled", "requested"]
    ended, asked = bookings(postgres)
    assert (ended["state"], ended["work_state"], ended["lease_token"]) == ("ENDED", "available", None)
    assert (asked["state"], asked["lease_token"]) == ("RUNNING", 7)
    assert from_rfc3339(asked["cancel_requested_at"]) == NOW
    assert [status_of(postgres, job) for job in ("job-1", "job-2")] == ["CANCELLED", "RUNNING"]
    postgres.run_script("update compute_workloads set status = 'COMPLETED' where job_id = 'job-2'")
    assert cancel(postgres, "job-2")["state"] == "over"


def test_whoever_found_no_place_asks_again_when_power_is_given_back(database: Database) -> None:
    small_centres(database)
    first, second = claim(database, "job-1", "job-2")
    nowhere = placed(second, HERE, SLOT, SLOT, 0, chosen_dc_id=None, workload_status="PENDING", booking=None)
    assert publish(database, placed(first, HERE, SLOT, SLOT + HALF_HOUR, 4), nowhere) == ["published"] * 2
    assert WorkQueue(database, "test", lease_seconds=60).claim(10).claimed == ()
    cancel(database, "job-1")
    (again,) = WorkQueue(database, "test", lease_seconds=60).claim(10).claimed
    assert (again.job_id, again.reason) == ("job-2", "reconsidered")


def test_a_workload_moves_with_its_power_to_where_there_is_room_and_hears_from_when_else(database: Database) -> None:
    small_centres(database)
    claims = claim(database, "job-1", "job-2")
    wanted = [
        placed(claims[0], HERE, SLOT + HALF_HOUR, SLOT + 3 * HALF_HOUR, 5),
        placed(claims[1], THERE, SLOT + 2 * HALF_HOUR, SLOT + 4 * HALF_HOUR, 3),
    ]
    assert publish(database, *wanted) == ["published"] * 2
    full = move(database, "job-1", dc_id=THERE)
    assert full["state"] == "no_room"
    assert from_rfc3339(full["room_from"]) == SLOT + 4 * HALF_HOUR
    assert move(database, "job-1", dc_id=THERE, starts_at=SLOT + 4 * HALF_HOUR)["state"] == "moved"
    assert capacity(database).free_it_kw == {HERE: ((0, 10.0),), THERE: ((0, 6.0), (2, 3.0), (4, 1.0), (6, 6.0))}
    (row,) = database.select("compute_workloads", where=[Where("job_id", "job-1")], order=OrderBy(("job_id",)))
    assert (row["host_dc_id"], row["status"]) == (THERE, "QUEUED")
    assert from_rfc3339(row["scheduled_start"]) == SLOT + 4 * HALF_HOUR
    (event,) = events(database, "workload.moved")
    assert (event["event"]["from"]["dc_id"], event["event"]["to"]["dc_id"]) == (HERE, THERE)
    # What it holds it keeps: half of its new window was its own.
    assert move(database, "job-1", starts_at=SLOT + 5 * HALF_HOUR)["state"] == "moved"


@pytest.mark.parametrize(
    ("where", "state"),
    [
        ({"starts_at": NOW - MINUTE}, "past"),
        ({"starts_at": NOW + timedelta(days=8)}, "too_far"),
        ({"starts_at": NOW + timedelta(hours=5)}, "too_late"),
        ({"dc_id": "DC-404"}, "unknown_data_centre"),
        ({"dc_id": THERE}, "not_active"),
    ],
)
def test_a_move_that_cannot_be_is_refused_and_changes_nothing(
    postgres: PostgresDatabase, where: dict[str, Any], state: str
) -> None:
    small_centres(postgres)
    (one,) = claim(postgres, "job-1")
    publish(postgres, placed(one, HERE, SLOT + HALF_HOUR, SLOT + 2 * HALF_HOUR, 5))
    postgres.run_script(
        "update data_centres set status = 'CONSTRAINED' where dc_id = 'DC-002';"
        f"update compute_workloads set deadline = '{rfc3339(NOW + timedelta(hours=4))}'"
    )
    before = bookings(postgres)
    assert move(postgres, "job-1", **where)["state"] == state
    assert bookings(postgres) == before
    cancel(postgres, "job-1")
    assert move(postgres, "job-1", starts_at=NOW + HALF_HOUR)["state"] == "not_waiting"


def test_what_no_runner_starts_gives_its_power_back_and_asks_again_or_has_failed(postgres: PostgresDatabase) -> None:
    small_centres(postgres)
    postgres.run_script("update data_centres set execution = 'runner'")
    claims = claim(postgres, "job-1", "job-2", "job-3")
    publish(postgres, *(placed(one, HERE, SLOT, SLOT + HALF_HOUR, 2) for one in claims))
    postgres.run_script(
        f"update compute_workloads set deadline = '{rfc3339(NOW + HALF_HOUR)}' where job_id = 'job-2';"
        "update capacity_bookings set work_state = 'running' where job_id = 'job-3'"  # somebody has it in hand
    )
    later = SLOT + timedelta(hours=2)
    store_grid(postgres, later)
    postgres.call("reconsider_deferred", {"p_now": later})
    assert [status_of(postgres, job) for job in ("job-1", "job-2", "job-3")] == ["PENDING", "FAILED", "QUEUED"]
    assert [booking["state"] for booking in bookings(postgres)] == ["RELEASED", "RELEASED", "HELD"]
    assert [event["job_id"] for event in events(postgres, "workload.expired")] == ["job-1", "job-2"]
    (again,) = WorkQueue(postgres, "test", lease_seconds=60).claim(10).claimed
    assert again.job_id == "job-1"
    check_capacity(postgres)


# What may happen, in any order

WINDOWS = st.tuples(st.sampled_from(sorted(CAPACITY_KW)), st.integers(0, 180), st.integers(1, 120))
POWERS = st.sampled_from([0.0, 0.000001, 1.0, 2.5, 3.333333, 6.0, 10.0])
STEPS = st.one_of(
    st.tuples(st.just("decide"), st.lists(st.tuples(WINDOWS, POWERS), min_size=1, max_size=4)),
    st.tuples(st.just("confirm"), st.tuples(WINDOWS, POWERS)),
    st.tuples(st.just("defer"), st.tuples(st.integers(0, 99), WINDOWS)),
    st.tuples(st.just("move"), st.tuples(st.integers(0, 99), WINDOWS)),
    st.tuples(st.sampled_from(["cancel", "begin", "complete", "cancel_order"]), st.integers(0, 99)),
)


@dataclass
class Platform:
    """Takes one step after the other; which workload a step is about is one of those there are."""

    database: PostgresDatabase
    example: str = field(default_factory=lambda: uuid4().hex[:12])
    jobs: list[str] = field(default_factory=list)
    orders: dict[str, str] = field(default_factory=dict)

    def take(self, step: str, what: Any) -> None:
        getattr(self, step)(what)

    def decide(self, wanted: list[tuple[tuple[str, int, int], float]]) -> None:
        """Published exactly where there is room beside those before, by what the platform says is free."""
        names = [f"{self.example}-{len(self.jobs) + number}" for number in range(len(wanted))]
        decisions: list[Row] = []
        surely: list[bool] = []
        now_free = capacity(self.database)
        for one, ((dc_id, begin, minutes), kw) in zip(claim(self.database, *names), wanted, strict=True):
            start, end = NOW + begin * MINUTE, NOW + (begin + minutes) * MINUTE
            others_kw = sum(other["booking"]["it_power_kw"] for other in decisions if other["chosen_dc_id"] == dc_id)
            decisions.append(placed(one, dc_id, start, end, kw))
            surely.append(kw <= least_free_kw(now_free, dc_id, start, end) - others_kw)
        states = publish(self.database, *decisions)
        # Of those after the first, the windows of those before may be others: then the oracle alone judges.
        assert states[0] == ("published" if surely[0] else "displaced")
        assert all(state == "published" for state, sure in zip(states, surely, strict=True) if sure)
        self.jobs += names
        for name in names:
            if status_of(self.database, name) == "PENDING":
                cancel(self.database, name)

    def confirm(self, wanted: tuple[tuple[str, int, int], float]) -> None:
        (dc_id, begin, minutes), kw = wanted
        start, end = NOW + begin * MINUTE, NOW + (begin + minutes) * MINUTE
        order_id, quote_id, transaction_id = (str(uuid4()) for _ in range(3))
        parties = {"bpp_id": "bpp", "bap_id": "bap", "transaction_id": transaction_id, "quote_id": quote_id}
        self.database.insert(
            "beckn_quotes",
            [
                {
                    **parties,
                    "dc_id": dc_id,
                    "item_id": "item",
                    "starts_at": start,
                    "ends_at": end,
                    "it_power_kw": kw,
                    "price_gbp": 1,
                    "terms": {},
                    "expires_at": NOW + timedelta(days=1),
                    "buyer_operator": "platform",
                    "seller_operator": "local",
                }
            ],
        )
        order = {
            **parties,
            "order_id": order_id,
            "starts_at": start,
            "ends_at": end,
            "terms": {},
            "workload": {"job_id": f"order-{order_id}", "workload_type": "OTHER", "urgency": "LOW"},
            "limits": {"open_orders": 1000, "cancelled_a_day": 100_000, "share": 1},
        }
        answer = self.database.call("beckn_place_order", {"p_order": order, "p_now": NOW})
        assert answer["state"] in {"placed", "no_capacity", "share_held"}
        if answer["state"] == "placed":
            self.orders[order_id] = f"order-{order_id}"

    def defer(self, what: tuple[int, tuple[str, int, int]]) -> None:
        which, (_, begin, minutes) = what
        start = NOW + begin * MINUTE
        self._change_order(which, "DEFERRED", starts_at=start, ends_at=start + minutes * MINUTE, due_at=start)

    def begin(self, which: int) -> None:
        self._change_order(which, "RUNNING", due_at=NOW)

    def complete(self, which: int) -> None:
        self._change_order(which, "COMPLETED")

    def cancel_order(self, which: int) -> None:
        self._change_order(which, "CANCELLED")

    def _change_order(self, which: int, state: str, **changes: Any) -> None:
        if not self.orders:
            return
        order_id = list(self.orders)[which % len(self.orders)]
        before = {
            "DEFERRED": ["SCHEDULED", "DEFERRED"],
            "RUNNING": ["SCHEDULED", "DEFERRED"],
            "COMPLETED": ["RUNNING"],
            "CANCELLED": ["SCHEDULED", "DEFERRED", "RUNNING"],
        }
        status = {"DEFERRED": "DEFERRED_CARBON"}.get(state, state)
        change = {
            "order_id": order_id,
            "lease_token": None,
            "from_states": before[state],
            "state": state,
            "updated_at": NOW,
            "share": None,
            "workload": {"status": status},
            **changes,
        }
        answer = self.database.call("beckn_change_order", {"p_change": change, "p_outgoing": []})
        assert answer["state"] in {"changed", "wrong_state", "no_capacity"}

    def move(self, what: tuple[int, tuple[str, int, int]]) -> None:
        which, (dc_id, begin, _) = what
        if self.jobs:
            answer = move(
                self.database, self.jobs[which % len(self.jobs)], dc_id=dc_id, starts_at=NOW + begin * MINUTE
            )
            assert answer["state"] in {"moved", "no_room", "not_waiting"}

    def cancel(self, which: int) -> None:
        if self.jobs:
            assert cancel(self.database, self.jobs[which % len(self.jobs)])["state"] == "cancelled"

    def end(self) -> None:
        """Cancel or complete whatever there is."""
        for job in self.jobs:
            cancel(self.database, job)
        for number in range(len(self.orders)):
            self.begin(number)
            self.complete(number)


@pytest.fixture
def platform_database(postgres: PostgresDatabase) -> PostgresDatabase:
    small_centres(postgres)
    postgres.run_script("insert into operators (operator_id, name) values ('platform', 'The platform')")
    return postgres


@given(st.lists(STEPS, min_size=1, max_size=10))
@settings(max_examples=25, suppress_health_check=SHARES_A_FIXTURE)
def test_no_order_of_events_holds_more_than_there_is_and_all_is_given_back(
    platform_database: PostgresDatabase, steps: list[tuple[str, Any]]
) -> None:
    platform = Platform(platform_database)
    for step, what in steps:
        platform.take(step, what)
        check_capacity(platform_database)
    platform.end()
    check_capacity(platform_database)
    assert held_kw_in_all(platform_database) == 0


def test_a_herd_is_spread_over_places_and_times_and_each_is_decided_once(postgres: PostgresDatabase) -> None:
    """400 workloads of 250 kW, where 30 MW are free: decided by three gateways at once."""
    store_world(postgres)
    herd = [
        workload(f"job-{n:03d}", estimated_energy_kwh=62.5, required_gpu_mins=60, deferral_window_mins=1440)
        for n in range(400)
    ]
    submit(postgres, *herd)

    def gateway(number: int) -> None:
        engine = DecisionWorkers(
            postgres,
            agent_id=f"gateway-{number}",
            clock=lambda: NOW,
            carbon_price_gbp_per_t=100,
            judge=None,
            workers=1,
            poll_seconds=1,
        )
        while engine.work_once():
            check_capacity(postgres)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(gateway, range(3)))
    check_capacity(postgres)
    decided = postgres.select("orchestration_decisions", order=OrderBy(("sequence",)))
    assert [row["sequence"] for row in decided] == list(range(1, len(decided) + 1))
    assert len({row["job_id"] for row in decided}) == len(decided) == 400
    held = bookings(postgres, state="HELD")
    assert len(held) == sum(row["chosen_dc_id"] is not None for row in decided)
    assert {float(row["it_power_kw"]) for row in held} == {250.0}
    assert len(held) > 120  # what there is room for at once
