"""Each request has an id, which its log lines and its answer bear: the client's own, or a new one."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, cast

from log_lines import request_id

if TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

HEADER = "X-Request-ID"
REQUEST_ID = "pylon.request_id"
"""In a WSGI environment: the id that the request has."""
_TAKEN = re.compile(r"[A-Za-z0-9._-]{1,64}")


class InContext:
    """A body whose pieces are made with the context of now, so that log lines of a stream know its request."""

    def __init__(self, body: Iterable[bytes]) -> None:
        self._body = body
        self._context: Context = copy_context()

    def __iter__(self) -> Iterator[bytes]:
        pieces = iter(self._body)
        end = object()
        while (piece := self._context.run(next, pieces, end)) is not end:
            yield cast(bytes, piece)

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            self._context.run(close)


class RequestIds:
    """Gives the requests of `application` their ids, those that have none yet."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if REQUEST_ID in environ:
            return self._application(environ, start_response)
        given = environ.get("HTTP_X_REQUEST_ID", "")
        own = given if _TAKEN.fullmatch(given) else uuid.uuid4().hex

        def start(
            status: str, headers: list[tuple[str, str]], exc_info: OptExcInfo | None = None, /
        ) -> Callable[[bytes], object]:
            known = [*headers, (HEADER, own)]
            return start_response(status, known, exc_info) if exc_info else start_response(status, known)

        environ[REQUEST_ID] = own
        token = request_id.set(own)
        try:
            return self._application(environ, start)
        finally:
            request_id.reset(token)
