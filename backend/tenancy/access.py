"""A server's knowledge of its callers, put together from the settings, and set before everything that answers."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Mapping
from datetime import datetime

from flask import Flask, request

from clock import utc_now
from database.interface import Database
from log_lines import request_id
from outgoing.calls import KeptCaller
from queueing.notices import Notices
from queueing.supervised import Rest, SupervisedLoop
from settings import Issuer, Settings
from tenancy.access_tokens import AccessTokens
from tenancy.audit import AuditTrail
from tenancy.guard import Guard, Needs, answer_ended_access, caller_of, refusal_of
from tenancy.identification import Identification, NoMember, NotIdentified, PlatformKey
from tenancy.limits import Limit, OperatorLimits, OverLimit
from tenancy.principals import Principal
from tenancy.records import AccessRecords
from tenancy.remembered import LONGEST_S
from tenancy.rules import rules_of
from tenancy.scopes import Need, Scope
from tenancy.signing_keys import KeysNotRead, SigningKeys
from tenancy.standing import Standing
from tenancy.strangers import tell_strangers_less
from tenancy.tickets import NO_GOOD, Tickets
from tenancy.tokens import Tokens
from web.application import AsksFor
from web.cross_origin import CrossOrigin
from web.problems import Problem
from web.request_ids import RequestIds

CHANGES_CHANNEL = "access_changed"


class Access:
    """Who may ask one of the three servers for what. Its threads run from `start` to `stop`, where there are any."""

    def __init__(
        self,
        settings: Settings,
        needs: Mapping[str, Need],
        database: Database,
        *,
        host: str,
        own_names: Collection[str] = (),
        door: Database | None = None,
        reading_origins: Collection[str] = (),
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """
        Args:
            needs: what each endpoint needs, as in `tenancy.scopes.ENDPOINTS`.
            database: for threads: what is written down, and notices of changes.
            host: where the server listens.
            own_names: hosts, or URLs with them, by which it is called besides.
            reading_origins: of other servers' pages that may read the answers here.
            door: the same database as requests may call it, tenants' among them; by default `database`.
        """
        calls = database if door is None else door
        self.door: Database = calls
        self.rules = rules_of(settings, host, own_names)
        self.limits = OperatorLimits(calls)
        self.audit = AuditTrail(database, clock=clock)
        self._needs = needs
        self._allowed_origins = settings.allowed_origins
        self._reading_origins = reading_origins
        self._caller = KeptCaller()
        issuer = settings.issuer()
        url = None if issuer is None else issuer.jwks_url
        self._signing_keys = None if url is None else SigningKeys(url, self._caller)
        key = settings.pylon_api_key
        self.identification = Identification(
            AccessRecords(calls),
            clock,
            platform_key=None if key is None else PlatformKey(key.get_secret_value()),
            tokens=None if issuer is None else _tokens(issuer, self._signing_keys),
            used=self.audit.used,
            takes_keys=settings.is_multi_tenant,
            access_tokens=AccessTokens(calls),
        )
        self.standing = Standing(AccessRecords(calls), clock)
        self.tickets = Tickets(calls, self.standing)
        self._stopping = threading.Event()
        self._notices = Notices(database, CHANGES_CHANNEL)
        self._changes = SupervisedLoop("the listener for changed access", self._follow_changes, self._stopping)

    def asks_for(self) -> AsksFor | None:
        """What each endpoint asks for, for the server's description; None where it asks nobody for anything."""
        if self.rules.everyone is not None:
            return None

        def scope_of(endpoint: str) -> str | None:
            need = self._needs.get(re.sub(r"{(\w+)}", r"<\1>", endpoint))
            return None if need is None or not self.rules.asks_for(need) else str(need)

        return scope_of

    def guard(self, app: Flask) -> None:
        """Stand before `app`, and before whatever answers in its place. To be called when all of that is set up."""
        guard = Guard(
            app.wsgi_app,
            Needs(app, self._needs),
            self.rules,
            self.identification,
            self.limits,
            self.audit,
            self.tickets,
        )
        answer_ended_access(app, self.identification.forget, self.audit)
        tell_strangers_less(app)
        app.wsgi_app = RequestIds(guard)  # type: ignore[method-assign]
        if self._allowed_origins or self._reading_origins:
            app.wsgi_app = CrossOrigin(  # type: ignore[method-assign]
                app.wsgi_app, self._allowed_origins, self._reading_origins
            )

    def signed_in(self, credential: str, operator: str | None, scope: Scope, action: str, address: str) -> Principal:
        """Who shows a credential inside of a connection that is open already, and may do what `scope` allows.

        Args:
            operator: for whom it acts, where it belongs to several.
            action: "METHOD /path" of the connection, for the audit; `address` is the client's.

        Raises:
            Problem: 401, nobody is known by it; 403, not for this; 429, the operator asks too often.
            DatabaseError: the database does not answer.
        """
        environ = {"REMOTE_ADDR": address}
        principal: Principal | None = None
        try:
            principal = self.identification.principal(credential, operator)
            _check_scope(principal, scope)
            if self.rules.tells_tenants_apart and not principal.is_platform:
                self.limits.take_request(principal.operator)
        except NotIdentified as error:
            refused = Problem(401, str(error))
        except NoMember as error:
            refused = Problem(403, str(error))
        except KeysNotRead as error:
            raise Problem(503, f"tokens cannot be checked yet, try again shortly: {error}") from None
        except Problem as error:
            refused = error
        else:
            return principal
        self.audit.refused(refusal_of(action, environ, principal, refused.status, refused.detail), request_id.get())
        raise refused

    def let_in(self, ticket: str, scope: Scope, action: str, address: str) -> Principal:
        """Who shows a ticket inside of a connection that is open already; `action` and `address` as for `signed_in`.

        Raises:
            Problem: 401, it is no good.
            DatabaseError: the database does not answer.
        """
        holder = self.tickets.holder(ticket, scope)
        if holder is None:
            self.audit.refused(refusal_of(action, {"REMOTE_ADDR": address}, None, 401, NO_GOOD), request_id.get())
            raise Problem(401, NO_GOOD)
        return holder

    def count_workloads(self, number: int) -> None:
        """Count so many workloads against what the caller's operator may submit in an hour.

        Raises:
            OverLimit: they are too many; the refusal is in the audit.
            DatabaseError: the database does not answer.
        """
        principal = caller_of(request.environ)
        if principal is None or principal.is_platform or not self.rules.tells_tenants_apart:
            return
        try:
            self.limits.take(principal.operator, Limit.WORKLOADS_PER_HOUR, number)
        except OverLimit as over:
            action = f"{request.method} {request.url_rule}"
            refusal = refusal_of(action, request.environ, principal, over.status, over.detail)
            self.audit.refused(refusal, request_id.get())
            raise

    def start(self) -> None:
        """Begin to read signing keys, to hear of changes, and to write down what was refused, where that may be."""
        if self.rules.everyone is not None:
            return
        self.audit.start()
        if self._signing_keys is not None:
            self._signing_keys.start()
        if self.rules.tells_tenants_apart:
            self._changes.start()

    def stop(self) -> None:
        """End, once what was refused is written down."""
        if self.rules.everyone is not None:
            return
        self._stopping.set()
        if self._signing_keys is not None:
            self._signing_keys.stop()
        if self._changes.join(LONGEST_S):
            self._notices.close()
        self.audit.stop()
        self._caller.close()

    def troubles(self) -> list[str]:
        """What is wrong with it, in words; empty when nothing is."""
        listening = self._changes.trouble()
        return [
            *self.audit.troubles(),
            *([] if self._signing_keys is None else self._signing_keys.troubles()),
            *([] if listening is None else [listening]),
        ]

    def _follow_changes(self) -> Rest | None:
        if not self._notices.are_heard():
            # What is remembered is forgotten in seconds by itself.
            return lambda: self._stopping.wait(LONGEST_S)
        if self._notices.wait(LONGEST_S):
            self.identification.forget()
        return None


def _check_scope(principal: Principal, scope: Scope) -> None:
    if scope not in principal.scopes:
        raise Problem(403, f"this needs the scope {scope}, which this {principal.role}'s credential does not have")


def _tokens(issuer: Issuer, keys: SigningKeys | None) -> Tokens:
    found = keys if keys is not None else issuer.shared_secret
    if found is None:
        raise ValueError("an issuer has public keys or a secret")
    return Tokens(issuer.name, issuer.audience, found)
