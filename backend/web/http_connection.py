"""One connection of the HTTP server: requests are read whole, and answered one after the other, in bounded time.

A request reaches the application when its body is there to the last byte, so a client that sends slowly costs a
greenlet and nothing else.
"""

from __future__ import annotations

import io
import logging
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote_to_bytes

import gevent
import gevent.socket

from web.http_answer import ClientGone, HttpAnswer, problem_answer
from web.http_limits import Limits
from web.http_request import (
    END_OF_HEAD,
    ChunkedBody,
    RequestHead,
    RequestRefused,
    body_too_large,
    check_beginning,
    read_head,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)

CLIENT_IS_THERE = "pylon.client_is_there"
"""In a WSGI environment: a function that says whether the client still waits for its answer."""

TAKE_OVER = "pylon.take_over"
"""In a WSGI environment: a function that is given what goes on with the connection if the answer is 101. It is called
with the `Connection`, which it `receive`s from and `write`s to, and which ends when it returns."""

READ_AT_ONCE_BYTES = 64 * 1024
WRITE_AT_ONCE_BYTES = 64 * 1024
# A client that is refused may still be sending. What it sends is thrown away for a while: closing at once would reset
# the connection, and the client would not read why.
LINGER_S = 2.0

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Server(Protocol):
    """What a connection needs of its server."""

    limits: Limits
    application: WSGIApplication

    @property
    def is_stopping(self) -> bool: ...

    def environment(self) -> WSGIEnvironment:
        """What all requests' environments have in common; the caller's own."""
        ...

    def waits(self, connection: Connection) -> None:
        """From now on `connection` waits for its client to send or to take something."""
        ...

    def waits_no_more(self, connection: Connection) -> None: ...

    def holds(self, connection: Connection, held_bytes: int) -> None:
        """So much of a body or an answer does the connection have in memory while it waits."""
        ...

    def begins(self, path: str) -> bool:
        """Whether one more request may be answered now; if so, `ends` is due."""
        ...

    def ends(self) -> None: ...


class Connection:
    """Answers the requests of one client until either ends it."""

    def __init__(self, connection: gevent.socket.socket, address: Any, server: Server) -> None:
        self.held_bytes = 0
        self.is_answering = False
        self.is_streaming = False
        self.is_closing = False
        self._socket = connection
        self._address = address
        self._server = server
        self._limits = server.limits
        self._received = bytearray()
        self._wants_no_body = False

    def serve(self) -> None:
        """Until the connection ends; it is closed then."""
        try:
            # Headers and body may be sent apart: waiting for an acknowledgement between them would take 40 ms.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            goes_on = self._serve_one(is_first=True)
            while goes_on:
                goes_on = self._serve_one(is_first=False)
        except RequestRefused as refused:
            self._refuse(refused)
        except (ClientGone, OSError):
            pass
        except Exception:
            log.exception("a connection failed")
        finally:
            self._server.waits_no_more(self)
            self._socket.close()

    def hang_up(self) -> None:
        """End the connection from outside: whatever waits for its client goes on, and finds it gone.

        What has come of a request is let go of at once: that may be what the connection is ended for.
        """
        self._received.clear()
        with suppress(OSError):  # the client was quicker
            self._socket.shutdown(socket.SHUT_RDWR)

    def client_is_there(self) -> bool:
        """Whether the client has not hung up; what it may have sent meanwhile is left where it is."""
        self._socket.settimeout(0.0)
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return True
        except OSError:
            return False

    @property
    def write_s(self) -> float:
        return self._limits.write_s

    @property
    def is_last(self) -> bool:
        return self._server.is_stopping

    def begin_stream(self) -> None:
        """The answer that is being given may go on for ever: it is no longer one of the requests in work."""
        self.is_streaming = True
        self._server.ends()

    def receive(self, deadline: float) -> bytes:
        """What the client sends next, for who has taken over; empty at the end.

        Raises:
            TimeoutError: nothing came until the deadline, on `time.monotonic`.
            ClientGone, OSError: it is cut.
        """
        if not self._received:  # what came together with the request is there already
            self._receive(deadline)
        data = bytes(self._received)
        self._received.clear()
        return data

    def _serve_one(self, *, is_first: bool) -> bool:
        """Read and answer a request; whether another may follow."""
        server = self._server
        server.waits(self)
        head = self._read_head(is_first=is_first)
        if head is None:
            return False
        self._wants_no_body = head.method == "HEAD"
        body = self._read_body(head)
        server.holds(self, 0)
        server.waits_no_more(self)
        answer = HttpAnswer(self, head, keeps_alive=head.keeps_alive and not server.is_stopping)
        if not server.begins(head.path):
            answer.problem(503, "too much is being asked at once: try again shortly")
            return answer.keeps_alive
        self.is_answering = True
        successors: list[Callable[[Connection], None]] = []
        try:
            environment = self._environment(head, body)
            environment[TAKE_OVER] = successors.append
            answer.give(server.application, environment)
            if answer.hands_over and successors:
                self.begin_stream()
                successors[-1](self)
        finally:
            self.is_answering = False
            if self.is_streaming:
                self.is_streaming = False
            else:
                server.ends()
        if self._received:
            gevent.sleep(0)  # more was sent than this request: let others have their turn
        return answer.keeps_alive and not server.is_stopping

    def _read_head(self, *, is_first: bool) -> RequestHead | None:
        """The next request; None where the client has no more of them."""
        limits, received = self._limits, self._received
        self._wants_no_body = False
        if not is_first and not received:
            self._receive(limits.idle_s + time.monotonic())
        deadline = limits.head_s + time.monotonic()
        seen, may_be_blank = 0, True
        while True:
            if may_be_blank and received.startswith(b"\r\n"):
                del received[:2]  # after the body of the request before, by some clients
                seen, may_be_blank = 0, False
            end = received.find(END_OF_HEAD, max(0, seen - len(END_OF_HEAD) + 1))
            if end >= 0:
                break
            self._wants_no_body = received.startswith(b"HEAD ")
            check_beginning(received, seen)
            seen = len(received)
            if not self._receive(deadline):
                if seen:
                    raise RequestRefused(400, "the request ended before the end of its headers")
                return None
        self._wants_no_body = received.startswith(b"HEAD ")
        head = read_head(bytes(received[:end]))
        del received[: end + len(END_OF_HEAD)]
        return head

    def _read_body(self, head: RequestHead) -> bytes:
        if head.length == 0:
            return b""
        longest = self._limits.body_bytes
        if head.length is not None and head.length > longest:
            raise body_too_large(longest)
        if head.expects_continue and not self._received:
            self._write(_CONTINUE)
        deadline = self._limits.body_s + time.monotonic()
        try:
            if head.length is not None:
                return self._read_bytes(head.length, deadline)
            return self._read_chunks(ChunkedBody(longest), deadline)
        except TimeoutError:
            raise RequestRefused(408, f"the body did not arrive within {self._limits.body_s:g} s") from None

    def _read_bytes(self, length: int, deadline: float) -> bytes:
        received = self._received
        while len(received) < length:
            self._server.holds(self, len(received))
            if not self._receive(deadline):
                raise RequestRefused(400, "the body ended before the length that the header Content-Length gives")
        body = bytes(received[:length])
        del received[:length]
        return body

    def _read_chunks(self, chunks: ChunkedBody, deadline: float) -> bytes:
        while not chunks.take(self._received):
            self._server.holds(self, len(chunks.body))
            if not self._receive(deadline):
                raise RequestRefused(400, "the body ended before its last chunk")
            gevent.sleep(0)  # small chunks take time
        return bytes(chunks.body)

    def _receive(self, deadline: float) -> bool:
        """Wait for more of what the client sends; whether there will be more.

        Raises:
            TimeoutError: nothing came until the deadline.
        """
        remaining_s = deadline - time.monotonic()
        if remaining_s <= 0:
            raise TimeoutError
        self._socket.settimeout(remaining_s)
        data = self._socket.recv(READ_AT_ONCE_BYTES)
        if self.is_closing:
            raise ClientGone  # what the system had taken before is still handed out
        self._received += data
        return bool(data)

    def write(self, data: bytes, *, before: float | None = None) -> None:
        """Send all of `data`, by a deadline.

        Args:
            before: the deadline of the whole answer, on `time.monotonic`; without one each piece has its own only.

        Raises:
            ClientGone: the client does not take it in time, or has hung up.
        """
        try:
            self._write(data, before=before)
        except OSError:
            raise ClientGone from None

    def write_now(self, data: bytes) -> int:
        """Send what of `data` goes without waiting; how much that is. Raises `ClientGone`."""
        try:
            return self._send_what_fits(data)
        except OSError:
            raise ClientGone from None

    def _write(self, data: bytes, *, before: float | None = None) -> None:
        sent = self._send_what_fits(data)
        if sent == len(data):
            return
        left = memoryview(data)[sent:]
        self._server.waits(self)
        try:
            while left:
                self._server.holds(self, len(left))
                deadline = time.monotonic() + self._limits.write_s
                remaining_s = min(deadline, before or deadline) - time.monotonic()
                if remaining_s <= 0:
                    raise TimeoutError
                self._socket.settimeout(remaining_s)
                self._socket.sendall(left[:WRITE_AT_ONCE_BYTES])
                left = left[WRITE_AT_ONCE_BYTES:]
        finally:
            self._server.holds(self, 0)
            self._server.waits_no_more(self)

    def _send_what_fits(self, data: bytes) -> int:
        try:
            return int(self._socket.send(data, timeout=0.0))
        except BlockingIOError:
            return 0

    def _refuse(self, refused: RequestRefused) -> None:
        try:
            self._write(problem_answer(refused.status, refused.detail, without_body=self._wants_no_body))
            self._socket.shutdown(socket.SHUT_WR)
            self._server.waits(self)
            self._received.clear()
            deadline = time.monotonic() + LINGER_S
            while self._receive(deadline):
                self._received.clear()
                gevent.sleep(0)
        except (ClientGone, OSError):
            pass

    def _environment(self, head: RequestHead, body: bytes) -> WSGIEnvironment:
        environment = self._server.environment()
        environment.update(head.headers)
        environment.update(
            {
                "REQUEST_METHOD": head.method,
                "PATH_INFO": unquote_to_bytes(head.path).decode("latin-1") if "%" in head.path else head.path,
                "QUERY_STRING": head.query,
                "SERVER_PROTOCOL": head.protocol,
                "REMOTE_ADDR": str(self._address[0]),
                "REMOTE_PORT": str(self._address[1]),
                "wsgi.input": io.BytesIO(body),
                CLIENT_IS_THERE: self.client_is_there,
            }
        )
        if head.length is None:  # it was sent in chunks, and is here now
            environment["CONTENT_LENGTH"] = str(len(body))
            del environment["HTTP_TRANSFER_ENCODING"]
        return environment
