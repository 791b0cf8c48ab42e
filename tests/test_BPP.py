"""The provider's platform over loopback with signatures on: from a search to a completed order."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from pydantic import ValidationError

import beckn.buyer as buyers_tool
from beckn.buying.messages import Transaction, confirm_message
from beckn.buying.platform import Buyer, NotAnswered
from beckn.network.inbox import Inbox
from beckn.network.keys import MessageSigner, own_key
from beckn.network.subscribers import Registry, Role
from beckn.protocol.objects import DOMAIN, Action, Subscriber
from beckn.provider.answering import Provider
from beckn.provider.messages_order import FulfillmentStateCode, Order, OrderCallback, OrderStatus
from beckn.provider.messages_request import ConfirmedMessage
from beckn_network import let_leases_end
from beckn_orders import BILLING, Market, a_workload, market, market_time, outbox, store_market
from clock import utc_now
from database.interface import OrderBy as By
from database.interface import Where
from database.postgres import PostgresDatabase
from grid.half_hours import from_rfc3339
from grid_world import data_centre
from new_database import as_url
from server_process import BACKEND, ServerProcess, free_port, inherited


@pytest.fixture
def shop(postgres: PostgresDatabase, tmp_path: Path) -> Iterator[Market]:
    store_market(postgres, market_time())
    with market(postgres, tmp_path) as opened:
        yield opened


def state_of(order: Order) -> str:
    state = order.fulfillments[0].state
    assert state is not None
    return state.descriptor.code


def tags_of(order: Order, code: str) -> dict[str, str]:
    groups = [group for group in order.fulfillments[0].tags or () if group.descriptor.code == code]
    return {tag.descriptor.code: tag.value for group in groups for tag in group.list}


def test_a_workload_goes_from_search_to_completed(shop: Market) -> None:
    buyer, deal = shop.buyer(), Transaction(a_workload())
    _, order = shop.ordered(buyer, deal)
    assert (order.status, state_of(order)) == (OrderStatus.ACTIVE, FulfillmentStateCode.SCHEDULED)

    shop.platform.executor.run_due(shop.clock())
    running = buyer.next_news(deal, 10)
    assert running is not None
    assert state_of(running) is FulfillmentStateCode.RUNNING

    shop.clock.ahead = timedelta(minutes=2)
    shop.platform.executor.run_due(shop.clock())
    completed = buyer.next_news(deal, 10)
    assert completed is not None
    assert (completed.status, state_of(completed)) == (OrderStatus.COMPLETE, FulfillmentStateCode.COMPLETED)
    # A GPU draws 0.96 kW, and PUE 1.2 makes it 1.152 kW for a minute, at 10 g/kWh in region 1.
    actuals = tags_of(completed, "actuals")
    assert float(actuals["energy-kwh"]) == pytest.approx(1.152 / 60)
    assert float(actuals["carbon-gco2"]) == pytest.approx(1.152 / 60 * 10, rel=0.2)

    (row,) = shop.database.select("compute_workloads", order=By(("job_id",)))
    assert row["status"] == "COMPLETED"
    assert row["host_dc_id"] == "DC-001"
    assert row["actual_energy_kwh"] == pytest.approx(1.152 / 60)
    assert row["actual_cost_gbp"] == pytest.approx(1.152 / 60 * 0.08)
    assert buyer.status(deal, shop.provider, order.id or "").status is OrderStatus.COMPLETE


def test_a_search_comes_through_the_gateway_and_is_answered_directly(shop: Market) -> None:
    buyer, deal = shop.buyer(), Transaction(a_workload())
    options, _ = buyer.options(buyer.search(deal, shop.gateway_url()))
    assert options[0].provider == shop.provider
    assert buyer.select(deal, options[0]).quote.price.value
    sent = outbox(shop.database, Action.ON_SEARCH)
    assert [(row["sender"], row["recipient"]) for row in sent] == [
        (shop.provider.subscriber_id, buyer.own.subscriber_id)
    ]


def test_an_order_asks_for_no_decision(shop: Market) -> None:
    shop.ordered(shop.buyer(), Transaction(a_workload()))
    assert shop.database.select("workload_notifications", order=By(("notification_id",))) == []


def test_a_repeated_confirm_returns_the_same_order(shop: Market) -> None:
    buyer, deal = shop.buyer(), Transaction(a_workload())
    option = shop.options(buyer, deal)[0]
    buyer.select(deal, option)
    draft = buyer.init(deal, option, BILLING)
    first, second = buyer.confirm(deal, option, draft), buyer.confirm(deal, option, draft)
    assert first == second
    assert len(shop.database.select("beckn_orders", order=By(("order_id",)))) == 1


def test_a_quote_that_expired_is_refused(shop: Market) -> None:
    buyer, deal = shop.buyer(), Transaction(a_workload())
    option = shop.options(buyer, deal)[-1]
    buyer.select(deal, option)
    draft = buyer.init(deal, option, BILLING)
    shop.clock.ahead = timedelta(minutes=11)
    with pytest.raises(NotAnswered, match="expired") as refused:
        buyer.confirm(deal, option, draft)
    assert refused.value.error is not None
    assert (refused.value.error.code, refused.value.error.paths) == ("40003", "message.order.quote.id")


def test_a_quote_whose_price_moved_is_refused(shop: Market) -> None:
    buyer, deal = shop.buyer(), Transaction(a_workload())
    option = shop.options(buyer, deal)[0]
    buyer.select(deal, option)
    draft = buyer.init(deal, option, BILLING)
    everywhere = [Where("settlement_period", 0, "gt")]
    shop.database.update("grid_signals", {"wholesale_price_gbp_mwh": 160}, where=everywhere)
    with pytest.raises(NotAnswered, match="price moved") as refused:
        buyer.confirm(deal, option, draft)
    assert refused.value.error is not None
    assert refused.value.error.code == "40003"


def test_a_confirm_of_anything_but_the_quote_is_refused(shop: Market) -> None:
    buyer, deal = shop.buyer(), Transaction(a_workload())
    option = shop.options(buyer, deal)[-1]
    buyer.select(deal, option)
    fair = confirm_message(buyer.init(deal, option, BILLING)).model_dump(mode="json")
    order = fair["order"]
    (item,), (payment,) = order["items"], order["payments"]
    more = {"selected": {"measure": {"unit": "GPU-min", "value": "999"}}}
    wishes: list[tuple[dict[str, Any], str]] = [
        ({"items": [item | {"quantity": more}]}, "items[0].quantity.selected"),
        ({"items": [item | {"id": item["id"].replace("DC-00", "DC-01")}]}, "items[0].id"),
        ({"provider": {"id": "op-z"}}, "provider.id"),
        ({"quote": order["quote"] | {"price": {"currency": "GBP", "value": "0"}}}, "quote.price.value"),
        ({"payments": [payment | {"type": "PRE-ORDER"}]}, "payments[0].type"),
        ({"payments": [payment, payment | {"params": {"amount": "0.01"}}]}, "payments[1].params.amount"),
        ({"payments": [payment | {"params": {"currency": "INR"}}]}, "payments[0].params.currency"),
    ]
    for change, path in wishes:
        message = ConfirmedMessage.model_validate_json(json.dumps({"order": order | change}))
        with pytest.raises(NotAnswered) as refused:
            buyer.answer(
                Action.CONFIRM, buyer.send(deal, Action.CONFIRM, message, shop.provider.url, provider=shop.provider)
            )
        assert refused.value.error is not None
        assert (refused.value.error.code, refused.value.error.paths) == ("40003", f"message.order.{path}")
    assert shop.database.select("beckn_orders", order=By(("order_id",))) == []
    message = ConfirmedMessage.model_validate_json(json.dumps(fair))
    confirmed = buyer.send(deal, Action.CONFIRM, message, shop.provider.url, provider=shop.provider)
    assert isinstance(buyer.answer(Action.CONFIRM, confirmed), OrderCallback)


def test_a_slot_beyond_every_forecast_is_not_there(shop: Market) -> None:
    buyer, deal = shop.buyer(), Transaction(a_workload())
    option = shop.options(buyer, deal)[0]
    for start in ("99991231T2330Z", "00010101T0000Z"):
        item = option.item.model_copy(update={"id": f"DC-001:gpu-slot:{start}"})
        with pytest.raises(NotAnswered, match="30004"):
            buyer.select(deal, type(option)(option.provider, option.operator_id, item))


def test_a_run_that_costs_more_than_its_limit_is_not_quoted(shop: Market) -> None:
    buyer, deal = shop.buyer(), Transaction(a_workload())
    option = shop.options(buyer, deal)[0]
    with pytest.raises(NotAnswered, match="40000"):
        buyer.select(Transaction(a_workload(max_price_gbp=0.0000001), deal.transaction_id), option)


def test_unknown_orders_items_and_quotes_are_told(shop: Market) -> None:
    buyer, deal = shop.buyer(), Transaction(a_workload())
    with pytest.raises(NotAnswered, match="30010"):
        buyer.status(deal, shop.provider, "no-such-order")
    option = shop.options(buyer, deal)[0]
    with pytest.raises(NotAnswered, match="40003"):
        buyer.init(deal, option, BILLING)
    elsewhere = option.item.model_copy(update={"id": option.item.id.replace("DC-001", "DC-999")})
    with pytest.raises(NotAnswered, match="30004"):
        buyer.select(deal, type(option)(option.provider, option.operator_id, elsewhere))
    with pytest.raises(NotAnswered, match="30001"):
        buyer.select(deal, type(option)(option.provider, "op-z", option.item))


def test_another_buyers_order_is_unknown(shop: Market) -> None:
    deal = Transaction(a_workload())
    _, order = shop.ordered(shop.buyer(), deal)
    with pytest.raises(NotAnswered, match="30010"):
        shop.buyer("other.example").status(deal, shop.provider, order.id or "")


def test_an_order_can_be_moved_and_cancelled_until_it_starts(shop: Market) -> None:
    buyer, deal = shop.buyer(), Transaction(a_workload())
    option, order = shop.ordered(buyer, deal, choose=3)
    later = (option.item.time.range.start if option.item.time and option.item.time.range else None) or utc_now()
    moved = buyer.update(deal, shop.provider, order.id or "", later + timedelta(minutes=30))
    assert tags_of(moved, "deferral")["shifted-by"] == "PT1800S"
    cancelled = buyer.cancel(deal, shop.provider, order.id or "", "CHANGED_MIND")
    assert (cancelled.status, state_of(cancelled)) == (OrderStatus.CANCELLED, FulfillmentStateCode.CANCELLED)
    assert cancelled == buyer.cancel(deal, shop.provider, order.id or "", "CHANGED_MIND")
    with pytest.raises(NotAnswered, match="50002"):
        buyer.update(deal, shop.provider, order.id or "", later + timedelta(minutes=60))


def test_a_run_that_started_is_not_moved_and_what_has_ended_is_not_cancelled(shop: Market) -> None:
    buyer, deal = shop.buyer(), Transaction(a_workload())
    _, order = shop.ordered(buyer, deal)
    shop.platform.executor.run_due(shop.clock())
    with pytest.raises(NotAnswered, match="50002"):
        buyer.update(deal, shop.provider, order.id or "", utc_now() + timedelta(hours=1))
    shop.clock.ahead = timedelta(hours=1)
    with pytest.raises(NotAnswered, match=r"50001.*over"):
        buyer.cancel(deal, shop.provider, order.id or "", "LATE")


def test_a_run_that_is_cancelled_while_it_runs_ends_and_is_metered_for_what_it_ran(shop: Market) -> None:
    buyer, deal = shop.buyer(), Transaction(a_workload(required_gpu_mins=60))
    _, order = shop.ordered(buyer, deal)
    shop.platform.executor.run_due(shop.clock())
    shop.clock.ahead = timedelta(minutes=5)
    cancelled = buyer.cancel(deal, shop.provider, order.id or "", "ENOUGH")
    assert (cancelled.status, state_of(cancelled)) == (OrderStatus.CANCELLED, FulfillmentStateCode.CANCELLED)
    fees = [term.cancellation_fee.amount.value for term in cancelled.cancellation_terms or ()]
    assert fees == ["0", "0", cancelled.quote.price.value]
    (metered,) = shop.database.select("run_accounts", order=By(("booking_id",)))
    ran = from_rfc3339(metered["ended_at"]) - from_rfc3339(metered["started_at"])
    assert timedelta(minutes=4) < ran < timedelta(minutes=15)
    assert metered["it_energy_wh"] == pytest.approx(960 * ran / timedelta(hours=1), rel=1e-3)
    (work,) = shop.database.select("compute_workloads", order=By(("job_id",)))
    assert work["status"] == "CANCELLED"
    assert work["actual_energy_kwh"] == pytest.approx(metered["site_energy_wh"] / 1000)
    assert tags_of(cancelled, "actuals")
    logged = shop.database.select("broadcast_log", order=By(("sequence",)))
    assert [row["event_type"] for row in logged] == ["order.confirmed", "order.running", "order.cancelled"]
    assert logged[-1]["event"]["actual_energy_kwh"] == work["actual_energy_kwh"]


def test_a_search_nobody_can_meet_says_why(shop: Market) -> None:
    buyer, deal = shop.buyer(), Transaction(a_workload(carbon_cap_gco2=1))
    options, why = buyer.options(buyer.search(deal, shop.provider.url))
    assert options == []
    assert "carbon intensity" in (why or "")


def test_slots_come_best_first_and_a_page_at_a_time(shop: Market) -> None:
    buyer, deal = shop.buyer(), Transaction(a_workload())
    first, second = shop.options(buyer, deal), shop.options(buyer, deal, page=2)
    # Within four hours: now and eight half-hours in each of two data centres, or seven just after a half-hour.
    assert [option.rank for option in (*first, *second)] == list(range(1, len(first) + len(second) + 1))
    scores = [float(option.tag("suitability", "score") or 0) for option in first]
    assert scores == sorted(scores, reverse=True)


def test_fifty_confirms_for_the_last_slot_make_one_order(postgres: PostgresDatabase, tmp_path: Path) -> None:
    # 1.5 kW are free: room for one job of a GPU and its host, 0.96 kW, not for two.
    store_market(
        postgres,
        market_time(),
        centres=[data_centre(1, operator="op-a", total_capacity_mw=0.0015, current_load_percentage=0)],
    )
    with market(postgres, tmp_path) as shop:
        buyer = shop.buyer()
        deals = [Transaction(a_workload(job_id=f"job-{number}", required_gpu_mins=600)) for number in range(50)]
        option = shop.options(buyer, deals[0])[0]
        drafts = []
        for deal in deals:
            buyer.select(deal, option)
            drafts.append(buyer.init(deal, option, BILLING))
        shop.platform.workers.stop()
        sent = [
            buyer.send(deal, Action.CONFIRM, confirm_message(draft), shop.provider.url, provider=shop.provider)
            for deal, draft in zip(deals, drafts, strict=True)
        ]
        inbox = Inbox(postgres, shop.provider.subscriber_id)
        provider = Provider(postgres, shop.provider, carbon_price_gbp_per_t=100, clock=shop.clock)
        claims = inbox.claim(50).claimed
        assert len(claims) == 50
        with ThreadPoolExecutor(16) as pool:
            for claim, outgoing in zip(claims, pool.map(provider.handle, claims), strict=True):
                assert inbox.finish(claim.lease, outgoing)
        shop.platform.deliverer.wake()
        assert sorted(outcome_of_confirm(buyer, each) for each in sent) == ["40002"] * 49 + ["ACTIVE"]


def outcome_of_confirm(buyer: Buyer, message_id: str) -> str:
    try:
        callback = buyer.answer(Action.CONFIRM, message_id)
    except NotAnswered as refused:
        return str(refused.error.code) if refused.error else str(refused)
    assert isinstance(callback, OrderCallback)
    assert callback.message
    return str(callback.message.order.status)


def test_a_spike_defers_an_order_and_says_why(shop: Market) -> None:
    buyer, deal = shop.buyer(), Transaction(a_workload())
    _, order = shop.ordered(buyer, deal)
    first = shop.database.select("grid_signals", order=By(("timestamp",)), limit=1)[0]["timestamp"]
    shop.database.update("grid_signals", {"grid_stress_score": 0.99}, where=[Where("timestamp", first)])
    shop.platform.executor.run_due(shop.clock())
    deferred = buyer.next_news(deal, 10)
    assert deferred is not None
    assert state_of(deferred) is FulfillmentStateCode.DEFERRED
    assert tags_of(deferred, "deferral")["reason"] == "GRID_STRESS"
    assert outbox(shop.database, Action.ON_UPDATE)
    (row,) = shop.database.select("compute_workloads", order=By(("job_id",)))
    assert row["status"] == "DEFERRED_GRID_STRESS"
    shop.database.call("reconsider_deferred", {"p_now": utc_now()})
    assert shop.database.select("workload_notifications", order=By(("notification_id",))) == []
    shop.clock.ahead = timedelta(minutes=31)
    shop.platform.executor.run_due(shop.clock())
    running = buyer.next_news(deal, 10)
    assert running is not None
    assert state_of(running) is FulfillmentStateCode.RUNNING
    assert order.id == running.id


@pytest.mark.own_database
def test_a_fault_of_ours_is_tried_again_and_then_told(postgres: PostgresDatabase, tmp_path: Path) -> None:
    with market(postgres, tmp_path, start=False) as shop:
        buyer, deal = shop.buyer(), Transaction(a_workload())
        buyer.search(deal, shop.provider.url)
        (claim,) = Inbox(postgres, shop.provider.subscriber_id).claim(1).claimed
        postgres.run_script(
            "drop function public.grid_context(timestamptz); create function public.grid_context(p_now timestamptz) "
            "returns json language sql as $$ select '7'::json $$"
        )
        provider = Provider(postgres, shop.provider, carbon_price_gbp_per_t=100, clock=shop.clock)
        with pytest.raises(ValidationError):
            provider.handle(claim)
        (callback,) = provider.handle(claim.model_copy(update={"attempt": 4}))
        assert json.loads(callback.body)["error"]["code"] == "40000"


def provider_process(conninfo: str, folder: Path, port: int, **environment: str) -> ServerProcess:
    settings = {"DATABASE_URL": as_url(conninfo), "PYLON_DATA_DIR": str(folder), "BPP_PORT": str(port)}
    process = ServerProcess("BPP.py", folder / "bpp.log", {**settings, **environment}, port=port)
    process.wait_until_serving()
    return process


def test_a_provider_killed_between_ack_and_callback_still_answers_once(
    conninfo: str, postgres: PostgresDatabase, tmp_path: Path
) -> None:
    store_market(postgres, market_time())
    port, own_port = free_port(), free_port()
    own = Subscriber("buyer.example", f"http://127.0.0.1:{own_port}/beckn")
    key, registry = own_key(tmp_path, own.subscriber_id), Registry(postgres)
    registry.add_own(own, Role.BAP, key, domain=DOMAIN, now=utc_now())
    buyer, deal = Buyer(own, MessageSigner(own.subscriber_id, key), registry), Transaction(a_workload())

    process = provider_process(conninfo, tmp_path, port)
    # Nobody listens for the callback yet, so that it cannot have arrived when the provider dies.
    message_id = buyer.search(deal, f"http://127.0.0.1:{port}/beckn")
    process.end(signal.SIGKILL)
    let_leases_end(postgres)
    with buyer.listening("127.0.0.1", own_port):
        process = provider_process(conninfo, tmp_path, port)
        try:
            options, _ = buyer.options(message_id)
            assert options
            buyer.select(deal, options[0])  # answered after it, so a second on_search would be here by now
            assert buyer.mailbox.matching(lambda each: each.context.message_id == message_id) == []
            (row,) = outbox(postgres, Action.ON_SEARCH)
            assert row["work_state"] == "completed"
        finally:
            assert process.end() == 0


def test_the_buyers_tool_shows_the_slots_of_one_provider(conninfo: str, shop: Market, tmp_path: Path) -> None:
    workload = tmp_path / "workload.json"
    workload.write_text(a_workload().model_dump_json())
    environment = {
        **inherited(),
        "DATABASE_URL": as_url(conninfo),
        "PYLON_DATA_DIR": str(tmp_path),
        "BECKN_BAP_URL": f"http://127.0.0.1:{free_port()}/beckn",
    }
    tool = subprocess.run(
        [sys.executable, BACKEND / "beckn" / "buyer.py", workload, "--search-only", "--provider", shop.provider.url],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (tool.returncode, tool.stderr) == (0, "")
    assert "DC-001:gpu-slot:" in tool.stdout
    assert "order" not in tool.stdout
    assert shop.database.select("beckn_orders", order=By(("order_id",))) == []


def test_a_workload_that_is_none_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYLON_DATA_DIR", str(tmp_path))
    workload = tmp_path / "workload.json"
    workload.write_text(json.dumps({"job_id": "job-1", "workload_type": "KNITTING", "required_gpu_mins": 1}))
    assert buyers_tool.main([str(workload)]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "workload_type" in told


def test_health_says_whether_messages_are_signed(postgres: PostgresDatabase, tmp_path: Path) -> None:
    with market(postgres, tmp_path, start=False) as signed, market(postgres, tmp_path, BECKN_AUTH="off") as unsigned:
        said = [health_of(each)["network"]["authentication"] for each in (signed, unsigned)]
    assert said == ["on", "off"]


def health_of(shop: Market) -> Any:
    return requests.get(shop.provider.url.replace("/beckn", "/health"), timeout=30).json()


def test_without_signatures_a_whole_order_is_made(postgres: PostgresDatabase, tmp_path: Path) -> None:
    store_market(postgres, market_time())
    with market(postgres, tmp_path, BECKN_AUTH="off") as shop:
        _, order = shop.ordered(shop.buyer(), Transaction(a_workload()))
        assert order.status is OrderStatus.ACTIVE
