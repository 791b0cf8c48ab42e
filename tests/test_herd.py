"""A herd of workloads, three gateways that are killed all the time, and buyers who order meanwhile.

Nobody is promised power that there is not, nothing is lost, and what was promised is run and metered. The herd is two
operators', who name their workloads alike: each has the decisions and the numbers that are its own.

HERD_SMALL says how many small workloads come beside the 400 of 250 kW: 5000 is the number that the project promises.
It sends signals to processes that it started, and ends by itself.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from beckn.buying.messages import Transaction
from beckn.buying.platform import Buyer, NotAnswered
from beckn.provider.order_limits import BuyerLimits
from beckn_orders import BILLING, Market, a_workload, market, market_time
from capacity_oracle import check_capacity, check_meters, held_kw_in_all
from clock import utc_now
from database.interface import Row
from database.postgres import PostgresDatabase
from execution.bookings import executor_of_bookings
from execution.executor import Executor
from grid_world import data_centre, store_data_centres, store_grid, submit, workload
from killed_gateways import GATEWAYS, Fleet, wait_until
from metered_runs import assert_conserved
from new_database import as_url

OPERATORS = ("op-a", "op-b")
BIG = 400
BIG_KW = 250.0
SMALL = int(os.environ.get("HERD_SMALL", "600"))
DATA_CENTRES = 4
FREE_KW_EACH = 10_000.0
SUBMITTED_AT_ONCE = 50
TROUBLE_S = 30.0
FEWEST_KILLS = 10
DECIDED_WITHIN_S = 60 + SMALL / 50
TICK = timedelta(seconds=30)
"""Runs that are due within so long are started together: each is still on time."""


def the_herd() -> list[Row]:
    """An hour of 250 kW that may wait for a day, and an hour of one GPU that may wait for six hours; mixed."""
    hour = {"workload_type": "RAG_QUERY", "required_gpu_mins": 60, "urgency": "LOW"}
    one = {**hour, "estimated_energy_kwh": BIG_KW, "deferral_window_mins": 1440}
    big = [workload(f"big-{n // 2:03d}", operator=OPERATORS[n % 2], **one) for n in range(BIG)]
    other = {**hour, "deferral_window_mins": 360}
    small = [workload(f"small-{n // 2:04d}", operator=OPERATORS[n % 2], **other) for n in range(SMALL)]
    herd = [*big, *small]
    random.Random(1).shuffle(herd)
    return herd


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_a_herd_is_promised_what_there_is_and_run_as_promised(
    conninfo: str, postgres: PostgresDatabase, tmp_path: Path
) -> None:
    now = market_time()
    store_grid(postgres, now)
    postgres.insert("operators", [{"operator_id": operator, "name": operator} for operator in OPERATORS])
    centres = [data_centre(number, operator=OPERATORS[0]) for number in range(1, DATA_CENTRES + 1)]
    store_data_centres(postgres, centres, now)
    herd = the_herd()
    with ExitStack() as stack:
        fleet = Fleet(tmp_path, {"DATABASE_URL": as_url(conninfo), "BG_POLL_SECONDS": "0.5"})
        for port in fleet.ports:
            fleet.start(port)
        stack.callback(fleet.end)
        until_then = utc_now()  # nothing is late but what these executors left
        wait_until(lambda: len(fleet.at_work()) == GATEWAYS)
        limits = BuyerLimits(open_orders=10_000, cancelled_a_day=10_000, live_quotes=100_000, share=0.5)
        shop = stack.enter_context(market(postgres, tmp_path, limits=limits))
        runs = executor_of_bookings(postgres, worker="herd", carbon_price_gbp_per_t=100, clock=utc_now)
        with in_real_time(runs, shop.platform.executor), buyers(shop) as confirmed:
            make_trouble(fleet, postgres, herd)
            wait_until(lambda: all_decided(postgres, len(herd)), DECIDED_WITHIN_S)
        until_then = utc_now()  # nothing is late but what these executors left
        wait_until(lambda: len(fleet.at_work()) == GATEWAYS)  # a gateway that begins is not asked to end
        check_capacity(postgres)
        assert fleet.kills >= FEWEST_KILLS

    of_the_big = "from capacity_bookings where job_id like 'big-%' and state <> 'RELEASED'"
    assert listed(postgres, f"select distinct it_power_kw::float {of_the_big}") == [BIG_KW]
    assert postgres.scalar(f"select count(distinct (tenant, job_id)) {of_the_big}") == BIG
    orders = postgres.scalar("select count(*) from beckn_orders")
    assert orders >= len(confirmed) > 0, "a buyer was told of an order that there is not"
    check_each_decided_once(postgres, {(row["operator"], row["job_id"]) for row in herd})
    for operator in OPERATORS:
        check_own_numbers(postgres, operator)
    run_to_the_end(postgres, shop, until_then)
    check_capacity(postgres)
    check_meters(postgres)
    assert_conserved(conninfo)
    assert held_kw_in_all(postgres) == 0
    ended = Counter(listed(postgres, "select status from compute_workloads"))
    assert ended == {"COMPLETED": len(herd) + orders}


@contextmanager
def in_real_time(*executors: Executor[Any]) -> Iterator[None]:
    """Executors that start what is due now."""
    for executor in executors:
        executor.start()
    try:
        yield
    finally:
        for executor in executors:
            executor.stop()


@contextmanager
def buyers(shop: Market) -> Iterator[list[str]]:
    """Two buyers who order for as long as the block lasts: the orders that were confirmed to them."""
    confirmed: list[str] = []
    over = threading.Event()

    def keep_ordering(buyer: Buyer) -> None:
        number = 0
        while not over.is_set():
            number += 1
            deal = Transaction(a_workload(job_id=f"{buyer.own.subscriber_id}-{number}", required_gpu_mins=60))
            try:
                option = shop.options(buyer, deal)[0]
                buyer.select(deal, option)
                confirmed.append(buyer.confirm(deal, option, buyer.init(deal, option, BILLING)).id or "")
            except (NotAnswered, IndexError):  # its slot went meanwhile, or there is none
                continue

    threads = [threading.Thread(target=keep_ordering, args=[shop.buyer(f"bap-{n}.example")]) for n in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield confirmed
    finally:
        over.set()
        for thread in threads:
            thread.join(60)


def make_trouble(fleet: Fleet, database: PostgresDatabase, herd: list[Row]) -> None:
    """Submit the herd while a gateway is killed every second, and look at what is promised all the time."""
    chance = random.Random(2)
    began = time.monotonic()
    submitted = 0
    while (elapsed := time.monotonic() - began) < TROUBLE_S or fleet.kills < FEWEST_KILLS:
        assert elapsed < 3 * TROUBLE_S, "the gateways do not come back"
        while submitted < min(len(herd), len(herd) * elapsed / (0.5 * TROUBLE_S)):
            submit(database, *herd[submitted : submitted + SUBMITTED_AT_ONCE])
            submitted += SUBMITTED_AT_ONCE
        at_work = fleet.at_work()
        if len(at_work) > 1:  # one goes on, so that there is something to disturb
            fleet.kill(chance.choice(at_work), chance.choice(["serving", "deciding", "both"]))
        check_capacity(database)
        time.sleep(1)


def all_decided(database: PostgresDatabase, expected: int) -> bool:
    check_capacity(database)
    return bool(
        database.scalar("select count(*) from workload_notifications where work_state = 'completed'") >= expected
        and database.scalar("select count(*) from workload_notifications where work_state <> 'completed'") == 0
    )


def listed(database: PostgresDatabase, query: str) -> list[Any]:
    """The values of a query with one column."""
    return list(database.scalar(f"select coalesce(json_agg(r.value), '[]') from ({query}) as r (value)") or [])


def check_each_decided_once(database: PostgresDatabase, herd: set[tuple[str, str]]) -> None:
    decided = Counter(
        map(tuple, listed(database, "select json_build_array(tenant, job_id) from orchestration_decisions"))
    )
    assert set(decided) == herd
    assert set(decided.values()) == {1}
    unplaced = database.scalar("select count(*) from orchestration_decisions where chosen_dc_id is null")
    assert unplaced == 0, "there is room for all of them within their windows"
    numbers = listed(database, "select sequence from broadcast_log order by 1")
    assert numbers == list(range(1, len(numbers) + 1))
    published = database.scalar("select count(*) from broadcast_log where event_type = 'decision'")
    assert published == len(herd)


def check_own_numbers(database: PostgresDatabase, operator: str) -> None:
    """An operator's events count from 1 without a gap: its own, with everybody's before them, and nobody else's."""
    of_it = f"from broadcast_log where tenant = '{operator}'"
    own = listed(database, f"select tenant_sequence - everybodys {of_it} order by sequence")
    assert own == list(range(1, len(own) + 1))
    assert database.scalar(f"select count(*) {of_it} and event_type = 'decision'") == (BIG + SMALL) // 2


def run_to_the_end(database: PostgresDatabase, shop: Market, now: datetime) -> None:
    """Start and end everything that is booked, at its time: the clock goes from one step to the next."""
    runs = executor_of_bookings(database, worker="herd", carbon_price_gbp_per_t=100, clock=utc_now)
    executors: list[Executor[Any]] = [runs, shop.platform.executor]
    until = now + timedelta(hours=60)
    while now < until:
        rounds = [executor.run_due(now) for executor in executors]
        if any(done.taken for done in rounds):
            continue
        ahead = [done.next_due_s for done in rounds if done.next_due_s is not None]
        if not ahead:
            return
        now += timedelta(seconds=max(0, min(ahead))) + TICK
    raise AssertionError("runs are left that nobody ends")
