"""A real HTTP server on loopback in the part of an upstream API: it serves what a test scripts."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType


@dataclass(frozen=True)
class Reply:
    """One scripted answer.

    Attributes:
        body: bytes as they are, or anything else as JSON.
        cut_after: send only this many bytes of the body, then drop the connection.
        drip_seconds: send the body one byte at a time with this pause in between.
    """

    body: object = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    drip_seconds: float = 0.0
    gzipped: bool = False


class Drop:
    """Close the connection without a word."""


class Hang:
    """Accept the request and never answer."""


@dataclass(frozen=True)
class DripHeaders:
    """Send `at_once`, and then header bytes one at a time, for ever."""

    pause_seconds: float
    at_once: bytes = b""


Answer = Reply | Drop | Hang | DripHeaders


@dataclass(frozen=True)
class Seen:
    """A request as it arrived."""

    path: str
    headers: Message


class FaultyUpstream:
    """Serves `answers` in order, the last one for ever. Every request is kept in `seen`."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.seen: list[Seen] = []
        self.closing = threading.Event()
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"upstream": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/api"

    def take(self, seen: Seen) -> Answer:
        with self._lock:
            self.seen.append(seen)
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def __enter__(self) -> FaultyUpstream:
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is what half of these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    upstream: FaultyUpstream

    def do_GET(self) -> None:
        answer = self.upstream.take(Seen(self.path, self.headers))
        if isinstance(answer, Reply):
            self._reply(answer)
        elif isinstance(answer, DripHeaders):
            self.wfile.write(answer.at_once)
            self._drip(b"z" * 60_000, answer.pause_seconds)
        elif isinstance(answer, Hang):
            self.upstream.closing.wait()
        self.close_connection = self.close_connection or not isinstance(answer, Reply)

    def _reply(self, reply: Reply) -> None:
        body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        if reply.gzipped:
            body = gzip.compress(body)
        self.send_response_only(reply.status)
        if reply.gzipped:
            self.send_header("Content-Encoding", "gzip")
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if reply.drip_seconds:
            self._drip(body, reply.drip_seconds)
        elif reply.cut_after is not None:
            self.wfile.write(body[: reply.cut_after])
            self.close_connection = True
        else:
            self.wfile.write(body)

    def _drip(self, data: bytes, pause_seconds: float) -> None:
        for byte in data:
            self.wfile.write(bytes([byte]))
            if self.upstream.closing.wait(pause_seconds):
                return

    def log_message(self, *_: object) -> None:
        pass
