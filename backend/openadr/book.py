"""The objects in the database, as business logic or one VEN has them. What is refused is refused in words."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from database.interface import Calls, Row
from flexibility.event_model import NewEvent
from grid.half_hours import rfc3339
from openadr.objects import ObjectType, on_the_wire
from tenancy.principals import Principal
from tenancy.scopes import Scope
from web.problems import Problem

MOST_BYTES = 256 * 1024
"""Of one object, as JSON: so that 10,000 of a kind and a page of fifty stay bearable."""

_REFUSALS = {
    "taken": (409, "there is one of this name already, or its client is another VEN"),
    "full": (409, "there are 10,000 of them, and no more are kept: delete some"),
    "subscribed": (409, "there are 100 subscriptions of this client, and no more are kept: delete some"),
    "no_program": (422, "programID: there is no such program"),
    "no_event": (422, "eventID: there is no such event"),
    "no_ven": (422, "venID: there is no such VEN"),
    "no_client": (422, "clientID: the operator has no service account or key of this id"),
    "closed": (409, "its gate has closed: flexibility is asked for, or taken back, more than an hour ahead"),
    "overlapping": (409, "another flexibility event is open in these half-hours: delete that, or choose others"),
    "dispatched": (409, "this is what Pylon has sold: cancel its event of flexibility, which withdraws it"),
    "too_many": (409, "a hundred events that ask for flexibility are ahead, the most there may be: delete one"),
    "different": (409, "what an event asks of flexibility cannot be changed: delete it, and post another"),
}


@dataclass(frozen=True)
class Client:
    """Who asks. `subject` is the VEN's service account; None: business logic, which has all of its operator's."""

    name: str
    subject: str | None

    @property
    def is_ven(self) -> bool:
        return self.subject is not None


def client_of(principal: Principal) -> Client:
    """A VEN is whoever may use OpenADR and change nothing else."""
    is_ven = Scope.WORKLOADS_WRITE not in principal.scopes
    return Client(principal.subject.removeprefix("svc:"), principal.subject if is_ven else None)


@dataclass(frozen=True)
class Draft:
    """An object to be stored: what it hangs on, its name where that is to be its own, and all that is on the wire."""

    object_type: ObjectType
    content: dict[str, Any]
    name: str | None = None
    program_id: str | None = None
    event_id: str | None = None
    ven_id: str | None = None
    client_id: str | None = None
    """What business logic says a VEN's client is."""
    ends_at: datetime | None = None
    """When the last interval of an event ends."""

    def row(self, object_id: str) -> Row:
        return {
            "object_id": object_id,
            "object_type": str(self.object_type),
            "name": self.name,
            "program_id": self.program_id,
            "event_id": self.event_id,
            "ven_id": self.ven_id,
            "targets": self.content.get("targets") or [],
            "ends_at": None if self.ends_at is None else rfc3339(self.ends_at),
            "content": self.content,
        }


class ObjectBook:
    """The objects of one kind, for whoever makes the present request."""

    def __init__(
        self, database: Calls, object_type: ObjectType, client: Callable[[], Client], clock: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._type = object_type
        self._client = client
        self._clock = clock

    def client(self) -> Client:
        """Who asks."""
        return self._client()

    def page(self, skip: int, limit: int, **filters: object) -> list[dict[str, Any]]:
        """A page of what the client sees, the newest first."""
        arguments = {
            "p_type": str(self._type),
            "p_filter": {name: value for name, value in filters.items() if value is not None},
            "p_client": self._client().subject,
            "p_skip": skip,
            "p_limit": limit,
        }
        return [on_the_wire(row) for row in self._database.call("openadr_page", arguments, repeatable=True)]

    def one(self, object_id: str) -> dict[str, Any]:
        """The object.

        Raises:
            Problem: 404; there is none, or it is not the client's to see.
        """
        arguments = {"p_type": str(self._type), "p_id": object_id, "p_client": self._client().subject}
        row = self._database.call("openadr_one", arguments, repeatable=True)
        if row is None:
            raise self._unknown(object_id)
        return on_the_wire(row)

    def create(self, draft: Draft, asked: Callable[[str], NewEvent | None] = lambda _: None) -> dict[str, Any]:
        """Store a new object. `asked` is what it asks of flexibility, by the id that it gets.

        Raises:
            Problem: 409, 413 or 422; nothing is stored.
        """
        return self._write("openadr_create", draft, str(uuid4()), asked)

    def replace(
        self, object_id: str, draft: Draft, asked: Callable[[str], NewEvent | None] = lambda _: None
    ) -> dict[str, Any]:
        """Write an object anew.

        Raises:
            Problem: 404, 409, 413 or 422; nothing is changed.
        """
        return self._write("openadr_replace", draft, object_id, asked)

    def delete(self, object_id: str) -> dict[str, Any]:
        """Take an object away, and what hangs on it; the answer is what it was.

        Raises:
            Problem: 404, or 409 where its gate has closed.
        """
        arguments = {
            "p_type": str(self._type),
            "p_id": object_id,
            "p_client": self._client().subject,
            "p_now": self._clock(),
        }
        return self._done(self._database.call("openadr_delete", arguments), object_id)

    def _write(
        self, function: str, draft: Draft, object_id: str, asked: Callable[[str], NewEvent | None]
    ) -> dict[str, Any]:
        if len(json.dumps(draft.content)) > MOST_BYTES:
            raise Problem(413, f"an object may have {MOST_BYTES // 1024} KiB as JSON: divide it")
        flexibility = asked(object_id)
        arguments = {
            "p_object": draft.row(object_id),
            "p_client": self._client().subject,
            "p_client_id": draft.client_id,
            "p_flexibility": None if flexibility is None else flexibility.to_row(),
            "p_now": self._clock(),
        }
        return self._done(self._database.call(function, arguments), object_id)

    def _done(self, outcome: Row, object_id: str) -> dict[str, Any]:
        if outcome["state"] == "unknown":
            raise self._unknown(object_id)
        if outcome["object"] is None:
            status, words = _REFUSALS[outcome["state"]]
            raise Problem(status, words)
        return on_the_wire(outcome["object"])

    def _unknown(self, object_id: str) -> Problem:
        return Problem(404, f"there is no {self._type.lower()} {object_id} here")
