"""Webhooks: who is told of what, by real calls to a receiver on this machine; what is not taken is tried again."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask, Response, request

from api_application import create_app
from database.interface import OrderBy, Where
from database.postgres import PostgresDatabase
from grid_world import NOW
from killed_steps import run_until_killed
from openadr.endpoints.parameters import ROOT
from openadr.webhooks import WebhookSender
from outgoing.calls import Limits
from served import Client, served
from settings import load_settings
from tenancy.scopes import Role, Scope
from tenant_settings import PLATFORM_KEY, api_with_tenants, bearer, is_problem, keys_of, made_key
from two_operators import A, B, gate_of, make_operators

VEN = frozenset({Scope.OPENADR_USE})


@dataclass
class Receiver:
    """Takes webhooks, and answers with `status`."""

    url: str = ""
    status: int = 204
    heard: list[tuple[str, str | None, dict[str, Any]]] = field(default_factory=list)
    """Path, the header Authorization, and the document."""

    def told(self, path: str = "/") -> list[tuple[str, str]]:
        """What was told at a path: operation and id."""
        return [(document["operation"], document["object"]["id"]) for at, _, document in self.heard if at == path]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    app = Flask("receiver")

    @app.route("/", methods=["POST"], defaults={"path": ""})
    @app.route("/<path:path>", methods=["POST"])
    def take(path: str) -> Response:
        found.heard.append((f"/{path}", request.headers.get("Authorization"), request.get_json()))
        return Response(status=found.status, headers={"Location": f"{found.url}/elsewhere"})

    with served(app) as client:
        found.url = client.url
        yield found


@pytest.fixture
def vtn(postgres: PostgresDatabase) -> Iterator[Client]:
    with served(create_app(postgres, load_settings({}), clock=lambda: NOW)) as client:
        yield client


@pytest.fixture
def sender(postgres: PostgresDatabase) -> WebhookSender:
    """Not started: the tests deliver in their own thread."""
    return WebhookSender(postgres, worker="tests", private_hosts=["127.0.0.1"])


@pytest.fixture
def api(postgres: PostgresDatabase, conninfo: str) -> Iterator[Client]:
    make_operators(postgres)
    gate = gate_of(conninfo)
    with api_with_tenants(postgres, gate) as client:
        yield client
    gate.close()


def made(api: Client, kind: str, document: dict[str, Any], headers: dict[str, str] | None = None) -> dict[str, Any]:
    answer = api.post(f"{ROOT}/{kind}", document, headers=headers)
    assert answer.status_code == 201, answer.text
    stored: dict[str, Any] = answer.json()
    return stored


def subscription(url: str, *objects: str, **more: Any) -> dict[str, Any]:
    one = {"objects": objects, "operations": ["POST", "PUT", "DELETE"], "callbackUrl": url, "bearerToken": None}
    return {"clientName": "ven", "programID": None, "objectOperations": [one], "targets": None, **more}


def deliver(sender: WebhookSender) -> int:
    """Everything that is due now; how many attempts that were."""
    attempts = 0
    while taken := sender.work_once().taken:
        attempts += taken
    return attempts


def rows(database: PostgresDatabase) -> list[dict[str, Any]]:
    return [dict(row) for row in database.select("openadr_webhooks", order=OrderBy(("webhook_id",)))]


def make_due(database: PostgresDatabase) -> None:
    """Let every pause and lease be over."""
    past = NOW.replace(year=2020)
    database.update("openadr_webhooks", {"scheduled_at": past}, where=[Where("work_state", "retryable")])
    database.update("openadr_webhooks", {"leased_until": past}, where=[Where("work_state", "running")])


def test_changes_are_told_in_their_order_in_the_subscriber_s_words(
    vtn: Client, sender: WebhookSender, receiver: Receiver, postgres: PostgresDatabase
) -> None:
    assert vtn.get(f"{ROOT}/notifiers").json() == {"WEBHOOK": True}
    callbacks = [
        {
            "objects": ["PROGRAM", "EVENT", "REPORT"],
            "operations": ["READ", "CREATE", "UPDATE", "DELETE"],
            "callbackUrl": f"{receiver.url}/all",
            "bearerToken": "secret-1",
        },
        {"objects": ["EVENT"], "operations": ["POST"], "callbackUrl": f"{receiver.url}/new?only=events"},
    ]
    kept = made(vtn, "subscriptions", {"clientName": "v", "objectOperations": callbacks})
    assert kept["objectOperations"][0]["bearerToken"] == "secret-1"
    assert kept["objectOperations"][1]["bearerToken"] is None
    program = made(vtn, "programs", {"programName": "p"})
    event = made(vtn, "events", {"programID": program["id"], "eventName": "e", "targets": ["south"]})
    report = made(vtn, "reports", {"eventID": event["id"], "clientName": "v", "resources": []})
    changed = vtn.request("PUT", f"{ROOT}/events/{event['id']}", json={**event, "eventName": "f"}).json()
    assert vtn.request("DELETE", f"{ROOT}/programs/{program['id']}").status_code == 200

    assert receiver.heard == []  # nobody is called within a request
    deliver(sender)
    assert receiver.told("/all") == [
        ("CREATE", program["id"]),
        ("CREATE", event["id"]),
        ("CREATE", report["id"]),
        ("UPDATE", event["id"]),
        ("DELETE", report["id"]),
        ("DELETE", event["id"]),
        ("DELETE", program["id"]),
    ]
    assert receiver.told("/new") == [("POST", event["id"])]
    by_token = {(at, token) for at, token, _ in receiver.heard}
    assert by_token == {("/all", "Bearer secret-1"), ("/new", None)}
    (new,) = (document for at, _, document in receiver.heard if at == "/new")
    assert new == {"objectType": "EVENT", "operation": "POST", "object": event, "targets": ["south"]}
    (update,) = (document for _, _, document in receiver.heard if document["operation"] == "UPDATE")
    assert update["object"] == changed
    assert {row["work_state"] for row in rows(postgres)} == {"completed"}
    assert deliver(sender) == 0


def test_a_subscription_chooses_by_program_and_targets_and_ends(
    vtn: Client, sender: WebhookSender, receiver: Receiver, postgres: PostgresDatabase
) -> None:
    one, other = (made(vtn, "programs", {"programName": name})["id"] for name in ("one", "other"))
    made(vtn, "subscriptions", subscription(f"{receiver.url}/one", "EVENT", "REPORT", programID=one))
    south = made(vtn, "subscriptions", subscription(f"{receiver.url}/south", "EVENT", targets=["south"]))
    watching = made(vtn, "subscriptions", subscription(f"{receiver.url}/who", "SUBSCRIPTION"))
    first = made(vtn, "events", {"programID": one})
    told = made(vtn, "reports", {"eventID": first["id"], "clientName": "v", "resources": []})
    second = made(vtn, "events", {"programID": other, "targets": ["north", "south"]})
    secret = subscription(receiver.url, "VEN")
    secret["objectOperations"][0]["bearerToken"] = "secret-2"
    third = made(vtn, "subscriptions", secret)

    for filters, found in [
        (f"programID={one}", 1),
        ("clientName=ven", 4),
        ("objects=VEN", 1),
        ("objects=VEN&objects=EVENT", 3),
        ("targets=south", 1),
    ]:
        assert len(vtn.get(f"{ROOT}/subscriptions?{filters}").json()) == found, filters
    deliver(sender)
    assert receiver.told("/one") == [("POST", first["id"]), ("POST", told["id"])]
    assert receiver.told("/south") == [("POST", second["id"])]
    assert receiver.told("/who") == [("POST", third["id"])]
    assert "secret-2" not in json.dumps(receiver.heard)

    moved = {**south, "targets": ["north"]}
    assert vtn.request("PUT", f"{ROOT}/subscriptions/{south['id']}", json=moved).json()["targets"] == ["north"]
    assert vtn.get(f"{ROOT}/subscriptions/{watching['id']}").json() == watching
    made(vtn, "events", {"programID": other, "targets": ["north"]})
    made(vtn, "events", {"programID": one})
    assert len([row for row in rows(postgres) if row["work_state"] == "available"]) == 3  # and the changed one's
    assert vtn.request("DELETE", f"{ROOT}/subscriptions/{south['id']}").status_code == 200
    waiting = [row["callback_url"] for row in rows(postgres) if row["work_state"] == "available"]
    assert f"{receiver.url}/south" not in waiting
    assert sorted(waiting) == sorted([f"{receiver.url}/who"] * 2 + [f"{receiver.url}/one"])


def test_what_is_not_taken_is_tried_again_and_given_up_in_the_end(
    vtn: Client, sender: WebhookSender, receiver: Receiver, postgres: PostgresDatabase
) -> None:
    made(vtn, "subscriptions", subscription(receiver.url, "PROGRAM"))
    first = made(vtn, "programs", {"programName": "first"})["id"]
    second = made(vtn, "programs", {"programName": "second"})["id"]
    receiver.status = 500
    assert deliver(sender) == 1  # the second waits for the first
    assert [(row["work_state"], row["last_error"]) for row in rows(postgres)] == [
        ("retryable", "HTTP 500"),
        ("available", None),
    ]
    receiver.status = 302  # followed nowhere
    for _ in range(9):
        make_due(postgres)
        assert deliver(sender) in {1, 2}
    states = [row["work_state"] for row in rows(postgres)]
    assert states == ["discarded", "retryable"]
    assert set(receiver.told()) == {("POST", first), ("POST", second)}
    assert receiver.told("/elsewhere") == []
    (queue,) = (one for one in vtn.get("/api/v1/queues").json()["queues"] if one["name"] == "openadr_webhooks")
    assert (queue["waiting"], queue["in_flight"], queue["dead"]) == (1, 0, 1)
    receiver.status = 410
    make_due(postgres)
    assert deliver(sender) == 1
    assert [row["work_state"] for row in rows(postgres)] == ["discarded", "discarded"]


def test_kill_9_at_any_call_loses_nothing_and_keeps_the_order(
    vtn: Client, sender: WebhookSender, receiver: Receiver, postgres: PostgresDatabase, conninfo: str
) -> None:
    for name in ("one", "two"):
        made(vtn, "subscriptions", subscription(f"{receiver.url}/{name}", "PROGRAM"))
    expected = [("POST", made(vtn, "programs", {"programName": f"p{number}"})["id"]) for number in range(4)]
    # Nothing is called yet; the first is called, and nobody knows; two are told, and the third is in hand.
    for line in ("calling 1", "called 1", "calling 3"):
        run_until_killed("webhook_process.py", conninfo, NOW, line)
        make_due(postgres)
    while deliver(sender):
        make_due(postgres)
    for path in ("/one", "/two"):
        told = receiver.told(path)
        repeated = [at for at, (one, before) in enumerate(zip(told[1:], told, strict=False), 1) if one == before]
        assert [one for at, one in enumerate(told) if at not in repeated] == expected, "all, in their order"
        assert len(repeated) <= 3, "only what was called and not known to be was told again"
    assert {row["work_state"] for row in rows(postgres)} == {"completed"}


def test_a_private_address_is_called_where_the_setting_names_it_alone(
    vtn: Client, receiver: Receiver, postgres: PostgresDatabase
) -> None:
    made(vtn, "subscriptions", subscription(receiver.url, "PROGRAM"))
    made(vtn, "programs", {"programName": "p"})
    strict = WebhookSender(postgres, worker="tests", private_hosts=["ven.example"])
    assert deliver(strict) == 1
    (row,) = rows(postgres)
    assert row["work_state"] == "discarded"
    assert "OPENADR_PRIVATE_CALLBACKS" in row["last_error"]
    assert receiver.heard == []


def test_a_lost_lease_is_another_s_and_a_silent_receiver_costs_its_deadline(
    vtn: Client, sender: WebhookSender, receiver: Receiver, postgres: PostgresDatabase
) -> None:
    made(vtn, "subscriptions", subscription(receiver.url, "PROGRAM"))
    made(vtn, "programs", {"programName": "p"})
    claim = {"p_worker": "killed", "p_limit": 4, "p_lease_seconds": 60.0}
    (held,) = postgres.call("openadr_claim_webhooks", claim)["claimed"]
    assert deliver(sender) == 0
    make_due(postgres)
    assert deliver(sender) == 1
    settle = {
        "p_webhook_id": held["webhook_id"],
        "p_lease_token": held["lease_token"],
        "p_outcome": "retry",
        "p_error": "late",
    }
    assert postgres.call("openadr_settle_webhook", settle) == {"state": "fenced"}
    assert rows(postgres)[0]["work_state"] == "completed"

    silent = threading.Event()
    app = Flask("silent")

    @app.post("/")
    def wait() -> Response:
        silent.wait(30)
        return Response()

    with served(app) as never:
        made(vtn, "subscriptions", subscription(f"{never.url}/", "VEN"))
        made(vtn, "vens", {"venName": "v"})
        short = Limits(connect_s=0.3, whole_s=0.3, answer_bytes=100)
        impatient = WebhookSender(postgres, worker="tests", private_hosts=["127.0.0.1"], limits=short)
        assert deliver(impatient) == 1
        silent.set()
    assert rows(postgres)[1]["work_state"] == "retryable"


def test_bad_subscriptions_are_refused_and_nothing_stored(vtn: Client, postgres: PostgresDatabase) -> None:
    good = subscription("http://ven.example/", "EVENT")
    (operation,) = good["objectOperations"]
    bad: list[dict[str, Any]] = [
        {"callbackUrl": "ftp://ven.example/"},
        {"callbackUrl": "http://user:secret@ven.example/"},
        {"callbackUrl": "http://ven.example/a b"},
        {"callbackUrl": "http:///x"},
        {"callbackUrl": "http://ven.example:99999/"},
        {"callbackUrl": "http://ven.example/" + "x" * 1000},
        {"bearerToken": "a\r\nHost: b"},
        {"objects": []},
        {"objects": ["UNHEARD_OF"]},
        {"operations": []},
    ]
    for change in bad:
        is_problem(vtn.post(f"{ROOT}/subscriptions", {**good, "objectOperations": [{**operation, **change}]}), 400)
    is_problem(vtn.post(f"{ROOT}/subscriptions", {**good, "objectOperations": []}), 400)
    is_problem(vtn.post(f"{ROOT}/subscriptions", {**good, "objectOperations": [operation] * 11}), 400)
    is_problem(vtn.post(f"{ROOT}/subscriptions", {**good, "programID": "unknown"}), 400)
    assert postgres.select("openadr_objects", order=OrderBy(("object_id",))) == []
    for _ in range(100):
        made(vtn, "subscriptions", good)
    is_problem(vtn.post(f"{ROOT}/subscriptions", good), 409)


def test_of_a_subscription_with_too_much_waiting_no_more_is_kept(vtn: Client, postgres: PostgresDatabase) -> None:
    kept = made(vtn, "subscriptions", subscription("http://ven.example/", "PROGRAM"))
    row = {"subscription_id": kept["id"], "callback_url": "http://ven.example/", "body": {}}
    postgres.insert("openadr_webhooks", [row] * 1000)
    made(vtn, "programs", {"programName": "p"})
    last = rows(postgres)[-1]
    assert (last["work_state"], last["body"]) == ("discarded", None)
    assert "1000" in last["last_error"]


def test_a_ven_hears_only_what_it_may_see_and_nobody_of_another_tenant(
    api: Client, sender: WebhookSender, receiver: Receiver, postgres: PostgresDatabase
) -> None:
    bl, ven_key, other_key = (made_key(postgres, A, Role.MEMBER, scopes)[0] for scopes in (None, VEN, VEN))
    stranger = made_key(postgres, B)[0]
    headers = {
        "bl": bearer(bl.text),
        "ven": bearer(ven_key.text),
        "other": bearer(other_key.text),
        "b": bearer(stranger.text),
        "platform": bearer(PLATFORM_KEY),
    }
    kinds = ("PROGRAM", "EVENT", "REPORT", "VEN", "RESOURCE", "SUBSCRIPTION")
    made(api, "vens", {"venName": "v", "clientID": ven_key.key_id, "targets": ["south"]}, headers["bl"])
    kept = {
        who: made(api, "subscriptions", subscription(f"{receiver.url}/{who}", *kinds), by)
        for who, by in headers.items()
    }
    is_problem(api.get(f"{ROOT}/subscriptions/{kept['ven']['id']}", headers=headers["other"]), 404)
    is_problem(api.request("DELETE", f"{ROOT}/subscriptions/{kept['ven']['id']}", headers=headers["b"]), 404)
    assert api.get(f"{ROOT}/subscriptions", headers=headers["ven"]).json() == [kept["ven"]]
    deliver(sender)
    receiver.heard.clear()

    program = made(api, "programs", {"programName": "p"}, headers["bl"])
    south = made(api, "events", {"programID": program["id"], "targets": ["east", "south"]}, headers["bl"])
    north = made(api, "events", {"programID": program["id"], "targets": ["north"]}, headers["bl"])
    report = made(api, "reports", {"eventID": south["id"], "clientName": "v", "resources": []}, headers["ven"])
    shared = made(api, "programs", {"programName": "of the platform"}, headers["platform"])
    deliver(sender)

    def heard(who: str) -> list[str]:
        return [object_id for _, object_id in receiver.told(f"/{who}")]

    own = [program["id"], south["id"], north["id"], report["id"]]
    assert heard("bl") == [*own, shared["id"]]
    assert heard("platform") == [*own, shared["id"]]
    assert heard("ven") == [program["id"], south["id"], report["id"], shared["id"]]
    shown = {at: (told["object"]["targets"], told["targets"]) for at, _, told in receiver.heard if "targets" in told}
    assert shown["/ven"] == (["south"], ["south"]), "of what it is for a VEN is told its own"
    assert heard("other") == [program["id"], shared["id"]]
    assert heard("b") == [shared["id"]]

    keys_of(postgres, A).revoke(ven_key.key_id)
    receiver.heard.clear()
    made(api, "programs", {"programName": "after"}, headers["bl"])
    deliver(sender)
    assert (len(heard("ven")), len(heard("other")), len(heard("bl"))) == (0, 1, 1)

    receiver.status = 500
    receiver.heard.clear()
    made(api, "programs", {"programName": "waits"}, headers["bl"])
    deliver(sender)
    keys_of(postgres, A).revoke(other_key.key_id)
    receiver.status = 204
    make_due(postgres)
    deliver(sender)
    assert (len(heard("other")), len(heard("bl"))) == (1, 2), "what waited is told to nobody whose key is revoked"


def test_a_host_that_hangs_holds_up_no_other_and_operators_take_turns(
    api: Client, postgres: PostgresDatabase
) -> None:
    a, b = (bearer(made_key(postgres, operator)[0].text) for operator in (A, B))

    def subscribed(host: str, by: dict[str, str]) -> str:
        found: str = made(api, "subscriptions", subscription(f"http://{host}.example/", "PROGRAM"), by)["id"]
        return found

    def claimed(most: int) -> list[dict[str, Any]]:
        claim = {"p_worker": "tests", "p_limit": most, "p_lease_seconds": 60.0}
        found: list[dict[str, Any]] = postgres.call("openadr_claim_webhooks", claim)["claimed"]
        return found

    stuck = [subscribed("stuck", a) for _ in range(5)]
    others = [subscribed(host, a) for host in ("one", "two")]
    made(api, "programs", {"programName": "p"}, a)
    of_b = subscribed("three", b)
    made(api, "programs", {"programName": "p"}, b)

    assert claimed(1)[0]["subscription_id"] == stuck[0]
    assert claimed(1)[0]["subscription_id"] == of_b, "it is the other operator's turn"
    in_hand = claimed(10)
    assert [one["subscription_id"] for one in in_hand] == [stuck[1], others[0]]
    assert claimed(10) == [], "an operator has so much in hand at most"
    for one in in_hand:
        named = {"p_webhook_id": one["webhook_id"], "p_lease_token": one["lease_token"]}
        postgres.call("openadr_settle_webhook", {**named, "p_outcome": "retry", "p_error": "timed out"})
    make_due(postgres)
    again = [one["subscription_id"] for one in (*claimed(1), *claimed(1), *claimed(1))]
    assert again == [stuck[2], stuck[3], others[1]], "what was never tried comes first"
