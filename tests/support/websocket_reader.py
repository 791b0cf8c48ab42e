"""A client of the events' WebSocket, read in a thread: what `SseReader` is for a stream."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.sync.connection import Connection

from sse_reader import SseEvent

ANSWERED_WITHIN_S = 20


@dataclass
class WebSocketReader:
    """Hears decisions from the first on. `headers` go with the handshake, and `status` is what it was answered.

    Use as a context manager; `events` and `ended` are as those of `SseReader`.
    """

    port: int
    headers: dict[str, str] = field(default_factory=dict)
    events: list[SseEvent] = field(default_factory=list)
    ended: bool = False
    status: int | None = None

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._connection: Connection | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> WebSocketReader:
        try:
            self._connection = connect(
                f"ws://127.0.0.1:{self.port}/stream",
                additional_headers=self.headers,
                max_size=None,
                open_timeout=ANSWERED_WITHIN_S,
            )
        except InvalidStatus as refused:
            self.status = refused.response.status_code
            self.ended = True
            return self
        self.status = 101
        self._connection.send(json.dumps({"type": "subscribe", "after": 0}))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()
            self._thread.join()

    def wait_for(self, events: int, timeout_s: float = 20) -> list[SseEvent]:
        """The events, once there are so many."""
        self.wait_until(lambda: len(self.events) >= events, timeout_s)
        return self.events

    def wait_until(self, condition: Callable[[], bool], timeout_s: float = 20) -> None:
        with self._changed:
            if not self._changed.wait_for(condition, timeout_s):
                raise TimeoutError(f"{len(self.events)} events, ended: {self.ended}")

    def _run(self) -> None:
        assert self._connection is not None
        try:
            for text in self._connection:
                message = json.loads(text)
                if message["type"] == "event":
                    event = SseEvent(message["sequence"], message["event"], message["data"])
                    with self._changed:
                        self.events.append(event)
                        self._changed.notify_all()
        except ConnectionClosed:
            pass  # in another way than by a closing handshake that both expected
        with self._changed:
            self.ended = True
            self._changed.notify_all()
