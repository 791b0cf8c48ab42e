"""Answers that are kept ready, and sent again for as long as the database holds what it held.

Many clients ask for the same documents again and again, and mostly nothing has changed. At every request the database
is asked whether anything has: `data_version` names its state without reading a table. While that is the same, and so
is the half-hour, a document is the same but for its `as_of`; it is neither read nor made again, and a client that has
it already (`ETag`, `If-None-Match`) is told so. As soon as it differs, the document is made anew. So no answer is
older than its request, whatever has been heard of changes or has not.

Nobody waits long for what somebody else reads, nor asks a database again that has just not answered: while it is away
each would take its turn after the other, and hold a thread all the while.

Who asks for what is a part of what is kept: nobody is ever sent what was made for another.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from flask import Response, request
from werkzeug.http import parse_etags

from database.callers import SEES_EVERYTHING, Caller, CallersCalls, Viewer, viewer_of
from database.errors import DatabaseError
from database.interface import Calls
from grid.half_hours import half_hour_of, rfc3339
from web.application import json_of
from web.compression import ENCODED_AS_GZIP, LEAST_BYTES, VARIES, Compressible, accepts_gzip
from web.metrics import ROUTE
from web.shared_question import SharedQuestions

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

MOST_BYTES = 64 * 1024 * 1024
"""Of all answers together; those asked for longest ago are forgotten."""

MOST_ANSWERS = 2048
MOST_VIEWERS = 1024
LOCKS = 64

PATIENCE_S = 2.0
"""For a document that another is making; it is then made by each alone. The usual one takes a fiftieth of that."""

UNCHANGED: dict[str | int, Any] = {304: {"description": "The document with this ETag (If-None-Match) is still right"}}
"""Among an endpoint's `responses`."""

_VERSION = "pylon.data_version"
"""In a WSGI environment: the database's version, asked for since the request came."""

_FAILURE = "pylon.data_version_failure"
"""In a WSGI environment: why that cannot be had."""

_AS_OF = b'{"as_of":"'


@dataclass(frozen=True)
class Passing:
    """A document that may be another one though nothing is written, and in the same half-hour: it is not kept."""

    document: Any


@dataclass(frozen=True)
class _Asked:
    """A request that is known to be right. `host`: the name the server is called by; by others it may not be."""

    viewer: Viewer
    path: str
    query_string: str
    host: str | None


class _Answer:
    """A whole answer, right while the database has `version` and the half-hour is the same."""

    def __init__(
        self, body: bytes, viewer: Viewer, version: str | None, now: datetime, read_at: float, route: str
    ) -> None:
        """`route`: its endpoint, for the metrics."""
        has_as_of = body.startswith(_AS_OF)
        rest = body[body.index(b'"', len(_AS_OF)) :] if has_as_of else body
        whose = b"" if viewer.operator is None else viewer.operator.encode() + b"\n"
        self.etag = f'W/"{hashlib.blake2b(whose + rest, digest_size=12).hexdigest()}"'
        self.read_at = read_at
        self.route = route
        self._version = version
        self._half_hour = _half_hour(now)
        self._has_as_of = has_as_of
        self._rest = Compressible(rest)

    @property
    def held_bytes(self) -> int:
        return self._rest.held_bytes

    def is_right(self, version: str | None, now: datetime) -> bool:
        return version is not None and version == self._version and self.is_of(now)

    def is_of(self, now: datetime) -> bool:
        return self._half_hour == _half_hour(now)

    def is_what_they_have(self, if_none_match: str | None) -> bool:
        return if_none_match is not None and (
            if_none_match == self.etag or parse_etags(if_none_match).contains_weak(self.etag[3:-1])
        )

    def sent(self, environ: WSGIEnvironment, now: datetime) -> tuple[str, list[tuple[str, str]], list[bytes]]:
        """Status, headers and body: of the whole, or that the client has it."""
        headers = [("ETag", self.etag), ("Cache-Control", "no-cache"), VARIES]
        if self.is_what_they_have(environ.get("HTTP_IF_NONE_MATCH")):
            return "304 Not Modified", headers, []
        beginning = _AS_OF + rfc3339(now).encode() if self._has_as_of else b""
        body = [beginning, self._rest.text]
        if len(self._rest.text) > LEAST_BYTES and accepts_gzip(environ.get("HTTP_ACCEPT_ENCODING")):
            body = self._rest.gzipped_after(beginning)
            headers.append(ENCODED_AS_GZIP)
        headers += [
            ("Content-Type", "application/json"),
            ("Content-Length", str(sum(map(len, body)))),
            ("X-Content-Type-Options", "nosniff"),
        ]
        return "200 OK", headers, body


class KeptAnswers:
    """Documents kept ready. Endpoints make them by `answer`; as a WSGI application it sends those that it has itself.

    For requests in threads. Who the caller is must be known before a request comes here.
    """

    def __init__(
        self,
        database: Calls,
        clock: Callable[[], datetime],
        *,
        to_callers: CallersCalls | None = None,
        caller_of: Callable[[WSGIEnvironment], Caller | None] = lambda _: None,
        most_bytes: int = MOST_BYTES,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """
        Args:
            to_callers: the database as each caller has it, where callers see different things in it.
            caller_of: who makes a request, needed then.
            patience_s: how long a request waits for what another one makes.
        """
        self._database = database
        self._clock = clock
        self._to_callers = to_callers
        self._caller_of = caller_of
        self._most_bytes = most_bytes
        self._patience_s = patience_s
        self._versions: SharedQuestions[Viewer, tuple[str | None]] = SharedQuestions(
            self._find_version, threading.Lock, most=MOST_VIEWERS
        )
        self._alone = threading.Lock()
        self._answers: OrderedDict[_Asked, _Answer] = OrderedDict()
        self._held_bytes = 0
        self._locks = [threading.Lock() for _ in range(LOCKS)]

    @property
    def held_bytes(self) -> int:
        """How much memory the answers take, roughly."""
        return self._held_bytes

    def before(self, application: WSGIApplication) -> WSGIApplication:
        """`application`, asked only for what is not here."""

        def answered(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            now = self._clock()
            found = self._kept(environ, now)
            if found is None:
                return application(environ, start_response)
            environ[ROUTE] = found.route
            status, headers, body = found.sent(environ, now)
            start_response(status, headers)
            return body

        return answered

    def answer(self, make: Callable[[datetime], Any]) -> Response:
        """The answer to Flask's present request, with a document that is kept ready from then on.

        Args:
            make: reads and makes the document as of a moment: what `web.application.answer` takes, or that in
                `Passing`. Nothing of it but `as_of`, where it begins with that, may depend on the time within a
                half-hour, and nothing on more of the request than address, query, and whose eyes it is for.

        Raises:
            DatabaseError: of `make`, or that the database was asked for its version already and did not answer.
        """
        if _FAILURE in request.environ:
            raise request.environ[_FAILURE]
        began = time.monotonic()
        asked = self._asked(request.environ)
        turn = self._locks[hash(asked) % LOCKS]
        is_in_turn = turn.acquire(timeout=self._patience_s)
        try:
            now = self._clock()
            found = self._answers.get(asked)
            # What somebody else began to read since this request came is as good.
            if found is None or found.read_at < began or not found.is_of(now):
                found = self._made(asked, make, now)
        finally:
            if is_in_turn:
                turn.release()
        status, headers, body = found.sent(request.environ, now)
        return Response(body, status, headers, content_type="application/json")

    def _made(self, asked: _Asked, make: Callable[[datetime], Any], now: datetime) -> _Answer:
        # The version first: what is read after it is not older.
        version = request.environ.get(_VERSION) or self._version(asked.viewer)
        read_at = time.monotonic()
        document = make(now)
        if isinstance(document, Passing):  # good for those who wait for it now
            document, version = document.document, None
        made = _Answer(json_of(document), asked.viewer, version, now, read_at, str(request.url_rule))
        self._keep(asked, made)
        return made

    def _kept(self, environ: WSGIEnvironment, now: datetime) -> _Answer | None:
        """What there is for a request; None where the application has to be asked."""
        if environ["REQUEST_METHOD"] != "GET":
            return None
        asked = self._asked_by_known(environ)
        answer = None if asked is None else self._answers.get(asked)
        if asked is None or answer is None or not answer.is_of(now):
            return None
        try:
            version = self._version(asked.viewer)
        except DatabaseError as error:
            environ[_FAILURE] = error
            return None  # the application says it
        environ[_VERSION] = version
        if not answer.is_right(version, now):
            return None
        with self._alone:
            if asked in self._answers:
                self._answers.move_to_end(asked)
        return answer

    def _keep(self, asked: _Asked, made: _Answer) -> None:
        with self._alone:
            self._answers[asked] = made
            self._answers.move_to_end(asked)
            held = sum(answer.held_bytes for answer in self._answers.values())
            while held > self._most_bytes or len(self._answers) > MOST_ANSWERS:
                _, oldest = self._answers.popitem(last=False)
                held -= oldest.held_bytes
            self._held_bytes = held

    def _version(self, viewer: Viewer) -> str | None:
        return self._versions.answer(viewer)[0]

    def _find_version(self, viewer: Viewer, _: tuple[str | None] | None) -> tuple[str | None]:
        calls = self._database if self._to_callers is None else self._to_callers.of(viewer)
        return (calls.call("data_version", repeatable=True),)

    def _asked_by_known(self, environ: WSGIEnvironment) -> _Asked | None:
        if self._to_callers is not None and self._caller_of(environ) is None:
            return None
        return self._asked(environ)

    def _asked(self, environ: WSGIEnvironment) -> _Asked:
        viewer = SEES_EVERYTHING if self._to_callers is None else viewer_of(self._caller_of(environ))
        return _Asked(viewer, environ["PATH_INFO"], environ["QUERY_STRING"], environ.get("HTTP_HOST"))


def _half_hour(now: datetime) -> tuple[datetime, bool]:
    # At the very start of a half-hour that of two hours before is still one of the last two.
    half_hour = half_hour_of(now)
    return half_hour, half_hour == now
