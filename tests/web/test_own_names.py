"""Foreign names: a page whose own name leads to this machine reads and changes nothing."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from served import Client, served
from web.application import answer, make_application
from web.own_names import OwnNames


def client_of(*, guarded: bool = False) -> Iterator[Client]:
    app = make_application(
        "Names",
        "",
        "0",
        asks_for=(lambda _: None) if guarded else None,
        open_endpoints={"signed"},
        own_names=["pylon.home.example", "https://tunnel.example:8443/beckn"],
        allowed_origins=["https://app.example", "http://other.example:3000"],
    )
    app.add_url_rule("/data", "data", lambda: answer({}), methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    app.add_url_rule("/signed", "signed", lambda: answer({}), methods=["POST"])
    with served(app) as client:
        yield client


@pytest.fixture(scope="module")
def server() -> Iterator[Client]:
    yield from client_of()


@pytest.fixture(scope="module")
def guarded() -> Iterator[Client]:
    yield from client_of(guarded=True)


OWN = [
    "localhost",
    "LOCALHOST.:5000",
    "localhost:1",
    "app.localhost:5000",
    "127.0.0.1",
    "127.8.9.10:80",
    "[::1]:5000",
    "gateway",
    "pylon.home.example",
    "Pylon.Home.Example:443",
    "tunnel.example",
    socket.gethostname(),
]
FOREIGN = [
    "rebound.example:5000",
    "localhost.rebound.example",
    "127.0.0.1.rebound.example",
    "127.0.0.1:5000@rebound.example",
    "10.0.0.1",
    "0.0.0.0",
    "[::2]",
    "[::ffff:10.0.0.1]",
    "2130706433",
    "evillocalhost.example",
    "home.example",
    "x.pylon.home.example",
    "127.1.example:x",
]


@pytest.mark.parametrize("host", OWN)
def test_it_answers_as_this_machine_and_as_configured(server: Client, host: str) -> None:
    assert server.get("/data", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", FOREIGN)
@pytest.mark.parametrize("path", ["/data", "/docs", "/openapi.json", "/nothing"])
def test_it_does_not_answer_as_another(server: Client, host: str, path: str) -> None:
    found = server.get(path, headers={"Host": host})
    assert (found.status_code, found.headers["Content-Type"]) == (421, "application/problem+json")
    changed = server.post(path, {}, headers={"Host": host})
    assert changed.status_code == 421


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "https://evil.example:5000", "null", "", "file://", "evil"]
)
def test_pages_of_others_change_nothing(server: Client, origin: str) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        refused = server.request(method, "/data", json={}, headers={"Origin": origin})
        assert (refused.status_code, refused.headers["Content-Type"]) == (403, "application/problem+json")
    assert server.get("/data", headers={"Origin": origin}).status_code == 200


def test_its_own_pages_change_what_they_may(server: Client) -> None:
    for origin in (server.url, "http://localhost:5000", "https://tunnel.example:8443"):
        assert server.post("/data", {}, headers={"Origin": origin}).status_code == 200


def test_behind_a_guard_it_answers_as_any_and_to_its_own_pages_of_that_name(guarded: Client) -> None:
    assert guarded.get("/data", headers={"Host": "pylon.example"}).status_code == 200
    for origin in ("https://pylon.example", "http://Pylon.example", "http://localhost:5000"):
        own = {"Host": "pylon.example", "Origin": origin}
        assert guarded.post("/data", {}, headers=own).status_code == 200
    for origin in ("https://evil.example", "https://pylon.example:1", "https://pylon.example.evil.example", "null"):
        foreign = {"Host": "pylon.example", "Origin": origin}
        refused = guarded.post("/data", {}, headers=foreign)
        assert (refused.status_code, refused.headers["Content-Type"]) == (403, "application/problem+json")


@pytest.mark.parametrize("origin", ["https://app.example", "HTTP://Other.example:3000"])
def test_pages_of_allowed_origins_change_what_they_may(server: Client, guarded: Client, origin: str) -> None:
    for client in (server, guarded):
        assert client.post("/data", {}, headers={"Origin": origin}).status_code == 200
        assert client.post("/data", {}, headers={"Origin": f"{origin}0"}).status_code == 403


@pytest.mark.parametrize(
    "media_type", [None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "x"]
)
@pytest.mark.parametrize("body", [b"", b"{}"])
def test_a_change_is_asked_for_in_json(server: Client, media_type: str | None, body: bytes) -> None:
    headers = {} if media_type is None else {"Content-Type": media_type}
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        refused = server.request(method, "/data", data=body, headers=headers)
        assert (refused.status_code, refused.headers["Content-Type"]) == (415, "application/problem+json")
        assert "Content-Type: application/json" in refused.json()["detail"]


@pytest.mark.parametrize("media_type", ["application/json", "Application/JSON; charset=utf-8", "application/ld+json"])
def test_json_is_json_by_any_of_its_names(server: Client, media_type: str) -> None:
    for path in ("/data", "/signed"):
        assert server.post(path, data=b"", headers={"Content-Type": media_type}).status_code == 200


def test_what_is_signed_may_leave_the_media_type_out_but_no_page_may(server: Client) -> None:
    assert server.post("/signed", data=b"{}").status_code == 200
    assert server.post("/signed", data=b"{}", headers={"Content-Type": "text/plain"}).status_code == 415
    assert server.post("/signed", data=b"{}", headers={"Origin": server.url}).status_code == 415


def test_where_nothing_is_to_be_changed_the_answer_says_so(server: Client) -> None:
    assert server.post("/nothing").status_code == 404
    assert server.post("/docs").status_code == 405


def test_pages_keep_to_themselves(server: Client) -> None:
    page = server.get("/docs")
    assert page.headers["Content-Type"].startswith("text/html")
    policy = dict(part.split(" ", 1) for part in page.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert (page.headers["X-Frame-Options"], page.headers["Referrer-Policy"]) == ("DENY", "no-referrer")
    assert "<script>" not in page.text
    for path in ("/docs", "/docs/page.js", "/docs/js/swagger-ui-bundle.js", "/openapi.json", "/data", "/nothing"):
        assert server.get(path).headers["X-Content-Type-Options"] == "nosniff"
    assert server.get("/docs/page.js").headers["Content-Type"].startswith("text/javascript")


@pytest.mark.parametrize(
    "origin", ["http://[::1", "http://", "http://a b", "http://localhost:1:2", "http://user@localhost"]
)
def test_what_is_no_origin_is_no_own_one(origin: str) -> None:
    assert not OwnNames().includes_origin(origin)
