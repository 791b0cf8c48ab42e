"""Answers kept ready: sent again while nothing changes, never when it has, and to nobody else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from flask import Flask, Response, request

from database.callers import CallersCalls
from database.errors import DatabaseUnreachable
from grid.half_hours import HALF_HOUR, half_hour_of
from grid_world import NOW
from web.kept_answers import KeptAnswers, Passing
from web.problems import answer_problems


class Numbered:
    """A database with a version that the test sets."""

    def __init__(self) -> None:
        self.version: str | None = "1"
        self.is_away = False
        self.asked = 0

    def call(self, function: str, arguments: Mapping[str, Any] | None = None, *, repeatable: bool = False) -> Any:
        assert (function, arguments, repeatable) == ("data_version", None, True)
        self.asked += 1
        if self.is_away:
            raise DatabaseUnreachable("away")
        return self.version


class World:
    """An application with one document, and how often that was made."""

    def __init__(self, most_bytes: int = 10_000_000, patience_s: float = 30.0) -> None:
        self.database = Numbered()
        self.now = NOW
        self.content: Any = "a" * 2000
        self.made = 0
        self.in_the_application = 0
        self.make: Callable[[datetime], Any] = self.usual
        self.answers = KeptAnswers(self.database, lambda: self.now, most_bytes=most_bytes, patience_s=patience_s)
        self.app = Flask("test")
        answer_problems(self.app)

        @self.app.get("/document")
        @self.app.get("/other")
        def document() -> Response:
            self.in_the_application += 1
            return self.answers.answer(lambda now: self.make(now))

        self.app.wsgi_app = self.answers.before(self.app.wsgi_app)  # type: ignore[method-assign, assignment]

    def usual(self, now: datetime) -> Any:
        self.made += 1
        return {"as_of": now, "content": self.content, "query": request.query_string.decode()}

    def get(self, path: str = "/document", **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.app.test_client().get(path, headers=named)


@pytest.fixture
def world() -> World:
    return World()


def test_a_document_is_made_once_while_nothing_changes(world: World) -> None:
    first = world.get()
    world.now += timedelta(seconds=5)
    second = world.get()
    assert (world.made, world.in_the_application) == (1, 1)
    assert first.headers["ETag"] == second.headers["ETag"]
    assert second.json == {**first.json, "as_of": "2026-11-22T08:04:16Z"}
    assert dict(second.headers).items() >= dict(first.headers).items() - {"Content-Length": ""}.items()


def test_who_has_it_already_is_told_so(world: World) -> None:
    etag = world.get().headers["ETag"]
    for known in (etag, f'"x", {etag}', etag.removeprefix("W/"), "*"):
        told = world.get(If_None_Match=known)
        assert (told.status_code, told.data, told.headers["ETag"]) == (304, b"", etag)
        assert told.headers["Cache-Control"] == "no-cache"
    assert world.get(If_None_Match='W/"another"').status_code == 200
    assert world.made == 1


def test_what_has_changed_is_made_anew_and_what_came_out_the_same_is_still_had(world: World) -> None:
    etag = world.get().headers["ETag"]
    world.database.version = "2"
    same = world.get(If_None_Match=etag)
    assert (same.status_code, world.made) == (304, 2)
    world.database.version, world.content = "3", "b"
    other = world.get(If_None_Match=etag)
    assert (other.status_code, other.json["content"], world.made) == (200, "b", 3)
    assert other.headers["ETag"] != etag


def test_what_was_written_while_it_was_made_is_not_missed(world: World) -> None:
    def overtaken(now: datetime) -> Any:
        made = world.usual(now)
        world.database.version, world.content = "2", "written meanwhile"
        world.make = world.usual
        return made

    world.make = overtaken
    world.get()
    assert world.get().json["content"] == "written meanwhile"


def test_another_half_hour_is_another_document(world: World) -> None:
    world.get()
    for now in (half_hour_of(NOW) + HALF_HOUR, half_hour_of(NOW) + HALF_HOUR + timedelta(seconds=1), NOW):
        world.now = now
        made = world.made
        world.get()
        assert world.made == made + 1


def test_a_database_whose_state_has_no_name_is_read_every_time(world: World) -> None:
    world.database.version = None
    world.get()
    world.get()
    assert world.made == 2


def test_a_database_that_is_away_is_said_to_be(world: World) -> None:
    world.get()
    world.database.is_away = True
    asked = world.database.asked
    assert world.get().status_code == 503
    assert world.database.asked == asked + 1, "it did not answer: it is not asked again for the same request"
    world.database.is_away = False
    assert world.get().status_code == 200
    assert world.made == 1


def test_what_passes_by_itself_is_not_kept(world: World) -> None:
    world.make = lambda now: Passing(world.usual(now))
    assert world.get().json["content"] == world.get().json["content"] == world.content
    assert world.made == 2


def test_a_query_an_address_and_a_name_of_the_server_have_their_own(world: World) -> None:
    asked = [("/document", "a"), ("/document?x=1", "a"), ("/other", "a"), ("/document", "b")]
    for _ in range(2):
        for path, host in asked:
            world.get(path, Host=host)
    assert world.made == len(asked)


def test_other_methods_and_what_is_not_kept_go_to_the_application(world: World) -> None:
    world.get()
    assert world.app.test_client().head("/document").status_code == 200
    assert world.app.test_client().post("/document").status_code == 405
    assert world.in_the_application == 2


def test_it_is_compressed_once_for_those_who_take_it(world: World) -> None:
    plain = world.get()
    packed = world.get(Accept_Encoding="gzip")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert len(packed.data) < 200
    assert packed.headers["ETag"] == plain.headers["ETag"]
    assert plain.headers["Vary"] == packed.headers["Vary"] == "Accept-Encoding"


def test_what_is_kept_is_bounded_and_the_oldest_goes_first() -> None:
    world = World(most_bytes=7000)
    for number in range(5):
        world.get(f"/document?n={number}")
    assert world.answers.held_bytes <= 7000
    world.get("/document?n=4")
    assert world.made == 5
    world.get("/document?n=0")
    assert world.made == 6


def test_those_who_wait_for_a_document_share_it_and_later_ones_do_not(world: World) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(now: datetime) -> Any:
        begun.set()
        assert go_on.wait(30)
        return world.usual(now)

    world.make = slow
    threads = [threading.Thread(target=world.get)]
    threads[0].start()
    assert begun.wait(30)
    # They come while it is being read, so what is read may be older than they are: one of them reads again, for all.
    threads += [threading.Thread(target=world.get) for _ in range(4)]
    for thread in threads[1:]:
        thread.start()
    while world.in_the_application < 5:
        threading.Event().wait(0.001)
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert world.made <= 2


def test_whoever_waits_too_long_for_what_another_makes_makes_it_alone() -> None:
    world = World(patience_s=0.01)
    begun, go_on = threading.Event(), threading.Event()

    def stuck(now: datetime) -> Any:
        world.make = world.usual
        begun.set()
        assert go_on.wait(30)
        return world.usual(now)

    world.make = stuck
    first = threading.Thread(target=world.get)
    first.start()
    assert begun.wait(30)
    try:
        assert world.get().json["content"] == world.content
    finally:
        go_on.set()
        first.join(30)
    assert world.made == 2
    assert world.get().status_code == 200, "the turn was given back once, by the one that had it"


class Somebody:
    def __init__(self, operator: str) -> None:
        self._operator = operator
        self.is_platform = False

    def claims(self) -> Mapping[str, Any]:
        return {"sub": "user", "role": "authenticated", "app_metadata": {"operator_id": self._operator}}


@contextmanager
def tenants() -> Iterator[tuple[World, KeptAnswers]]:
    """A world in which every caller has a document of its own."""
    world = World()

    class Gate:
        def call(self, function: str, arguments: Any = None, *, repeatable: bool = False) -> Any:
            assert (function, arguments["p_function"], repeatable) == ("call_as", "data_version", True)
            return "1"

    def caller(environ: Any) -> Somebody | None:
        operator = environ.get("HTTP_OPERATOR")
        return None if operator is None else Somebody(operator)

    to_callers = CallersCalls(world.database, Gate(), lambda: None)
    world.answers = KeptAnswers(world.database, lambda: world.now, to_callers=to_callers, caller_of=caller)
    app = world.app.wsgi_app
    world.app.wsgi_app = world.answers.before(app)  # type: ignore[method-assign, assignment]
    yield world, world.answers


def test_nobody_is_sent_what_was_made_for_another() -> None:
    with tenants() as (world, _):
        world.make = lambda now: {**world.usual(now), "of": request.headers["Operator"]}
        for _ in range(2):
            assert [world.get(Operator=name).json["of"] for name in ("A", "B")] == ["A", "B"]
        assert world.made == 2
        world.make = world.usual  # the same document for both, and yet they cannot tell by its ETag
        world.now += HALF_HOUR
        assert world.get(Operator="A").headers["ETag"] != world.get(Operator="B").headers["ETag"]


def test_without_a_caller_nothing_is_sent_of_what_is_kept() -> None:
    with tenants() as (world, _):
        world.get(Operator="A")
        assert world.get().status_code == 401
