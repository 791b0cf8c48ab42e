"""A client of an event stream, as EventSource is one: it comes back with the number of the last event it saw."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

RETRY_AFTER_S = 0.2


@dataclass(frozen=True)
class SseEvent:
    """One event; `data` is its JSON document."""

    id: int
    type: str
    data: Any


@dataclass
class SseReader:
    """Reads in a thread from the port that `port` names, which may be another at every try.

    `retries` is whether it comes back when the stream ends; `silence_s` is how long it believes in a stream on
    which nothing is sent. `headers` go with every try, and `status` is what the last one was answered. `arrived_at`
    has the moment of each event on the monotonic clock. Use as a context manager.
    """

    port: int | Callable[[], int]
    path: str = "/beckn/broadcast"
    last_event_id: int | None = None
    retries: bool = False
    silence_s: float = 30
    headers: dict[str, str] = field(default_factory=dict)
    events: list[SseEvent] = field(default_factory=list)
    arrived_at: dict[int, float] = field(default_factory=dict)
    comments: int = 0
    connections: int = 0
    ended: bool = False
    status: int | None = None

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._closing = False
        self._connection: http.client.HTTPConnection | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> SseReader:
        self._thread.start()
        self.wait_until(lambda: self.connections > 0 or self.ended)
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        connection = self._connection
        if connection is not None and connection.sock is not None:
            connection.sock.shutdown(2)
        self._thread.join()

    @property
    def ids(self) -> list[int]:
        return [event.id for event in self.events]

    def wait_for(self, events: int, timeout_s: float = 20) -> list[SseEvent]:
        """The events, once there are so many."""
        self.wait_until(lambda: len(self.events) >= events, timeout_s)
        return self.events

    def wait_until(self, condition: Callable[[], bool], timeout_s: float = 20) -> None:
        with self._changed:
            if not self._changed.wait_for(condition, timeout_s):
                raise TimeoutError(f"{len(self.events)} events, {self.comments} comments, ended: {self.ended}")

    def _run(self) -> None:
        while not self._closing:
            self._read_one_stream()
            if not self.retries:
                break
            time.sleep(RETRY_AFTER_S)
        self._note(ended=True)

    def _read_one_stream(self) -> None:
        port = self.port if isinstance(self.port, int) else self.port()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=self.silence_s)
        self._connection = connection
        place = {} if self.last_event_id is None else {"Last-Event-ID": str(self.last_event_id)}
        try:
            connection.request("GET", self.path, headers=self.headers | place)
            answer = connection.getresponse()
            self.status = answer.status
            if answer.status == 200:
                self._read(answer)
        except (OSError, http.client.HTTPException, ValueError):
            pass  # the gateway was killed, or this reader closes
        finally:
            connection.close()

    def _read(self, answer: http.client.HTTPResponse) -> None:
        self._note(connections=self.connections + 1)
        values: dict[str, str] = {}
        for line in iter(answer.readline, b""):
            text = line.decode().rstrip("\n")
            if text.startswith(":"):
                self._note(comments=self.comments + 1)
            elif text:
                name, _, value = text.partition(": ")
                values[name] = value
            elif "data" in values:
                event = SseEvent(int(values["id"]), values["event"], json.loads(values["data"]))
                self.arrived_at[event.id] = time.monotonic()
                self.events.append(event)
                self._note(last_event_id=event.id)
                values = {}

    def _note(self, **changes: int | bool) -> None:
        with self._changed:
            for name, value in changes.items():
                setattr(self, name, value)
            self._changed.notify_all()
