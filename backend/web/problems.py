"""Errors as `application/problem+json` (RFC 9457), with a detail a person can act on."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, cast

from flask import Flask, Request, Response, request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from werkzeug.exceptions import BadRequest, HTTPException, RequestEntityTooLarge, UnsupportedMediaType

from database.errors import DatabaseError, DatabaseUnreachable, NobodyAsks, TenantRefused
from database.stored_rows import RowUnreadable
from printable import printable

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 2
# What of an answer may be made of the client's own text, or of a list as long as the client likes.
LONGEST_DETAIL = 1000
LONGEST_FIELD = 100
LONGEST_MESSAGE = 200
MOST_FIELDS_TOLD = 100
MOST_OF_FIELD_NAMES = 2000
DATABASE_AWAY = "the database cannot be reached at the moment"
"""With which the detail of a 503 begins, where that is the reason."""
NOT_ALLOWED = "your credential does not allow this"
_LOG_LEVELS = {DatabaseUnreachable: logging.WARNING, TenantRefused: logging.INFO}
UNION_BRANCHES = frozenset({"<one>", "<many>"})

Fault = dict[str, str]
"""The field and the message of one fault."""


class FieldProblem(BaseModel):
    """One field at fault."""

    field: str = Field(description="Path of the field, such as deadline or 3.required_gpu_mins")
    message: str = Field(description="What is wrong with it")


class ProblemDocument(BaseModel):
    """The body of every error (RFC 9457). Some kinds have more members, such as what there is to choose from."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {
                "type": "about:blank",
                "title": "Unprocessable Content",
                "status": 422,
                "detail": "invalid: required_gpu_mins (Input should be greater than or equal to 0)",
                "errors": [{"field": "required_gpu_mins", "message": "Input should be greater than or equal to 0"}],
            }
        },
    )

    type: str = Field("about:blank", description="Kind of problem")
    title: str = Field(description="The status in words")
    status: int = Field(description="The HTTP status")
    detail: str = Field(description="What happened and what to do about it")
    errors: list[FieldProblem] | None = Field(None, description="The fields at fault")


class Problem(Exception):
    """Ends a request with a problem answer; `members` are added to its document, `headers` to the answer's."""

    def __init__(self, status: int, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}
        self.members = members


def is_json(mimetype: str) -> bool:
    """Whether a body of this media type is JSON."""
    return mimetype == "application/json" or (mimetype.startswith("application/") and mimetype.endswith("+json"))


class StrictRequest(Request):
    """A request whose JSON body is what it says, or an error that says why it is not."""

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:  # noqa: ARG002
        if not is_json(self.mimetype):
            raise UnsupportedMediaType("send the body as application/json")
        body = self.get_data(cache=cache)
        if self.content_length is None and len(body) == self.max_content_length:
            raise RequestEntityTooLarge  # sent in chunks, and cut at the limit
        # NaN and Infinity are let in here, so that validation can name the field that holds them.
        try:
            document = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise BadRequest(f"the body is not JSON: {error}") from None
        if isinstance(document, str):
            # flask-openapi3 would look for a second JSON document in the text.
            message = "must be an object or a list, not text"
            raise Problem(422, f"invalid: body ({message})", errors=[{"field": "body", "message": message}])
        return document


def problem(status: int, detail: str, **members: Any) -> Response:
    """The answer for a problem."""
    answer = Response(problem_body(status, detail, **members), status, mimetype=MEDIA_TYPE)
    if status == 503:
        answer.headers["Retry-After"] = str(RETRY_AFTER_S)
    if status == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


def problem_of(error: Problem) -> Response:
    """The answer that a problem ends its request with."""
    answer = problem(error.status, error.detail, **error.members)
    answer.headers.update(error.headers)
    return answer


def problem_body(status: int, detail: str, *, errors: Sequence[Fault] = (), **members: Any) -> bytes:
    """The document of a problem, which names the first fields at fault and says how many more there are."""
    title = _TITLES.get(status) or HTTPStatus(status).phrase
    # What a client sent may be quoted in it, and half a surrogate pair has no UTF-8.
    quoted = printable(detail.encode("utf-8", "replace").decode(), LONGEST_DETAIL)
    if errors:
        members["errors"] = _first(errors)
        left_out = len(errors) - len(members["errors"])
        quoted += f"; {len(errors)} faults, and the last {left_out} are not listed" if left_out else ""
    document = {"type": "about:blank", "title": title, "status": status, "detail": quoted}
    return json.dumps(document | members, ensure_ascii=False).encode("utf-8", "replace")


def database_problem(error: DatabaseError) -> Response:
    """The answer where the database has failed or refused."""
    if isinstance(error, TenantRefused):
        return problem(403, NOT_ALLOWED)  # what it would have touched is nobody's business
    if isinstance(error, NobodyAsks):
        return problem(401, "this needs the header Authorization: Bearer <key or token>")
    if isinstance(error, DatabaseUnreachable):
        return problem(503, f"{DATABASE_AWAY}, try again shortly: {error}")
    return problem(503, f"the database refused this: {error}")


def invalid(error: ValidationError) -> Response:
    """The 422 answer for input that pydantic refused, naming each field."""
    errors: list[Fault] = [
        {"field": _path(fault["loc"]), "message": fault["msg"]}
        for fault in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    first = _first(errors[:5])
    named = ", ".join(dict.fromkeys(fault["field"] for fault in first))
    return problem(422, f"invalid: {named} ({first[0]['message']})", errors=errors)


def _first(errors: Sequence[Fault]) -> list[Fault]:
    first: list[Fault] = []
    length = 0
    for fault in errors[:MOST_FIELDS_TOLD]:
        field = printable(fault["field"], LONGEST_FIELD)
        length += len(field)
        if length > MOST_OF_FIELD_NAMES:
            break
        first.append({"field": field, "message": printable(fault["message"], LONGEST_MESSAGE)})
    return first


def _path(location: tuple[int | str, ...]) -> str:
    # The name of a union's branch, which comes first, is no part of the document.
    parts = location[1:] if location[:1] and location[0] in UNION_BRANCHES else location
    return ".".join(map(str, parts)) or "body"


def answer_problems(app: Flask) -> None:
    """Make every error of `app` a problem answer."""

    @app.errorhandler(Problem)
    def _known(error: Problem) -> Response:
        return problem_of(error)

    @app.errorhandler(HTTPException)
    def _http(error: HTTPException) -> Response:
        if error.response is not None:  # a validation answer on its way out
            return cast(Response, error.response)
        answer = problem(error.code or 500, _detail(error))
        for name, value in error.get_headers():
            if name in {"Allow", "Retry-After", "Location"}:
                answer.headers[name] = value
        return answer

    @app.errorhandler(DatabaseError)
    def _database(error: DatabaseError) -> Response:
        level = _LOG_LEVELS.get(type(error), logging.ERROR)
        log.log(level, "%s %s: %s", request.method, request.path, error)
        return database_problem(error)

    @app.errorhandler(RowUnreadable)
    def _unreadable(error: RowUnreadable) -> Response:
        return problem(500, str(error))

    @app.errorhandler(Exception)
    def _unexpected(_: Exception) -> Response:
        log.exception("%s %s failed", request.method, request.path)
        return problem(500, "an unexpected error occurred; the details are in the server's log")


def _detail(error: HTTPException) -> str:
    if error.code == 404:
        return f"there is nothing at {printable(request.path)}: GET / lists the endpoints"
    if error.code == 405:
        return f"{request.method} is not allowed at {printable(request.path)}"
    if error.code == 413:
        return "the body is larger than 1 MiB: send less at once"
    return str(error.description)


# Where RFC 9110 has other words than Python 3.10.
_TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}
