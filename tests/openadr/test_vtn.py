"""Pylon as a VTN over HTTP, with nothing configured: everybody is business logic and may act for any VEN."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from api_application import create_app
from beckn_network import eventually
from beckn_orders import Clock
from database.interface import OrderBy
from database.postgres import PostgresDatabase
from flexibility_world import ENDS_AT, HALF_HOURS, STARTS_AT, book_movable, carry_on
from grid.half_hours import HALF_HOUR, half_hour_of, rfc3339
from grid_world import NOW, store_world
from ingest.market import MarketData, store_market
from openadr.endpoints.parameters import ROOT
from served import Client, served
from settings import load_settings
from tenant_settings import is_problem
from upstreams.system_prices import SystemPrice


@pytest.fixture
def vtn(postgres: PostgresDatabase) -> Iterator[Client]:
    store_world(postgres)
    with served(create_app(postgres, load_settings({}), clock=lambda: NOW)) as client:
        yield client


def post(vtn: Client, kind: str, document: dict[str, Any]) -> dict[str, Any]:
    answer = vtn.post(f"{ROOT}/{kind}", document)
    assert answer.status_code == 201, answer.text
    stored: dict[str, Any] = answer.json()
    return stored


def program(vtn: Client, name: str = "reduce", **more: Any) -> str:
    return str(post(vtn, "programs", {"programName": name, "targets": None, **more})["id"])


def reduction(program_id: str, kw: list[float], **more: Any) -> dict[str, Any]:
    return {
        "programID": program_id,
        "eventName": "evening",
        "intervalPeriod": {"start": rfc3339(STARTS_AT), "duration": "PT30M", "randomizeStart": None},
        "payloadDescriptors": [
            {"payloadType": "PRICE", "units": "MWH", "currency": "GBP"},
            {"payloadType": "DISPATCH_SETPOINT_RELATIVE", "units": "KW"},
        ],
        "intervals": [
            {
                "id": number,
                "payloads": [
                    {"type": "DISPATCH_SETPOINT_RELATIVE", "values": [value]},
                    {"type": "PRICE", "values": [200.5]},
                ],
            }
            for number, value in enumerate(kw)
        ],
        **more,
    }


def report(event_id: str, **more: Any) -> dict[str, Any]:
    usage = [{"id": 0, "payloads": [{"type": "USAGE", "values": [1.5]}]}]
    return {
        "eventID": event_id,
        "clientName": "site-1",
        "resources": [{"resourceName": "meter-1", "intervals": usage}],
        **more,
    }


def stored(database: PostgresDatabase) -> tuple[int, int]:
    objects = database.select("openadr_objects", order=OrderBy(("object_id",)))
    return len(objects), len(database.select("flexibility_events", order=OrderBy(("event_id",))))


def test_a_program_its_event_and_a_report_are_kept_and_found_again(vtn: Client) -> None:
    program_id = program(vtn)
    event = post(vtn, "events", reduction(program_id, [-2000, -1500]))
    assert (event["objectType"], event["programID"], event["createdDateTime"]) == ("EVENT", program_id, rfc3339(NOW))
    assert vtn.get(f"{ROOT}/events?programID={program_id}").json() == [event]
    assert vtn.get(f"{ROOT}/events/{event['id']}").json() == event

    ven = post(vtn, "vens", {"venName": "site-1", "clientID": "c-1"})
    resource = post(
        vtn, "resources", {"resourceName": "meter-1", "venID": ven["id"], "objectType": "BL_RESOURCE_REQUEST"}
    )
    assert (ven["clientID"], resource["clientID"]) == ("c-1", "c-1")
    told = post(vtn, "reports", report(event["id"]))
    assert vtn.get(f"{ROOT}/reports?eventID={event['id']}&clientName=site-1").json() == [told]

    changed = vtn.request("PUT", f"{ROOT}/vens/{ven['id']}", json={**ven, "targets": ["south"]})
    assert (changed.status_code, changed.json()["targets"]) == (200, ["south"]), changed.text
    assert vtn.get(f"{ROOT}/vens?targets=south").json() == [changed.json()]
    assert vtn.get(f"{ROOT}/vens?targets=south&targets=north").json() == []

    assert vtn.request("DELETE", f"{ROOT}/programs/{program_id}").status_code == 200
    assert vtn.get(f"{ROOT}/events").json() == vtn.get(f"{ROOT}/reports").json() == []
    is_problem(vtn.get(f"{ROOT}/events/{event['id']}"), 404)


def test_lists_go_on_by_skip_and_limit(vtn: Client) -> None:
    names = [f"p{number}" for number in range(5)]
    for name in names:
        program(vtn, name)
    pages = [vtn.get(f"{ROOT}/programs?skip={skip}&limit=2").json() for skip in (0, 2, 4, 6)]
    assert [one["programName"] for page in pages for one in page] == names[::-1]
    is_problem(vtn.get(f"{ROOT}/programs?limit=51"), 400)
    is_problem(vtn.post(f"{ROOT}/programs", {"programName": "p0"}), 409)


def test_events_are_asked_for_by_whether_they_are_over(postgres: PostgresDatabase) -> None:
    clock = Clock()
    with served(create_app(postgres, load_settings({}), clock=clock)) as vtn:
        program_id = program(vtn)
        soon = {"start": rfc3339(clock()), "duration": "PT30M"}
        lasting = {"start": rfc3339(clock()), "duration": "P2D"}
        price = [{"id": 0, "payloads": [{"type": "PRICE", "values": [1]}]}]
        names = {"soon": soon, "lasting": lasting, "open": None}
        for name, period in names.items():
            post(
                vtn,
                "events",
                {"programID": program_id, "eventName": name, "intervalPeriod": period, "intervals": price},
            )

        def found(query: str) -> list[str]:
            return [one["eventName"] for one in vtn.get(f"{ROOT}/events?{query}").json()]

        assert found("active=true") == ["open", "lasting", "soon"]
        clock.ahead = timedelta(hours=1)
        assert (found("active=true"), found("active=false")) == (["open", "lasting"], ["soon"])
        assert found("") == ["open", "lasting", "soon"]
        is_problem(vtn.get(f"{ROOT}/events?active=perhaps"), 400)


def test_a_reduction_is_an_event_of_flexibility_until_it_is_deleted(vtn: Client) -> None:
    program_id = program(vtn)
    event = post(vtn, "events", reduction(program_id, [-2000, -1500]))
    (asked,) = vtn.get("/api/v1/flexibility/events").json()["events"]
    assert (asked["door"], asked["source_id"], asked["programme"]) == ("openadr", event["id"], "P415")
    assert (asked["need_mw"], asked["price_gbp_per_mwh"]) == (["2", "1.5"], ["200.5", "200.5"])
    assert asked["starts_at"] == rfc3339(STARTS_AT)

    renamed = vtn.request("PUT", f"{ROOT}/events/{event['id']}", json={**event, "eventName": "night"})
    assert (renamed.status_code, renamed.json()["eventName"]) == (200, "night")
    is_problem(vtn.request("PUT", f"{ROOT}/events/{event['id']}", json=reduction(program_id, [-1, -1])), 409)
    is_problem(vtn.request("PUT", f"{ROOT}/events/{event['id']}", json={"programID": program_id}), 409)

    assert vtn.request("DELETE", f"{ROOT}/events/{event['id']}").json() == renamed.json()
    (asked,) = vtn.get("/api/v1/flexibility/events").json()["events"]
    assert asked["state"] == "CANCELLED"


def test_a_reduction_is_carried_through_to_its_settlement(vtn: Client, postgres: PostgresDatabase) -> None:
    book_movable(postgres)
    event = post(vtn, "events", reduction(program(vtn), [-1000] * HALF_HOURS))
    carry_on(postgres, NOW)
    (asked,) = vtn.get("/api/v1/flexibility/events").json()["events"]
    assert (asked["source_id"], asked["state"]) == (event["id"], "NOTIFIED")
    (told,) = vtn.get(f"{ROOT}/events?skip=0&limit=1").json()
    assert {payload["values"][0] for one in told["intervals"] for payload in one["payloads"]} == {-1000}
    is_problem(vtn.request("DELETE", f"{ROOT}/events/{told['id']}"), 409)

    prices = [
        SystemPrice(STARTS_AT + place * HALF_HOUR, NOW, Decimal(100), None, None, "N", False) for place in range(4)
    ]
    store_market(postgres, MarketData(system_prices=tuple(prices)), ENDS_AT)
    carry_on(postgres, ENDS_AT)
    (asked,) = vtn.get("/api/v1/flexibility/events").json()["events"]
    assert asked["state"] == "SETTLED"
    (run,) = vtn.get("/api/v1/flexibility/settlements").json()["settlements"]
    assert (run["programme"], run["received_gbp"]) == ("P415", "489"), "2 MWh at £200.50, and 0.88 beyond at £100"
    assert [one["received_gbp"] for one in run["workloads"]] == ["489"]


def test_what_cannot_be_asked_is_refused_and_nothing_of_it_stored(vtn: Client, postgres: PostgresDatabase) -> None:
    program_id = program(vtn)
    post(vtn, "events", reduction(program_id, [-1]))
    before = stored(postgres)
    apart = {"start": rfc3339(STARTS_AT + timedelta(days=1)), "duration": "PT30M"}
    past = {"start": rfc3339(NOW - timedelta(days=1)), "duration": "PT30M"}
    soon = {"start": rfc3339(half_hour_of(NOW) + HALF_HOUR), "duration": "PT30M"}
    endless = {"start": rfc3339(STARTS_AT + timedelta(days=1)), "duration": "P9999Y"}
    odd = {"start": rfc3339(STARTS_AT + timedelta(days=1)), "duration": "PT20M"}
    dollars = [{"payloadType": "PRICE", "currency": "USD"}]
    price_alone = [{"id": 0, "payloads": [{"type": "PRICE", "values": [1]}]}]
    for status, document in [
        (409, reduction(program_id, [-1])),  # overlapping
        (400, reduction(program_id, [-1], intervalPeriod=past)),
        (400, {"programID": program_id, "intervalPeriod": past, "intervals": price_alone}),
        (409, reduction(program_id, [-1], intervalPeriod=soon)),  # its gate has closed
        (400, reduction(program_id, [-1], intervalPeriod=odd)),
        (400, reduction(program_id, [-1], intervalPeriod=endless)),
        (400, reduction(program_id, [-1], intervalPeriod=None)),
        (400, reduction(program_id, [-1], intervalPeriod=apart, payloadDescriptors=dollars)),
        (400, reduction(program_id, [-1] * 97, intervalPeriod=apart)),
        (400, reduction(program_id, [-1] * 2017, intervalPeriod=apart)),
        (400, reduction(program_id, [2000], intervalPeriod=apart)),
        (400, reduction(program_id, [float("nan")], intervalPeriod=apart)),
        (400, reduction(program_id, [-1e300], intervalPeriod=apart)),
        (400, reduction("unknown", [-1], intervalPeriod=apart)),
        (400, reduction(program_id, [-1], intervalPeriod=apart, unheard_of=1)),
    ]:
        answer = vtn.request(
            "POST", f"{ROOT}/events", data=json.dumps(document), headers={"Content-Type": "application/json"}
        )
        is_problem(answer, status)
    million = json.dumps(reduction(program_id, [-1])).replace('"values": [-1]', f'"values": [{"1," * 10**6}1]')
    is_problem(vtn.request("POST", f"{ROOT}/events", data=million, headers={"Content-Type": "application/json"}), 413)
    large = {
        "programID": program_id,
        "intervals": [{"id": 0, "payloads": [{"type": "LONG", "values": ["x" * 1000] * 300}]}],
    }
    is_problem(vtn.post(f"{ROOT}/events", large), 413)
    is_problem(vtn.post(f"{ROOT}/reports", report("unknown")), 400)
    is_problem(vtn.post(f"{ROOT}/resources", {"resourceName": "x", "venID": "unknown"}), 400)
    assert stored(postgres) == before


def test_an_event_waits_for_its_program_s_deletion_and_never_the_other_way_round(
    vtn: Client, postgres: PostgresDatabase, conninfo: str
) -> None:
    program_id = program(vtn)
    post(vtn, "events", reduction(program_id, [-1]))
    next_day = {"start": rfc3339(STARTS_AT + timedelta(days=1)), "duration": "PT30M"}
    late = reduction(program_id, [-1], intervalPeriod=next_day)
    with ThreadPoolExecutor(1) as pool, psycopg.connect(conninfo) as deleting:
        # As openadr_delete begins.
        deleting.execute("select from openadr_objects where object_id = %s for update", [program_id])
        answer = pool.submit(vtn.post, f"{ROOT}/events", late)
        waiting = (
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        )
        eventually(lambda: postgres.scalar(waiting) == 1)
        deleting.execute("select openadr_delete('PROGRAM', %s, null, %s)", [program_id, NOW])
        deleting.commit()
        is_problem(answer.result(), 400)
    assert stored(postgres) == (0, 1)


def test_a_token_is_given_to_whoever_asks_where_nobody_is_asked_for_one(vtn: Client) -> None:
    server = vtn.get(f"{ROOT}/auth/server").json()
    assert server == {"tokenURL": f"{vtn.url}{ROOT}/auth/token"}
    form = {"grant_type": "client_credentials", "client_id": "x", "client_secret": "y"}
    answer = vtn.request("POST", f"{ROOT}/auth/token", data=form)
    assert (answer.status_code, answer.json()["token_type"]) == (200, "Bearer")
    refused = vtn.request("POST", f"{ROOT}/auth/token", data={"grant_type": "password"})
    assert (refused.status_code, refused.json()["error"]) == (400, "unsupported_grant_type")
