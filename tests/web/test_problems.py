from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from flask import abort, request

from database.errors import AccessRefused, DatabaseUnreachable
from served import Client, served
from web.application import answer, make_application
from web.problems import Problem, problem_body

SECRET = "a secret of the inside"


@pytest.fixture(scope="module")
def server() -> Iterator[Client]:
    """An application whose every endpoint goes wrong in a way of its own."""
    app = make_application("Faulty", "", "0")

    @app.route("/breaks")
    def _breaks() -> Any:
        raise RuntimeError(SECRET)

    @app.route("/database-away")
    def _database_away() -> Any:
        raise DatabaseUnreachable("no answer")

    @app.route("/database-refuses")
    def _database_refuses() -> Any:
        raise AccessRefused("the key is wrong")

    @app.route("/chooses")
    def _chooses() -> Any:
        raise Problem(409, "there are others", known=["a", "b"])

    @app.route("/aborts/<int:status>")
    def _aborts(status: int) -> Any:
        abort(status)

    @app.route("/echo", methods=["POST"])
    def _echo() -> Any:
        return answer({"got": request.get_json()})

    @app.route("/unwritable")
    def _unwritable() -> Any:
        return answer({"value": object()})

    with served(app) as client:
        yield client


def problem(server: Client, path: str) -> dict[str, Any]:
    found = server.get(path)
    assert found.headers["Content-Type"] == "application/problem+json"
    document: dict[str, Any] = found.json()
    assert document["status"] == found.status_code
    return document


@pytest.mark.parametrize("path", ["/breaks", "/unwritable"])
def test_a_fault_of_ours_is_logged_and_its_inside_is_not_shown(
    server: Client, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    found = server.get(path)
    assert found.json() == {
        "type": "about:blank",
        "title": "Internal Server Error",
        "status": 500,
        "detail": "an unexpected error occurred; the details are in the server's log",
    }
    assert SECRET not in found.text
    assert f"GET {path} failed" in caplog.text
    assert "Traceback" in caplog.text


def test_a_database_that_is_away_is_503_and_says_when_to_come_again(server: Client) -> None:
    found = server.get("/database-away")
    assert (found.status_code, found.headers["Retry-After"]) == (503, "2")
    assert found.json()["detail"] == "the database cannot be reached at the moment, try again shortly: no answer"


def test_a_database_that_refuses_is_503_too(server: Client) -> None:
    assert problem(server, "/database-refuses")["detail"] == "the database refused this: the key is wrong"


def test_members_of_a_problem_are_in_its_document(server: Client) -> None:
    found = problem(server, "/chooses")
    assert (found["title"], found["known"]) == ("Conflict", ["a", "b"])


@pytest.mark.parametrize(
    ("status", "title"),
    [(400, "Bad Request"), (413, "Content Too Large"), (422, "Unprocessable Content"), (429, "Too Many Requests")],
)
def test_every_status_has_its_title(server: Client, status: int, title: str) -> None:
    assert problem(server, f"/aborts/{status}")["title"] == title


def test_half_a_surrogate_pair_that_a_client_sent_can_be_quoted() -> None:
    assert b'"detail": "you sent ?"' in problem_body(422, "you sent \ud800")
    assert "🏭".encode() in problem_body(422, "you sent 🏭")


def test_what_a_client_sent_is_quoted_printable_and_short(server: Client) -> None:
    found = server.get("/no%0A2026-11-27T00:00:00Z%20ERROR%20BG:%20forged%1b[31m" + "x" * 5000)
    assert found.status_code == 404
    detail = found.json()["detail"]
    assert detail.isprintable()
    assert detail.startswith(r"there is nothing at /no\n2026")
    assert len(found.content) < 1000


def test_of_many_faults_the_first_are_listed_and_all_are_counted() -> None:
    errors = [{"field": f"{number}.\x1b" + "k" * 1000, "message": "m" * 1000} for number in range(1000)]
    body = problem_body(422, "invalid\n" + "d" * 5000, errors=errors)
    document = json.loads(body)
    assert len(body) < 10_000
    assert len(document["errors"]) == 20
    assert document["detail"].endswith("; 1000 faults, and the last 980 are not listed")
    assert document["detail"].isprintable()
    assert all(text.isprintable() for error in document["errors"] for text in error.values())


@pytest.mark.parametrize("text", ['"text"', '"{}"', '""'])
def test_a_document_that_is_only_text_is_no_body(server: Client, text: str) -> None:
    found = server.post("/echo", data=text, headers={"Content-Type": "application/json"})
    assert (found.status_code, found.json()["errors"][0]["field"]) == (422, "body")


def test_other_documents_are_bodies(server: Client) -> None:
    documents: tuple[Any, ...] = ({"a": [1, None, "x"]}, [], 7, False)
    for document in documents:
        assert server.request("POST", "/echo", json=document).json() == {"got": document}
