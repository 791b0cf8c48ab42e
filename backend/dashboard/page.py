"""A page and what frames it: the header every page has, the policy under which a browser shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from flask import Response, request, url_for
from jinja2 import Environment, PackageLoader, StrictUndefined

from dashboard import words
from dashboard.gateway_address import GatewayAddress
from dashboard.static_files import SHEET, StaticFiles
from database.errors import DatabaseError
from ingest.health import Health
from tenancy.guard import caller_of
from tenancy.principals import Principal
from tenancy.scopes import Scope
from version import VERSION

SECTIONS = (
    ("now", "Now", "dashboard.now"),
    ("data_centres", "Data centres", "dashboard.data_centres"),
    ("workloads", "Workloads", "dashboard.workloads"),
    ("decisions", "Decisions", "dashboard.decisions"),
    ("orders", "Orders", "dashboard.orders"),
    ("plans", "Plans", "dashboard.joint_plan"),
    ("savings", "Savings", "dashboard.savings"),
    ("flexibility", "Flexibility", "dashboard.flexibility"),
)
"""The links of the header: a page's section, its words, its endpoint."""

OPERATIONS = (
    ("operations", "State", "dashboard.operations", Scope.PLATFORM_READ),
    ("keys", "Keys", "dashboard.keys", Scope.KEYS_MANAGE),
    ("audit", "Audit trail", "dashboard.audit", Scope.AUDIT_READ),
)
"""The pages of the last section, each for whoever may see it."""

FETCH_SITE, SAME_ORIGIN = "Sec-Fetch-Site", "same-origin"
"""The header in which a browser says where a request comes from, and what it says of our own pages'."""


@dataclass(frozen=True)
class JsonLink:
    """Where the same figures are as JSON."""

    path: str
    words: str = "This page as JSON"


class Pages:
    """Renders the dashboard's templates."""

    def __init__(
        self,
        static: StaticFiles,
        gateway: GatewayAddress,
        clock: Callable[[], datetime],
        health: Callable[[], Health],
        *,
        asks_for_credentials: bool,
    ) -> None:
        """
        Args:
            health: how the data side is doing, for the age of the newest signal.
            asks_for_credentials: whether anybody could sign in to anything.
        """
        self._static = static
        self._gateway = gateway
        self._clock = clock
        self._health = health
        self._asks_for_credentials = asks_for_credentials
        self._templates = Environment(
            loader=PackageLoader("dashboard"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
        self._templates.filters |= {
            "number": words.number,
            "figure": words.figure,
            "pounds": words.pounds,
            "grams": words.grams,
            "kilowatt_hours": words.kilowatt_hours,
            "significant": words.significant,
            "sentence": words.sentence,
            "told": words.told,
            "short_name": words.short_name,
            "source_words": words.source_words,
            "status_words": words.status_words,
            "utc": words.utc_words,
            "british": words.british_words,
            "utc_seconds": words.utc_seconds,
            "span": words.span,
            "path_part": lambda text: quote(str(text), safe=""),
        }
        self._templates.globals |= {
            "static": self._static_url,
            "url_for": url_for,
            "version": VERSION,
        }

    def page(
        self,
        template: str,
        section: str,
        title: str,
        *,
        json: JsonLink | None = None,
        is_posted: bool = False,
        status: int = 200,
        **values: Any,
    ) -> Response:
        """A whole page; `values` are its template's own.

        Args:
            json: where the same is as JSON; with `is_posted` by a POST, so that nothing links there.
        """
        now = self._clock()
        health = self._readable_health()
        caller = caller_of(request.environ)
        body = self._templates.get_template(template).render(
            sheet=self._static_url(SHEET),
            inline_sheet=self._static.inline_sheet.text if comes_from_outside() else None,
            section=section,
            status=status,
            title=title,
            json=json,
            is_posted=is_posted,
            now=now,
            present=Present(now),
            health=health,
            newest=None if health is None else health.newest_signal_fetched_at,
            gateway=self._gateway.origin(request.host),
            sections=_sections(caller),
            operations=_operations(caller),
            request_host=request.host_url.rstrip("/"),
            is_signed_in=self._asks_for_credentials and caller is not None and caller.credential_id is not None,
            can_sign_in=self._asks_for_credentials,
            **values,
        )
        answer = Response(body, status, mimetype="text/html")
        self._set_headers(answer)
        return answer

    def policy(self) -> str:
        """The Content-Security-Policy of every page: nothing but our own files, and the gateway's stream."""
        origin = self._gateway.origin(request.host)
        stream = origin.replace("http", "ws", 1)
        inline = f" {self._static.inline_sheet.allowed_as}" if comes_from_outside() else ""
        return "; ".join(
            [
                "default-src 'none'",
                "script-src 'self'",
                f"style-src 'self'{inline}",
                "img-src 'self' data:",
                f"connect-src 'self' {origin} {stream}",
                "form-action 'self'",
                "base-uri 'none'",
                "frame-ancestors 'none'",
            ]
        )

    def _set_headers(self, answer: Response) -> None:
        answer.headers["Content-Security-Policy"] = self.policy()
        answer.headers["Cache-Control"] = "no-store"
        answer.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        # To others nothing. Without any, browsers call the origin of our own forms null, which is nobody's.
        answer.headers["Referrer-Policy"] = "same-origin"
        answer.headers["Vary"] = f"Cookie, {FETCH_SITE}"

    def _readable_health(self) -> Health | None:
        try:
            return self._health()
        except DatabaseError:
            return None

    def _static_url(self, name: str) -> str:
        return url_for("dashboard.static_file", digest=self._static.digest, name=name)


def comes_from_outside() -> bool:
    """Whether a browser says that none of our pages has led to this one.

    It may have no style sheet yet, and is given it within the page: nothing is seen of a page until it is there. From
    one page to the next it is a file, which browsers keep.
    """
    return request.headers.get(FETCH_SITE, SAME_ORIGIN) != SAME_ORIGIN


def _operations(caller: Principal | None) -> list[tuple[str, str, str]]:
    """The operations' pages that the caller may see; of somebody unknown all, who is then asked for a credential."""
    return [
        (name, words, endpoint)
        for name, words, endpoint, scope in OPERATIONS
        if caller is None or scope in caller.scopes
    ]


def _sections(caller: Principal | None) -> list[tuple[str, str, str]]:
    """The header's links: operations lead to the first of theirs that the caller may see."""
    ways = _operations(caller)
    operations = [("operations", "Operations", ways[0][2])] if ways else []
    return [*SECTIONS, *operations]


class Present:
    """Words about moments, as seen from the moment a page is made."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def age(self, moment: datetime | None) -> str:
        return words.age(moment, self._now)

    def is_stale(self, moment: datetime | None) -> bool:
        return words.is_stale(moment, self._now)

    def from_now(self, moment: datetime) -> str:
        return words.from_now(moment, self._now)

    def begins(self, moment: datetime) -> str:
        """Of what can be had from the half-hour of `moment` on; that half-hour may have begun."""
        return words.from_now(max(moment, self._now), self._now)

    @property
    def british(self) -> str:
        return words.british_words(self._now)

    @property
    def utc(self) -> str:
        return words.utc_words(self._now)
