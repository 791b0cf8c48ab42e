"""A WebSocket (RFC 6455) on one connection of our HTTP server: the handshake, messages, and how it ends.

wsproto reads what the client sends and knows the rules. What goes out is framed here: a server's frames are unmasked,
so one that is made once serves every client, compressed as well.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any, NoReturn, Protocol

import gevent
from gevent.lock import BoundedSemaphore
from wsproto.connection import Connection, ConnectionType
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import CloseReason
from wsproto.handshake import H11Handshake
from wsproto.utilities import RemoteProtocolError

from web.http_answer import ClientGone

LINGER_S = 2.0
"""For the client to answer a close."""

LONGEST_INFLATED_BYTES = 1024 * 1024
LARGEST_WINDOW_BITS = 15
LONGEST_REASON_BYTES = 120


class Line(Protocol):
    """The connection to the client, once nothing but this is on it."""

    def receive(self, deadline: float) -> bytes:
        """What the client sends next; empty at the end. Raises `TimeoutError` at the deadline (monotonic)."""
        ...

    def write(self, data: bytes, *, before: float | None = None) -> None:
        """Send all of `data`; raises `ClientGone`."""
        ...

    def write_now(self, data: bytes) -> int:
        """Send what goes without waiting, and say how much; raises `ClientGone`."""
        ...


class UpgradeRefused(Exception):
    """The request does not open a WebSocket; `status` is 400 or 426."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class WebSocketClosed(Exception):
    """It is over; `code` says why."""

    def __init__(self, code: int) -> None:
        super().__init__(f"closed with {code}")
        self.code = code


class Sent(Enum):
    """How much of a frame went without waiting."""

    ALL = auto()
    SOME = auto()
    NOTHING = auto()


class _BoundedDeflate(PerMessageDeflate):
    """permessage-deflate without memory between messages, that does not swell without a bound."""

    def __init__(self) -> None:
        super().__init__(client_no_context_takeover=True, server_no_context_takeover=True)

    def frame_inbound_payload_data(self, proto: Any, data: bytes) -> bytes | CloseReason:
        inflater = self._decompressor
        if not self._inbound_compressed or not self._inbound_is_compressible or inflater is None:
            return super().frame_inbound_payload_data(proto, data)
        try:
            inflated = inflater.decompress(bytes(data), LONGEST_INFLATED_BYTES)
        except zlib.error:
            return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        return CloseReason.MESSAGE_TOO_BIG if inflater.unconsumed_tail else inflated


class Upgrade:
    """A request that opens a WebSocket, not yet answered."""

    def __init__(self, headers: Mapping[str, str], path: str, *, subprotocol: str | None = None) -> None:
        """
        Args:
            headers: as in a WSGI environment.
            subprotocol: what is spoken; a client that names others only is answered without one.

        Raises:
            UpgradeRefused: it opens none.
        """
        if headers.get("HTTP_UPGRADE", "").lower() != "websocket":
            raise UpgradeRefused(
                400, "this opens a WebSocket: the request needs Upgrade: websocket, Connection: Upgrade"
            )
        self._handshake = H11Handshake(ConnectionType.SERVER)
        sent = [
            (name[5:].replace("_", "-").lower().encode("ascii"), value.encode("latin-1"))
            for name, value in headers.items()
            if name.startswith("HTTP_")
        ]
        try:
            self._handshake.initiate_upgrade_connection(sent, path)
        except RemoteProtocolError as error:
            hint = error.event_hint
            status = 426 if isinstance(hint, RejectConnection) and hint.status_code == 426 else 400
            raise UpgradeRefused(status, f"this opens no WebSocket of version 13: {error}") from None
        (request,) = (event for event in self._handshake.events() if isinstance(event, Request))
        self._subprotocol = subprotocol if subprotocol in request.subprotocols else None

    def accept(self, line: Line, *, longest_bytes: int, takes_binary: bool = False) -> WebSocket:
        """Answer it. Raises `ClientGone`."""
        deflate = _BoundedDeflate()
        answer = self._handshake.send(AcceptConnection(subprotocol=self._subprotocol, extensions=[deflate]))
        line.write(answer)
        connection = self._handshake.connection
        if connection is None:
            raise ClientGone
        compresses = deflate.enabled() and deflate.server_max_window_bits == LARGEST_WINDOW_BITS
        return WebSocket(
            line, connection, compresses=compresses, longest_bytes=longest_bytes, takes_binary=takes_binary
        )


class WebSocket:
    """One that is open. A greenlet receives; any may send, each frame whole.

    `takes_compressed`: what `compressed_frame` makes may be sent.
    """

    def __init__(
        self, line: Line, connection: Connection, *, compresses: bool, longest_bytes: int, takes_binary: bool
    ) -> None:
        self.takes_compressed = compresses
        self.heard_at = time.monotonic()
        self._line = line
        self._connection = connection
        self._longest_bytes = longest_bytes
        self._takes_binary = takes_binary
        self._writing = BoundedSemaphore()
        self._rest = b""
        self._closing_with: int | None = None
        self._parts: list[Any] = []
        self._parts_bytes = 0

    def receive(self, deadline: float) -> str | bytes:
        """The next message. Pings are answered; what breaks the rules ends it.

        Raises:
            TimeoutError: there is none until `deadline` (monotonic).
            WebSocketClosed: it is over, and the client has been told.
            ClientGone: nobody is there any more.
        """
        while True:
            for event in self._connection.events():
                message = self._take(event)
                if message is not None:
                    return message
            data = self._receive(deadline)
            self.heard_at = time.monotonic()
            self._connection.receive_data(data)
            gevent.sleep(0)  # whoever sends without a pause is not alone

    def send(self, frame: bytes) -> None:
        """Send a frame, or several. Raises `ClientGone`."""
        with self._writing:
            if self._closing_with is not None:
                raise ClientGone
            self._write(frame)

    def send_now(self, frame: bytes) -> Sent:
        """Send a frame, or several, without waiting. After `Sent.SOME` nothing else goes before `send_rest`."""
        if self._closing_with is not None or not self._writing.acquire(blocking=False):
            return Sent.NOTHING
        sent_bytes = 0
        try:
            sent_bytes = self._line.write_now(frame)
        except ClientGone:
            pass  # whoever sends next, or receives, finds that
        finally:
            self._rest = frame[sent_bytes:] if sent_bytes else b""
            if not self._rest:
                self._writing.release()
        if not sent_bytes:
            return Sent.NOTHING
        return Sent.SOME if self._rest else Sent.ALL

    def send_rest(self) -> None:
        """Send what is left of a frame that was begun, if one was. Raises `ClientGone`."""
        rest, self._rest = self._rest, b""
        if rest:
            try:
                self._write(rest)
            finally:
                self._writing.release()

    def ping(self) -> None:
        """Have the client show that it is there. Raises `ClientGone`."""
        self.send(b"\x89\x00")

    def close(self, code: int, reason: str = "") -> None:
        """Say that it is over, and why; what the client still sends is left. Raises `ClientGone`."""
        with self._writing:
            if self._closing_with is not None:
                return
            self._closing_with = code
            text = reason.encode()[:LONGEST_REASON_BYTES].decode(errors="ignore")
            self._line.write(self._connection.send(CloseConnection(code=code, reason=text)))

    def end(self, code: int, reason: str = "") -> NoReturn:
        """Close it, and wait for the client to agree for a moment.

        Raises:
            WebSocketClosed: always, unless `ClientGone`.
        """
        self.close(code, reason)
        deadline = time.monotonic() + LINGER_S
        try:
            while True:
                self.receive(deadline)
        except TimeoutError:
            raise WebSocketClosed(code) from None

    def _write(self, frame: bytes) -> None:
        try:
            self._line.write(frame)
        except ClientGone:
            self._closing_with = int(CloseReason.ABNORMAL_CLOSURE)  # nothing may follow on half a frame
            raise

    def _receive(self, deadline: float) -> bytes:
        try:
            data = self._line.receive(deadline)
        except TimeoutError:
            raise
        except OSError:
            raise ClientGone from None
        if not data:
            raise ClientGone
        return data

    def _take(self, event: object) -> str | bytes | None:
        if isinstance(event, CloseConnection):
            self._closed(event)
        if self._closing_with is not None:
            return None  # what was on its way
        if isinstance(event, Ping):
            self.send(self._connection.send(event.response()))
        elif isinstance(event, TextMessage | BytesMessage):
            return self._take_part(event)
        return None

    def _take_part(self, event: TextMessage | BytesMessage) -> str | bytes | None:
        if isinstance(event, BytesMessage) and not self._takes_binary:
            self._fail(CloseReason.UNSUPPORTED_DATA, "messages are JSON texts")
        self._parts.append(event.data)
        self._parts_bytes += len(event.data.encode()) if isinstance(event.data, str) else len(event.data)
        if self._parts_bytes > self._longest_bytes:
            self._fail(CloseReason.MESSAGE_TOO_BIG, f"messages have at most {self._longest_bytes} bytes")
        if not event.message_finished:
            return None
        parts, self._parts, self._parts_bytes = self._parts, [], 0
        return "".join(parts) if isinstance(event, TextMessage) else b"".join(parts)

    def _fail(self, code: CloseReason, reason: str) -> NoReturn:
        self.close(int(code), reason)
        raise WebSocketClosed(int(code))

    def _closed(self, event: CloseConnection) -> NoReturn:
        """The client closes, agrees to a close, or has broken a rule, which wsproto tells as a close as well."""
        code = int(event.code)
        with self._writing:
            if self._closing_with is None:
                self._closing_with = code
                self._line.write(self._connection.send(event.response()))
        raise WebSocketClosed(code)


def text_frame(message: bytes) -> bytes:
    """A message of UTF-8 text in a frame that serves every client."""
    return _frame(0x81, message)


def binary_frame(message: bytes) -> bytes:
    return _frame(0x82, message)


def compressed_frame(message: bytes) -> bytes:
    """The same, compressed, for clients whose `takes_compressed`."""
    deflater = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -LARGEST_WINDOW_BITS)
    deflated = deflater.compress(message) + deflater.flush(zlib.Z_SYNC_FLUSH)
    return _frame(0xC1, deflated[:-4])


def _frame(first: int, payload: bytes) -> bytes:
    length = len(payload)
    if length < 126:
        return bytes((first, length)) + payload
    if length < 65536:
        return bytes((first, 126)) + length.to_bytes(2, "big") + payload
    return bytes((first, 127)) + length.to_bytes(8, "big") + payload
