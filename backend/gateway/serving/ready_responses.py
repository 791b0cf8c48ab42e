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
from typing import TYPE_CHECKING

import orjson
from gevent.lock import BoundedSemaphore
from werkzeug.http import parse_etags

from database.errors import DatabaseError
from decisions.publishing.store import Output, PublishedDecisions
from web.problems import problem
from web.shared_question import SingleFlight

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PATH = "/beckn/llm-output"
MOST_QUESTIONS = 64
NO_OUTPUT = "there is no output that has not been acknowledged"


@dataclass(frozen=True)
class ReadyAnswer:
    """A whole answer. `etag` is written as in the header, with its quotes."""

    sequence: int | None
    etag: str
    body: bytes

    @classmethod
    def of(cls, output: Output, message_if_empty: str) -> ReadyAnswer:
        if output.output is None:
            body = orjson.dumps({"status": "empty", "message": message_if_empty, "output": None})
        else:
            body = orjson.dumps({"status": "success", "output": output.output})
        # The digest tells apart databases, which number their outputs alike.
        digest = hashlib.blake2b(body, digest_size=6).hexdigest()
        return cls(output.sequence, f'"{output.sequence or 0}-{digest}"', body)

    def is_what_they_have(self, if_none_match: str | None) -> bool:
        return if_none_match is not None and (
            if_none_match == self.etag or parse_etags(if_none_match).contains_weak(self.etag.strip('"'))
        )


@dataclass(frozen=True)
class Asked:
    """What a client asks for: a task's newest output, or else the newest that a consumer has yet to acknowledge."""

    consumer: str
    task_id: str | None = None


class NewestOutputs:
    """The newest outputs. For greenlets of one thread."""

    def __init__(self, published: PublishedDecisions) -> None:
        self._published = published
        self._questions: OrderedDict[Asked, SingleFlight[ReadyAnswer]] = OrderedDict()

    def answer(self, asked: Asked) -> ReadyAnswer:
        """The answer as of some moment after the call began.

        Raises:
            DatabaseError: the database does not answer.
        """
        question = self._questions.pop(asked, None) or SingleFlight(self._finder(asked), BoundedSemaphore())
        self._questions[asked] = question
        if len(self._questions) > MOST_QUESTIONS:
            self._questions.popitem(last=False)
        return question.answer()

    def _finder(self, asked: Asked) -> Callable[[ReadyAnswer | None], ReadyAnswer]:
        def find(before: ReadyAnswer | None) -> ReadyAnswer:
            known = before.sequence if before else None
            if asked.task_id is None:
                output, message = self._published.newest_unacknowledged(asked.consumer, known=known), NO_OUTPUT
            else:
                output = self._published.output_of(asked.task_id, known=known)
                message = f"there is no output for the task {asked.task_id!r} yet"
            if before is not None and before.sequence == output.sequence:
                return before
            return ReadyAnswer.of(output, message)

        return find


_Question = tuple[str, str | None]


def _question(environ: WSGIEnvironment) -> _Question:
    return environ["QUERY_STRING"], environ.get("HTTP_HOST")


class ReadyAnswers:
    """Answers repeated polls of `/beckn/llm-output` itself, and leaves the rest to the application.

    The application validates a query once and has it remembered here as what it asks for; from then on the same
    query costs neither routing nor validation. The order of WSGI calls is that of the application's own answer.
    """

    def __init__(self, application: WSGIApplication, outputs: NewestOutputs) -> None:
        self._application = application
        self._outputs = outputs
        self._known: OrderedDict[_Question, Asked] = OrderedDict()

    def remember(self, environ: WSGIEnvironment, asked: Asked) -> None:
        """From now on the query string of this request is answered here, for those who call the server the same."""
        self._known[_question(environ)] = asked
        if len(self._known) > MOST_QUESTIONS:
            self._known.popitem(last=False)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != PATH or environ["REQUEST_METHOD"] != "GET":
            return self._application(environ, start_response)
        asked = self._known.get(_question(environ))
        if asked is None:
            return self._application(environ, start_response)
        try:
            answer = self._outputs.answer(asked)
        except DatabaseError as error:
            return problem(503, f"the database cannot be reached at the moment, try again shortly: {error}")(
                environ, start_response
            )
        if answer.is_what_they_have(environ.get("HTTP_IF_NONE_MATCH")):
            start_response("304 Not Modified", [("ETag", answer.etag), ("Cache-Control", "no-cache")])
            return []
        start_response(
            "200 OK",
            [
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(answer.body))),
                ("ETag", answer.etag),
                ("Cache-Control", "no-cache"),
                ("X-Content-Type-Options", "nosniff"),
            ],
        )
        return [answer.body]
