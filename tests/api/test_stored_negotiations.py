"""Stored negotiations over HTTP: opened by hand, answered from outside, explained; and each tenant's own."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from datetime import timedelta
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from api.stored_negotiations import OpenBody
from clock import utc_now
from database.postgres import PostgresDatabase
from grid.half_hours import half_hour_of, rfc3339
from grid_world import NOW, data_centre, store_data_centres, store_world
from negotiation.declared import made_agent
from negotiation.talk import open_negotiation
from served import Client
from stored_negotiations import DECLARED, ENDOWMENT, STARTS_AT, carry_on, new_negotiation
from tenancy.scopes import Role
from tenant_settings import api_with_tenants, bearer, is_problem, made_key
from two_operators import A, B, gate_of, make_operators

PATH = "/api/v1/negotiations"


def hall(agent: str, second_gbp: float, **facts: Any) -> dict[str, Any]:
    job = {"job_id": agent.lower(), "energy_mwh": 1, "max_power_mw": 2}
    cost = [80, second_gbp]
    return {"kind": "compute", "agent": agent, "endowment_mw": 1.5, "cost_gbp_per_mwh": cost, "jobs": [job], **facts}


def outside(agent: str, **facts: Any) -> dict[str, Any]:
    return {"kind": "outside", "agent": agent, "endowment_mw": 1.5, "most_mw": 2, **facts}


BATTERY: dict[str, Any] = {
    "kind": "storage",
    "agent": "S",
    "cost_gbp_per_mwh": [80, 100],
    "power_mw": 0.8,
    "capacity_mwh": 1,
    "charge_mwh": 0.5,
    "round_trip_efficiency": 1,
    "wear_gbp_per_mwh": 4,
}


def body(*agents: dict[str, Any], **changes: Any) -> dict[str, Any]:
    given = agents or (hall("A", 120), outside("B"), BATTERY)
    return {"name": "by-hand", "starts_at": rfc3339(STARTS_AT), "half_hours": 2, "agents": list(given)} | changes


def answer_for(api: Client, url: str, name: str, headers: Mapping[str, str] | None = None) -> bool:
    """One message of an agent outside, if one is wanted."""
    part = api.get(f"{url}/agents/{name}", headers=headers).json()
    call, award = part["call"], part["award"]
    if call and not part["answered"]:
        own = made_agent(name, ENDOWMENT[name], DECLARED[name])
        vectors = call["prices_gbp_per_mwh"]
        plans = [own.fallback()] if call["round"] == 0 else [own.answer(np.array(vector)) for vector in vectors]
        message: dict[str, Any] = {
            "message_id": f"round-{call['round']}",
            "performative": "propose",
            "round": call["round"],
            "plans": [{"cost_gbp": plan.cost_gbp, "draw_mw": plan.draw_mw.tolist()} for plan in plans],
        }
    elif award and award["confirm_by"] and not part["answered"]:
        message = {"message_id": "yes", "performative": "confirm", "award_id": award["award_id"]}
    else:
        return False
    answer = api.post(f"{url}/agents/{name}/messages", message, headers=headers)
    assert answer.status_code == 201, answer.text
    assert api.post(f"{url}/agents/{name}/messages", message, headers=headers).status_code == 200
    return True


def test_an_operator_has_ten_open_at_a_time_and_may_repeat_itself(api: Client, postgres: PostgresDatabase) -> None:
    store_world(postgres, data_centres=2)
    for number in range(10):
        assert api.post(PATH, body(name=f"one-of-{number}")).status_code == 201
    is_problem(api.post(PATH, body(name="one-more")), 409)
    again = api.post(PATH, body(name="one-of-0"))
    assert again.status_code == 200
    assert api.post(f"{PATH}/{again.json()['negotiation_id']}/cancel", {}).status_code == 200
    assert api.post(PATH, body(name="one-more")).status_code == 201


def test_a_negotiation_by_hand_with_an_agent_outside_is_explained(api: Client, postgres: PostgresDatabase) -> None:
    store_world(postgres, data_centres=2)
    opened = api.post(PATH, body(hall("A", 120, dc_id="DC-001"), outside("B", dc_id="DC-002"), BATTERY))
    assert opened.status_code == 201, opened.text
    url = f"{PATH}/{opened.json()['negotiation_id']}"
    assert opened.json()["state"] == "OPEN"
    carry_on(postgres)
    while answer_for(api, url, "B"):
        carry_on(postgres)
    found = api.get(url).json()
    assert found["negotiation"]["state"] == "CONFIRMED", found["negotiation"]
    assert (found["cost_gbp"], found["bound_gbp"], found["alone_gbp"], found["saving_gbp"]) == (
        175.2,
        175.2,
        182.5,
        7.3,
    )
    assert found["price_gbp_per_mwh"] == [40, 0]
    assert [(one["agent"], one["pays_gbp"], one["gains_gbp"]) for one in found["awards"]] == [
        ("A", "6", 0),
        ("B", "10", 2.5),
        ("S", "-16", 4.8),
    ]
    assert [(one["payer"], one["amount_gbp"]) for one in found["payments"]] == [("A", "6"), ("B", "10")]
    assert {one["dc_id"] for one in found["bookings"]} == {"DC-001", "DC-002"}
    first, second = found["rounds"][:2]
    assert [message["performative"] for message in first["messages"]] == [
        "cfp",
        "propose",
        "cfp",
        "cfp",
        "propose",
        "propose",
    ]
    assert len(second["called_gbp_per_mwh"]) > 1
    uppers = [one["upper_bound_gbp"] for one in found["rounds"][1:]]
    assert uppers == sorted(uppers, reverse=True)
    assert "B moves 1 MWh, pays £10.00 and is £2.50 better off than alone." in found["explanation"]
    assert [one["negotiation_id"] for one in api.get(PATH).json()["negotiations"]] == [
        opened.json()["negotiation_id"]
    ]


def test_the_same_again_is_answered_like_the_first_time_and_another_of_its_name_is_refused(
    api: Client, postgres: PostgresDatabase
) -> None:
    first = api.post(PATH, body())
    again = api.post(PATH, body())
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["negotiation_id"] == first.json()["negotiation_id"]
    is_problem(api.post(PATH, body(half_hours=3)), 422)
    is_problem(api.post(PATH, body(round_seconds=5)), 409)
    assert api.post(PATH, body(name="another")).status_code == 201
    page = api.get(f"{PATH}?limit=1").json()
    rest = api.get(f"{PATH}?limit=1&after={page['next']}").json()
    names = [one["name"] for one in page["negotiations"] + rest["negotiations"]]
    assert sorted(names) == ["another", "by-hand"]


def test_a_repeat_after_its_first_half_hour_has_begun_is_answered_like_the_first_time(
    api: Client, postgres: PostgresDatabase
) -> None:
    begun = half_hour_of(NOW)
    sent = body(starts_at=rfc3339(begun))
    document = OpenBody.model_validate(sent).model_dump(mode="json")
    stored = new_negotiation(name="by-hand", starts_at=begun, document=document, agents=[])
    first = open_negotiation(postgres, stored, begun - timedelta(hours=1)).negotiation
    assert first is not None
    again = api.post(PATH, sent)
    assert (again.status_code, again.json()["negotiation_id"]) == (200, str(first.negotiation_id))
    is_problem(api.post(PATH, body(starts_at=rfc3339(begun), round_seconds=5)), 409)
    is_problem(api.post(PATH, body(starts_at=rfc3339(begun), name="new")), 409)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"starts_at": rfc3339(NOW - timedelta(days=1))}, 422),
        ({"starts_at": rfc3339(STARTS_AT - timedelta(days=1))}, 409),
        ({"half_hours": 96, "starts_at": rfc3339(STARTS_AT + timedelta(days=1))}, 422),
        ({"agents": [outside("A")]}, 422),
        ({"agents": [outside("A"), outside("A")]}, 422),
        ({"agents": [outside("A"), outside("B", dc_id="DC-999")]}, 422),
        ({"agents": [outside("A"), outside("B", operator="nobody")]}, 422),
        ({"agents": [outside("A"), hall("B", 120, endowment_mw=0.1)]}, 422),
        ({"agents": [outside("A"), outside("B", least_mw=1)]}, 422),
        ({"round_seconds": 0}, 422),
    ],
)
def test_what_is_no_negotiation_is_refused(
    api: Client, postgres: PostgresDatabase, changes: dict[str, Any], status: int
) -> None:
    is_problem(api.post(PATH, body(**changes)), status)
    assert api.get(PATH).json() == {"negotiations": [], "next": None}


def test_messages_out_of_turn_are_refused_and_change_nothing(api: Client, postgres: PostgresDatabase) -> None:
    url = f"{PATH}/{api.post(PATH, body()).json()['negotiation_id']}"
    carry_on(postgres)
    messages = f"{url}/agents/B/messages"
    plan = {"cost_gbp": 1, "draw_mw": [1.5, 0.5]}

    def say(**changes: Any) -> Any:
        return api.post(
            messages, {"message_id": "m", "performative": "propose", "round": 0, "plans": [plan]} | changes
        )

    is_problem(say(round=1), 409)
    is_problem(say(plans=[{"cost_gbp": 1, "draw_mw": [9, 0]}]), 422)
    is_problem(say(plans=[{"cost_gbp": 1, "draw_mw": [1]}]), 422)
    is_problem(say(plans=[plan, plan]), 422)
    is_problem(say(plans=None), 422)
    is_problem(say(performative="confirm"), 422)
    is_problem(say(performative="confirm", award_id=str(uuid4())), 409)
    is_problem(say(message_id=""), 422)
    is_problem(api.post(f"{url}/agents/A/messages", {"message_id": "m", "performative": "refuse"}), 404)
    is_problem(api.post(f"{PATH}/{uuid4()}/agents/B/messages", {"message_id": "m", "performative": "refuse"}), 404)
    is_problem(api.get(f"{url}/agents/nobody"), 404)
    is_problem(api.get(f"{PATH}/{uuid4()}"), 404)
    assert not api.get(f"{url}/agents/B").json()["answered"]
    assert say(performative="refuse").status_code == 201
    assert api.get(f"{url}/agents/B").json()["state"] == "LEFT"


def test_it_is_taken_back_before_it_is_awarded(api: Client, postgres: PostgresDatabase) -> None:
    url = f"{PATH}/{api.post(PATH, body()).json()['negotiation_id']}"
    answer = api.post(f"{url}/cancel", {"reason": "no longer"})
    assert (answer.status_code, answer.json()["state"]) == (200, "CANCELLED")
    inside = f"{PATH}/{api.post(PATH, body(hall('A', 120), BATTERY, name='inside')).json()['negotiation_id']}"
    carry_on(postgres)
    is_problem(api.post(f"{inside}/cancel", {}), 409)
    is_problem(api.post(f"{PATH}/{uuid4()}/cancel", {}), 404)


def test_each_tenant_sees_its_own_part_and_speaks_for_its_own_agents_alone(
    postgres: PostgresDatabase, conninfo: str
) -> None:
    make_operators(postgres)
    store_world(postgres, data_centres=0)
    store_data_centres(postgres, [data_centre(1, operator=A), data_centre(2, operator=B)])
    keys = {operator: bearer(made_key(postgres, operator, Role.MEMBER)[0].text) for operator in (A, B)}
    third = bearer(made_key(postgres, B, Role.READER)[0].text)
    with closing(gate_of(conninfo)) as gate, api_with_tenants(postgres, gate) as api:
        ahead: dict[str, Any] = {"starts_at": None}  # of the present: this server has a clock of its own
        foreign = body(hall("A", 120, dc_id="DC-002"), outside("B"), **ahead)
        is_problem(api.post(PATH, foreign, headers=keys[A]), 422)
        agents = [hall("A", 120, dc_id="DC-001"), outside("B", operator=B, dc_id="DC-002"), BATTERY]
        opened = api.post(PATH, body(*agents, **ahead), headers=keys[A])
        assert opened.status_code == 201, opened.text
        url = f"{PATH}/{opened.json()['negotiation_id']}"
        carry_on(postgres, utc_now())
        message = {"message_id": "m", "performative": "refuse"}
        is_problem(api.post(f"{url}/agents/B/messages", message, headers=keys[A]), 404)
        is_problem(api.post(f"{url}/agents/B/messages", message, headers=third), 403)
        is_problem(api.post(f"{url}/cancel", {}, headers=keys[B]), 404)
        while answer_for(api, url, "B", keys[B]):
            carry_on(postgres, utc_now())
        of_a, of_b = (api.get(url, headers=keys[operator]).json() for operator in (A, B))
        assert of_a["negotiation"]["state"] == of_b["negotiation"]["state"] == "CONFIRMED"
        said = [
            {message["agent"] for one in found["rounds"] for message in one["messages"]} for found in (of_a, of_b)
        ]
        assert said == [{"A", "S"}, {"B"}], "what an agent says of itself is its own"
        assert [one["agent"] for one in of_b["awards"]] == ["B"]
        assert [one["agent"] for one in of_a["awards"]] == ["A", "B", "S"], "who opens it sees who pays whom"
        assert {one["dc_id"] for one in of_b["bookings"]} == {"DC-002"}
        own = body(hall("A", 120), BATTERY, **ahead)
        other = api.post(PATH, own, headers=keys[B])
        assert other.status_code == 201, "names are each tenant's own"
        is_problem(api.get(f"{PATH}/{other.json()['negotiation_id']}", headers=keys[A]), 404)
        assert len(api.get(PATH, headers=keys[A]).json()["negotiations"]) == 1
