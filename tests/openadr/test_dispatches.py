"""What flexibility has sold, as VENs are told of it: who sees it, and that it is withdrawn with its event."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from clock import utc_now
from database.interface import OrderBy
from database.postgres import PostgresDatabase
from flexibility.events import Cancelling, cancel
from flexibility_world import ENDS_AT, HALF_HOURS, STARTS_AT, announced, book_movable, carry_on
from grid.half_hours import HALF_HOUR, from_rfc3339, rfc3339
from grid_world import NOW, store_world
from openadr.endpoints.parameters import ROOT
from served import Client
from tenancy.keys import Key
from tenancy.scopes import Role, Scope
from tenant_settings import PLATFORM_KEY, api_with_tenants, bearer, is_problem, made_key
from two_operators import A, B, gate_of, make_operators

VEN = frozenset({Scope.OPENADR_USE})
PROGRAM = "Pylon flexibility"


@pytest.fixture
def api(postgres: PostgresDatabase, conninfo: str) -> Iterator[Client]:
    make_operators(postgres)
    store_world(postgres, data_centres=2)
    book_movable(postgres)
    battery = {
        "asset_id": "SA-1",
        "name": "SA-1",
        "operator": A,
        "region_id": 1,
        "capacity_mwh": 4,
        "power_mw": 1,
        "state_of_charge_percentage": 60,
        "round_trip_efficiency": 0.9,
    }
    postgres.insert("storage_assets", [battery])
    gate = gate_of(conninfo)
    with api_with_tenants(postgres, gate) as client:
        yield client
    gate.close()


def listed(api: Client, key: str, kind: str = "events") -> list[dict[str, Any]]:
    answer = api.get(f"{ROOT}/{kind}", headers=bearer(key))
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


def values(event: dict[str, Any]) -> list[float]:
    return [payload["values"][0] for interval in event["intervals"] for payload in interval["payloads"]]


def told_of(database: PostgresDatabase) -> list[tuple[str, str, str]]:
    """Of each webhook: whose it is by its URL, the operation and the kind."""
    rows = database.select("openadr_webhooks", order=OrderBy(("webhook_id",)))
    return [
        (row["callback_url"].rpartition("/")[2], row["body"]["operation"], row["body"]["object"]["object_type"])
        for row in rows
    ]


def subscribe(api: Client, key: str, name: str) -> None:
    wanted = {
        "objects": ["PROGRAM", "EVENT"],
        "operations": ["CREATE", "DELETE"],
        "callbackUrl": f"https://ven.example/{name}",
        "bearerToken": None,
    }
    answer = api.post(
        f"{ROOT}/subscriptions", {"clientName": name, "objectOperations": [wanted]}, headers=bearer(key)
    )
    assert answer.status_code == 201, answer.text


def keys_and_ven(api: Client, database: PostgresDatabase) -> dict[str, Key]:
    """Business logic of two operators; of the first also two VENs, of which one is its battery."""
    keys = {
        "bl": made_key(database, A)[0],
        "battery": made_key(database, A, Role.MEMBER, VEN)[0],
        "another": made_key(database, A, Role.MEMBER, VEN)[0],
        "stranger": made_key(database, B)[0],
    }
    ven = {"venName": "battery 1", "clientID": keys["battery"].key_id, "targets": ["SA-1"]}
    assert api.post(f"{ROOT}/vens", ven, headers=bearer(keys["bl"].text)).status_code == 201
    return keys


def test_what_is_sold_is_told_to_those_that_are_to_do_it(api: Client, postgres: PostgresDatabase) -> None:
    keys = keys_and_ven(api, postgres)
    for name, key in keys.items():
        subscribe(api, key.text, name)
    subscribe(api, PLATFORM_KEY, "platform")
    announced(postgres, need_mw=["2"] * HALF_HOURS)
    assert listed(api, PLATFORM_KEY) == [], "what is only announced is nobody's to do"
    carry_on(postgres, NOW)

    (battery,) = listed(api, keys["battery"].text)
    assert battery["targets"] == ["SA-1"]
    assert battery["payloadDescriptors"] == [{"payloadType": "DISPATCH_SETPOINT", "units": "KW"}]
    starts_at = from_rfc3339(battery["intervalPeriod"]["start"])
    place = (STARTS_AT - starts_at) // HALF_HOUR
    assert sum(values(battery)[place : place + HALF_HOURS]) < 0, "in the event it gives"
    assert sum(values(battery)) > 0, "and takes back, with what is lost on the way"
    assert listed(api, keys["another"].text) == [], "another VEN's is not its to see"
    assert listed(api, keys["stranger"].text) == [], "nor what the platform has sold another operator's"
    assert listed(api, keys["bl"].text) == [battery]

    (unit,) = [one for one in listed(api, PLATFORM_KEY) if one["id"] != battery["id"]]
    assert unit["payloadDescriptors"] == [{"payloadType": "DISPATCH_SETPOINT_RELATIVE", "units": "KW"}]
    assert values(unit) == [-2000] * HALF_HOURS
    assert unit["targets"][0].startswith("V__PYLON")
    assert from_rfc3339(unit["intervalPeriod"]["start"]) == STARTS_AT
    assert {one["programName"] for one in listed(api, keys["bl"].text, "programs")} == {PROGRAM}
    assert ("battery", "CREATE", "EVENT") in told_of(postgres)
    assert ("another", "CREATE", "EVENT") not in told_of(postgres)
    assert ("stranger", "CREATE", "EVENT") not in told_of(postgres)
    assert [one for one in told_of(postgres) if one[0] == "platform" and one[2] == "EVENT"] == [
        ("platform", "CREATE", "EVENT")
    ] * 2


def test_it_is_nobody_s_to_change_and_goes_when_its_event_is_taken_back(
    api: Client, postgres: PostgresDatabase
) -> None:
    keys = keys_and_ven(api, postgres)
    bl = bearer(keys["bl"].text)
    event = announced(postgres, need_mw=["2"] * HALF_HOURS)
    carry_on(postgres, NOW)
    (battery,) = listed(api, keys["battery"].text)
    one = f"{ROOT}/events/{battery['id']}"
    is_problem(api.request("PUT", one, headers=bl, json={"programID": battery["programID"]}), 409)
    is_problem(api.request("DELETE", one, headers=bl), 409)
    is_problem(api.request("DELETE", f"{ROOT}/programs/{battery['programID']}", headers=bl), 409)
    report = {"eventID": battery["id"], "clientName": "battery 1", "resources": []}
    assert api.post(f"{ROOT}/reports", report, headers=bearer(keys["battery"].text)).status_code == 201

    subscribe(api, keys["battery"].text, "battery")
    assert cancel(postgres, event.event_id, "It is over.", NOW).state is Cancelling.CANCELLED
    assert listed(api, PLATFORM_KEY) == []
    assert listed(api, PLATFORM_KEY, "reports") == []
    assert told_of(postgres) == [("battery", "DELETE", "EVENT")]
    assert api.request("DELETE", f"{ROOT}/programs/{battery['programID']}", headers=bl).status_code == 200


def test_what_is_over_goes_with_the_history_and_what_is_not_stays(api: Client, postgres: PostgresDatabase) -> None:
    program = {"programName": "of somebody"}
    kept = api.post(f"{ROOT}/programs", program, headers=bearer(PLATFORM_KEY)).json()["id"]
    for duration in ("PT1H", "P60D"):
        period = {"start": rfc3339(utc_now()), "duration": duration}
        document = {
            "programID": kept,
            "intervalPeriod": period,
            "intervals": [{"id": 0, "payloads": [{"type": "PRICE", "values": [1]}]}],
        }
        assert api.post(f"{ROOT}/events", document, headers=bearer(PLATFORM_KEY)).status_code == 201
    assert api.post(f"{ROOT}/events", {"programID": kept}, headers=bearer(PLATFORM_KEY)).status_code == 201
    announced(postgres, need_mw=["2"] * HALF_HOURS)
    carry_on(postgres, NOW)
    carry_on(postgres, ENDS_AT)
    assert len(listed(api, PLATFORM_KEY)) == 5
    postgres.call("prune_history", {"p_before": utc_now() + timedelta(days=3)})
    left = listed(api, PLATFORM_KEY)
    assert [one.get("intervalPeriod", {}).get("duration") for one in left] == [None, "P60D"]
    assert len(listed(api, PLATFORM_KEY, "programs")) == 3, (
        "programs stay, and what was sold is in flexibility's own log"
    )
    assert len(postgres.select("flexibility_settlements", order=OrderBy(("event_id",)))) == 1
