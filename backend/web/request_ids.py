"""Each request has an id, which its log lines and its answer bear: the client's own, or a new one."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from log_lines import request_id

if TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

HEADER = "X-Request-ID"
_TAKEN = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestIds:
    """Gives the requests of `application` their ids."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        given = environ.get("HTTP_X_REQUEST_ID", "")
        own = given if _TAKEN.fullmatch(given) else uuid.uuid4().hex

        def start(
            status: str, headers: list[tuple[str, str]], exc_info: OptExcInfo | None = None, /
        ) -> Callable[[bytes], object]:
            known = [*headers, (HEADER, own)]
            return start_response(status, known, exc_info) if exc_info else start_response(status, known)

        token = request_id.set(own)
        try:
            return self._application(environ, start)
        finally:
            request_id.reset(token)
