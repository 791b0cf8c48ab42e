"""An event as it goes over the wire: made once, whichever door it goes out by and however many clients there are."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson

from decisions.publishing.store import Event
from decisions.publishing.topics import Detail, Topic
from web.websocket import compressed_frame, text_frame

DOORS = 3


class ReadyEvent:
    """One event, whole and in short.

    `size_bytes` is about what one sending of it takes, and `held_bytes` what it takes here, ready for every door.
    """

    __slots__ = (
        "_created_at",
        "_event_type",
        "_frames",
        "_subject",
        "_texts",
        "held_bytes",
        "job_id",
        "sequence",
        "size_bytes",
        "topic",
    )

    def __init__(
        self,
        sequence: int,
        whole: bytes,
        *,
        summary: bytes = b"{}",
        topic: Topic = Topic.DECISIONS,
        event_type: str = "decision",
        subject: str | None = None,
        job_id: str | None = None,
        created_at: datetime | None = None,
    ) -> None:
        """`whole` and `summary` are JSON documents."""
        self.sequence = sequence
        self.topic = topic
        self.job_id = job_id
        self.size_bytes = len(whole)
        self.held_bytes = DOORS * len(whole)
        self._event_type = event_type
        self._subject = subject
        self._created_at = created_at
        self._texts = {Detail.FULL: whole, Detail.SUMMARY: summary}
        self._frames: dict[tuple[str, Detail], bytes] = {}

    @classmethod
    def of(cls, event: Event) -> ReadyEvent:
        return cls(
            event.sequence,
            orjson.dumps(event.event),
            summary=orjson.dumps(event.summary),
            topic=event.topic,
            event_type=event.event_type,
            subject=event.subject,
            job_id=event.job_id,
            created_at=event.created_at,
        )

    def server_sent(self, detail: Detail = Detail.FULL) -> bytes:
        """As a server-sent event: its number, its type, and its document."""
        key = ("sse", detail)
        if key not in self._frames:
            self._frames[key] = b"id: %d\nevent: %b\ndata: %b\n\n" % (
                self.sequence,
                self._event_type.encode(),
                self._texts[detail],
            )
        return self._frames[key]

    def frame(self, detail: Detail, *, compressed: bool) -> bytes:
        """As a WebSocket frame."""
        key = ("deflated" if compressed else "plain", detail)
        if key not in self._frames:
            message = self.message(detail)
            self._frames[key] = compressed_frame(message) if compressed else text_frame(message)
        return self._frames[key]

    def message(self, detail: Detail) -> bytes:
        """As the JSON message that WebSocket clients get (`streaming_messages.StreamedEvent`)."""
        envelope: dict[str, Any] = {
            "type": "event",
            "topic": self.topic,
            "event": self._event_type,
            "sequence": self.sequence,
            "created_at": self._created_at,
            "subject": self._subject,
            "job_id": self.job_id,
        }
        beginning = orjson.dumps(envelope, option=orjson.OPT_UTC_Z)
        return b'%b,"data":%b}' % (beginning[:-1], self._texts[detail])
