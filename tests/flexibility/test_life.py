"""An event's way through its states on the real database: one transaction a step, whoever dies when."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from api_application import create_app
from booked_work import book, the_booking, the_workload
from capacity_oracle import check_capacity
from database.errors import DatabaseError
from database.interface import OrderBy, Row, Where
from database.postgres import PostgresDatabase
from decisions.work.record import replay
from described_events import assert_as_described
from flexibility.book import EventBook, Stepped
from flexibility.event_model import EventState, StoredEvent
from flexibility.events import Announcing, Cancelling, announce, cancel
from flexibility.steps import Steps
from flexibility_world import (
    ENDS_AT,
    HALF_HOURS,
    SITE_MWH,
    STARTS_AT,
    SUPPLIER_PRICES,
    announced,
    book_movable,
    carry_on,
    life,
    new_event,
    store_flexible_world,
)
from grid.half_hours import HALF_HOUR, from_rfc3339
from grid_world import NOW, data_centre, store_data_centres, store_world
from ingest.market import MarketData, store_market
from served import served
from settings import load_settings
from two_operators import A, B, make_operators
from upstreams.system_prices import SystemPrice

LEASE = timedelta(seconds=61)


def prices_of(gbp_per_mwh: int) -> tuple[SystemPrice, ...]:
    """One price in all half-hours of the event."""
    return tuple(
        SystemPrice(STARTS_AT + place * HALF_HOUR, NOW, Decimal(gbp_per_mwh), None, None, "N", False)
        for place in range(HALF_HOURS)
    )


def life_of(database: PostgresDatabase, event: StoredEvent) -> Row:
    answer: Row = database.call("flexibility_event_life", {"p_event_id": str(event.event_id)})
    return answer


def state_of(database: PostgresDatabase, event: StoredEvent) -> EventState:
    return EventState(life_of(database, event)["event"]["state"])


def states(life: Row) -> list[str]:
    return [decision["to_state"] for decision in life["decisions"]]


def held_by(database: PostgresDatabase, event: StoredEvent, state: str) -> list[Row]:
    where = [Where("flexibility_event_id", str(event.event_id)), Where("state", state)]
    return database.select("capacity_bookings", where=where, order=OrderBy(("booking_id",)))


@pytest.fixture
def world(postgres: PostgresDatabase) -> PostgresDatabase:
    store_flexible_world(postgres)
    return postgres


def test_an_event_goes_through_all_its_states_and_is_settled(world: PostgresDatabase) -> None:
    event = announced(world)
    carry_on(world, NOW)
    life = life_of(world, event)
    assert states(life) == ["ANNOUNCED", "OFFERED", "COMMITTED", "NOTIFIED"]
    assert [row["committed_mwh"] for row in life["commitments"]] == ["0.5"] * HALF_HOURS
    assert {row["kind"] for row in life["notifications"]} == {"WMAN", "ECVN", "SEV"}
    (move,) = life["moves"]
    assert (move["job_id"], move["to_dc_id"]) == ("job-1", "DC-001")
    assert from_rfc3339(move["to_starts_at"]) == ENDS_AT
    assert list(map(Decimal, move["freed_mwh"])) == [SITE_MWH] * HALF_HOURS

    carry_on(world, ENDS_AT)
    life = life_of(world, event)
    assert states(life)[4:] == ["DELIVERED", "SETTLED"]
    (run,) = life["settlements"]
    assert run["received_gbp"] == "480", "K is 1.2: what came is 144 % of what was procured"
    assert {flow["payer"] for flow in run["cashflows"]} == {"NESO"}
    assert not held_by(world, event, "HELD")
    assert world.call("flexibility_chain_check", {"p_operator": "platform"}) == {"decisions": 6, "broken_at": None}
    told = world.select(
        "broadcast_log", where=[Where("event_type", "grid.flexibility")], order=OrderBy(("sequence",))
    )
    assert_as_described(told)
    assert told[-1]["summary"]["state"] == "SETTLED"


def test_an_offer_says_what_it_rests_on(postgres: PostgresDatabase) -> None:
    store_flexible_world(postgres)
    for source in ("carbon_source", "demand_source", "price_source"):
        postgres.update("grid_signals", {source: "synthetic"}, where=[Where(source, False, "is_null")])
    event = announced(postgres)
    carry_on(postgres, NOW)
    offered, sold = (decision for decision in life_of(postgres, event)["decisions"] if "moves" in decision["content"])
    assert offered["reason"].startswith("To give way: 1 of 1 workloads. It brings £400.00, and it ")
    assert offered["reason"].endswith("It rests on invented figures: its warnings say which.")
    assert any("price is invented" in warning for warning in offered["content"]["warnings"])
    assert sold["content"]["warnings"] == offered["content"]["warnings"]
    assert sold["reason"] == "Sold, and accepted as offered: 2.00 MWh."


def test_what_moved_was_decided_again_with_the_event_in_its_context(world: PostgresDatabase) -> None:
    event = announced(world)
    carry_on(world, NOW)
    decision = world.select(
        "orchestration_decisions", where=[Where("job_id", "job-1")], order=OrderBy(("decision_id",))
    )[0]
    told = decision["context"]["flexibility"]
    assert told["event_id"] == str(event.event_id)
    assert told["price_gbp_per_mwh"] == ["200"] * HALF_HOURS
    again = replay(decision["context"], sequence=decision["sequence"]).model_dump(mode="json", by_alias=True)
    assert again["decision"]["start"] == decision["output"]["decision"]["start"]
    assert again["data_centre_options"] == decision["output"]["data_centre_options"]
    workload = the_workload(world, "job-1")
    assert (workload["status"], from_rfc3339(workload["scheduled_start"])) == ("QUEUED", ENDS_AT)
    assert from_rfc3339(the_booking(world, "job-1")["starts_at"]) == ENDS_AT
    (notification,) = world.select(
        "workload_notifications",
        where=[Where("notification_id", decision["notification_id"])],
        order=OrderBy(("notification_id",)),
    )
    assert (notification["reason"], notification["work_state"]) == ("reconsidered", "completed")


def test_the_power_it_freed_is_held_so_that_nobody_sells_it_twice(world: PostgresDatabase) -> None:
    event = announced(world)
    carry_on(world, NOW)
    (hold,) = held_by(world, event, "HELD")
    assert (hold["dc_id"], hold["it_power_kw"], hold["job_id"]) == ("DC-001", 1200, None)
    assert (from_rfc3339(hold["starts_at"]), from_rfc3339(hold["ends_at"])) == (STARTS_AT, ENDS_AT)
    check_capacity(world)


def test_a_second_event_does_not_take_the_site_that_the_first_has_sold(world: PostgresDatabase) -> None:
    announced(world)
    carry_on(world, NOW)
    book_movable(world, "job-2")
    second = announced(world, door="dfs", source_id="137")
    carry_on(world, NOW)
    life = life_of(world, second)
    assert life["event"]["state"] == "ANNOUNCED"
    assert life["event"]["state_reason"] == "Nothing that may give way is placed in its half-hours."
    carry_on(world, STARTS_AT - timedelta(hours=1, minutes=5))
    assert state_of(world, second) is EventState.DECLINED


@pytest.mark.parametrize(
    "facts",
    [{"urgency": "CRITICAL"}, {"deferral_window_mins": 0}, {"deadline": ENDS_AT + timedelta(hours=1)}],
    ids=["critical", "no window", "deadline"],
)
def test_what_may_not_move_is_declined(postgres: PostgresDatabase, facts: dict[str, Any]) -> None:
    store_world(postgres, data_centres=2)
    book_movable(postgres, **facts)
    event = announced(postgres)
    carry_on(postgres, NOW)
    carry_on(postgres, event.gate_closes_at - timedelta(minutes=5))
    assert state_of(postgres, event) is EventState.DECLINED
    assert from_rfc3339(the_booking(postgres, "job-1")["starts_at"]) == STARTS_AT


def test_what_nobody_carries_on_before_gate_closure_is_missed(world: PostgresDatabase) -> None:
    event = announced(world)
    carry_on(world, event.gate_closes_at)
    assert states(life_of(world, event)) == ["ANNOUNCED", "MISSED"]
    assert from_rfc3339(the_booking(world, "job-1")["starts_at"]) == STARTS_AT


def test_an_event_that_a_clock_ahead_has_put_off_is_looked_at_once_that_is_right(
    world: PostgresDatabase,
) -> None:
    event = announced(world)
    row = [Where("event_id", str(event.event_id))]
    world.update("flexibility_events", {"scheduled_at": NOW + timedelta(hours=26)}, where=row)
    carry_on(world, NOW)
    assert state_of(world, event) is EventState.NOTIFIED
    world.update("flexibility_events", {"scheduled_at": ENDS_AT + timedelta(hours=26)}, where=row)
    carry_on(world, ENDS_AT)
    assert state_of(world, event) is EventState.SETTLED


def test_what_is_committed_and_notified_too_late_gives_its_power_back(world: PostgresDatabase) -> None:
    event = announced(world)
    steps, book_of_events = stepper(world)
    for _ in range(2):
        step_once(steps, book_of_events, NOW)
    assert state_of(world, event) is EventState.COMMITTED
    carry_on(world, STARTS_AT + timedelta(hours=1))
    assert state_of(world, event) is EventState.MISSED
    assert not held_by(world, event, "HELD")


def test_half_hours_whose_gate_has_closed_are_not_notified(world: PostgresDatabase) -> None:
    event = announced(world, programme="P415")
    steps, book_of_events = stepper(world)
    for _ in range(2):
        step_once(steps, book_of_events, NOW)
    carry_on(world, event.gate_closes_at)
    notified = {row["half_hour"] for row in life_of(world, event)["notifications"]}
    assert len(notified) == HALF_HOURS - 1
    has_wman = [one.has_wman for one in book_of_events.outcome(event).commitments]
    assert has_wman == [False, True, True, True]


def stepper(database: PostgresDatabase) -> tuple[Steps, EventBook]:
    events = EventBook(database)
    return Steps(events, 100, SUPPLIER_PRICES), events


def step_once(steps: Steps, events: EventBook, now: datetime, worker: str = "a") -> Stepped:
    (event,), _ = events.claim_due(worker, now, lease_seconds=60, limit=1)
    return events.store(event, steps.next_step(event, now), now)


def test_whoever_dies_at_any_step_loses_and_repeats_nothing(world: PostgresDatabase) -> None:
    event = announced(world)
    steps, events = stepper(world)
    for due in (NOW, NOW + LEASE, NOW + 2 * LEASE, ENDS_AT, ENDS_AT + LEASE):
        (mine,), _ = events.claim_due("dies", due, lease_seconds=60, limit=1)
        lost = steps.next_step(mine, due)
        now = due + LEASE
        (again,), _ = events.claim_due("lives", now, lease_seconds=60, limit=1)
        step = steps.next_step(again, now)
        assert events.store(again, step, now) is Stepped.CHANGED
        assert events.store(again, step, now) is Stepped.FENCED, "told twice"
        assert events.store(mine, lost, now) is Stepped.FENCED, "who was thought dead comes back"
    life = life_of(world, event)
    assert states(life) == ["ANNOUNCED", "OFFERED", "COMMITTED", "NOTIFIED", "DELIVERED", "SETTLED"]
    assert [run["received_gbp"] for run in life["settlements"]] == ["480"]
    assert len(world.select("flexibility_moves", order=OrderBy(("job_id",)))) == 1
    check_capacity(world)


def test_a_step_that_fails_is_told_on_the_health_page_and_made_later(
    world: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = announced(world)
    carrying = life(world)

    def fail(*_: Any) -> None:
        raise ValueError("a bug")

    with monkeypatch.context() as broken:
        broken.setattr(Steps, "next_step", fail)
        assert carrying.run_due(NOW).taken == 1
    told = "1 flexibility events cannot be carried on: the log says why"
    with served(create_app(world, load_settings({}), clock=lambda: NOW, flexibility=carrying)) as api:
        assert told in api.get("/health").json()["reasons"]
        carry_on(world, NOW + timedelta(minutes=1))
        assert state_of(world, event) is EventState.NOTIFIED


def test_two_tenants_with_jobs_of_one_name_both_give_way_for_one_event(postgres: PostgresDatabase) -> None:
    make_operators(postgres)
    store_world(postgres, data_centres=0)
    store_data_centres(postgres, [data_centre(1, operator=A), data_centre(2, operator=B)])
    book_movable(postgres, operator=A)
    book_movable(postgres, operator=B, dc_id="DC-002")
    event = announced(postgres, need_mw=["3"] * HALF_HOURS)
    carry_on(postgres, NOW)
    life = life_of(postgres, event)
    assert [(move["operator"], move["job_id"], move["from_dc_id"]) for move in life["moves"]] == [
        (A, "job-1", "DC-001"),
        (B, "job-1", "DC-002"),
    ]
    offered = life["decisions"][1]["content"]
    assert sorted(move["operator"] for move in offered["moves"]) == [A, B]
    assert sorted(offered["gain_alone_gbp"]) == [f"{A}/job-1", f"{B}/job-1"]
    decided = postgres.select("orchestration_decisions", where=[Where("job_id", "job-1")], order=OrderBy(("tenant",)))
    assert [row["tenant"] for row in decided] == [A, B]
    assert {row["context"]["flexibility"]["event_id"] for row in decided} == {str(event.event_id)}
    check_capacity(postgres)


def test_an_operator_that_has_no_data_centre_is_told_why_nothing_is_offered(postgres: PostgresDatabase) -> None:
    make_operators(postgres)
    store_world(postgres, data_centres=0)
    store_data_centres(postgres, [data_centre(1, operator=B)])
    book_movable(postgres, operator=A)
    event = announced(postgres, tenant=A)
    carry_on(postgres, NOW)
    told = life_of(postgres, event)["event"]["state_reason"]
    assert told == "No data centre of its owner's can give way in its half-hours."


def test_what_has_changed_since_it_was_looked_at_moves_nothing(world: PostgresDatabase) -> None:
    event = announced(world)
    steps, events = stepper(world)
    step_once(steps, events, NOW)
    (mine,), _ = events.claim_due("a", NOW, lease_seconds=60, limit=1)
    step = steps.next_step(mine, NOW)
    world.call("cancel_workload", {"p_job_id": "job-1", "p_reason": "no longer", "p_now": NOW})
    assert events.store(mine, step, NOW) is Stepped.OUTDATED
    assert state_of(world, event) is EventState.OFFERED
    assert not held_by(world, event, "HELD")
    assert the_workload(world, "job-1")["status"] == "CANCELLED"


def test_where_the_new_place_has_gone_nothing_happens_at_all(postgres: PostgresDatabase) -> None:
    store_world(postgres, data_centres=0)
    store_data_centres(postgres, [data_centre(1, total_capacity_mw=1.3, current_load_percentage=0)])
    book_movable(postgres)
    announced(postgres)
    steps, events = stepper(postgres)
    step_once(steps, events, NOW)
    (mine,), _ = events.claim_due("a", NOW, lease_seconds=60, limit=1)
    step = steps.next_step(mine, NOW)
    book(postgres, "in-the-way", starts_at=ENDS_AT, hours=2, it_power_kw=1000)
    assert events.store(mine, step, NOW) is Stepped.OUTDATED
    assert from_rfc3339(the_booking(postgres, "job-1")["starts_at"]) == STARTS_AT
    assert the_workload(postgres, "job-1")["status"] == "QUEUED"
    assert not postgres.select("flexibility_moves", order=OrderBy(("job_id",)))


def test_an_event_is_taken_back_before_its_gate_closes_and_not_after(world: PostgresDatabase) -> None:
    event = announced(world)
    carry_on(world, NOW)
    assert cancel(world, event.event_id, "too late", event.gate_closes_at).state is Cancelling.CLOSED
    assert state_of(world, event) is EventState.NOTIFIED
    assert cancel(world, event.event_id, "no longer needed", NOW).state is Cancelling.CANCELLED
    assert cancel(world, event.event_id, "again", NOW).state is Cancelling.CANCELLED
    life = life_of(world, event)
    assert states(life)[-1] == "CANCELLED"
    assert not held_by(world, event, "HELD")
    assert from_rfc3339(the_booking(world, "job-1")["starts_at"]) == ENDS_AT, "what moved stays where it is"
    carry_on(world, ENDS_AT)
    assert state_of(world, event) is EventState.CANCELLED


def test_the_same_announcement_is_stored_once(world: PostgresDatabase) -> None:
    first = announce(world, new_event(), NOW)
    again = announce(world, new_event(), NOW)
    assert (first.state, again.state) == (Announcing.ANNOUNCED, Announcing.ALREADY)
    assert first.event == again.event
    other = announce(world, new_event(need_mw=["2"] * HALF_HOURS), NOW)
    assert other.state is Announcing.DIFFERENT
    assert announce(world, new_event("event-2"), NOW).state is Announcing.OVERLAPPING
    assert announce(world, new_event("event-3"), STARTS_AT).state is Announcing.CLOSED
    assert len(world.select("flexibility_events", order=OrderBy(("event_id",)))) == 1


def test_a_baseline_is_of_the_days_before_that_are_metered_throughout(world: PostgresDatabase) -> None:
    day = datetime(2026, 11, 15, tzinfo=NOW.tzinfo)  # a Sunday, as the event's day is
    rows = [
        {"dc_id": "DC-001", "half_hour": day + place * HALF_HOUR, "it_energy_wh": 500_000, "site_energy_wh": 600_000}
        for place in range(48)
    ]
    world.insert("data_centre_loads", rows)
    world.insert("data_centre_loads", [{**rows[0], "half_hour": day - timedelta(days=1)}])
    event = announced(world)
    carry_on(world, NOW)
    baselines = life_of(world, event)["baselines"]
    assert {(row["method"], row["baseline_mwh"], row["wanted_days"]) for row in baselines} == {("BL01", "0.6", 4)}
    assert baselines[0]["days"] == ["2026-11-15"]


def test_an_in_day_adjustment_moves_the_baseline_once_the_hours_before_gate_closure_are_metered(
    world: PostgresDatabase,
) -> None:
    sunday = datetime(2026, 11, 15, tzinfo=NOW.tzinfo)
    before_gate = STARTS_AT - timedelta(hours=1)
    loads = {sunday + place * HALF_HOUR: 600_000 for place in range(48)}
    loads |= {before_gate - back * HALF_HOUR: 700_000 for back in range(1, 7)}
    world.insert(
        "data_centre_loads",
        [
            {"dc_id": "DC-001", "half_hour": half_hour, "it_energy_wh": 500_000, "site_energy_wh": site_energy_wh}
            for half_hour, site_energy_wh in loads.items()
        ],
    )
    event = announced(world, programme="P415", in_day="additive")
    carry_on(world, NOW)

    def told() -> set[tuple[str, str, str, str]]:
        names = ("in_day", "unadjusted_mwh", "adjustment_mwh", "baseline_mwh")
        pages = world.call(
            "flexibility_baselines_page",
            {
                "p_event_id": str(event.event_id),
                **dict.fromkeys(("p_unit_id", "p_before", "p_before_id", "p_before_name")),
                "p_limit": 10,
            },
        )
        rows = [*life_of(world, event)["baselines"], *pages]
        return {(row[names[0]], row[names[1]], row[names[2]], row[names[3]]) for row in rows}

    assert told() == {("additive", "0.6", "0", "0.6")}, "it is not known yet"
    store_market(world, MarketData(system_prices=prices_of(100)), ENDS_AT)
    carry_on(world, ENDS_AT)
    assert told() == {("additive", "0.6", "0.1", "0.7")}
    life = life_of(world, event)
    assert life["decisions"][-2]["content"] == {
        "delivered_mwh": ["0.7"] * HALF_HOURS,
        "in_day_mwh": {"DC-001": "0.1"},
    }
    assert life["settlements"][0]["received_gbp"] == "480", "2 MWh at £200, and 0.8 beyond at £100"


def test_without_readings_before_gate_closure_there_is_no_in_day_adjustment(world: PostgresDatabase) -> None:
    event = announced(world, in_day="additive")
    carry_on(world, NOW)
    carry_on(world, ENDS_AT)
    life = life_of(world, event)
    assert life["event"]["state"] == "SETTLED"
    assert "in_day_mwh" not in life["decisions"][-2]["content"]
    assert {row["adjustment_mwh"] for row in life["baselines"]} == {"0"}


def test_an_event_across_midnight_has_each_day_s_own_baseline(postgres: PostgresDatabase) -> None:
    store_world(postgres, data_centres=2)
    midnight = datetime(2026, 11, 23, tzinfo=NOW.tzinfo)
    needs: dict[str, Any] = {"required_gpu_mins": 480, "estimated_energy_kwh": 2400, "deferral_window_mins": 1440}
    book(postgres, "job-1", starts_at=midnight - HALF_HOUR, hours=1, it_power_kw=1200, **needs)
    for day, site_energy_wh in ((15, 600_000), (16, 650_000)):  # a Sunday and a Monday, as the event's days are
        start = datetime(2026, 11, day, tzinfo=NOW.tzinfo)
        postgres.insert(
            "data_centre_loads",
            [
                {
                    "dc_id": "DC-001",
                    "half_hour": start + place * HALF_HOUR,
                    "it_energy_wh": 500_000,
                    "site_energy_wh": site_energy_wh,
                }
                for place in range(48)
            ],
        )
    event = announced(postgres, starts_at=midnight - HALF_HOUR, need_mw=["1"] * 2, price_gbp_per_mwh=["2000"] * 2)
    carry_on(postgres, NOW)
    rows = life_of(postgres, event)["baselines"]
    assert [(row["method"], row["baseline_mwh"], row["days"], row["wanted_days"]) for row in rows] == [
        ("BL01", "0.6", ["2026-11-15"], 4),
        ("BL01", "0.65", ["2026-11-16"], 10),
    ]


def test_what_was_worked_out_until_its_gate_closed_is_not_sold(world: PostgresDatabase) -> None:
    event = announced(world)
    book = EventBook(world)
    steps = Steps(book, 100, SUPPLIER_PRICES)
    (claimed,), _ = book.claim_due("slow", NOW, lease_seconds=60, limit=1)
    until_gate_s = (event.gate_closes_at - NOW).total_seconds()
    assert book.store(claimed, steps.next_step(claimed, NOW), NOW, worked_s=until_gate_s) is Stepped.OUTDATED
    assert states(life_of(world, event)) == ["ANNOUNCED"]
    assert book.store(claimed, steps.next_step(claimed, NOW), NOW, worked_s=until_gate_s - 1) is Stepped.CHANGED
    assert states(life_of(world, event)) == ["ANNOUNCED", "OFFERED"]


def test_what_an_event_was_measured_by_outlives_the_history(world: PostgresDatabase) -> None:
    event = announced(world)
    carry_on(world, NOW)
    load = {"dc_id": "DC-001", "it_energy_wh": 300_000, "site_energy_wh": 360_000}
    world.insert("data_centre_loads", [{**load, "half_hour": STARTS_AT + place * HALF_HOUR} for place in (-1, 0)])
    carry_on(world, ENDS_AT)
    settled = life_of(world, event)["settlements"]
    world.call("prune_history", {"p_before": ENDS_AT + timedelta(days=3)})
    kept = world.select("data_centre_loads", order=OrderBy(("half_hour",)))
    assert [from_rfc3339(row["half_hour"]) for row in kept] == [STARTS_AT]
    carry_on(world, ENDS_AT + timedelta(days=4))
    assert life_of(world, event)["settlements"] == settled, "what is gone would make a further run"


def test_without_history_what_was_booked_is_the_expected_volume(world: PostgresDatabase) -> None:
    event = announced(world)
    carry_on(world, NOW)
    baselines = life_of(world, event)["baselines"]
    assert {(row["method"], row["baseline_mwh"]) for row in baselines} == {("SEV", "0.72")}


def test_later_readings_make_a_further_run_and_change_no_earlier_one(world: PostgresDatabase) -> None:
    event = announced(world)
    carry_on(world, NOW)
    carry_on(world, ENDS_AT)
    first = life_of(world, event)["settlements"]
    carry_on(world, ENDS_AT + timedelta(days=1, minutes=1))
    assert life_of(world, event)["settlements"] == first, "nothing has changed"
    load = {"dc_id": "DC-001", "half_hour": STARTS_AT, "it_energy_wh": 300_000, "site_energy_wh": 360_000}
    world.insert("data_centre_loads", [load])
    carry_on(world, ENDS_AT + timedelta(days=2, minutes=2))
    later = life_of(world, event)["settlements"]
    assert later[:1] == first
    assert (later[1]["run"], later[1]["received_gbp"]) == (2, "432"), "0.36 of 0.5 MWh came in the first half-hour"


@pytest.mark.parametrize("table", ["flexibility_decisions", "flexibility_settlements", "flexibility_cashflows"])
def test_what_is_written_is_written_once(world: PostgresDatabase, table: str) -> None:
    event = announced(world)
    carry_on(world, NOW)
    carry_on(world, ENDS_AT)
    with pytest.raises(DatabaseError, match="is an audit log"):
        world.delete(table, where=[Where("event_id", str(event.event_id))])
