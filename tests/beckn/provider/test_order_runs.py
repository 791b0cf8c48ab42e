"""The executor: orders start at their slot, end, are deferred or given up, each step once whoever runs it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from beckn.protocol.acknowledgement import ErrorCode, Refused
from beckn.protocol.objects import Action, Subscriber
from beckn.provider.messages_order import Billing, FulfillmentStateCode
from beckn.provider.messages_request import SelectRequest
from beckn.provider.order_book import Changing, OrderBook, OrderChange, lease_of
from beckn.provider.order_document import order_document
from beckn.provider.order_runs import OrderRun, executor_of_orders
from beckn.provider.quoting import Quoting
from beckn.provider.stored_orders import OrderTerms, StoredOrder, StoredQuote
from beckn_orders import outbox, store_market
from database.interface import Database, OrderBy, Where
from decisions.scoring.capacity import least_free_kw
from described_events import assert_as_described
from execution.executor import Executor
from grid.half_hours import HALF_HOUR, UTC, rfc3339
from grid_world import data_centre
from vocabulary import WorkloadStatus

NOW = datetime(2026, 11, 22, 8, 4, 11, tzinfo=UTC)
OWN = Subscriber("provider.example", "http://127.0.0.1:5053/beckn")
HOUR = timedelta(hours=1)


class Desk:
    """A provider without a network: its orders are made from selects that never travelled."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.book = OrderBook(database, OWN.subscriber_id)
        self.quoting = Quoting(self.book, OWN, carbon_price_gbp_per_t=100)

    def executor(self, worker: str = "one") -> Executor[OrderRun]:
        return executor_of_orders(self.database, OWN, worker=worker, carbon_price_gbp_per_t=100, clock=lambda: NOW)

    def place(self, tags: dict[str, str] | None = None, *, start: datetime = NOW) -> StoredOrder:
        """An order of an hour of one GPU: 0.96 kW of IT power."""
        request = a_select(start, {"workload-type": "RAG_QUERY", "deferral-window": "PT6H", **(tags or {})})
        quote_id = self.quoting.select(request, NOW).quote.id
        context = request.context
        quote = self.book.quote(context.bap_id, context.transaction_id, quote_id)
        assert isinstance(quote, StoredQuote)
        terms = OrderTerms(**dict(quote.terms), billing=Billing(name="Tenant"), context=context)
        placed = self.book.place(str(uuid4()), quote, terms, quote.starts_at, NOW)
        assert placed.order is not None
        return placed.order

    def order(self, order: StoredOrder) -> StoredOrder:
        found = self.book.order(order.bap_id, str(order.order_id))
        assert found is not None
        return found


def a_select(start: datetime, tags: dict[str, str]) -> SelectRequest:
    half_hour = start.replace(minute=30 * (start.minute // 30), second=0)
    document = {
        "context": {
            "domain": "beckn.one:DEG:compute-energy:1.0",
            "location": {"country": {"code": "GBR"}},
            "action": "select",
            "version": "1.1.0",
            "bap_id": "buyer.example",
            "bap_uri": "http://127.0.0.1:5052/beckn",
            "bpp_id": OWN.subscriber_id,
            "bpp_uri": OWN.url,
            "transaction_id": str(uuid4()),
            "message_id": str(uuid4()),
            "timestamp": rfc3339(NOW),
            "ttl": "PT30S",
        },
        "message": {
            "order": {
                "provider": {"id": "op-a"},
                "items": [
                    {
                        "id": f"DC-001:gpu-slot:{half_hour:%Y%m%dT%H%MZ}",
                        "quantity": {"selected": {"measure": {"unit": "GPU-min", "value": "60"}}},
                    }
                ],
                "tags": [
                    {
                        "descriptor": {"code": "workload-requirements"},
                        "list": [{"descriptor": {"code": code}, "value": value} for code, value in tags.items()],
                    }
                ],
            }
        },
    }
    return SelectRequest.model_validate_json(json.dumps(document))


@pytest.fixture
def desk(database: Database) -> Desk:
    store_market(database, NOW)
    return Desk(database)


def at(slot: datetime) -> list[Where]:
    return [Where("timestamp", slot)]


def test_an_order_runs_from_its_slot_to_its_end_and_uses_its_half_hours(desk: Desk) -> None:
    order = desk.place(start=NOW + HALF_HOUR)
    executor = desk.executor()
    assert executor.run_due(NOW).taken == 0
    slot = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
    assert executor.run_due(slot).taken == 1
    assert desk.order(order).state is FulfillmentStateCode.RUNNING
    assert executor.run_due(slot + HOUR - timedelta(seconds=1)).taken == 0
    assert executor.run_due(slot + HOUR).taken == 1
    done = desk.order(order)
    assert (done.state, done.status) == (FulfillmentStateCode.COMPLETED, WorkloadStatus.COMPLETED)
    # 0.96 kW x 1.2 for half an hour at 11 g/kWh and half an hour at 12 g/kWh, all at £80/MWh.
    assert done.actual_energy_kwh == pytest.approx(1.152)
    assert done.actual_carbon_gco2 == pytest.approx(0.576 * 11 + 0.576 * 12)
    assert done.actual_cost_gbp == pytest.approx(1.152 * 0.08)
    assert (done.actual_start, done.actual_end) == (slot, slot + HOUR)
    assert len(outbox(desk.database, Action.ON_STATUS)) == 2
    metered = desk.database.select("meter_readings", order=OrderBy(("half_hour",)))
    assert [(row["half_hour"], row["it_energy_wh"], row["site_energy_wh"]) for row in metered] == [
        (slot.isoformat(), 480, 576),
        ((slot + HALF_HOUR).isoformat(), 480, 576),
    ]


def events(desk: Desk, order: StoredOrder) -> list[str]:
    """What the log of events says of an order, in its order."""
    rows = desk.database.select("broadcast_log", where=[Where("job_id", order.job_id)], order=OrderBy(("sequence",)))
    assert {row["tenant"] for row in rows} == {"platform"}
    assert all(row["event"]["order_id"] == str(order.order_id) for row in rows)
    assert_as_described(rows)
    return [row["event_type"] for row in rows]


def test_the_log_of_events_says_what_becomes_of_an_order(desk: Desk) -> None:
    runs, fails = desk.place(), desk.place({"deadline": rfc3339(NOW + 2 * HOUR)}, start=NOW + HALF_HOUR)
    executor = desk.executor()
    assert executor.run_due(NOW).taken == 1
    executor.run_due(NOW + 2 * HOUR)
    assert events(desk, runs) == ["order.confirmed", "order.running", "order.completed"]
    assert events(desk, fails) == ["order.confirmed", "order.failed"]
    last = desk.database.select("broadcast_log", where=[Where("job_id", runs.job_id)], order=OrderBy(("sequence",)))[
        -1
    ]
    assert last["event"]["actual_energy_kwh"] == pytest.approx(1.152)
    assert (last["event"]["state"], last["event"]["status"]) == ("COMPLETED", "COMPLETED")


def test_a_run_that_is_reckoned_by_figures_no_source_gave_says_so(desk: Desk) -> None:
    order = desk.place()
    executor = desk.executor()
    executor.run_due(NOW)
    slot = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
    desk.database.update("regional_grid_signals", {"carbon_source": "synthetic"}, where=at(slot))
    desk.database.update("grid_signals", {"price_source": "modelled"}, where=at(slot + HALF_HOUR))
    executor.run_due(NOW + HOUR)
    done = desk.order(order)
    remark = (
        f"Ran at {done.dc_id}. Note that its carbon rests on invented figures in 1 of 3 half-hours and its cost "
        "rests on modelled figures in 1 of 3 half-hours."
    )
    assert done.status_reason == remark
    (fulfillment,) = order_document(done).fulfillments
    (actuals,) = [group for group in fulfillment.tags or () if group.descriptor.code == "actuals"]
    assert {tag.descriptor.code: tag.value for tag in actuals.list}["remark"] == remark


def test_what_is_not_known_of_a_half_hour_is_not_made_up(desk: Desk) -> None:
    order = desk.place()
    executor = desk.executor()
    executor.run_due(NOW)
    desk.database.update(
        "grid_signals", {"wholesale_price_gbp_mwh": None}, where=at(datetime(2026, 11, 22, 8, 30, tzinfo=UTC))
    )
    executor.run_due(NOW + HOUR)
    done = desk.order(order)
    assert done.actual_cost_gbp is None
    assert done.actual_carbon_gco2 is not None


def test_grid_stress_defers_to_a_time_without(desk: Desk) -> None:
    order = desk.place()
    for half_hour in ("08:00", "08:30", "09:00"):
        slot = datetime.fromisoformat(f"2026-11-22T{half_hour}:00+00:00")
        desk.database.update("grid_signals", {"grid_stress_score": 0.97}, where=at(slot))
    desk.executor().run_due(NOW)
    deferred = desk.order(order)
    assert (deferred.state, deferred.status) == (
        FulfillmentStateCode.DEFERRED,
        WorkloadStatus.DEFERRED_GRID_STRESS,
    )
    assert deferred.starts_at == datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
    assert deferred.deferral is not None
    assert deferred.deferral.reason == "GRID_STRESS"
    assert len(outbox(desk.database, Action.ON_UPDATE)) == 1


def test_a_carbon_spike_defers(desk: Desk) -> None:
    order = desk.place()
    slot = datetime(2026, 11, 22, 8, tzinfo=UTC)
    desk.database.update("regional_grid_signals", {"carbon_intensity_forecast": 500}, where=at(slot))
    desk.executor().run_due(NOW)
    deferred = desk.order(order)
    assert deferred.status is WorkloadStatus.DEFERRED_CARBON
    assert deferred.starts_at == slot + HALF_HOUR


@pytest.mark.parametrize(
    "tags", [{"deferral-window": "PT0M"}, {"urgency": "CRITICAL"}], ids=["no window", "critical"]
)
def test_what_cannot_wait_runs_in_spite_of_a_spike(desk: Desk, tags: dict[str, str]) -> None:
    order = desk.place(tags)
    slot = datetime(2026, 11, 22, 8, tzinfo=UTC)
    desk.database.update("grid_signals", {"grid_stress_score": 0.97}, where=at(slot))
    desk.executor().run_due(NOW)
    assert desk.order(order).state is FulfillmentStateCode.RUNNING


def test_an_order_that_can_no_longer_meet_its_deadline_is_given_up(desk: Desk) -> None:
    order = desk.place({"deadline": rfc3339(NOW + 2 * HOUR)})
    desk.executor().run_due(NOW + HOUR + timedelta(minutes=5))
    given_up = desk.order(order)
    assert (given_up.state, given_up.status) == (FulfillmentStateCode.CANCELLED, WorkloadStatus.FAILED)
    assert given_up.cancellation is not None
    assert given_up.cancellation.cancelled_by == "PROVIDER"
    assert len(outbox(desk.database, Action.ON_CANCEL)) == 1


def test_several_executors_run_each_order_once(desk: Desk) -> None:
    for _ in range(8):
        desk.place()
    executors = [desk.executor(f"worker-{number}") for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        taken = sum(done.taken for done in pool.map(lambda each: each.run_due(NOW), executors))
    assert taken == 8
    assert len(outbox(desk.database, Action.ON_STATUS)) == 8


def test_a_lost_lease_stores_nothing(desk: Desk) -> None:
    desk.place()
    (held,) = desk.book.claim_due("slow", NOW, lease_seconds=10, limit=1).claimed
    assert desk.executor("quick").run_due(NOW + timedelta(seconds=11)).taken == 1
    late = OrderChange(
        order=held, state=FulfillmentStateCode.RUNNING, status=WorkloadStatus.RUNNING, at=NOW, due_at=NOW + HOUR
    )
    assert desk.book.change(late, by_executor=True).state is Changing.FENCED
    assert len(outbox(desk.database, Action.ON_STATUS)) == 1


def the_row(desk: Desk, order: StoredOrder) -> dict[str, Any]:
    where = [Where("order_id", str(order.order_id))]
    (row,) = desk.database.select("beckn_orders", where=where, order=OrderBy(("order_id",)))
    return row


def test_a_step_that_fails_is_told_and_tried_again_after_a_while(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    order, other = desk.place(), desk.place(start=NOW + HALF_HOUR)
    executor = desk.executor()
    begin = executor._beginning

    def fail(*_: Any) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(executor, "_beginning", fail)
    assert executor.run_due(NOW).taken == 1
    failed = the_row(desk, order)
    assert (failed["work_state"], failed["last_error"]) == ("retryable", "ValueError: a bug")
    assert executor.troubles() == ["1 Beckn orders cannot be started or ended: the log says why"]
    monkeypatch.setattr(executor, "_beginning", begin)
    again = executor.run_due(NOW + timedelta(seconds=10))
    assert again.taken == 0
    assert again.next_due_s is not None
    assert 4 < again.next_due_s < 16
    assert executor.run_due(NOW + timedelta(seconds=26)).taken == 1
    assert desk.order(order).state is FulfillmentStateCode.RUNNING
    begun = the_row(desk, order)
    assert (begun["work_state"], begun["attempt"], begun["last_error"]) == ("available", 0, None)
    assert desk.order(other).state is FulfillmentStateCode.SCHEDULED


def test_a_batch_takes_every_buyers_first_order_before_the_second_of_anybody(desk: Desk) -> None:
    orders = [desk.place() for _ in range(5)]
    late = desk.place()
    desk.database.update("beckn_orders", {"bap_id": "late.example"}, where=[Where("order_id", str(late.order_id))])
    taken = desk.book.claim_due("one", NOW, lease_seconds=10, limit=2).claimed
    assert late.order_id in {order.order_id for order in taken}
    assert len(taken) == 2
    assert {order.order_id for order in taken} - {late.order_id} <= {order.order_id for order in orders}


def test_orders_are_held_for_as_long_as_their_steps_take(desk: Desk) -> None:
    held, lost = desk.place(), desk.place()
    claimed = desk.book.claim_due("one", NOW, lease_seconds=10, limit=2).claimed
    leases = {order.order_id: lease_of(order) for order in claimed}
    later = NOW + timedelta(seconds=9)
    desk.book.extend([leases[held.order_id], replace(leases[lost.order_id], token=0)], later, lease_seconds=10)
    taken = desk.book.claim_due("two", NOW + timedelta(seconds=11), lease_seconds=10, limit=2).claimed
    assert [order.order_id for order in taken] == [lost.order_id]


def test_an_order_is_left_alone_while_its_buyer_waits_for_an_answer(desk: Desk) -> None:
    order = desk.place()
    message: dict[str, Any] = {
        "recipient": OWN.subscriber_id,
        "sender": order.bap_id,
        "action": "cancel",
        "transaction_id": str(order.transaction_id),
        "message_id": str(uuid4()),
        "body": "{}",
        "answer": {},
    }
    desk.database.call("beckn_receive", {"p_message": message, "p_key_id": None, "p_work": True})
    assert desk.executor().run_due(NOW).taken == 0
    assert desk.order(order).state is FulfillmentStateCode.SCHEDULED


def test_capacity_is_counted_alike_by_the_database_and_by_the_search(desk: Desk) -> None:
    orders = [desk.place(start=NOW + step * HALF_HOUR) for step in (0, 1, 1, 3)]
    capacity = desk.book.capacity(NOW)
    assert least_free_kw(capacity, "DC-001", NOW + HALF_HOUR, NOW + HOUR) < 20 * 1000 * 0.5
    for step in range(6):
        start = NOW + step * HALF_HOUR
        arguments = {"p_dc_id": "DC-001", "p_from": start, "p_until": start + HOUR, "p_without_order": None}
        stored_kw = desk.database.call("beckn_free_kw", arguments)
        assert stored_kw == least_free_kw(capacity, "DC-001", start, start + HOUR)
    assert all(isinstance(order.order_id, UUID) for order in orders)


def test_an_order_is_counted_once_from_its_confirm_to_its_end(desk: Desk) -> None:
    """As power that is held in every half-hour it touches, and never as part of the data centre's load."""
    half_full_kw, used_kw = 20 * 1000 * 0.5, 0.96

    def free_kw(at: datetime) -> float:
        arguments = {"p_dc_id": "DC-001", "p_from": at, "p_until": at + HALF_HOUR, "p_without_order": None}
        return float(desk.database.call("beckn_free_kw", arguments))

    assert free_kw(NOW) == half_full_kw
    order, executor = desk.place(), desk.executor()
    assert free_kw(NOW) == pytest.approx(half_full_kw - used_kw)
    assert free_kw(order.ends_at) == pytest.approx(half_full_kw - used_kw)
    assert free_kw(order.ends_at + HALF_HOUR) == half_full_kw
    executor.run_due(NOW)
    assert desk.order(order).state is FulfillmentStateCode.RUNNING
    assert free_kw(NOW) == pytest.approx(half_full_kw - used_kw)
    assert desk.book.grid(NOW).data_centres[0].current_load_percentage == 50
    executor.run_due(order.ends_at)
    assert desk.order(order).state is FulfillmentStateCode.COMPLETED
    assert free_kw(NOW) == half_full_kw


def test_a_load_that_rises_takes_nothing_from_orders_and_leaves_less_to_sell(database: Database) -> None:
    store_market(database, NOW, centres=[data_centre(1, operator="op-a", total_capacity_mw=0.004)])
    desk = Desk(database)
    order = desk.place(start=NOW + HALF_HOUR)  # of 2 kW that are free
    database.update("data_centres", {"current_load_percentage": 80}, where=[Where("dc_id", "DC-001")])
    request = a_select(NOW + HALF_HOUR, {"workload-type": "RAG_QUERY", "deferral-window": "PT6H"})
    with pytest.raises(Refused) as refused:
        desk.quoting.select(request, NOW)  # 0.8 kW, and the order holds 0.96
    assert refused.value.error.code is ErrorCode.QUANTITY_UNAVAILABLE
    desk.executor().run_due(order.starts_at)
    assert desk.order(order).state is FulfillmentStateCode.RUNNING


def test_a_data_centre_that_stops_taking_work_takes_no_order(database: Database) -> None:
    store_market(database, NOW, centres=[data_centre(1, operator="op-a")])
    desk = Desk(database)
    request = a_select(NOW, {"workload-type": "RAG_QUERY"})
    quote_id = desk.quoting.select(request, NOW).quote.id
    database.update("data_centres", {"status": "MAINTENANCE"}, where=[Where("dc_id", "DC-001")])
    quote = desk.book.quote("buyer.example", request.context.transaction_id, quote_id)
    assert quote is not None
    terms = OrderTerms(**dict(quote.terms), billing=Billing(name="Tenant"), context=request.context)
    assert desk.book.place(str(uuid4()), quote, terms, quote.starts_at, NOW).state == "not_active"
