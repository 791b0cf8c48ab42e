"""The WebSocket `/stream`: the same events as server-sent ones, with what is wanted told in messages."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

import orjson
from flask import Blueprint, Response, request

from gateway.asyncapi import asyncapi_document
from gateway.endpoints.broadcast import MOST_STREAMS, check_not_ahead
from gateway.serving.feed import BroadcastFeed
from gateway.serving.visits import Visits
from gateway.streaming import StreamSession
from gateway.streaming_messages import PROTOCOL, Auth
from tenancy.guard import caller_of
from tenancy.principals import Principal
from tenancy.scopes import Scope
from version import VERSION
from web.http_answer import ClientGone
from web.http_connection import TAKE_OVER, Connection
from web.problems import Problem
from web.websocket import Upgrade, UpgradeRefused

LONGEST_MESSAGE_BYTES = 16 * 1024
ACTION = "GET /stream"


class Door(Protocol):
    """Who shows what, inside of a connection that is open already (`tenancy.access.Access`)."""

    def signed_in(
        self, credential: str, operator: str | None, scope: Scope, action: str, address: str
    ) -> Principal: ...

    def let_in(self, ticket: str, scope: Scope, action: str, address: str) -> Principal: ...


def stream_endpoints(feed: BroadcastFeed, visits: Visits, door: Door, *, pages: Collection[str]) -> Blueprint:
    """`/stream`, and `/asyncapi.json`, which describes it.

    Args:
        pages: origins whose pages may listen, besides this server's own.
    """
    endpoints = Blueprint("stream", __name__)

    def opened() -> Response:
        environ = request.environ
        try:
            upgrade = Upgrade(environ, "/stream", subprotocol=PROTOCOL)
        except UpgradeRefused as refused:
            headers = {"Sec-WebSocket-Version": "13", "Upgrade": "websocket"} if refused.status == 426 else None
            raise Problem(refused.status, refused.detail, headers=headers) from None
        _check_origin(environ.get("HTTP_ORIGIN"), environ.get("HTTP_HOST"), pages)
        take_over = environ.get(TAKE_OVER)
        if take_over is None:
            raise Problem(400, "this server does not hand its connections over")
        principal, address = caller_of(environ), str(environ.get("REMOTE_ADDR"))

        def sign_in(shown: Auth) -> Principal:
            if shown.token is not None:
                return door.signed_in(shown.token, shown.operator, Scope.DECISIONS_READ, ACTION, address)
            return door.let_in(shown.ticket or "", Scope.DECISIONS_READ, ACTION, address)

        def speak(connection: Connection) -> None:
            try:
                web_socket = upgrade.accept(connection, longest_bytes=LONGEST_MESSAGE_BYTES)
            except ClientGone:
                return
            StreamSession(
                web_socket,
                feed,
                visits,
                sign_in,
                lambda visit, after: check_not_ahead(visit.seat, after),
                principal=principal if principal is not None and Scope.DECISIONS_READ in principal.scopes else None,
                most_streams=MOST_STREAMS,
            ).serve()

        take_over(speak)
        return Response(status=101)

    def description() -> Response:
        return Response(orjson.dumps(asyncapi_document(VERSION, request.host)), mimetype="application/json")

    # Werkzeug leads requests for a WebSocket to rules of their own.
    endpoints.add_url_rule("/stream", "opened", opened, websocket=True)
    endpoints.add_url_rule("/stream", "not_opened", opened)
    endpoints.add_url_rule("/asyncapi.json", "description", description)
    return endpoints


def _check_origin(origin: str | None, host: str | None, pages: Collection[str]) -> None:
    """A browser says whose page asks, and for a WebSocket does nothing else: without this, any page could listen."""
    if origin is None:
        return
    own = set() if host is None else {f"http://{host.lower()}", f"https://{host.lower()}"}
    if origin.lower() not in own and origin.lower() not in pages:
        raise Problem(403, f"pages from {origin} may not listen here: DASHBOARD_ORIGINS says which may")
