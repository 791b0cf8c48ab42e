"""Agents of others negotiate by A2A 1.0: with the client of A2A's own SDK, and what is refused how."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any
from uuid import uuid4

import anyio
import httpx
import numpy as np
import pytest
from a2a.client import ClientConfig, create_client
from a2a.client.client import Client as A2aClient
from a2a.types import GetTaskRequest, ListTasksRequest, Message, Part, Role, SendMessageRequest, Task, TaskState
from a2a.utils.errors import TaskNotFoundError
from anyio.to_thread import run_sync
from google.protobuf.json_format import MessageToDict, ParseDict  # type: ignore[import-untyped]
from google.protobuf.struct_pb2 import Value  # type: ignore[import-untyped]

from api_application import create_app
from clock import utc_now
from database.postgres import PostgresDatabase
from grid.half_hours import HALF_HOUR, half_hour_of
from grid_world import store_world
from negotiation.declared import made_agent
from served import Client, served
from settings import load_settings
from stored_negotiations import DECLARED, ENDOWMENT, carry_on, life_of, new_agent, opened
from tenancy.scopes import Role as OwnRole
from tenant_settings import api_with_tenants, bearer, is_problem, made_key
from two_operators import A, B, gate_of, make_operators

VERSION = {"A2A-Version": "1.0"}


def call(api: Client, method: str, headers: Any = VERSION, **params: Any) -> dict[str, Any]:
    found = api.post("/a2a", {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}, headers=headers)
    assert found.status_code == 200, found.text
    answer: dict[str, Any] = found.json()
    assert (answer["jsonrpc"], answer["id"]) == ("2.0", 7)
    return answer


def say(api: Client, task: str, data: Any, message_id: str = "m", headers: Any = VERSION) -> dict[str, Any]:
    message = {"messageId": message_id, "taskId": task, "role": "ROLE_USER", "parts": [{"data": data}]}
    return call(api, "SendMessage", headers, message=message)


def plans(name: str, asked: dict[str, Any]) -> list[dict[str, Any]]:
    own = made_agent(name, ENDOWMENT[name], DECLARED[name])
    vectors = [np.array(vector) for vector in asked["prices_gbp_per_mwh"]]
    found = [own.fallback()] if asked["round"] == 0 else [own.answer(vector) for vector in vectors]
    return [{"cost_gbp": plan.cost_gbp, "draw_mw": plan.draw_mw.tolist()} for plan in found]


def reply(name: str, asked: dict[str, Any]) -> dict[str, Any]:
    if asked["performative"] == "cfp":
        return {"performative": "propose", "round": asked["round"], "plans": plans(name, asked)}
    return {"performative": "confirm", "award_id": asked["award_id"]}


async def said(client: A2aClient, task: Task, name: str, number: int) -> None:
    """Answer what is asked, as anybody would write it with the SDK."""
    asked = MessageToDict(task.status.message.parts[0].data)
    data = ParseDict(reply(name, asked), Value())
    message = Message(message_id=f"{name}-{number}", task_id=task.id, role=Role.ROLE_USER, parts=[Part(data=data)])
    async for event in client.send_message(SendMessageRequest(message=message)):
        assert event.task.id == task.id


async def negotiated(url: str, name: str, postgres: PostgresDatabase) -> Task:
    config = ClientConfig(streaming=False, httpx_client=httpx.AsyncClient(timeout=30))
    client = await create_client(url, config)
    for number in range(100):
        await run_sync(carry_on, postgres)
        task = next(one for one in (await client.list_tasks(ListTasksRequest())).tasks if one.id.endswith(f":{name}"))
        if task.status.state == TaskState.TASK_STATE_INPUT_REQUIRED:
            await said(client, task, name, number)
        elif task.status.state != TaskState.TASK_STATE_WORKING:
            with pytest.raises(TaskNotFoundError):
                await client.get_task(GetTaskRequest(id=f"{uuid4()}:{name}"))
            return await client.get_task(GetTaskRequest(id=task.id))
    raise AssertionError("the negotiation has no end")


def test_the_sdks_own_client_negotiates_to_an_award(api: Client, postgres: PostgresDatabase) -> None:
    store_world(postgres, data_centres=2)
    negotiation = opened(postgres, outside=["B"])
    task = anyio.run(negotiated, api.url, "B", postgres)
    assert task.status.state == TaskState.TASK_STATE_COMPLETED
    award = MessageToDict(task.artifacts[0].parts[0].data)
    assert (award["draw_mw"], award["pays_gbp"], award["price_gbp_per_mwh"]) == ([2, 0], 10, [40, 0])
    life = life_of(postgres, negotiation)
    assert sum(float(one.pays_gbp) for one in life.awards) == 0


def test_the_card_says_where_and_how_it_is_spoken(world: Client) -> None:
    card = world.get("/.well-known/agent-card.json").json()
    assert card["supportedInterfaces"] == [
        {"url": f"{world.url}/a2a", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
    ]
    assert card["capabilities"] == {"streaming": False, "pushNotifications": False}
    assert "securitySchemes" not in card


def test_behind_a_proxy_the_addresses_are_those_that_others_use(postgres: PostgresDatabase) -> None:
    settings = load_settings({"API_PUBLIC_URL": "https://pylon.example.org/"})
    with served(create_app(postgres, settings)) as api:
        card = api.get("/.well-known/agent-card.json").json()
        assert card["supportedInterfaces"][0]["url"] == "https://pylon.example.org/a2a"
        token_url = api.get("/openadr3/3.1.0/auth/server").json()["tokenURL"]
        assert token_url == "https://pylon.example.org/openadr3/3.1.0/auth/token"


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("GetTask", {"id": f"{uuid4()}:B"}, -32001),
        ("GetTask", {"id": "none"}, -32001),
        ("GetTask", {}, -32602),
        ("CancelTask", {"id": f"{uuid4()}:B"}, -32001),
        ("SendMessage", {"message": {"messageId": "m", "parts": [{"data": {}}]}}, -32602),
        ("SendMessage", {"message": {"messageId": "m", "taskId": "x", "parts": [{"text": "hello"}]}}, -32001),
        ("SendMessage", {"message": {"messageId": "m", "taskId": f"{uuid4()}:B", "parts": [{"text": "x"}]}}, -32005),
        ("CancelTask", {"id": f"{uuid4()}:B\x00"}, -32001),
        (
            "SendMessage",
            {
                "message": {
                    "messageId": "m",
                    "taskId": f"{uuid4()}:B",
                    "parts": [{"data": {"performative": "refuse", "reason": "\x00"}}],
                }
            },
            -32602,
        ),
        ("ListTasks", {"status": "done"}, -32602),
        ("ListTasks", {"pageToken": "2"}, -32602),
        ("SendStreamingMessage", {}, -32004),
        ("GetExtendedAgentCard", {}, -32007),
        ("CreateTaskPushNotificationConfig", {}, -32003),
        ("message/send", {}, -32601),
    ],
)
def test_what_is_wrong_is_told_by_the_protocols_codes(
    world: Client, method: str, params: dict[str, Any], code: int
) -> None:
    assert call(world, method, **params)["error"]["code"] == code


def test_a_name_that_nobody_knows_is_told_printable_and_short(world: Client) -> None:
    data = {"performative": "refuse", "\x1b[2J\n" + "x" * 100_000: 1}
    error = say(world, f"{uuid4()}:B", data)["error"]
    assert error["code"] == -32602
    assert "refuse.\\x1b[2J\\nxxx" in error["message"]
    assert len(error["message"]) < 1000


def test_another_version_and_what_is_no_call_are_refused(world: Client) -> None:
    assert call(world, "ListTasks", headers={})["error"]["code"] == -32009
    assert call(world, "ListTasks", headers={"A2A-Version": "0.3"})["error"]["code"] == -32009
    assert world.post("/a2a", {"method": "ListTasks", "id": [1]}, headers=VERSION).json()["error"]["code"] == -32600
    assert world.post("/a2a", [1], headers=VERSION).status_code == 422


@pytest.mark.parametrize(
    "given", [2**64, "\ud800", True, 1.5, {}], ids=["too large", "half a pair", "a truth", "a part", "an object"]
)
def test_an_id_that_no_answer_can_bear_is_refused(world: Client, given: Any) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": given, "method": "ListTasks"}).encode()
    found = world.post("/a2a", data=body, headers={**VERSION, "Content-Type": "application/json"})
    assert (found.status_code, found.json()["id"], found.json()["error"]["code"]) == (200, None, -32600)


def test_an_agent_says_a_thing_once_and_in_its_turn_and_may_leave(api: Client, postgres: PostgresDatabase) -> None:
    store_world(postgres, data_centres=2)
    negotiation = opened(postgres, outside=["B"])
    task = f"{negotiation.negotiation_id}:B"
    carry_on(postgres)
    asked = call(api, "GetTask", id=task)["result"]
    assert asked["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"
    data = asked["status"]["message"]["parts"][0]["data"]
    assert (data["performative"], data["round"], data["endowment_mw"]) == ("cfp", 0, [1.5, 1.5])
    assert say(api, task, {"performative": "sing"})["error"]["code"] == -32602
    assert (
        say(api, task, {"performative": "propose", "round": 3, "plans": plans("B", data)})["error"]["code"] == -32602
    )
    too_much = {"performative": "propose", "round": 0, "plans": [{"cost_gbp": 1, "draw_mw": [1.6, 0]}]}
    assert say(api, task, too_much)["error"]["code"] == -32602
    first = say(api, task, reply("B", data))["result"]["task"]
    assert first["status"]["state"] == "TASK_STATE_WORKING"
    assert say(api, task, reply("B", data))["result"]["task"] == first
    other = say(api, task, {"performative": "refuse"})["error"]
    assert (other["code"], "name of its own" in other["message"]) == (-32602, True), "another message has that name"
    for _ in range(2):
        assert call(api, "CancelTask", id=task)["result"]["status"]["state"] == "TASK_STATE_CANCELED"
    carry_on(postgres)
    assert call(api, "ListTasks", status="TASK_STATE_CANCELED")["result"]["totalSize"] == 1
    assert say(api, task, reply("B", data), message_id="late")["error"]["code"] == -32004


def test_an_agent_is_its_operators_and_no_other_finds_its_task(postgres: PostgresDatabase, conninfo: str) -> None:
    make_operators(postgres)
    store_world(postgres, data_centres=0)
    keys = {operator: bearer(made_key(postgres, operator, OwnRole.MEMBER)[0].text) for operator in (A, B)}
    reader = bearer(made_key(postgres, B, OwnRole.READER)[0].text)
    agents = [new_agent(name, outside=name == "B", tenant=B if name == "B" else A) for name in DECLARED]
    now = utc_now()
    starts_at = half_hour_of(now) + 2 * HALF_HOUR
    negotiation = opened(postgres, now=now, tenant=A, agents=agents, starts_at=starts_at)
    task = f"{negotiation.negotiation_id}:B"
    carry_on(postgres, now)
    with closing(gate_of(conninfo)) as gate, api_with_tenants(postgres, gate) as api:
        assert "bearer" in api.get("/.well-known/agent-card.json").json()["securitySchemes"]
        is_problem(api.post("/a2a", {}, headers=VERSION), 401)
        is_problem(api.post("/a2a", {}, headers=VERSION | reader), 403)
        of_a, of_b = VERSION | keys[A], VERSION | keys[B]
        assert call(api, "ListTasks", of_a)["result"]["tasks"] == []
        assert [one["id"] for one in call(api, "ListTasks", of_b)["result"]["tasks"]] == [task]
        assert say(api, task, {"performative": "refuse"}, headers=of_a)["error"]["code"] == -32001
        left = say(api, task, {"performative": "refuse"}, headers=of_b)["result"]["task"]
        assert left["status"]["state"] == "TASK_STATE_CANCELED"
