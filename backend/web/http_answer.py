"""An application's answer on its way to the client, framed as HTTP/1.1."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterable
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

import gevent

from printable import printable
from web.http_request import RequestHead
from web.problems import MEDIA_TYPE, RETRY_AFTER_S, problem_body

if TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)

# After so much without a pause others have their turn: a client that reads quickly must not keep them waiting.
LONGEST_TURN_BYTES = 64 * 1024
SLOWEST_BYTES_PER_S = 64 * 1024

_WITHOUT_BODY = frozenset({"204", "304"})


class ClientGone(Exception):
    """There is nobody to answer: the client has hung up, or was too slow."""


class Line(Protocol):
    """The connection to the client."""

    def write(self, data: bytes, *, before: float | None = None) -> None:
        """Send all of `data`, by the deadline `before`; raises `ClientGone`."""
        ...

    def begin_stream(self) -> None:
        """The answer may go on for ever."""
        ...

    @property
    def write_s(self) -> float: ...

    @property
    def is_last(self) -> bool:
        """Whether no other request may follow: the server is stopping."""
        ...


class HttpAnswer:
    """The answer to one request. `keeps_alive` is whether another request may follow it.

    With the status 101 nothing is sent: `hands_over` says that the connection is somebody else's now.
    """

    def __init__(self, line: Line, head: RequestHead, *, keeps_alive: bool) -> None:
        self.keeps_alive = keeps_alive
        self.hands_over = False
        self._line = line
        self._head = head
        self._status = ""
        self._headers: list[tuple[str, str]] = []
        self._early: list[bytes] = []
        self._begun = False
        self._turn_bytes = 0

    def give(self, application: WSGIApplication, environment: WSGIEnvironment) -> None:
        """Have the application answer, and send what it says.

        Raises:
            ClientGone: the client does not take it, or the application fails in the middle.
        """
        body: Iterable[bytes] = ()
        try:
            body = application(environment, self._start)
            self._send(body)
        except ClientGone:
            raise
        except Exception:
            log.exception("%s %s failed", self._head.method, printable(self._head.path))
            if self._begun:
                raise ClientGone from None  # it sees that the answer is cut short
            self.problem(500, "an unexpected error occurred; the details are in the server's log")
        finally:
            close = getattr(body, "close", None)
            if close is not None:
                close()

    def problem(self, status: int, detail: str) -> None:
        """Answer with a problem that the application knows nothing of."""
        without_body = self._head.method == "HEAD"
        self._line.write(problem_answer(status, detail, without_body=without_body, keeps_alive=self.keeps_alive))

    def _start(
        self, status: str, headers: list[tuple[str, str]], exc_info: OptExcInfo | None = None, /
    ) -> Callable[[bytes], object]:
        if exc_info is not None and self._begun and exc_info[1] is not None:
            raise exc_info[1]
        self._status, self._headers = status, headers
        return self._early.append

    def _send(self, body: Iterable[bytes]) -> None:
        if self._early:
            body = itertools.chain(self._early, body)
        if self._status.startswith("101"):
            self.hands_over, self.keeps_alive = True, False
            return
        names = {name.lower(): value for name, value in self._headers}
        if self._head.method == "HEAD" or self._status[:3] in _WITHOUT_BODY:
            self._line.write(self._beginning())
            return
        if "content-length" not in names and isinstance(body, list | tuple):
            body = [b"".join(body)]
            names["content-length"] = str(len(body[0]))
            self._headers.append(("Content-Length", names["content-length"]))
        if "content-length" in names:
            self._send_whole(body, int(names["content-length"]))
        else:
            self._send_stream(body)

    def _send_whole(self, body: Iterable[bytes], length: int) -> None:
        before = time.monotonic() + self._line.write_s + length / SLOWEST_BYTES_PER_S
        sent = 0
        for piece in body:
            sent += len(piece)
            self._write_with_beginning(piece, before=before)
        if not self._begun:
            self._write_with_beginning(b"", before=before)
        if sent != length:
            log.error("an answer of %d bytes to %s should have had %d", sent, printable(self._head.path), length)
            self.keeps_alive = False

    def _send_stream(self, body: Iterable[bytes]) -> None:
        self._line.begin_stream()
        is_chunked = self._head.minor_version == 1
        if is_chunked:
            self._headers.append(("Transfer-Encoding", "chunked"))
        else:
            self.keeps_alive = False
        for piece in body:
            if piece:
                self._write_with_beginning(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
        self._write_with_beginning(b"0\r\n\r\n" if is_chunked else b"")

    def _write_with_beginning(self, data: bytes, *, before: float | None = None) -> None:
        if self._begun:
            self._write(data, before=before)
        elif len(data) < LONGEST_TURN_BYTES:
            self._write(self._beginning() + data, before=before)
        else:
            self._write(self._beginning(), before=before)
            self._write(data, before=before)

    def _write(self, data: bytes, *, before: float | None = None) -> None:
        self._begun = True
        self._line.write(data, before=before)
        self._turn_bytes += len(data)
        if self._turn_bytes >= LONGEST_TURN_BYTES:
            self._turn_bytes = 0
            gevent.sleep(0)

    def _beginning(self) -> bytes:
        self.keeps_alive = self.keeps_alive and not self._line.is_last
        return _beginning(
            self._status, self._headers, keeps_alive=self.keeps_alive, minor_version=self._head.minor_version
        )


def problem_answer(status: int, detail: str, *, without_body: bool, keeps_alive: bool = False) -> bytes:
    """A whole answer that is a problem document."""
    body = problem_body(status, detail)
    headers = [
        ("Content-Type", MEDIA_TYPE),
        ("Content-Length", str(len(body))),
        ("X-Content-Type-Options", "nosniff"),
    ]
    if status == 503:
        headers.append(("Retry-After", str(RETRY_AFTER_S)))
    beginning = _beginning(f"{status} {HTTPStatus(status).phrase}", headers, keeps_alive=keeps_alive)
    return beginning if without_body else beginning + body


def _beginning(status: str, headers: list[tuple[str, str]], *, keeps_alive: bool, minor_version: int = 1) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers), _date(int(time.time()))]
    if not keeps_alive:
        lines.append("Connection: close")
    elif minor_version == 0:
        lines.append("Connection: keep-alive")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


@lru_cache(maxsize=2)
def _date(second: int) -> str:
    return f"Date: {formatdate(second, usegmt=True)}"
