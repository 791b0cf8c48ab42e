from __future__ import annotations

import gzip
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from faulty_upstream import Answer, DripHeaders, Drop, FaultyUpstream, Hang, Reply
from upstreams.call_limit import CallLimit
from upstreams.errors import (
    UnusableAnswer,
    UpstreamError,
    UpstreamInvalidResponse,
    UpstreamRefused,
    UpstreamSkipped,
    UpstreamUnavailable,
)
from upstreams.session import RetryPolicy, UpstreamSession

GOOD = Reply({"data": [1]})
SERVER_ERROR = Reply(
    {"error": {"code": "500 Internal Server Error", "message": "Requested resource not found."}}, status=500
)
IMPATIENT = RetryPolicy(
    connect_timeout_seconds=1.0,
    read_timeout_seconds=0.2,
    deadline_seconds=10.0,
    attempts=3,
    backoff_seconds=0.001,
)


def some_data(answer: object) -> object:
    if not isinstance(answer, dict) or not answer.get("data"):
        raise UnusableAnswer("no usable row")
    return answer["data"]


@contextmanager
def session_to(
    url: str,
    patience: RetryPolicy = IMPATIENT,
    *,
    limit: CallLimit | None = None,
    pauses: list[float] | None = None,
    jitter: float = 0.5,
) -> Iterator[UpstreamSession]:
    session = UpstreamSession(
        "Test API",
        url,
        patience=patience,
        limit=limit,
        sleep=(pauses if pauses is not None else []).append,
        jitter=lambda: jitter,
    )
    try:
        yield session
    finally:
        session.close()


def test_a_request_says_who_asks_and_what_it_accepts() -> None:
    with FaultyUpstream(GOOD) as upstream, session_to(upstream.url + "/") as session:
        session.fetch("/intensity", some_data, {"from": "2026-11-22T08:01Z"})
    (seen,) = upstream.seen
    assert seen.path == "/api/intensity?from=2026-11-22T08%3A01Z"
    assert seen.headers["User-Agent"].startswith("PylonDEG/")
    assert seen.headers["Accept"] == "application/json"
    assert "Content-Type" not in seen.headers


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(SERVER_ERROR, id="HTTP 500"),
        pytest.param(Reply(b"", status=503), id="HTTP 503"),
        pytest.param(Reply(b"", status=429), id="HTTP 429"),
        pytest.param(Reply(b"<html>Bad gateway</html>", headers={"Content-Type": "text/html"}), id="HTML"),
        pytest.param(Reply({}), id="200 with an empty object"),
        pytest.param(Reply({"data": []}), id="200 with an empty list"),
        pytest.param(Reply(b""), id="200 with an empty body"),
        pytest.param(Reply(b'{"data": [1, 2'), id="JSON that stops"),
        pytest.param(Reply({"data": [1, 2, 3]}, cut_after=9), id="body cut short"),
        pytest.param(Reply(b"not gzip", headers={"Content-Encoding": "gzip"}), id="broken compression"),
        pytest.param(Reply(b"\xff\xfe\xfa\xfb"), id="not text"),
        pytest.param(Reply(b"[" * 100_000), id="nested without end"),
        pytest.param(Reply(b'{"data": ' + b"9" * 10_000 + b"}"), id="a number without end"),
        pytest.param(Drop(), id="dropped connection"),
        pytest.param(Hang(), id="hanging"),
    ],
)
def test_a_fault_that_passes_is_survived(fault: Answer) -> None:
    with FaultyUpstream(fault, GOOD) as upstream, session_to(upstream.url) as session:
        assert session.fetch("/intensity", some_data) == [1]
    assert len(upstream.seen) == 2


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (SERVER_ERROR, UpstreamUnavailable, "HTTP 500.*Requested resource not found"),
        (Reply(b"slow down", status=429), UpstreamUnavailable, "HTTP 429: slow down"),
        (Reply(b"<html>Bad gateway</html>"), UpstreamInvalidResponse, "without JSON: <html>Bad gateway</html>"),
        (Reply(b""), UpstreamInvalidResponse, "without JSON: an empty body"),
        (Reply({"data": []}), UpstreamInvalidResponse, "no usable row"),
        (Reply({"data": [1]}, cut_after=4), UpstreamUnavailable, "connection failed: .*4 bytes read"),
        (Drop(), UpstreamUnavailable, "connection failed: .*closed connection without response"),
        (Hang(), UpstreamUnavailable, r"Read timed out\. \(read timeout=0\.2\)"),
    ],
)
def test_a_fault_that_stays_is_named_with_api_route_and_effort(
    fault: Answer, error: type[UpstreamError], words: str
) -> None:
    with (
        FaultyUpstream(fault) as upstream,
        session_to(upstream.url) as session,
        pytest.raises(error, match=rf"^Test API /intensity: .*{words}.* \(3 attempts in \d+\.\d s\)$"),
    ):
        session.fetch("/intensity", some_data)
    assert len(upstream.seen) == 3


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (
            Reply({"error": {"code": "400 Bad Request", "message": "Unsupported Media Type"}}, status=400),
            "HTTP 400.*Unsupported Media Type",
        ),
        (
            Reply({"errors": {"": ["The date range … must not exceed 7 days"]}}, status=400),
            "must not exceed 7 days",
        ),
        (Reply({"success": False, "error": {"__type": "Not Found Error"}}, status=404), "Not Found Error"),
        (Reply({"success": False, "error": {"__type": "Authorization Error"}}, status=403), "Authorization"),
        (Reply({"success": False, "error": {"__type": "Validation Error"}}, status=409), "Validation Error"),
        (
            Reply(b"", status=301, headers={"Location": "https://new.example/x"}),
            "moved to https://new.example",
        ),
        (Reply(b"one\r\ntwo \x1b[31m three", status=400), r"HTTP 400: one two \[31m three"),
    ],
)
def test_a_refusal_is_final_and_repeats_what_the_api_said(reply: Reply, words: str) -> None:
    with (
        FaultyUpstream(reply) as upstream,
        session_to(upstream.url) as session,
        pytest.raises(UpstreamRefused, match=words),
    ):
        session.fetch("/intensity", some_data)
    assert len(upstream.seen) == 1


@pytest.mark.parametrize(
    "family",
    [RecursionError, OverflowError, UnicodeError, ValueError, KeyError, AttributeError, MemoryError, OSError],
)
def test_a_parser_that_fails_in_any_way_is_the_apis_failure(family: type[Exception]) -> None:
    def parse(_: object) -> None:
        raise family("not for \x1b[31m the state")

    with (
        FaultyUpstream(GOOD) as upstream,
        session_to(upstream.url) as session,
        pytest.raises(UpstreamInvalidResponse, match=f"the answer cannot be read .{family.__name__}.") as failed,
    ):
        session.fetch("/intensity", parse)
    assert str(failed.value).isprintable()


ODD_MACHINES = {
    "certificates that are away": ("https://127.0.0.1:9", {"REQUESTS_CA_BUNDLE": "/no/such/file.pem"}),
    "certificates that are none": ("https://127.0.0.1:9", {"REQUESTS_CA_BUNDLE": __file__}),
    "SOCKS": ("http://api.example", {"HTTP_PROXY": "socks5://127.0.0.1:9"}),
    "a proxy that is no URL": ("http://api.example", {"HTTP_PROXY": "http://user:a-password@[::1"}),
    "a proxy of an unknown kind": ("http://api.example", {"HTTP_PROXY": "gopher://user:a-password@127.0.0.1:9"}),
    "a proxy at no port": ("http://api.example", {"HTTP_PROXY": "http://user:a-password@127.0.0.1:99999999"}),
    "a proxy that is away": ("http://api.example", {"HTTP_PROXY": "http://user:a-password@127.0.0.1:9"}),
    "a name that is none": ("http://a..b", {}),
    "a name that is too long": (f"http://{'a' * 300}.example", {}),
    "a port that is none": ("http://127.0.0.1:99999999", {}),
}


@pytest.mark.filterwarnings("ignore:SOCKS support in urllib3")
@pytest.mark.parametrize(("url", "environ"), ODD_MACHINES.values(), ids=ODD_MACHINES.keys())
def test_settings_that_break_the_client_are_the_apis_failure_and_tell_no_password(
    url: str, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
        monkeypatch.setenv(name.lower(), value)
    patience = RetryPolicy(connect_timeout_seconds=0.5, attempts=1)
    with session_to(url, patience) as session, pytest.raises(UpstreamUnavailable) as failed:
        session.fetch("/intensity", some_data)
    assert "a-password" not in str(failed.value)


def test_a_network_without_a_proxy_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "localhost,127.0.0.1,::1,fd07:b51a:cc66:f0::/64")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with FaultyUpstream(GOOD) as upstream, session_to(upstream.url) as session:
        assert session.fetch("/intensity", some_data) == [1]


@pytest.mark.parametrize("layers", [1, 2, 5])
def test_a_small_answer_that_unpacks_to_a_large_one_is_not_unpacked(layers: int) -> None:
    body = b"[" + b" " * 120_000_000
    for _ in range(layers):
        body = gzip.compress(body)
    bomb = Reply(body, headers={"Content-Encoding": ", ".join(["gzip"] * layers)})
    with FaultyUpstream(bomb) as upstream, session_to(upstream.url, RetryPolicy(attempts=1)) as session:
        tracemalloc.start()
        try:
            with pytest.raises(UpstreamError):
                session.fetch("/intensity", some_data)
            assert tracemalloc.get_traced_memory()[1] < 60_000_000
        finally:
            tracemalloc.stop()


def test_an_unreachable_host_is_named_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with session_to(url) as session, pytest.raises(UpstreamUnavailable, match="Connection refused"):
        session.fetch("/intensity", some_data)


def test_pauses_double_give_or_take_a_quarter() -> None:
    pauses: list[float] = []
    patience = RetryPolicy(attempts=4, backoff_seconds=1.0, deadline_seconds=100.0)
    with (
        FaultyUpstream(SERVER_ERROR) as upstream,
        session_to(upstream.url, patience, pauses=pauses, jitter=0.0) as session,
        pytest.raises(UpstreamUnavailable),
    ):
        session.fetch("/intensity", some_data)
    assert pauses == [0.75, 1.5, 3.0]


@pytest.mark.parametrize(
    ("headers", "pause"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Date": "Sun, 22 Nov 2026 08:14:00 GMT", "Retry-After": "Sun, 22 Nov 2026 08:14:09 GMT"}, 9.0),
        ({"Date": "Sun, 22 Nov 2026 08:14:00 GMT", "Retry-After": "Sun, 22 Nov 2026 08:13:00 GMT"}, 1.0),
        ({"Retry-After": "soon"}, 1.0),
        ({"Retry-After": "-5"}, 1.0),
        ({"Retry-After": "²"}, 1.0),
    ],
)
def test_retry_after_is_honoured_where_it_makes_sense(headers: dict[str, str], pause: float) -> None:
    pauses: list[float] = []
    patience = RetryPolicy(backoff_seconds=1.0)
    with (
        FaultyUpstream(Reply(b"", status=429, headers=headers), GOOD) as upstream,
        session_to(upstream.url, patience, pauses=pauses) as session,
    ):
        assert session.fetch("/intensity", some_data) == [1]
    assert pauses == [pause]


def test_retry_after_beyond_the_deadline_ends_the_fetch_at_once() -> None:
    pauses: list[float] = []
    busy = Reply(b"", status=429, headers={"Retry-After": "99999999999"})
    with (
        FaultyUpstream(busy) as upstream,
        session_to(upstream.url, pauses=pauses) as session,
        pytest.raises(UpstreamUnavailable, match="asked to wait 999999999 s"),
    ):
        session.fetch("/intensity", some_data)
    assert pauses == []
    assert len(upstream.seen) == 1


def test_a_body_in_drips_ends_at_the_deadline() -> None:
    patience = RetryPolicy(read_timeout_seconds=5.0, deadline_seconds=0.2)
    dripping = Reply({"data": list(range(10_000))}, drip_seconds=0.02)
    with (
        FaultyUpstream(dripping) as upstream,
        session_to(upstream.url, patience) as session,
        pytest.raises(UpstreamUnavailable, match="bytes of an unfinished answer"),
    ):
        session.fetch("/intensity", some_data)


@pytest.mark.parametrize("at_once", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nX-A: 1\r\nX-B: "])
def test_headers_in_drips_end_at_the_read_timeout(at_once: bytes) -> None:
    patience = RetryPolicy(read_timeout_seconds=0.2, attempts=1)
    with (
        FaultyUpstream(DripHeaders(0.02, at_once)) as upstream,
        session_to(upstream.url, patience) as session,
        pytest.raises(UpstreamUnavailable, match="timed out"),
    ):
        session.fetch("/intensity", some_data)


def test_an_answer_that_never_ends_is_cut_off() -> None:
    patience = RetryPolicy(longest_answer_bytes=1_000)
    long_one = Reply(gzip.compress(b"[" + b" " * 5_000_000), headers={"Content-Encoding": "gzip"})
    with (
        FaultyUpstream(long_one) as upstream,
        session_to(upstream.url, patience) as session,
        pytest.raises(UpstreamInvalidResponse, match="longer than 1,000 bytes"),
    ):
        session.fetch("/intensity", some_data)
    assert len(upstream.seen) == 1


def test_a_compressed_answer_is_read() -> None:
    with FaultyUpstream(Reply({"data": [5]}, gzipped=True)) as upstream, session_to(upstream.url) as session:
        assert session.fetch("/intensity", some_data) == [5]


def test_the_connection_is_kept_between_fetches() -> None:
    with FaultyUpstream(GOOD) as upstream, session_to(upstream.url) as session:
        before = threading.active_count()
        for _ in range(5):
            session.fetch("/intensity", some_data)
        # The server has a thread for each connection.
        assert threading.active_count() <= before + 1


def test_many_threads_share_a_session() -> None:
    with (
        FaultyUpstream(GOOD) as upstream,
        session_to(upstream.url) as session,
        ThreadPoolExecutor(8) as pool,
    ):
        answers = list(pool.map(lambda n: session.fetch(f"/intensity/{n}", some_data), range(40)))
    assert answers == [[1]] * 40
    assert len({seen.path for seen in upstream.seen}) == 40


def test_the_rate_limit_skips_a_fetch_without_asking() -> None:
    limit = CallLimit(1, 60.0, monotonic=lambda: 0.0)
    with FaultyUpstream(GOOD) as upstream, session_to(upstream.url, limit=limit) as session:
        session.fetch("/first", some_data)
        with pytest.raises(UpstreamSkipped, match="skipped: rate limit; the next call may be made in 60 s"):
            session.fetch("/second", some_data)
    assert [seen.path for seen in upstream.seen] == ["/api/first"]


def test_the_rate_limit_counts_attempts_and_the_first_failure_is_told() -> None:
    limit = CallLimit(2, 60.0, monotonic=lambda: 0.0)
    with (
        FaultyUpstream(SERVER_ERROR) as upstream,
        session_to(upstream.url, limit=limit) as session,
        pytest.raises(UpstreamUnavailable, match=r"HTTP 500.*\(2 attempts"),
    ):
        session.fetch("/first", some_data)
    assert len(upstream.seen) == 2


@pytest.mark.parametrize("base_url", ["", "carbon", "ftp://host/x", "http://", "//host"])
def test_a_base_url_that_is_none_is_refused(base_url: str) -> None:
    with pytest.raises(ValueError, match=r"must be http\(s\)://host"):
        UpstreamSession("Test API", base_url, patience=RetryPolicy())
