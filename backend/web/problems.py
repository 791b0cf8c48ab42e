"""Errors as `application/problem+json` (RFC 9457), with a detail a person can act on."""

from __future__ import annotations

import json
import logging
from typing import Any, cast

from flask import Flask, Request, Response, request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from werkzeug.exceptions import BadRequest, HTTPException, UnsupportedMediaType

from supabase_client import DatabaseError, DatabaseUnreachable

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 2
UNION_BRANCHES = frozenset({"one", "many"})


class FieldProblem(BaseModel):
    """One field at fault."""

    field: str = Field(description="Path of the field, such as deadline or 3.required_gpu_mins")
    message: str = Field(description="What is wrong with it")


class ProblemDocument(BaseModel):
    """The body of every error (RFC 9457). Some kinds have more members, such as what there is to choose from."""

    model_config = ConfigDict(extra="allow")

    type: str = Field("about:blank", description="Kind of problem")
    title: str = Field(description="The status in words")
    status: int = Field(description="The HTTP status")
    detail: str = Field(description="What happened and what to do about it")
    errors: list[FieldProblem] | None = Field(None, description="The fields at fault")


class Problem(Exception):
    """Ends a request with a problem answer; `members` are added to its document."""

    def __init__(self, status: int, detail: str, **members: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.members = members


class StrictRequest(Request):
    """A request whose JSON body is what it says, or an error that says why it is not."""

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:  # noqa: ARG002
        if self.mimetype != "application/json":
            raise UnsupportedMediaType("send the body as application/json")
        # NaN and Infinity are let in here, so that validation can name the field that holds them.
        try:
            return json.loads(self.get_data(cache=cache))
        except (ValueError, RecursionError) as error:
            raise BadRequest(f"the body is not JSON: {error}") from None


def problem(status: int, detail: str, **members: Any) -> Response:
    """The answer for a problem."""
    title = HTTPException().name if status not in _TITLES else _TITLES[status]
    document = {"type": "about:blank", "title": title, "status": status, "detail": detail, **members}
    answer = Response(json.dumps(document, ensure_ascii=False), status, mimetype=MEDIA_TYPE)
    if status == 503:
        answer.headers["Retry-After"] = str(RETRY_AFTER_S)
    if status == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


def invalid(error: ValidationError) -> Response:
    """The 422 answer for input that pydantic refused, naming each field."""
    errors = [
        {"field": _path(item["loc"]), "message": item["msg"]}
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    named = ", ".join(dict.fromkeys(item["field"] for item in errors[:5]))
    return problem(422, f"invalid: {named} ({errors[0]['message']})", errors=errors[:100])


def _path(location: tuple[int | str, ...]) -> str:
    # The name of a union's branch is no part of the document.
    return ".".join(str(part) for part in location if part not in UNION_BRANCHES) or "body"


def answer_problems(app: Flask) -> None:
    """Make every error of `app` a problem answer."""

    @app.errorhandler(Problem)
    def _known(error: Problem) -> Response:
        return problem(error.status, error.detail, **error.members)

    @app.errorhandler(HTTPException)
    def _http(error: HTTPException) -> Response:
        if error.response is not None:  # a validation answer on its way out
            return cast(Response, error.response)
        answer = problem(error.code or 500, _detail(error))
        for name, value in error.get_headers():
            if name in {"Allow", "Retry-After", "Location"}:
                answer.headers[name] = value
        return answer

    @app.errorhandler(DatabaseUnreachable)
    def _unreachable(error: DatabaseUnreachable) -> Response:
        log.warning("%s %s: %s", request.method, request.path, error)
        return problem(503, f"the database cannot be reached just now, try again shortly: {error}")

    @app.errorhandler(DatabaseError)
    def _database(error: DatabaseError) -> Response:
        log.error("%s %s: %s", request.method, request.path, error)
        return problem(503, f"the database refused: {error}")

    @app.errorhandler(Exception)
    def _unexpected(_: Exception) -> Response:
        log.exception("%s %s failed", request.method, request.path)
        return problem(500, "this should not have happened; it is in the server's log")


def _detail(error: HTTPException) -> str:
    if error.code == 404:
        return f"there is nothing at {request.path}: GET / lists the endpoints"
    if error.code == 405:
        return f"{request.method} is not for {request.path}"
    if error.code == 413:
        return "the body is larger than 1 MiB: send less at once"
    return str(error.description)


_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
