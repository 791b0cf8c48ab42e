"""What the endpoints with which operators are looked after have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from flask import Response, request
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, ConfigDict, StringConstraints

from database.interface import Database
from log_lines import request_id
from tenancy.administration import ChangeRefused, Functions, PlatformFunctions, functions_for
from tenancy.audit import Refusal
from tenancy.guard import calling, refusal_of
from tenancy.principals import Principal
from web.application import problem_answer
from web.problems import Problem

TAG = Tag(name="Tenancy", description="Who may call for an operator")
PREFIX = "/api/v1/tenancy"

NOT_HERE = "this server has one tenant, which nobody has to be let in to: TENANCY=multi changes that"
_STATUSES = {"unknown": 404, "unknown_operator": 404, "unknown_limit": 422, "scopes": 403, "role": 403}

REFUSALS: dict[Any, Any] = {
    403: problem_answer("The credential does not allow it, or allows less than what is to be given"),
    409: problem_answer("It cannot be so: its reason says why. A server of one tenant changes nothing here"),
}
READ_REFUSALS: dict[Any, Any] = {403: problem_answer("The credential does not allow it")}

Name = Annotated[
    str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$", min_length=1, max_length=200)
]
"""One line of printable text."""


class NoDocument(BaseModel):
    """An empty object."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {}})


class Administration:
    """With which functions the present caller looks after which operator."""

    def __init__(
        self,
        service: Database,
        door: Database,
        refused: Callable[[Refusal, str | None], None],
        *,
        has_tenants: bool,
    ) -> None:
        """
        Args:
            service: the database as the platform's administrator reaches it.
            door: the same as tenants do.
            refused: writes down what was refused, of the request with this id.
            has_tenants: whether this server tells its callers apart at all.
        """
        self.service = service
        self._door = door
        self._refused = refused
        self.has_tenants = has_tenants

    def reading(self) -> tuple[Principal, Functions]:
        """Who asks, and what its operator is looked at with."""
        principal = calling()
        if not self.has_tenants:
            return principal, PlatformFunctions(self.service, principal.operator, principal.subject)
        return principal, functions_for(principal, self.service, self._door, request_id.get())

    def changing(self) -> tuple[Principal, Functions]:
        """Who asks, and what its operator is changed with.

        Raises:
            Problem: 409; this server has one tenant.
        """
        if not self.has_tenants:
            raise Problem(409, NOT_HERE)
        return self.reading()

    @contextmanager
    def told(self, *, named_in_body: bool = False) -> Iterator[None]:
        """Answers what the block raises as `ChangeRefused`; what the credential does not allow is in the audit.

        Args:
            named_in_body: whether it is a body, and no path, that names whom or what there is not.
        """
        try:
            yield
        except ChangeRefused as refused:
            status = _STATUSES.get(refused.state, 409)
            if named_in_body and refused.state in {"unknown", "unknown_account"}:
                status = 422
            if status == 403:
                action = f"{request.method} {request.url_rule}"
                note = refusal_of(action, request.environ, calling(), status, str(refused))
                self._refused(note, request_id.get())
            raise Problem(status, str(refused)) from None


def unstored(response: Response) -> Response:
    """An answer that is kept nowhere on its way."""
    response.headers["Cache-Control"] = "no-store"
    return response
