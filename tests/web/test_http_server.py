"""The HTTP server over real sockets: requests read whole, deadlines, bounds, and answers to those who take them."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import gevent
import gevent.socket
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raw_http import GET, RawAnswer, exchange, http_server
from refused_requests import AMBIGUOUS_OR_NONE
from web.http_connection import Connection
from web.http_limits import Limits
from web.http_server import HttpServer, for_greenlets
from web.serving import listen
from web.worker_threads import ThreadedApplication

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

POST = b"POST / HTTP/1.1\r\nHost: localhost\r\n"
LARGE = b"x" * 8_000_000


class Application:
    """Answers what the path asks for, with the body that it was sent; counts what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.go_on = threading.Event()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        self.asked.append(path)
        body = environ["wsgi.input"].read()
        if path == "/fails":
            raise ValueError("it fails")
        if path == "/waits":
            assert self.go_on.wait(20)
        if path == "/sleeps":
            while not self.go_on.is_set():
                gevent.sleep(0.01)
        if path == "/stream":
            start_response("200 OK", [("Content-Type", "text/plain")])
            return self._stream()
        if path == "/broken":
            start_response("200 OK", [])
            return self._broken()
        if path == "/unchanged":
            start_response("304 Not Modified", [])
            return []
        answer = (
            LARGE if path == "/large" else b"%s %d %b" % (environ["REQUEST_METHOD"].encode(), len(body), body[:9])
        )
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [answer]

    def _stream(self) -> Iterator[bytes]:
        yield b"one"
        yield b""
        yield b"two"

    def _broken(self) -> Iterator[bytes]:
        yield b"one"
        raise ValueError("in the middle")


class OneByteAtATime:
    """A connection whose network brings single bytes."""

    def __init__(self, connection: gevent.socket.socket) -> None:
        self._connection = connection

    def setsockopt(self, *_option: int) -> None:
        """A pair of sockets has none of TCP's."""

    def recv(self, *_length: int) -> bytes:
        return bytes(self._connection.recv(1))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with http_server(Application) as port:
        yield port


def get(port: int, path: str = "/", **options: Any) -> RawAnswer:
    return exchange(port, f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode(), **options)


@pytest.mark.parametrize("request_text", AMBIGUOUS_OR_NONE.values(), ids=AMBIGUOUS_OR_NONE)
def test_what_could_be_read_in_two_ways_ends_the_connection(port: int, request_text: bytes) -> None:
    answer = exchange(port, request_text + GET + b"\r\n")
    assert answer.was_closed
    assert len(answer.statuses) == 1, "what follows is never read as a request"
    assert answer.status in {400, 414, 417, 431}
    assert b"application/problem+json" in answer.head
    assert b"connection: close" in answer.head


def test_requests_follow_each_other_on_one_connection(port: int) -> None:
    chunks = b"Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n1\r\nd\r\n0\r\nTrailer: x\r\n\r\n"
    sent = [POST + b"Content-Length: 3\r\n\r\nabc", b"\r\n" + POST + chunks, GET + b"Connection: close\r\n\r\n"]
    for pieces in (sent, [b"".join(sent)], [bytes([byte]) for byte in b"".join(sent)]):
        answer = exchange(port, *pieces)
        assert answer.statuses == [200, 200, 200]
        assert [line for line in answer.received.split(b"\r\n") if b"POST" in line or b"GET" in line] == [
            b"POST 3 abcHTTP/1.1 200 OK",
            b"POST 4 abcdHTTP/1.1 200 OK",
            b"GET 0 ",
        ]


def test_a_blank_line_between_requests_may_arrive_in_two_pieces() -> None:
    near, far = gevent.socket.socketpair()
    listener = for_greenlets(listen("127.0.0.1", 0))
    with near, far, listener:
        near.sendall(GET + b"\r\n\r\n" + GET + b"Connection: close\r\n\r\n")
        Connection(OneByteAtATime(far), ("127.0.0.1", 0), HttpServer(Application(), listener, Limits())).serve()
        answers = near.recv(65536)
    assert answers.count(b"HTTP/1.1 200 OK") == 2


def test_a_stream_is_chunked_or_ends_with_the_connection(port: int) -> None:
    answer = get(port, "/stream")
    assert b"transfer-encoding: chunked" in answer.head
    assert answer.body == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
    old = exchange(port, b"GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert (old.was_closed, old.body) == (True, b"onetwo")


def test_an_old_client_may_keep_its_connection(port: int) -> None:
    answer = exchange(port, b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n")
    assert answer.statuses == [200, 200]
    assert b"connection: keep-alive" in answer.head


@pytest.mark.parametrize("path", [b"/", b"/stream", b"/unchanged", b"/large", b"/fails"])
def test_after_head_there_is_no_body(port: int, path: bytes) -> None:
    answer = exchange(port, b"HEAD " + path + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert answer.status == {b"/fails": 500, b"/unchanged": 304}.get(path, 200)
    assert answer.body == b""


@pytest.mark.parametrize(
    "request_text",
    [
        b"HEAD / HTTP/1.1\r\n\r\n",
        b"HEAD /% HTTP/1.1\r\nHost: a\r\n\r\n",
        b"HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999\r\n\r\n",
    ],
)
def test_after_head_there_is_no_body_of_a_refusal(port: int, request_text: bytes) -> None:
    answer = exchange(port, request_text)
    assert answer.status in {400, 413}
    assert answer.body == b""


def test_without_a_change_there_is_no_body(port: int) -> None:
    answer = get(port, "/unchanged")
    assert (answer.status, answer.body, b"transfer-encoding" in answer.head) == (304, b"", False)


def test_an_application_that_fails_is_in_the_log(port: int, caplog: pytest.LogCaptureFixture) -> None:
    failed = get(port, "/fails")
    assert (failed.status, b"application/problem+json" in failed.head) == (500, True)
    broken = get(port, "/broken")
    assert (broken.was_closed, broken.body) == (True, b"3\r\none\r\n")
    assert [record.exc_info is not None for record in caplog.records if record.levelno == logging.ERROR] == [True] * 2


def test_who_expects_to_be_told_is_told_to_go_on(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(POST + b"Content-Length: 3\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"abc")
        assert b"POST 3 abc" in connection.recv(1000)
    refused = exchange(port, POST + b"Content-Length: 2000000\r\nExpect: 100-continue\r\n\r\n")
    assert refused.statuses == [413]


def test_a_body_that_is_too_large_is_refused_and_the_client_hears_it(port: int) -> None:
    for headers, body in (
        (b"Content-Length: 60000000\r\n\r\n", b"x" * 60_000_000),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 0x10000 + b"\r\n" + b"10000\r\n" * 100_000),
    ):
        answer = exchange(port, POST + headers, body)
        assert answer.statuses[:1] in ([413], [400])


def test_a_client_that_has_sent_all_may_end_its_side(port: int) -> None:
    assert exchange(port, GET + b"\r\n", hangs_up=True).statuses == [200]
    for cut in (GET, POST + b"Content-Length: 5\r\n\r\nab", POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab"):
        assert exchange(port, cut, hangs_up=True).statuses == [400]
    assert exchange(port, b"", hangs_up=True).received == b""


def test_every_deadline_is_absolute() -> None:
    """A byte now and then does not move it."""
    limits = Limits(head_s=0.5, body_s=0.5, idle_s=0.5, end_s=1)
    with http_server(Application, limits) as port, ExitStack() as stack:
        slow = {
            what: stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            for what in ("head", "body", "chunks", "idle", "silent")
        }
        slow["head"].sendall(GET)
        slow["body"].sendall(POST + b"Content-Length: 100000\r\n\r\n")
        slow["chunks"].sendall(POST + b"Transfer-Encoding: chunked\r\n\r\nfff\r\n")
        slow["idle"].sendall(GET + b"\r\n")
        assert b"200 OK" in slow["idle"].recv(1000)
        deadline = time.monotonic() + 60
        dripping = {"head", "body", "chunks"}
        while dripping:
            assert time.monotonic() < deadline
            for what in list(dripping):
                if _has_lost(slow[what], b"a"):
                    dripping.remove(what)
            time.sleep(0.05)
        assert slow["idle"].recv(1000) == b""
        assert slow["silent"].recv(1000) == b""


def test_a_late_body_is_408() -> None:
    with http_server(Application, Limits(body_s=0.3, end_s=1)) as port:
        assert exchange(port, POST + b"Content-Length: 5\r\n\r\nab").statuses == [408]


def test_unfinished_requests_keep_nobody_out_of_the_threads() -> None:
    with http_server(lambda: ThreadedApplication(Application(), threads=2)) as port, ExitStack() as stack:
        for _ in range(100):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            connection.sendall(POST + b"Content-Length: 100\r\n\r\na")
        assert [get(port).status for _ in range(5)] == [200] * 5


def test_when_full_the_slowest_connection_makes_room() -> None:
    application = Application()
    with http_server(lambda: application, Limits(connections=10, end_s=1)) as port, ExitStack() as stack:
        working = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
        working.sendall(b"GET /sleeps HTTP/1.1\r\nHost: a\r\n\r\n")
        _wait_until(lambda: "/sleeps" in application.asked)
        idle = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20)) for _ in range(9)]
        for connection in idle:
            connection.sendall(GET)
            time.sleep(0.01)  # in this order
        assert [get(port).status for _ in range(3)] == [200] * 3
        _wait_until(lambda: _has_lost(idle[0]))
        idle[8].sendall(b"\r\n")
        assert b"200 OK" in idle[8].recv(1000)
        application.go_on.set()
        assert b"200 OK" in working.recv(1000)


def test_when_all_connections_are_at_work_one_more_is_refused_at_once() -> None:
    application = Application()
    with http_server(lambda: application, Limits(connections=3, end_s=1)) as port, ExitStack() as stack:
        for number in range(3):
            working = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            working.sendall(b"GET /sleeps HTTP/1.1\r\nHost: a\r\n\r\n")
            _wait_until(lambda number=number: len(application.asked) == number + 1)
        refused = exchange(port)
        assert (refused.status, b"retry-after: " in refused.head) == (503, True)
        application.go_on.set()
        assert b"200 OK" in working.recv(1000)


def test_over_the_bound_of_requests_the_answer_is_503_but_health_is_told() -> None:
    application = Application()
    with http_server(lambda: application, Limits(requests=3, end_s=1)) as port, ExitStack() as stack:
        for _ in range(3):
            working = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            working.sendall(b"GET /sleeps HTTP/1.1\r\nHost: a\r\n\r\n")
        _wait_until(lambda: len(application.asked) == 3)
        refused = exchange(port, GET + b"\r\n" + GET + b"Connection: close\r\n\r\n")
        assert refused.statuses == [503, 503]
        assert b"retry-after: " in refused.head
        assert get(port, "/health").status == 200
        application.go_on.set()
        assert b"200 OK" in working.recv(1000)
        assert get(port).status == 200


def test_health_is_answered_while_every_thread_is_busy() -> None:
    application = Application()
    with (
        http_server(lambda: ThreadedApplication(application, threads=2, patience_s=0.2)) as port,
        ExitStack() as stack,
    ):
        for _ in range(2):
            working = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            working.sendall(b"GET /waits HTTP/1.1\r\nHost: a\r\n\r\n")
        _wait_until(lambda: len(application.asked) == 2)
        assert get(port, "/health").status == 200
        busy = get(port)
        assert (busy.status, b"retry-after: " in busy.head) == (503, True)
        application.go_on.set()
        assert b"200 OK" in working.recv(1000)


def test_nothing_is_done_for_a_client_that_has_gone() -> None:
    application = Application()
    with http_server(lambda: ThreadedApplication(application, threads=1)) as port:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as working:
            working.sendall(b"GET /waits HTTP/1.1\r\nHost: a\r\n\r\n")
            _wait_until(lambda: application.asked == ["/waits"])
            for _ in range(20):
                with socket.create_connection(("127.0.0.1", port), timeout=20) as gone:
                    gone.sendall(b"GET /gone HTTP/1.1\r\nHost: a\r\n\r\n")
            assert get(port, "/health").status == 200
            application.go_on.set()
            assert b"200 OK" in working.recv(1000)
        assert get(port).status == 200
        assert "/gone" not in application.asked


def test_who_takes_nothing_loses_the_connection_and_others_are_served() -> None:
    with http_server(Application, Limits(write_s=0.5, end_s=1)) as port, ExitStack() as stack:
        deaf = []
        for _ in range(20):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            connection.settimeout(20)
            connection.connect(("127.0.0.1", port))
            connection.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
            deaf.append(connection)
        assert get(port).status == 200
        assert len(get(port, "/large").body) == len(LARGE)
        for connection in deaf:  # without reading, which would be taking something
            _wait_until(lambda connection=connection: _is_cut(connection))


def test_what_is_held_for_slow_clients_is_bounded() -> None:
    with http_server(Application, Limits(held_bytes=20_000_000, end_s=1)) as port, ExitStack() as stack:
        deaf = []
        for _ in range(6):  # of 8 MB each
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            connection.settimeout(20)
            connection.connect(("127.0.0.1", port))
            connection.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
            deaf.append(connection)
        for connection in deaf[:4]:
            _wait_until(lambda connection=connection: _has_lost(connection))
        assert len(get(port, "/large").body) == len(LARGE)


def test_at_the_end_requests_in_hand_are_answered_and_nothing_is_waited_for_after_them() -> None:
    application = Application()
    with socket.socket() as working:
        with http_server(lambda: ThreadedApplication(application), Limits(end_s=60)) as port:
            working.settimeout(20)
            working.connect(("127.0.0.1", port))
            working.sendall(b"GET /waits HTTP/1.1\r\nHost: a\r\n\r\n")
            _wait_until(lambda: application.asked == ["/waits"])
            threading.Timer(0.3, application.go_on.set).start()
        with working.makefile("rb") as answer:
            lines = answer.read().split(b"\r\n")  # to the end: the connection is closed
        assert lines[0] == b"HTTP/1.1 200 OK"
        assert b"Connection: close" in lines


HEADERS = st.sampled_from(
    [
        b"Host: a",
        b"Content-Length: 3",
        b"Content-Length: 5",
        b"Transfer-Encoding: chunked",
        b"Connection: keep-alive",
        b"Expect: 100-continue",
        b"X: \xff",
        b" folded",
        b"X\x00: a",
    ]
)
LINE_ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r"])
BODIES = st.sampled_from([b"", b"abc", b"3\r\nabc\r\n0\r\n\r\n", b"0\r\n\r\n", b"5\r\nabc", b"{}"]) | st.binary(
    max_size=30
)
FIRST_LINES = st.sampled_from(
    [b"GET / HTTP/1.1", b"POST /stream HTTP/1.1", b"HEAD / HTTP/1.1", b"GET / HTTP/1.0", b"GET /", b"G T / HTTP/1.1"]
)


@st.composite
def mutated_requests(draw: st.DrawFn) -> bytes:
    lines = [draw(FIRST_LINES), b"Host: a", *draw(st.lists(HEADERS, max_size=4))]
    request = b"".join(line + draw(LINE_ENDS) for line in lines) + b"\r\n" + draw(BODIES)
    place = draw(st.integers(0, len(request)))
    return request[:place] + draw(st.binary(max_size=2)) + request[place + draw(st.integers(0, 2)) :]


@given(st.lists(mutated_requests(), min_size=1, max_size=3))
def test_whatever_comes_is_answered_or_refused_without_a_trace(port: int, requests: list[bytes]) -> None:
    answer = exchange(port, *requests, hangs_up=True)
    assert answer.was_closed
    assert all(status in {100, 200} or 400 <= status < 500 for status in answer.statuses)
    assert b"Traceback" not in answer.received


@pytest.fixture(autouse=True)
def nothing_printed(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    assert "Traceback" not in capfd.readouterr().err


def _has_lost(connection: socket.socket, sent: bytes = b"") -> bool:
    """Whether the server has closed it; what is there is read."""
    connection.settimeout(0.01)
    try:
        connection.sendall(sent)
        while connection.recv(1 << 20):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


def _is_cut(connection: socket.socket) -> bool:
    """Whether the server takes nothing more on it."""
    try:
        connection.sendall(b"\r\n")
    except ConnectionError:
        return True
    return False


def _wait_until(condition: Any, timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
