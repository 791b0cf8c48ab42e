"""Flexibility over HTTP: events by hand and what they lead to; what is wrong is refused, and nothing of it stored."""

from __future__ import annotations

import json
import math
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from api_application import create_app
from database.interface import OrderBy, Where
from database.postgres import PostgresDatabase
from flexibility_world import ENDS_AT, STARTS_AT, announced, book_movable, carry_on, store_flexible_world
from grid.half_hours import rfc3339
from grid_world import NOW, data_centre, store_data_centres, store_world
from served import Client, served
from settings import load_settings
from tenant_settings import api_with_tenants, bearer, is_problem, made_key
from two_operators import A, B, gate_of, make_operators

EVENTS = "/api/v1/flexibility/events"


def body(**changes: Any) -> dict[str, Any]:
    return {
        "name": "by-hand",
        "programme": "DFS",
        "starts_at": rfc3339(STARTS_AT),
        "need_mw": [1, 1, 1, 1],
        "price_gbp_per_mwh": [200, 200.5, 200, 200],
    } | changes


def stored(database: PostgresDatabase) -> int:
    return len(database.select("flexibility_events", order=OrderBy(("event_id",))))


def test_an_event_by_hand_is_carried_through_to_its_settlement(api: Client, postgres: PostgresDatabase) -> None:
    store_flexible_world(postgres)
    answer = api.post(EVENTS, body())
    assert answer.status_code == 201, answer.text
    event = answer.json()
    assert (event["state"], event["tenant"], event["door"]) == ("ANNOUNCED", "platform", "manual")
    assert event["price_gbp_per_mwh"] == ["200", "200.5", "200", "200"]
    again = api.post(EVENTS, body())
    assert (again.status_code, again.json()["event_id"]) == (200, event["event_id"])

    carry_on(postgres, NOW)
    carry_on(postgres, ENDS_AT)
    life = api.get(f"{EVENTS}/{event['event_id']}").json()
    assert [decision["to_state"] for decision in life["decisions"]][-2:] == ["DELIVERED", "SETTLED"]
    assert life["settlements"][0]["received_gbp"] == "480.3"
    assert [row["metered_mwh"] for row in life["baselines"]] == ["0"] * 4
    assert life["moves"][0]["job_id"] == "job-1"
    assert [one["event_id"] for one in api.get(EVENTS).json()["events"]] == [event["event_id"]]
    (unit,) = [unit for unit in api.get("/api/v1/flexibility/units").json()["units"] if "DC-001" in unit["dc_ids"]]
    assert (unit["unit_id"], unit["gsp_group"]) == ("V__PYLONP", "_P")


def test_an_event_is_taken_back_over_http(api: Client, postgres: PostgresDatabase) -> None:
    store_flexible_world(postgres)
    event_id = announced(postgres).event_id
    answer = api.post(f"{EVENTS}/{event_id}/cancel", {"reason": "no longer"})
    assert (answer.status_code, answer.json()["state"]) == (200, "CANCELLED")
    is_problem(api.post(f"{EVENTS}/{uuid4()}/cancel", {}), 404)
    is_problem(api.get(f"{EVENTS}/{uuid4()}"), 404)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"starts_at": rfc3339(STARTS_AT - timedelta(days=1))}, 409),
        ({"starts_at": rfc3339(NOW + timedelta(minutes=25, seconds=49))}, 409),
        ({"starts_at": rfc3339(STARTS_AT + timedelta(minutes=1))}, 422),
        ({"need_mw": [-1, 1, 1, 1]}, 422),
        ({"need_mw": ["1", 1, 1, 1]}, 422),
        ({"need_mw": [1, 1, 1]}, 422),
        ({"need_mw": [], "price_gbp_per_mwh": []}, 422),
        ({"need_mw": [1] * 200_000, "price_gbp_per_mwh": [1] * 200_000}, 413),
        ({"need_mw": [1] * 97, "price_gbp_per_mwh": [1] * 97}, 422),
        ({"price_gbp_per_mwh": [-200, 200, 200, 200]}, 422),
        ({"need_mw": [1e300, 1, 1, 1]}, 422),
        ({"programme": "DEG"}, 422),
        ({"programme": "P999"}, 422),
        ({"programme": "DEG", "penalty_gbp_per_mwh": [1, 1, 1, 1], "in_day": "additive"}, 422),
        ({"in_day": "multiplied"}, 422),
        ({"name": "a name"}, 422),
        ({"direction": "Upwards"}, 422),
    ],
)
def test_what_is_no_event_is_refused_and_not_stored(
    api: Client, postgres: PostgresDatabase, changes: dict[str, Any], status: int
) -> None:
    is_problem(api.post(EVENTS, body(**changes)), status)
    assert stored(postgres) == 0


def test_an_event_in_the_way_of_another_is_refused(api: Client, postgres: PostgresDatabase) -> None:
    assert api.post(EVENTS, body()).status_code == 201
    is_problem(api.post(EVENTS, body(name="another")), 409)
    is_problem(api.post(EVENTS, body(need_mw=[2, 2, 2, 2])), 409)
    assert api.post(EVENTS, body(name="later", starts_at=rfc3339(ENDS_AT))).status_code == 201
    assert stored(postgres) == 2


def test_an_operator_has_so_many_events_ahead_and_no_more(api: Client, postgres: PostgresDatabase) -> None:
    facts = {
        "tenant": "platform",
        "programme": "P415",
        "need_mw": [1],
        "price_gbp_per_mwh": [1],
        "compensation": "mutualised",
        "in_day": "none",
        "scheduled_at": NOW,
        "announced_at": NOW,
    }
    ahead = []
    for number in range(100):
        starts_at = STARTS_AT + timedelta(days=1, minutes=30 * number)
        times = {
            "starts_at": starts_at,
            "ends_at": starts_at + timedelta(minutes=30),
            "gate_closes_at": starts_at - timedelta(hours=1),
        }
        door = ("manual", "openadr")[number % 2]
        ahead.append({"door": door, "source_id": f"e-{number}", **times, **facts})
    postgres.insert("flexibility_events", ahead)
    is_problem(api.post(EVENTS, body()), 409)
    postgres.update("flexibility_events", {"state": "CANCELLED"}, where=[Where("source_id", "e-7")])
    assert api.post(EVENTS, body()).status_code == 201


def test_what_is_no_number_is_refused(api: Client, postgres: PostgresDatabase) -> None:
    text = json.dumps(body(need_mw=[math.nan, 1, 1, 1]))
    headers = {"Content-Type": "application/json"}
    is_problem(api.request("POST", EVENTS, data=text, headers=headers), 422)
    assert stored(postgres) == 0


def test_an_operators_event_moves_its_own_work_alone_and_the_platforms_anybodys(
    postgres: PostgresDatabase, conninfo: str
) -> None:
    make_operators(postgres)
    store_world(postgres, data_centres=0)
    store_data_centres(postgres, [data_centre(1, operator=A), data_centre(2, operator=B)])
    book_movable(postgres, "of-a", operator=A)
    book_movable(postgres, "of-b", operator=B)
    own = announced(postgres, tenant=A).event_id
    carry_on(postgres, NOW)
    everybodys = announced(postgres, door="dfs", source_id="136", starts_at=ENDS_AT).event_id
    carry_on(postgres, NOW)
    gate = gate_of(conninfo)
    try:
        with api_with_tenants(postgres, gate) as api:
            of_a, of_b = (bearer(made_key(postgres, operator)[0].text) for operator in (A, B))
            life = api.get(f"{EVENTS}/{own}", headers=of_a).json()
            assert [move["job_id"] for move in life["moves"]] == ["of-a"]
            is_problem(api.get(f"{EVENTS}/{own}", headers=of_b), 404)
            is_problem(api.post(f"{EVENTS}/{own}/cancel", {}, headers=of_b), 404)
            is_problem(api.post(EVENTS, body(), headers=of_b), 409)
            listed = [one["event_id"] for one in api.get(EVENTS, headers=of_b).json()["events"]]
            assert listed == [str(everybodys)]
            assert api.get("/api/v1/flexibility/units", headers=of_b).json()["units"] == []
            seen = api.get(f"{EVENTS}/{everybodys}", headers=of_b).json()
            assert seen["event"]["state"] in {"NOTIFIED", "ANNOUNCED"}
            assert not any(seen[part] for part in ("moves", "decisions", "commitments", "baselines"))
            is_problem(api.post(f"{EVENTS}/{everybodys}/cancel", {}, headers=of_b), 404)
    finally:
        gate.close()


def test_without_a_key_nothing_is_announced(postgres: PostgresDatabase) -> None:
    settings = load_settings({"PYLON_API_KEY": "a-key-for-these-tests"})
    with served(create_app(postgres, settings, clock=lambda: NOW)) as api:
        assert api.post(EVENTS, body()).status_code == 401
    assert stored(postgres) == 0
