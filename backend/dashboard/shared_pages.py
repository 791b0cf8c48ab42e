"""A page made once for all who ask for the same meanwhile.

An event has every open dashboard ask for its page anew, and all at once. What somebody else began to make since a
request came is as good for it, and no older than the request. Who asks is a part of what is asked: nobody is ever
shown what was made for another. Nor does anybody wait long: a page that takes its time, as a plan does or any while
the database is away, is made by each alone, or those who wait in line would hold all threads for as long together.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dashboard.sign_in import PREFIX
from tenancy.guard import caller_of
from tenancy.principals import Principal
from web.metrics import ROUTE
from web.request_ids import HEADER as REQUEST_ID_HEADER
from web.worker_threads import CAME_AT

if TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

MOST_PAGES = 64
"""Those asked for longest ago are forgotten."""

PATIENCE_S = 2.0
"""For what another begins to make; a page of the usual kind takes a tenth of that."""

_OTHERS = tuple(f"{PREFIX}/{name}" for name in ("static/", "sign-in", "sign-out"))
_OWN_HEADERS = {REQUEST_ID_HEADER.lower(), "set-cookie"}


@dataclass(frozen=True)
class _Asked:
    """All that a page depends on, beside what the database holds."""

    caller: Principal | None
    path: str
    query: str
    headers: tuple[str | None, ...]


@dataclass(frozen=True)
class _Page:
    begun_at: float
    status: str
    headers: list[tuple[str, str]]
    body: list[bytes]
    route: str | None

    @property
    def is_for_others(self) -> bool:
        return self.status.startswith("200") and not _OWN_HEADERS & {name.lower() for name, _ in self.headers}


@dataclass
class _Place:
    newest: _Page | None = None
    one_at_a_time: threading.Lock = field(default_factory=threading.Lock)


class SharedPages:
    """Stands before `application`, behind the guard. For requests in threads."""

    def __init__(self, application: WSGIApplication, *, patience_s: float = PATIENCE_S) -> None:
        self._application = application
        self._patience_s = patience_s
        self._alone = threading.Lock()
        self._places: OrderedDict[_Asked, _Place] = OrderedDict()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if environ["REQUEST_METHOD"] != "GET" or not path.startswith(f"{PREFIX}/") or path.startswith(_OTHERS):
            return self._application(environ, start_response)
        came_at = environ.get(CAME_AT) or time.monotonic()
        place = self._place(_asked(environ))
        if not place.one_at_a_time.acquire(timeout=self._patience_s):
            return self._application(environ, start_response)
        try:
            page = place.newest
            if page is None or page.begun_at < came_at:
                page = self._made(environ)
                place.newest = page if page.is_for_others else None
        finally:
            place.one_at_a_time.release()
        if page.route is not None:
            environ[ROUTE] = page.route
        start_response(page.status, list(page.headers))
        return page.body

    def _place(self, asked: _Asked) -> _Place:
        with self._alone:
            place = self._places.pop(asked, None) or _Place()
            self._places[asked] = place
            if len(self._places) > MOST_PAGES:
                self._places.popitem(last=False)
        return place

    def _made(self, environ: WSGIEnvironment) -> _Page:
        begun_at = time.monotonic()
        started: list[tuple[str, list[tuple[str, str]]]] = []
        body: list[bytes] = []

        def start(
            status: str,
            headers: list[tuple[str, str]],
            exc_info: OptExcInfo | None = None,  # noqa: ARG001 - part of the interface
            /,
        ) -> Callable[[bytes], object]:
            started.append((status, headers))
            return body.append

        pieces = self._application(environ, start)
        try:
            body.extend(pieces)
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                close()
        status, headers = started[-1]
        return _Page(begun_at, status, headers, body, environ.get(ROUTE))


def _asked(environ: WSGIEnvironment) -> _Asked:
    named = ("HTTP_HOST", "HTTP_ACCEPT", "HTTP_ACCEPT_ENCODING", "HTTP_SEC_FETCH_SITE")
    return _Asked(
        caller_of(environ), environ["PATH_INFO"], environ["QUERY_STRING"], tuple(environ.get(name) for name in named)
    )
