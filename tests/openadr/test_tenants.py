"""VENs of tenants: each gets its token for its key, and sees what is for it; nothing of another tenant's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from clock import utc_now
from database.interface import OrderBy
from database.postgres import PostgresDatabase
from grid.half_hours import half_hour_of, rfc3339
from openadr.endpoints.parameters import ROOT
from served import Client
from tenancy.keys import Key
from tenancy.scopes import Role, Scope
from tenant_settings import PLATFORM_KEY, api_with_tenants, bearer, is_problem, keys_of, made_key
from two_operators import A, B, gate_of, make_operators

VEN = frozenset({Scope.OPENADR_USE})


@dataclass(frozen=True)
class Vtn:
    """A client with a token."""

    api: Client
    headers: dict[str, str]

    def get(self, path: str) -> Any:
        return self.api.get(ROOT + path, headers=self.headers)

    def send(self, method: str, path: str, document: dict[str, Any] | None = None) -> Any:
        return self.api.request(method, ROOT + path, headers=self.headers, json=document)

    def made(self, path: str, document: dict[str, Any]) -> dict[str, Any]:
        answer = self.send("POST", path, document)
        assert answer.status_code == 201, answer.text
        stored: dict[str, Any] = answer.json()
        return stored


@pytest.fixture
def api(postgres: PostgresDatabase, conninfo: str) -> Iterator[Client]:
    make_operators(postgres)
    gate = gate_of(conninfo)
    with api_with_tenants(postgres, gate) as client:
        yield client
    gate.close()


def token(api: Client, client_id: str, secret: str, *, basic: bool = False) -> Any:
    form = {"grant_type": "client_credentials"}
    if basic:
        return api.request("POST", f"{ROOT}/auth/token", data=form, auth=(client_id, secret))
    named = {"client_id": client_id, "client_secret": secret}
    return api.request("POST", f"{ROOT}/auth/token", data=form | named)


def signed_in(api: Client, key: Key, *, basic: bool = False) -> Vtn:
    answer = token(api, key.key_id, key.text, basic=basic)
    assert answer.status_code == 200, answer.text
    assert answer.json()["expires_in"] == 3600
    return Vtn(api, bearer(answer.json()["access_token"]))


def test_a_ven_sees_what_is_for_it_and_writes_only_of_its_own(api: Client, postgres: PostgresDatabase) -> None:
    ven_key, ven_entry = made_key(postgres, A, Role.MEMBER, VEN)
    other_key, _ = made_key(postgres, A, Role.MEMBER, VEN)
    bl = signed_in(api, made_key(postgres, A)[0], basic=True)
    ven, other = signed_in(api, ven_key), signed_in(api, other_key, basic=True)

    all_can_see = bl.made("/programs", {"programName": "all"})
    south = bl.made("/programs", {"programName": "south", "targets": ["south", "west"]})
    event = bl.made("/events", {"programID": all_can_see["id"], "targets": ["south"], "eventName": "for the south"})
    hidden = bl.made("/events", {"programID": south["id"], "eventName": "for whoever sees its program"})
    north = bl.made("/events", {"programID": all_can_see["id"], "targets": ["north"]})

    registered = bl.made("/vens", {"venName": "v1", "clientID": ven_key.key_id, "targets": ["south"]})
    own = other.made("/vens", {"venName": "v2", "targets": ["south"]})
    assert "targets" not in own
    assert [one["id"] for one in ven.get("/programs").json()] == [south["id"], all_can_see["id"]]
    assert [one["id"] for one in ven.get("/events").json()] == [hidden["id"], event["id"]]
    assert other.get("/events").json() == []
    is_problem(ven.get(f"/events/{north['id']}"), 404)
    assert ven.get("/vens").json() == [registered]
    assert len(bl.get("/vens").json()) == 2

    assert [one.get("targets") for one in ven.get("/programs").json()] == [["south"], None], "west is not its to know"
    assert ven.get(f"/programs/{south['id']}").json()["targets"] == ["south"]
    assert bl.get(f"/programs/{south['id']}").json()["targets"] == ["south", "west"]
    assert [one["id"] for one in ven.get("/programs?targets=south").json()] == [south["id"]]
    assert ven.get("/programs?targets=south&targets=west").json() == ven.get("/programs?targets=west").json() == []

    report = {"eventID": event["id"], "clientName": "v1", "resources": []}
    told = ven.made("/reports", report)
    assert told["clientID"] == str(ven_entry.service_account_id)
    assert other.get("/reports").json() == []
    assert bl.get("/reports").json() == [told]
    is_problem(other.send("POST", "/reports", report), 400)
    is_problem(ven.send("POST", "/reports", {**report, "eventID": north["id"]}), 400)
    is_problem(other.send("PUT", f"/reports/{told['id']}", report), 404)
    is_problem(other.send("DELETE", f"/vens/{registered['id']}"), 404)
    is_problem(other.send("POST", "/resources", {"resourceName": "x", "venID": registered["id"]}), 400)
    is_problem(ven.send("POST", "/programs", {"programName": "mine"}), 403)
    is_problem(ven.send("DELETE", f"/events/{event['id']}"), 403)

    meter = ven.made("/resources", {"resourceName": "meter", "venID": registered["id"], "targets": ["north"]})
    assert "targets" not in meter
    greedy = ven.send("PUT", f"/vens/{registered['id']}", {"venName": "v1", "targets": ["north"], "clientID": "x"})
    assert (greedy.json()["targets"], greedy.json()["clientID"]) == (["south"], ven_key.key_id)
    assert bl.send("PUT", f"/resources/{meter['id']}", {**meter, "targets": ["north"]}).status_code == 200
    assert [one["id"] for one in ven.get("/events").json()] == [north["id"], hidden["id"], event["id"]]


def test_nothing_is_another_tenant_s(api: Client, postgres: PostgresDatabase) -> None:
    a, b = (signed_in(api, made_key(postgres, operator)[0]) for operator in (A, B))
    foreign = made_key(postgres, B, Role.MEMBER, VEN)[0]
    program = a.made("/programs", {"programName": "p"})
    ven = a.made("/vens", {"venName": "v", "clientID": made_key(postgres, A, Role.MEMBER, VEN)[0].key_id})
    before = postgres.select("openadr_objects", order=OrderBy(("object_id",)))
    for refused in (
        b.send("POST", "/events", {"programID": program["id"]}),
        b.send("POST", "/resources", {"resourceName": "r", "venID": ven["id"]}),
        a.send("POST", "/vens", {"venName": "theirs", "clientID": foreign.key_id}),
        a.send("PUT", f"/vens/{ven['id']}", {"venName": "v", "clientID": foreign.key_id}),
    ):
        is_problem(refused, 400)
    is_problem(b.get(f"/vens/{ven['id']}"), 404)
    is_problem(b.send("DELETE", f"/programs/{program['id']}"), 404)
    assert b.get("/programs").json() == b.get("/vens").json() == []
    assert postgres.select("openadr_objects", order=OrderBy(("object_id",))) == before
    assert b.made("/programs", {"programName": "p"})["id"] != program["id"]

    platform = Vtn(api, bearer(PLATFORM_KEY))
    shared = platform.made("/programs", {"programName": "of the platform"})
    assert [one["id"] for one in a.get("/programs").json()] == [shared["id"], program["id"]]
    is_problem(a.send("DELETE", f"/programs/{shared['id']}"), 404)


def test_what_the_platform_writes_anew_stays_its_tenant_s(api: Client, postgres: PostgresDatabase) -> None:
    a, platform = signed_in(api, made_key(postgres, A)[0]), Vtn(api, bearer(PLATFORM_KEY))
    program = a.made("/programs", {"programName": "p"})
    starts_at = rfc3339(half_hour_of(utc_now()) + timedelta(days=1))
    reduction = {"id": 0, "payloads": [{"type": "DISPATCH_SETPOINT_RELATIVE", "values": [-1000]}]}
    period = {"start": starts_at, "duration": "PT30M"}
    event = a.made("/events", {"programID": program["id"], "intervalPeriod": period, "intervals": [reduction]})
    ven = a.made("/vens", {"venName": "v", "clientID": made_key(postgres, A, Role.MEMBER, VEN)[0].key_id})

    renamed = platform.send("PUT", f"/events/{event['id']}", {**event, "eventName": "evening"})
    assert (renamed.status_code, a.get(f"/events/{event['id']}").json()["eventName"]) == (200, "evening")
    (asked,) = postgres.select("flexibility_events", order=OrderBy(("event_id",)))
    assert asked["tenant"] == A
    is_problem(platform.send("PUT", f"/vens/{ven['id']}", {"venName": "v", "clientID": "nobody"}), 400)


def test_a_token_is_given_for_a_key_and_ends_with_it(api: Client, postgres: PostgresDatabase) -> None:
    key, entry = made_key(postgres, A, Role.MEMBER, VEN)
    reader, _ = made_key(postgres, A, Role.READER)
    for client_id in (key.key_id, str(entry.service_account_id), f"svc:{entry.service_account_id}"):
        assert token(api, client_id, key.text).status_code == 200
    for client_id, secret in [
        (key.key_id, key.text[:-1] + ("y" if key.text.endswith("x") else "x")),
        (reader.key_id, key.text),
        (reader.key_id, reader.text),  # may not use OpenADR
        ("", ""),
    ]:
        for basic in (False, True):
            refused = token(api, client_id, secret, basic=basic)
            assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
            assert refused.headers["WWW-Authenticate"].startswith("Basic")
    by_platform = token(api, "anybody", PLATFORM_KEY)
    assert Vtn(api, bearer(by_platform.json()["access_token"])).get("/vens").status_code == 200

    ven = signed_in(api, key)
    assert ven.get("/events").status_code == 200
    # Nor does it make another of itself, or it would be good for longer than its hour.
    for client_id, other in ((key.key_id, ven), ("anybody", Vtn(api, bearer(by_platform.json()["access_token"])))):
        again = token(api, client_id, other.headers["Authorization"].removeprefix("Bearer "))
        assert (again.status_code, again.json()["error"]) == (401, "invalid_client")
    # A token does what its key may do, and is no key.
    is_problem(api.get("/api/v1/workloads", headers=ven.headers), 403)
    keys_of(postgres, A).revoke(key.key_id)
    api_forgets(ven)
    is_problem(Vtn(api, bearer("pylt_" + "x" * 43)).get("/events"), 401)


def api_forgets(ven: Vtn) -> None:
    """Until a revocation has come through, which a notice of the database tells of."""
    for _ in range(1000):
        if ven.get("/events").status_code == 401:
            return
    raise AssertionError("a revoked key's token is still good")
