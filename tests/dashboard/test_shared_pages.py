"""A page is made once for all who asked for it before, and never shown to anybody else or to who asked later."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from dashboard.shared_pages import SharedPages
from tenancy.guard import PRINCIPAL
from web.worker_threads import CAME_AT

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


class Making:
    """An application whose answers are numbered; each waits until it is let."""

    def __init__(self, status: str = "200 OK", **headers: str) -> None:
        self.has_begun = threading.Event()
        self.all_six_are_made = threading.Event()
        self.may_end = threading.Event()
        self._numbers = itertools.count(1)
        self._answer = (status, list(headers.items()))

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:  # noqa: ARG002
        number = next(self._numbers)
        self.has_begun.set()
        if number == 6:
            self.all_six_are_made.set()
        assert self.may_end.wait(20)
        status, headers = self._answer
        start_response(status, [*headers, ("Content-Type", "text/html")])
        return [b"%d" % number]


def asked(pages: SharedPages, **other: Any) -> bytes:
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/dashboard/",
        "QUERY_STRING": "",
        "HTTP_HOST": "localhost",
        **other,
    }
    started: list[str] = []

    def start(status: str, headers: list[tuple[str, str]], exc_info: object = None, /) -> Callable[[bytes], object]:
        started.append(status)
        return lambda _: None

    body = b"".join(pages(environ, start))
    assert len(started) == 1
    return body


def test_those_who_came_before_it_was_begun_share_it_and_who_comes_later_gets_a_newer() -> None:
    making = Making()
    pages = SharedPages(making)
    with ThreadPoolExecutor(11) as threads:
        first = threads.submit(asked, pages)
        assert making.has_begun.wait(20)
        came_at = time.monotonic()
        others = [threads.submit(asked, pages, **{CAME_AT: came_at}) for _ in range(10)]
        making.may_end.set()
        assert first.result() == b"1"
        assert {other.result() for other in others} == {b"2"}
    assert asked(pages) == b"3"


def test_who_has_waited_long_makes_it_alone_so_that_a_slow_page_holds_up_nobody_in_line() -> None:
    making = Making()
    pages = SharedPages(making, patience_s=0.01)
    with ThreadPoolExecutor(6) as threads:
        asking = [threads.submit(asked, pages) for _ in range(6)]
        assert making.all_six_are_made.wait(20)
        making.may_end.set()
        assert len({one.result() for one in asking}) == 6


def test_whatever_is_asked_otherwise_or_by_somebody_else_is_made_for_itself() -> None:
    making = Making()
    making.may_end.set()
    pages = SharedPages(making)
    before = {CAME_AT: time.monotonic() - 60}
    questions: list[dict[str, Any]] = [
        {},
        {"PATH_INFO": "/dashboard/orders"},
        {"QUERY_STRING": "after=1"},
        {"HTTP_HOST": "127.0.0.1"},
        {"HTTP_ACCEPT_ENCODING": "gzip"},
        {PRINCIPAL: "somebody"},
        {PRINCIPAL: "somebody else"},
    ]
    answers = [asked(pages, **question, **before) for question in questions]
    assert len(set(answers)) == len(questions)
    assert [asked(pages, **question, **before) for question in questions] == answers


def test_what_went_wrong_sets_a_cookie_or_is_no_page_is_for_one_alone() -> None:
    came_at = time.monotonic() - 60
    for making in (Making("503 Service Unavailable"), Making(**{"Set-Cookie": "a=b"})):
        making.may_end.set()
        pages = SharedPages(making)
        assert [asked(pages, **{CAME_AT: came_at}) for _ in range(2)] == [b"1", b"2"]
    making = Making()
    making.may_end.set()
    pages = SharedPages(making)
    for question in (
        {"REQUEST_METHOD": "POST"},
        {"PATH_INFO": "/api/v1/workloads"},
        {"PATH_INFO": "/dashboard/static/x/y.js"},
    ):
        assert asked(pages, **{CAME_AT: came_at}, **question) != asked(pages, **{CAME_AT: came_at}, **question)
