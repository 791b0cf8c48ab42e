"""The HTTP server: what is no HTTP, clients that say nothing, and keep-alive."""

from __future__ import annotations

import logging
import resource
import socket
import threading
from collections.abc import Iterator

import gevent
import pytest

from database.embedded import EmbeddedPostgres
from database.postgres import PostgresDatabase
from new_database import new_database
from running_gateway import RunningGateway, running_gateway
from web.http_limits import Limits
from web.http_server import HttpServer, for_greenlets, most_connections
from web.serving import CannotListen, listen

ACKNOWLEDGE = "/beckn/llm-output/acknowledge"


@pytest.fixture(scope="module")
def gateway(postgres_server: EmbeddedPostgres) -> Iterator[RunningGateway]:
    with new_database(postgres_server) as conninfo:
        database = PostgresDatabase(conninfo)
        with running_gateway(database, patience_s=1) as running:
            yield running
        database.close()


@pytest.mark.parametrize(
    "request_text",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /beckn/llm-output/acknowledge HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /beckn/llm-output/acknowledge HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
        b"Content-Type: application/json\r\n\r\n{}",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-Long: " + b"a" * 1_000_000 + b"\r\n\r\n",
        b"GET /beckn/broadcast HTTP/1.1\r\nHost: x\r\nLast-Event-ID: \xff\r\n\r\n",
    ],
    ids=["TLS", "version", "length", "cut", "address", "header", "bytes"],
)
def test_what_is_no_http_harms_nobody(
    gateway: RunningGateway, request_text: bytes, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with (
        caplog.at_level(logging.INFO),
        socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection,
    ):
        try:
            connection.sendall(request_text)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(65536)
        except OSError:  # it hung up
            answer = b""
    assert not answer or answer.split(b" ")[1][:1] == b"4"
    assert b"Traceback" not in answer
    assert "Traceback" not in capfd.readouterr().err
    assert gateway.get("/").status_code == 200


def test_clients_that_say_nothing_are_let_go_and_keep_nobody_out(gateway: RunningGateway) -> None:
    idle = [socket.create_connection(("127.0.0.1", gateway.port), timeout=10) for _ in range(100)]
    for number, connection in enumerate(idle):
        connection.sendall(b"GET / HTT" if number % 2 else b"")
    assert gateway.get("/").status_code == 200
    assert [connection.recv(100)[:12] in {b"", b"HTTP/1.1 400"} for connection in idle] == [True] * 100
    for connection in idle:
        connection.close()


def test_a_body_is_read_to_its_end_or_refused_whole(gateway: RunningGateway) -> None:
    def status(padding: int, chunk_bytes: int = 1024) -> int:
        chunks = iter([b'{"task_id":', b'"a"}', *[b" " * chunk_bytes] * padding])
        headers = {"Content-Type": "application/json"}
        found: int = gateway.post(ACKNOWLEDGE, data=chunks, headers=headers).status_code
        return found

    assert (status(1), status(1023), status(1024)) == (200, 200, 413)
    # In large pieces: what is refused is read for a few seconds more, so that the client gets to the answer.
    assert status(20, chunk_bytes=1024 * 1024) == 413
    whole = gateway.post(ACKNOWLEDGE, data=b" " * (1024 * 1024 + 1), headers={"Content-Type": "application/json"})
    assert whole.status_code == 413
    assert gateway.post(ACKNOWLEDGE, {"task_id": "a"}).status_code == 200


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen, match=f"127.0.0.1:{port}: Address already in use"):
            listen("127.0.0.1", port)


def test_many_connections_are_allowed_as_far_as_the_system_does() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        assert most_connections(600) == 600
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 600
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        assert most_connections(10**9) < resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_greenlet_that_fails_is_in_the_log_and_not_printed(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ValueError("forged\nlines")

    def run() -> None:
        server = HttpServer(lambda _, __: [], for_greenlets(listen("127.0.0.1", 0)), Limits())
        server.start()
        gevent.spawn(fail).join()
        server.stop()
        gevent.get_hub().destroy(destroy_loop=True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    assert "a greenlet failed: ValueError" in caplog.text
    assert capfd.readouterr().err == ""
