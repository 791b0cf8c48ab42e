"""The WebSocket rules on our own server: by somebody else's test cases, and where the HTTP request ends."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import kosoku
import pytest
from wsproto.connection import Connection as Rules
from wsproto.connection import ConnectionType
from wsproto.frame_protocol import CloseReason

from raw_http import http_server
from web.http_answer import ClientGone
from web.http_connection import TAKE_OVER, Connection
from web.problems import problem_body
from web.websocket import (
    Sent,
    Upgrade,
    UpgradeRefused,
    WebSocket,
    WebSocketClosed,
    binary_frame,
    compressed_frame,
    text_frame,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

LONGEST_BYTES = 1024 * 1024


def echo(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Sends back what comes; compressed where the path says so."""
    compresses = environ["PATH_INFO"] == "/compressed"
    try:
        upgrade = Upgrade(environ, environ["PATH_INFO"])
    except UpgradeRefused as refused:
        start_response(f"{refused.status} No", [("Content-Type", "application/problem+json")])
        return [problem_body(refused.status, refused.detail)]

    def speak(connection: Connection) -> None:
        try:
            web_socket = upgrade.accept(connection, longest_bytes=LONGEST_BYTES, takes_binary=True)
            while True:
                message = web_socket.receive(time.monotonic() + 20)
                if isinstance(message, bytes):
                    web_socket.send(binary_frame(message))
                elif compresses and web_socket.takes_compressed:
                    web_socket.send(compressed_frame(message.encode()))
                else:
                    web_socket.send(text_frame(message.encode()))
        except (WebSocketClosed, ClientGone, TimeoutError):
            pass

    environ[TAKE_OVER](speak)
    start_response("101 Switching Protocols", [])
    return []


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with http_server(lambda: echo) as port:
        yield port


def test_it_passes_the_247_cases_that_do_not_measure_speed_or_compression(port: int) -> None:
    results = asyncio.run(kosoku.run_fuzzingclient(f"127.0.0.1:{port}", exclude_cases=["9.*", "12.*", "13.*"]))
    assert len(results) == 247


def opened(port: int, path: str = "/", more: bytes = b"", **headers: str) -> tuple[socket.socket, bytes]:
    """A connection that has asked for a WebSocket, with `more` right behind the request, and the answer's head."""
    named = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items() if value), "", ""]
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall("\r\n".join(lines).encode() + more)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        part = connection.recv(1)
        assert part, head
        head += part
    return connection, head


def masked(payload: bytes, first: int = 0x81) -> bytes:
    assert len(payload) < 126
    return bytes((first, 0x80 | len(payload), 0, 0, 0, 0)) + payload


def test_a_frame_sent_together_with_the_request_is_answered(port: int) -> None:
    connection, head = opened(port, more=masked(b"early"))
    with connection:
        assert head.startswith(b"HTTP/1.1 101 ")
        assert connection.recv(7, socket.MSG_WAITALL) == text_frame(b"early")


def test_what_is_no_upgrade_is_refused_with_what_it_lacks(port: int) -> None:
    refused: list[tuple[dict[str, str], bytes]] = [
        ({"Upgrade": ""}, b"400"),
        ({"Upgrade": "h2c"}, b"400"),
        ({"Sec_WebSocket_Version": "8"}, b"426"),
        ({"Sec_WebSocket_Key": ""}, b"400"),
        ({"Connection": "keep-alive"}, b"400"),
    ]
    for headers, status in refused:
        connection, head = opened(port, "/", b"", **headers)
        connection.close()
        assert head.split(b" ")[1] == status, headers


def test_what_swells_beyond_the_bound_is_too_big(port: int) -> None:
    connection, head = opened(port, Sec_WebSocket_Extensions="permessage-deflate")
    assert b"permessage-deflate" in head
    with connection:
        bomb = compressed_frame(b"x" * 64 * LONGEST_BYTES)
        length = bomb[2:4] if bomb[1] == 126 else bomb[2:10]
        payload = bomb[2 + len(length) :]
        connection.sendall(bytes((0xC1, 0x80 | bomb[1])) + length + bytes(4) + payload)
        answer = connection.recv(4, socket.MSG_WAITALL)
        assert answer[0] == 0x88
        assert int.from_bytes(answer[2:4], "big") == CloseReason.MESSAGE_TOO_BIG


def test_a_ready_frame_is_compressed_once_for_all(port: int) -> None:
    text = b'{"a": "long text"}' * 5
    connection, _ = opened(port, "/compressed", Sec_WebSocket_Extensions="permessage-deflate")
    with connection:
        for _ in range(2):  # no memory of the first is needed for the second
            connection.sendall(masked(text))
            frame = compressed_frame(text)
            assert connection.recv(len(frame), socket.MSG_WAITALL) == frame
            assert len(frame) < len(text)


class StalledLine:
    """Takes half of what it is first given, and then nothing until whoever sends gives it up."""

    def __init__(self) -> None:
        self.sent = b""
        self.is_stalled = True

    def receive(self, deadline: float) -> bytes:
        raise TimeoutError(deadline)

    def write(self, data: bytes, *, before: float | None = None) -> None:  # noqa: ARG002 - as a line has it
        if self.is_stalled:
            self.sent += data[: len(data) // 2]
            raise ClientGone
        self.sent += data

    def write_now(self, data: bytes) -> int:
        self.sent += data[:3]
        return 3


@pytest.mark.parametrize("is_handed", [False, True])
def test_nothing_follows_on_a_frame_that_was_given_up_half_way(is_handed: bool) -> None:
    line = StalledLine()
    web_socket = WebSocket(
        line, Rules(ConnectionType.SERVER), compresses=False, longest_bytes=LONGEST_BYTES, takes_binary=False
    )
    frame = text_frame(b"a message")
    if is_handed:
        assert web_socket.send_now(frame) is Sent.SOME
    with pytest.raises(ClientGone):
        web_socket.send_rest() if is_handed else web_socket.send(frame)
    line.is_stalled, sent = False, line.sent
    with pytest.raises(ClientGone):
        web_socket.ping()
    web_socket.close(1001)
    assert web_socket.send_now(frame) is Sent.NOTHING
    assert line.sent == sent
