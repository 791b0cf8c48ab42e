"""Tickets for streams: what a browser, whose EventSource and WebSocket send no header, shows instead of a credential.

A ticket is good for one stream, and for half a minute. So one that is found in a log or a history opens nothing,
which a key or a token would. Whoever has one listens as whoever asked for it.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from pydantic import TypeAdapter

from database.interface import Calls
from tenancy.principals import Principal
from tenancy.scopes import Scope
from tenancy.standing import Standing

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

GOOD_FOR_S = 30
SECRET_BYTES = 32
LONGEST_TICKET = 100
PARAMETER = "ticket"
TAKEN_BY = {"GET /beckn/broadcast": Scope.DECISIONS_READ}
"""The endpoints that take a ticket, and what it is to be good for."""

NO_GOOD = (
    "this ticket does not open a stream: it was used, has run out, or its holder may listen no longer; "
    "POST /beckn/broadcast/ticket makes a new one"
)

_HOLDER: TypeAdapter[Principal] = TypeAdapter(Principal)


class Tickets:
    """Issues and takes tickets. They are in the database, as digests: any server on it takes another's."""

    def __init__(self, calls: Calls, standing: Standing) -> None:
        self._calls = calls
        self._standing = standing

    def issue(self, holder: Principal) -> str:
        """A ticket for `holder`.

        Raises:
            DatabaseError: the database does not answer.
        """
        ticket = secrets.token_urlsafe(SECRET_BYTES)
        arguments: dict[str, Any] = {
            "p_digest": _digest(ticket),
            "p_holder": _HOLDER.dump_python(holder, mode="json"),
            "p_seconds": GOOD_FOR_S,
        }
        self._calls.call("tenancy_issue_ticket", arguments)
        return ticket

    def redeemed(self, endpoint: str, environ: WSGIEnvironment) -> Principal | None:
        """Who shows a ticket at an endpoint ("METHOD /path") that takes one; None without a good one.

        Raises:
            DatabaseError: the database does not answer.
        """
        need, shown = TAKEN_BY.get(endpoint), _shown(environ)
        return None if need is None or len(shown) != 1 else self.holder(shown[0], need)

    def holder(self, ticket: str, need: Scope) -> Principal | None:
        """Whose the ticket is, which is used by this; None of one that is no good, or not for that.

        Raises:
            DatabaseError: the database does not answer.
        """
        if len(ticket) > LONGEST_TICKET:
            return None
        found = self._calls.call("tenancy_redeem_ticket", {"p_digest": _digest(ticket)})
        if found is None:
            return None
        holder = _HOLDER.validate_python(found)
        return holder if self._standing.holds(holder, need) else None


def shows_one(endpoint: str, environ: WSGIEnvironment) -> bool:
    """Whether a request brings a ticket, good or not, where one is taken."""
    return endpoint in TAKEN_BY and bool(_shown(environ))


def _shown(environ: WSGIEnvironment) -> list[str]:
    return parse_qs(environ.get("QUERY_STRING", "")).get(PARAMETER, [])


def _digest(ticket: str) -> str:
    return hashlib.sha256(ticket.encode("utf-8", "replace")).hexdigest()
