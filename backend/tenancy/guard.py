"""The first to see a request: who is it from, and may they? Only then does anything answer, from memory or not.

An endpoint that has no line in `tenancy.scopes` is refused. The order of checks tells strangers nothing: who proves
nothing hears 401 wherever a credential is needed, whether or not there is such a thing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from flask import Flask, Response, has_request_context, request
from werkzeug.exceptions import HTTPException

from database.errors import DatabaseError, TenantRefused
from log_lines import caller, request_id
from printable import printable
from tenancy.audit import AuditTrail, Refusal
from tenancy.identification import Identification, NoMember, NotIdentified
from tenancy.limits import OperatorLimits
from tenancy.principals import Principal
from tenancy.rules import Rules
from tenancy.scopes import Need, Without
from tenancy.signing_keys import KeysNotRead
from tenancy.tickets import NO_GOOD, Tickets, shows_one
from web.problems import Problem, database_problem, problem_of
from web.request_ids import InContext

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PRINCIPAL = "pylon.principal"
"""In a WSGI environment: who the request is from, or None at an endpoint that asks nobody."""

OPERATOR_HEADER = "Pylon-Operator"
LONGEST_OPERATOR = 200
NOTHING_THERE = "nothing there"
_READS = {"GET", "HEAD"}


class Refused(Exception):
    """A request may not be; `refusal` is for the audit, `answer` for its sender."""

    def __init__(self, refusal: Refusal, answer: Problem) -> None:
        super().__init__(answer.detail)
        self.refusal = refusal
        self.answer = answer


class Needs:
    """What the endpoints of one application need, by what its router says."""

    def __init__(self, app: Flask, needs: Mapping[str, Need]) -> None:
        self._app = app
        self._needs = needs
        self._fixed: dict[tuple[str, str], Need | None] | None = None

    def of(self, method: str, path: str) -> tuple[str, Need | None]:
        """The endpoint, as "METHOD /path", and its need; None where no endpoint is, or none that may be asked."""
        if self._fixed is None:  # the application is whole when the first request comes
            self._fixed = {
                (verb, rule.rule): self._needs.get(f"{_asked(verb)} {rule.rule}")
                for rule in self._app.url_map.iter_rules()
                for verb in rule.methods or ()
                if not rule.arguments
            }
        if (method, path) in self._fixed:
            return f"{_asked(method)} {path}", self._fixed[method, path]
        try:
            decoded = path.encode("latin-1").decode("utf-8", "replace")  # as Flask reads a WSGI path
            rule, _ = self._app.url_map.bind("").match(decoded, method, return_rule=True)
        except HTTPException:
            return NOTHING_THERE, None
        name = f"{_asked(method)} {rule.rule}"
        return name, self._needs.get(name)


class Guard:
    """Admits requests to `application`, or answers them itself."""

    def __init__(
        self,
        application: WSGIApplication,
        needs: Needs,
        rules: Rules,
        identification: Identification,
        limits: OperatorLimits,
        audit: AuditTrail,
        tickets: Tickets,
    ) -> None:
        self._application = application
        self._needs = needs
        self._rules = rules
        self._identification = identification
        self._limits = limits
        self._audit = audit
        self._tickets = tickets

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            principal = self._admitted(environ)
        except Refused as refused:
            self._audit.refused(refused.refusal, request_id.get())
            return problem_of(refused.answer)(environ, start_response)
        except KeysNotRead as error:
            answer = Problem(503, f"tokens cannot be checked yet, try again shortly: {error}")
            return problem_of(answer)(environ, start_response)
        except DatabaseError as error:
            return database_problem(error)(environ, start_response)
        environ[PRINCIPAL] = principal
        if principal is None or principal is self._rules.everyone or principal is self._rules.here:
            return self._application(environ, start_response)
        token = caller.set((principal.operator, principal.subject))
        try:
            return InContext(self._application(environ, start_response))
        finally:
            caller.reset(token)

    def _admitted(self, environ: WSGIEnvironment) -> Principal | None:
        if self._rules.everyone is not None:
            return self._rules.everyone
        method = environ["REQUEST_METHOD"]
        action, need = self._needs.of(method, environ["PATH_INFO"])
        if need is Without.SIGNED or method == "OPTIONS":
            return None
        if need is Without.PUBLIC:
            return self._known_or_nobody(environ)
        principal = self._principal(environ, action, reads=method in _READS)
        if need is None:
            if action != NOTHING_THERE:
                raise _refused(action, environ, principal, 403, "this endpoint is not open to anyone yet")
            return principal  # whom the application tells that there is nothing
        if need not in principal.scopes:
            raise _refused(action, environ, principal, *self._lacking(principal, need))
        if self._rules.tells_tenants_apart and not principal.is_platform:
            self._count(action, environ, principal)
        return principal

    def _known_or_nobody(self, environ: WSGIEnvironment) -> Principal | None:
        try:
            return self._principal(environ, "", reads=True)
        except (Refused, KeysNotRead, DatabaseError):
            return None

    def _principal(self, environ: WSGIEnvironment, action: str, *, reads: bool) -> Principal:
        given = environ.get("HTTP_AUTHORIZATION")
        if given is None:
            by_ticket = self._tickets.redeemed(action, environ)
            if by_ticket is not None:
                return by_ticket
            here = self._rules.without_credential(environ.get("HTTP_HOST"))
            if here is not None and (reads or action != NOTHING_THERE):
                return here
            why = NO_GOOD if shows_one(action, environ) else f"this endpoint needs the header {self._rules.says}"
            raise _refused(action, environ, None, 401, why)
        scheme, _, credential = given.partition(" ")
        credential = credential.strip()
        if scheme.lower() != "bearer" or not credential:
            raise _refused(action, environ, None, 401, f"this endpoint needs the header {self._rules.says}")
        operator = environ.get("HTTP_PYLON_OPERATOR")
        if operator is not None and not 0 < len(operator) <= LONGEST_OPERATOR:
            raise _refused(action, environ, None, 401, f"the header {OPERATOR_HEADER} does not name an operator")
        try:
            return self._identification.principal(credential, operator)
        except NotIdentified as error:
            why = f"{error}: this endpoint needs the header {self._rules.says}"
            raise _refused(action, environ, None, 401, why, credential_id=error.credential_id) from None
        except NoMember as error:
            raise _refused(action, environ, None, 403, str(error), subject=error.subject) from None

    def _lacking(self, principal: Principal, need: Need) -> tuple[int, str]:
        if principal is self._rules.here:
            return 401, f"this endpoint needs the header {self._rules.says}"
        return 403, f"this needs the scope {need}, which this {principal.role}'s credential does not have"

    def _count(self, action: str, environ: WSGIEnvironment, principal: Principal) -> None:
        try:
            self._limits.take_request(principal.operator)
        except Problem as over:
            raise Refused(refusal_of(action, environ, principal, over.status, over.detail), over) from None


def answer_ended_access(app: Flask, forget: Callable[[], None], audit: AuditTrail) -> None:
    """Where the database refuses a tenant what was remembered as its right, answer so, and remember it no longer."""

    @app.errorhandler(TenantRefused)
    def _ended(error: TenantRefused) -> Response:
        forget()
        answer = database_problem(error)
        action = f"{request.method} {request.url_rule}"
        principal = caller_of(request.environ)
        audit.refused(
            refusal_of(action, request.environ, principal, answer.status_code, "the database refused it"),
            request_id.get(),
        )
        return answer


def caller_of(environ: WSGIEnvironment) -> Principal | None:
    """Who the request is from; None at an endpoint that asks nobody."""
    principal: Principal | None = environ.get(PRINCIPAL)
    return principal


def present_caller() -> Principal | None:
    """Who Flask's present request is from; None outside of one, and at an endpoint that asks nobody."""
    return caller_of(request.environ) if has_request_context() else None


def calling() -> Principal:
    """Who Flask's present request is from.

    Raises:
        Problem: 401; the endpoint asked nobody, and should have.
    """
    principal = caller_of(request.environ)
    if principal is None:
        raise Problem(401, "this endpoint needs a credential")
    return principal


def _asked(method: str) -> str:
    return "GET" if method == "HEAD" else method


def _refused(
    action: str,
    environ: WSGIEnvironment,
    principal: Principal | None,
    status: int,
    why: str,
    *,
    subject: str | None = None,
    credential_id: str | None = None,
) -> Refused:
    refusal = refusal_of(action, environ, principal, status, why, subject=subject, credential_id=credential_id)
    return Refused(refusal, Problem(status, why))


def refusal_of(
    action: str,
    environ: WSGIEnvironment,
    principal: Principal | None,
    status: int,
    why: str,
    *,
    subject: str | None = None,
    credential_id: str | None = None,
) -> Refusal:
    """What the audit is told of a refusal; `subject` and `credential_id` where there is no principal."""
    return Refusal(
        action=action,
        status=status,
        why=printable(why),
        operator=None if principal is None else principal.operator,
        subject=subject if principal is None else principal.subject,
        credential_id=credential_id if principal is None else principal.credential_id,
        address=environ.get("REMOTE_ADDR"),
    )
