"""Lets the pages of certain other origins read the answers: what browsers ask for before they do (CORS)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_METHODS = "GET, POST, PUT, PATCH, DELETE"
_READING = "GET"
_REQUEST_HEADERS = (
    "A2A-Version, Authorization, Content-Type, If-None-Match, Last-Event-ID, Pylon-Operator, X-Request-ID"
)
_ANSWER_HEADERS = "ETag, Retry-After, X-Request-ID"
_PREFLIGHT_AGE_S = "600"


class CrossOrigin:
    """Answers what browsers ask beforehand, and marks the answers of `application` for pages of these origins.

    No cookie is ever asked for, so no answer allows credentials of the browser's own.
    """

    def __init__(
        self, application: WSGIApplication, origins: Collection[str], reading_origins: Collection[str] = ()
    ) -> None:
        """`reading_origins`: of pages that may read, and nothing else."""
        self._application = application
        self._methods = {**dict.fromkeys(reading_origins, _READING), **dict.fromkeys(origins, _METHODS)}

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        origin = environ.get("HTTP_ORIGIN", "").lower()
        methods = self._methods.get(origin)
        is_preflight = environ["REQUEST_METHOD"] == "OPTIONS"
        if methods is None or (methods == _READING and environ["REQUEST_METHOD"] not in {"GET", "HEAD", "OPTIONS"}):
            return self._application(environ, _varying(start_response, []))
        allowed = [("Access-Control-Allow-Origin", origin)]
        if is_preflight and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ:
            preflight = [
                *allowed,
                ("Access-Control-Allow-Methods", methods),
                ("Access-Control-Allow-Headers", _REQUEST_HEADERS),
                ("Access-Control-Max-Age", _PREFLIGHT_AGE_S),
                ("Vary", "Origin"),
            ]
            start_response("204 No Content", preflight)
            return []
        marked = [*allowed, ("Access-Control-Expose-Headers", _ANSWER_HEADERS)]
        return self._application(environ, _varying(start_response, marked))


def _varying(start_response: StartResponse, more: list[tuple[str, str]]) -> StartResponse:
    """Starts the answer with `more` headers, and says that another origin may get another answer."""

    def start(
        status: str, headers: list[tuple[str, str]], exc_info: OptExcInfo | None = None, /
    ) -> Callable[[bytes], object]:
        marked = [*headers, *more, ("Vary", "Origin")]
        return start_response(status, marked, exc_info) if exc_info else start_response(status, marked)

    return start
