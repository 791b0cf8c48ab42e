"""Who is admitted where PYLON_API_KEY stands before a server, or nothing does: reads, writes, names and origins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from flask import Response, request

from database.postgres import PostgresDatabase
from served import Client, served
from settings import load_settings
from tenancy.access import Access
from tenancy.guard import caller_of
from tenancy.principals import LOCAL_ADMINISTRATOR, LOCAL_READER, platform_administrator
from tenancy.scopes import Need, Scope, Without
from web.application import answer, make_application
from web.metrics import serve_metrics

KEY = "a-key-for-these-tests"
WITH_KEY = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
NEEDS: dict[str, Need] = {
    "GET /things/<name>": Scope.WORKLOADS_READ,
    "GET /closed": Scope.WORKLOADS_READ,
    "POST /closed": Scope.WORKLOADS_WRITE,
    "PUT /closed": Scope.WORKLOADS_WRITE,
    "DELETE /closed": Scope.WORKLOADS_WRITE,
    "POST /open": Without.SIGNED,
    "GET /public": Without.PUBLIC,
    "GET /metrics": Scope.METRICS_READ,
}


@contextmanager
def server(database: PostgresDatabase, *, host: str = "127.0.0.1", **settings: str) -> Iterator[Client]:
    access = Access(load_settings({"API_HOST": host, **settings}), NEEDS, database, host=host)
    app = make_application(
        "Guarded",
        "",
        "0",
        asks_for=access.asks_for(),
        open_endpoints={"open"},
        allowed_origins=["https://app.example"],
    )
    app.add_url_rule("/closed", "closed", _who, methods=["GET", "POST", "PUT", "DELETE"])
    app.add_url_rule("/things/<name>", "things", _who)
    app.add_url_rule("/open", "open", _who, methods=["POST"])
    app.add_url_rule("/public", "public", _who)
    app.add_url_rule("/forgotten", "forgotten", _who, methods=["GET", "POST"])
    access.guard(app)
    serve_metrics(app)
    with served(app) as client:
        yield client


def _who(name: str = "") -> Response:
    principal = caller_of(request.environ)
    return answer({"name": name, "subject": principal and principal.subject, "role": principal and principal.role})


def test_with_nothing_configured_everybody_is_the_administrator(postgres: PostgresDatabase) -> None:
    with server(postgres) as client:
        for method in ("GET", "POST", "PUT", "DELETE"):
            found = client.request(method, "/closed", headers={"Content-Type": "application/json"})
            assert found.json() == {"name": "", "subject": "local", "role": "platform"}
        for path in ("/closed", "/forgotten", "/public"):
            assert client.get(path, headers={"Authorization": "Bearer nonsense"}).status_code == 200


def test_a_key_guards_everything_that_writes_and_nothing_that_reads_on_this_machine(
    postgres: PostgresDatabase,
) -> None:
    with server(postgres, PYLON_API_KEY=KEY) as client:
        for method in ("GET", "HEAD", "OPTIONS"):
            assert client.request(method, "/closed").status_code == 200
        assert client.get("/things/x").json() == {"name": "x", "subject": "local", "role": "reader"}
        for method in ("POST", "PUT", "DELETE"):
            refused = client.request(method, "/closed")
            assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert "PYLON_API_KEY" in refused.json()["detail"]
            assert client.request(method, "/closed", headers=WITH_KEY).json()["role"] == "platform"
        assert client.post("/open").status_code == 200


def test_figures_take_the_key(postgres: PostgresDatabase) -> None:
    with server(postgres, PYLON_API_KEY=KEY) as client:
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", headers={"Authorization": "Bearer no"}).status_code == 401
        figures = client.get("/metrics", headers=WITH_KEY)
        assert figures.status_code == 200
        assert 'route="/metrics",status="401"' in figures.text


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "pylon.example.org"])
def test_where_others_can_reach_it_reads_take_the_key_too(postgres: PostgresDatabase, host: str) -> None:
    with server(postgres, host=host, PYLON_API_KEY=KEY) as client:
        for path in ("/closed", "/things/x", "/metrics", "/nothing", "/forgotten"):
            assert client.get(path).status_code == 401
        assert client.get("/closed", headers=WITH_KEY).json()["subject"] == "platform"
        assert client.get("/nothing", headers=WITH_KEY).status_code == 404
        assert client.get("/public").status_code == 200
        assert client.post("/open").status_code == 200


def test_a_page_that_came_by_a_name_of_its_own_reads_nothing(postgres: PostgresDatabase) -> None:
    with server(postgres, PYLON_API_KEY=KEY) as client:
        rebound = {"Host": "rebound.example:5000"}
        assert client.get("/closed", headers=rebound).status_code == 401
        assert client.get("/closed", headers=rebound | WITH_KEY).status_code == 200
        assert client.get("/closed", headers={"Host": "localhost:5000"}).status_code == 200


def test_an_endpoint_that_nobody_gave_a_scope_is_refused_to_all(postgres: PostgresDatabase) -> None:
    with server(postgres, PYLON_API_KEY=KEY) as client:
        for method in ("GET", "POST"):
            assert client.request(method, "/forgotten", headers=WITH_KEY).status_code == 403


def test_where_nothing_is_a_stranger_hears_nothing_of_it(postgres: PostgresDatabase) -> None:
    with server(postgres, PYLON_API_KEY=KEY) as client:
        assert client.get("/nothing").status_code == 404
        assert client.post("/nothing").status_code == 401
        assert client.post("/things/x").status_code == 401
        assert client.post("/nothing", headers=WITH_KEY).status_code == 404
        assert client.post("/things/x", headers=WITH_KEY).status_code == 405


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {KEY}x",
        f"Bearer {KEY[:-1]}",
        f"Basic {KEY}",
        KEY,
        "Bearer \xff",
        "Bearer pyl_x",
    ],
)
def test_what_is_not_the_key_opens_nothing(postgres: PostgresDatabase, authorization: str) -> None:
    with server(postgres, PYLON_API_KEY=KEY) as client:
        for method, path in (("POST", "/closed"), ("GET", "/metrics")):
            refused = client.request(method, path, headers={"Authorization": authorization})
            assert (refused.status_code, refused.headers["Content-Type"]) == (401, "application/problem+json")
            assert KEY not in refused.text


def test_a_refusal_has_an_id_and_so_has_what_is_admitted(postgres: PostgresDatabase) -> None:
    with server(postgres, PYLON_API_KEY=KEY) as client:
        for headers in ({}, WITH_KEY):
            found = client.post("/closed", headers={"X-Request-ID": "r-1", **headers})
            assert found.headers["X-Request-ID"] == "r-1"


def test_a_page_of_an_allowed_origin_may_ask_and_read(postgres: PostgresDatabase) -> None:
    own = {"Origin": "https://app.example"}
    with server(postgres, PYLON_API_KEY=KEY, ALLOWED_ORIGINS="https://app.example") as client:
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        preflight = client.request("OPTIONS", "/closed", headers={**own, **asked})
        assert preflight.status_code == 204
        assert preflight.headers["Access-Control-Allow-Origin"] == "https://app.example"
        assert {"Authorization", "A2A-Version"} <= set(preflight.headers["Access-Control-Allow-Headers"].split(", "))
        for found in (client.get("/closed", headers=own), client.post("/closed", headers=own)):
            assert found.headers["Access-Control-Allow-Origin"] == "https://app.example"
            assert "Origin" in found.headers["Vary"]
            assert "Access-Control-Allow-Credentials" not in found.headers
        foreign = client.request("OPTIONS", "/closed", headers={"Origin": "https://evil.example", **asked})
        assert not [name for name in foreign.headers if name.startswith("Access-Control")]


def test_the_words_of_the_implied_principals() -> None:
    assert LOCAL_ADMINISTRATOR.is_platform
    assert not LOCAL_READER.is_platform
    assert platform_administrator("op-a").operator == "op-a"
    assert LOCAL_READER.claims()["app_metadata"] == {"operator_id": "local", "role": "reader"}
