"""The one way out: in time, of a size, by this machine's proxies and certificates, and every failure has a name."""

from __future__ import annotations

import gzip
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from faulty_upstream import Answer, DripHeaders, Drop, FaultyUpstream, Hang, Reply
from outgoing.calls import Caller, KeptCaller, Limits
from outgoing.environment import tls_trusting, trusted_certificates
from outgoing.failures import (
    AddressRefused,
    AnswerTooLong,
    CallFailed,
    CallImpossible,
    CallTimedOut,
    NoConnection,
)
from outgoing.httpx_transport import bounded_client

LIMITS = Limits(connect_s=1, whole_s=0.5, answer_bytes=100_000)
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def direct() -> Caller:
    return Caller(tls=lambda: tls_trusting(trusted_certificates()))


@pytest.fixture(params=[direct, KeptCaller])
def caller(request: pytest.FixtureRequest) -> Iterator[Caller]:
    made: Caller = request.param()
    yield made
    made.close()


def get(caller: Caller, url: str, limits: Limits = LIMITS) -> bytes:
    return caller.call("GET", url, limits=limits, headers={"Accept-Encoding": "gzip"}).body


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (Hang(), CallTimedOut, "no whole answer within 0.5 s"),
        (DripHeaders(0.02, b"HTTP/1.1 200 OK\r\nX-A: "), CallTimedOut, "no whole answer within 0.5 s"),
        (Reply(b"x" * 1000, drip_seconds=0.02), CallTimedOut, "bytes of an unfinished answer"),
        (Drop(), NoConnection, "closed connection without response"),
        (Reply(b"x" * 1000, cut_after=10), NoConnection, "10 bytes read"),
        (Reply(b"no gzip", headers={"Content-Encoding": "gzip"}), NoConnection, "decompressing"),
        (Reply(b"x" * 200_000), AnswerTooLong, "longer than 100,000 bytes"),
    ],
)
def test_every_failure_has_a_name(caller: Caller, answer: Answer, kind: type[CallFailed], words: str) -> None:
    with FaultyUpstream(answer) as upstream, pytest.raises(kind, match=words) as failed:
        get(caller, upstream.url)
    assert type(failed.value) is kind


@pytest.mark.parametrize("url", ["http://[::1", "ftp://a.example", "http://", "http://me:secret@127.0.0.1/"])
def test_what_is_no_url_is_refused_and_its_password_is_told_to_nobody(caller: Caller, url: str) -> None:
    with pytest.raises(AddressRefused) as failed:
        get(caller, url)
    assert "secret" not in str(failed.value)


def test_a_name_that_is_looked_up_for_ever_is_given_up(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def look_up(*_: Any, **__: Any) -> list[Any]:
        released.wait(30)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    began = time.monotonic()
    with pytest.raises(CallTimedOut):
        # A name of its own: another test's look-up may still be on its way, and who asks for the same joins it.
        get(caller, f"http://slow-{type(caller).__name__.lower()}.example/")
    assert time.monotonic() - began < 25  # the name is found after 30
    released.set()


def test_a_small_answer_that_unpacks_to_a_large_one_is_not_unpacked(caller: Caller) -> None:
    bomb = Reply(gzip.compress(b" " * 100_000_000), headers={"Content-Encoding": "gzip"})
    with FaultyUpstream(bomb) as upstream:
        tracemalloc.start()
        try:
            with pytest.raises(AnswerTooLong):
                get(caller, upstream.url, Limits(connect_s=1, whole_s=30, answer_bytes=100_000))
            assert tracemalloc.get_traced_memory()[1] < 20_000_000
        finally:
            tracemalloc.stop()


def test_connections_are_kept_by_the_one_and_not_by_the_other() -> None:
    taken: list[Any] = []

    def serve(connection: socket.socket, _: Any) -> None:
        taken.append(connection)
        with connection:
            while connection.recv(65536).endswith(b"\r\n\r\n"):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    with listening(serve) as url:
        kept = KeptCaller()
        assert [get(kept, url) for _ in range(3)] == [b"ok"] * 3
        assert len(taken) == 1
        kept.close()
        assert [get(direct(), url) for _ in range(3)] == [b"ok"] * 3
        assert len(taken) == 4


def test_a_kept_connection_keeps_to_each_calls_own_time() -> None:
    def serve(connection: socket.socket, _: Any) -> None:
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            connection.recv(65536)
            time.sleep(0.4)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            connection.recv(65536)
            connection.recv(65536)

    kept = KeptCaller()
    with listening(serve) as url:
        assert get(kept, url, Limits(connect_s=1, whole_s=0.2, answer_bytes=10)) == b"ok"
        assert get(kept, url, Limits(connect_s=1, whole_s=30, answer_bytes=10)) == b"ok"
        with pytest.raises(CallTimedOut):
            get(kept, url, Limits(connect_s=1, whole_s=0.2, answer_bytes=10))
    kept.close()


@contextmanager
def listening(serve: Callable[[socket.socket, Any], None]) -> Iterator[str]:
    """A server of raw bytes: `serve` has each connection, in a thread of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            while True:
                try:
                    accepted = listener.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=accepted, daemon=True).start()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(30)


class Proxy(BaseHTTPRequestHandler):
    """Answers in the place of the host asked for, and notes what it was asked."""

    asked: list[tuple[str, str, str | None]]

    def _answer(self) -> None:
        self.asked.append((self.command, self.path, self.headers["Proxy-Authorization"]))
        self.send_response(200 if self.command == "GET" else 403)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"proxy")

    do_GET = do_CONNECT = _answer

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def proxy() -> Iterator[tuple[str, list[tuple[str, str, str | None]]]]:
    asked: list[tuple[str, str, str | None]] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("AProxy", (Proxy,), {"asked": asked}))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def test_a_proxy_of_the_environment_is_gone_through_with_its_password(
    proxy: tuple[str, list[tuple[str, str, str | None]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, asked = proxy
    monkeypatch.setenv("HTTP_PROXY", f"http://me:pass%20word@{address}")
    monkeypatch.setenv("http_proxy", f"http://me:pass%20word@{address}")
    monkeypatch.setenv("https_proxy", address)
    kept = KeptCaller()
    assert get(kept, "http://api.example/x?y=1") == b"proxy"
    with pytest.raises(NoConnection, match="403"):
        get(kept, "https://api.example/x")
    kept.close()
    assert asked == [
        ("GET", "http://api.example/x?y=1", "Basic bWU6cGFzcyB3b3Jk"),
        ("CONNECT", "api.example:443", None),
    ]


@pytest.mark.parametrize(
    "proxies", ["socks5://127.0.0.1:9", "gopher://me:secret@127.0.0.1:9", "http://me:se/cret@127.0.0.1", "http://"]
)
def test_a_proxy_that_cannot_be_used_says_so_and_not_its_password(
    proxies: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxies)
    with pytest.raises(CallImpossible, match="proxy") as failed:
        get(KeptCaller(), "http://api.example/")
    assert "cret" not in str(failed.value)


@pytest.mark.parametrize("file", ["/no/such/file.pem", __file__, "nul\x01byte"])
def test_certificates_that_cannot_be_read_stop_https_alone_and_are_named(
    file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", file)
    kept = KeptCaller()
    with pytest.raises(CallImpossible, match="the certificates in") as failed:
        get(kept, "https://api.example/")
    assert file in str(failed.value)
    with FaultyUpstream(Reply(b"ok")) as upstream:
        assert get(kept, upstream.url) == b"ok"
    kept.close()


def test_no_proxy_has_a_say_where_calls_are_direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with FaultyUpstream(Reply(b"ok")) as upstream:
        assert get(direct(), upstream.url) == b"ok"


@pytest.mark.parametrize("answer", [Reply(b"{}", status=302, headers={"Location": "/x"}), Reply(b"{}", status=599)])
def test_an_httpx_client_gets_status_and_body_and_none_of_the_headers(answer: Reply) -> None:
    with FaultyUpstream(answer) as upstream, bounded_client(KeptCaller(), LIMITS) as client:
        found = client.get(upstream.url, headers={"X-Key": "k"})
        assert (found.status_code, found.text) == (answer.status, "{}")
        assert set(found.headers) == {"content-type", "content-length"}
        (seen,) = upstream.seen
        assert seen.headers["X-Key"] == "k"
        assert seen.headers["Accept-Encoding"] == "identity"


def test_an_httpx_clients_timeout_is_for_the_whole_call() -> None:
    dripping = Reply(b"x" * 1000, drip_seconds=0.05)
    limits = Limits(connect_s=1, whole_s=60, answer_bytes=100_000)
    with FaultyUpstream(dripping) as upstream, bounded_client(KeptCaller(), limits) as client:
        with pytest.raises(CallTimedOut):
            client.get(upstream.url, timeout=0.3)
        with pytest.raises(CallTimedOut):
            client.send(client.build_request("GET", upstream.url, timeout=httpx.Timeout(0.3)))
