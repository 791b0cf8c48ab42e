"""Answers that many clients ask for again and again, ready to send.

`/beckn/llm-output` is polled by every consumer, and almost always nothing has changed. An output never changes
once it is published, so its bytes are made once. *Which* output is the newest is asked of the database for every
single request, because any gateway may have published or taken an acknowledgement a moment ago: but those who ask
at the same time share one question, so the cost does not grow with their number.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import orjson
from gevent.lock import BoundedSemaphore
from werkzeug.http import parse_etags

from database.callers import SEES_EVERYTHING, Caller, CallersCalls, Viewer, viewer_of
from database.errors import DatabaseError
from decisions.publishing.store import Output, PublishedDecisions
from web.compression import ENCODED_AS_GZIP, LEAST_BYTES, VARIES, accepts_gzip, gzipped
from web.problems import database_problem
from web.shared_question import SharedQuestions

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PATH = "/beckn/llm-output"
MOST_QUESTIONS = 64
MOST_QUESTIONS_OF_TENANTS = 1024
NO_OUTPUT = "there is no output that has not been acknowledged"


@dataclass(frozen=True)
class ReadyAnswer:
    """A whole answer. `etag` is as in the header: a weak one, since the bytes are others when they are compressed."""

    sequence: int | None
    etag: str
    body: bytes

    @cached_property
    def compressed(self) -> bytes:
        """The body as gzip."""
        return gzipped(self.body)

    @classmethod
    def of(cls, output: Output, message_if_empty: str, viewer: Viewer = SEES_EVERYTHING) -> ReadyAnswer:
        if output.output is None:
            body = orjson.dumps({"status": "empty", "message": message_if_empty, "output": None})
        else:
            body = orjson.dumps({"status": "success", "output": output.output})
        # The digest tells apart databases, which number their outputs alike, and operators, even where there is none.
        whose = b"" if viewer.operator is None else viewer.operator.encode() + b"\n"
        digest = hashlib.blake2b(whose + body, digest_size=6).hexdigest()
        return cls(output.sequence, f'W/"{output.sequence or 0}-{digest}"', body)

    def is_what_they_have(self, if_none_match: str | None) -> bool:
        return if_none_match is not None and (
            if_none_match == self.etag
            or parse_etags(if_none_match).contains_weak(self.etag.removeprefix("W/").strip('"'))
        )


@dataclass(frozen=True)
class Asked:
    """What a client asks for: a task's newest output, or else the newest that a consumer has yet to acknowledge."""

    consumer: str
    task_id: str | None = None


@dataclass(frozen=True)
class _Question:
    viewer: Viewer
    asked: Asked


class NewestOutputs:
    """The newest outputs. For greenlets of one thread."""

    def __init__(
        self, published: PublishedDecisions, *, to_callers: CallersCalls | None = None, most: int = MOST_QUESTIONS
    ) -> None:
        """`to_callers`: where each caller has outputs of its own; no two of them then share an answer."""
        self._published = published
        self._to_callers = to_callers
        self._questions: SharedQuestions[_Question, ReadyAnswer] = SharedQuestions(
            self._find, BoundedSemaphore, most=most
        )

    def answer(self, asked: Asked, caller: Caller | None = None) -> ReadyAnswer:
        """The answer as of some moment after the call began.

        Raises:
            NobodyAsks: each caller has outputs of its own, and there is none.
            DatabaseError: the database does not answer.
        """
        viewer = SEES_EVERYTHING if self._to_callers is None else viewer_of(caller)
        return self._questions.answer(_Question(viewer, asked))

    def _find(self, question: _Question, before: ReadyAnswer | None) -> ReadyAnswer:
        asked, known = question.asked, before.sequence if before else None
        published = self._published_to(question.viewer)
        if asked.task_id is None:
            output, message = published.newest_unacknowledged(asked.consumer, known=known), NO_OUTPUT
        else:
            output = published.output_of(asked.task_id, known=known)
            message = f"there is no output for the task {asked.task_id!r} yet"
        if before is not None and before.sequence == output.sequence:
            return before
        return ReadyAnswer.of(output, message, question.viewer)

    def _published_to(self, viewer: Viewer) -> PublishedDecisions:
        if self._to_callers is None:
            return self._published
        return PublishedDecisions(self._to_callers.of(viewer))


@dataclass(frozen=True)
class _Poll:
    """A request that is known to be right. Who may ask is a part of it: another, with other rights, may not."""

    caller: Caller | None
    query_string: str
    host: str | None


class ReadyAnswers:
    """Answers repeated polls of `/beckn/llm-output` itself, and leaves the rest to the application.

    The application validates a query once, and who asks, and has it remembered here as what it asks for; from then on
    the same query of the same caller costs neither routing nor validation. The order of WSGI calls is that of the
    application's own answer. Who the caller is must be known before a request comes here.
    """

    def __init__(
        self,
        application: WSGIApplication,
        outputs: NewestOutputs,
        caller_of: Callable[[WSGIEnvironment], Caller | None] = lambda _: None,
        *,
        most: int = MOST_QUESTIONS,
    ) -> None:
        """`caller_of`: who makes a request, where that makes a difference; callers that are alike are equal."""
        self._application = application
        self._outputs = outputs
        self._caller_of = caller_of
        self._most = most
        self._known: OrderedDict[_Poll, Asked] = OrderedDict()

    def remember(self, environ: WSGIEnvironment, asked: Asked) -> None:
        """From now on the query string of this request is answered here, for those who call the server the same."""
        self._known[self._poll(environ)] = asked
        if len(self._known) > self._most:
            self._known.popitem(last=False)

    def caller_of(self, environ: WSGIEnvironment) -> Caller | None:
        """Who makes this request, where that makes a difference."""
        return self._caller_of(environ)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != PATH or environ["REQUEST_METHOD"] != "GET":
            return self._application(environ, start_response)
        poll = self._poll(environ)
        asked = self._known.get(poll)
        if asked is None:
            return self._application(environ, start_response)
        try:
            answer = self._outputs.answer(asked, poll.caller)
        except DatabaseError as error:
            return database_problem(error)(environ, start_response)
        if answer.is_what_they_have(environ.get("HTTP_IF_NONE_MATCH")):
            start_response("304 Not Modified", [("ETag", answer.etag), ("Cache-Control", "no-cache"), VARIES])
            return []
        body, encoding = answer.body, []
        if len(body) > LEAST_BYTES and accepts_gzip(environ.get("HTTP_ACCEPT_ENCODING")):
            body, encoding = answer.compressed, [ENCODED_AS_GZIP]
        start_response(
            "200 OK",
            [
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(body))),
                ("ETag", answer.etag),
                ("Cache-Control", "no-cache"),
                ("X-Content-Type-Options", "nosniff"),
                VARIES,
                *encoding,
            ],
        )
        return [body]

    def _poll(self, environ: WSGIEnvironment) -> _Poll:
        return _Poll(self._caller_of(environ), environ["QUERY_STRING"], environ.get("HTTP_HOST"))
