"""What went wrong as a page, where a browser asked for one. Whoever asks for JSON gets the problem document as ever.

It stands before the guard, so that refusals are pages as well as what the pages themselves could not do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from flask import Flask, Response, redirect, request, url_for
from werkzeug.datastructures import MIMEAccept
from werkzeug.exceptions import HTTPException
from werkzeug.http import parse_accept_header

from dashboard.page import SECTIONS, Pages
from dashboard.sign_in import PREFIX
from printable import printable
from web.problems import DATABASE_AWAY, MEDIA_TYPE
from web.request_ids import HEADER as REQUEST_ID_HEADER

if TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

COMES_BACK = frozenset({429, 503})
"""Statuses after which the same request may well be answered: the page asks again by itself."""

USUAL_WAIT_S = 5
LONGEST_WAIT_S = 600
_KEPT_HEADERS = {"retry-after", "allow", REQUEST_ID_HEADER.lower()}
_SIGN_IN_LEADS = 401
_DATABASE_AWAY = "The database is away"
_TITLES = {
    400: "This request cannot be read",
    403: "Not yours to see",
    404: "Nothing is here",
    405: "Not to be had this way",
    415: "Not to be had this way",
    421: "Called by a foreign name",
    422: "This cannot be asked for",
    429: "Too many requests",
    500: "Something went wrong here",
    503: "Not at the moment",
}


@dataclass(frozen=True)
class Trouble:
    """What went wrong, as its page says it.

    Attributes:
        detail: the server's own words.
        faults: what is wrong with which parameter.
        retry_after_s: when the page asks again by itself; None where that would not help.
        back: a page that is there: what it is called, and its address.
        request_id: with which the server's log speaks of it.
    """

    title: str
    detail: str
    faults: dict[str, str]
    retry_after_s: int | None
    back: tuple[str, str]
    request_id: str | None


class ErrorPages:
    """Stands before an application, and writes its problem documents as pages for browsers that ask for a page."""

    def __init__(self, application: WSGIApplication, app: Flask, pages: Pages) -> None:
        """
        Args:
            application: what is asked.
            app: the application whose pages' addresses and headers these pages have.
        """
        self._application = application
        self._app = app
        self._pages = pages

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path != PREFIX and not path.startswith(f"{PREFIX}/"):
            return self._application(environ, start_response)
        if path == PREFIX and environ["REQUEST_METHOD"] in {"GET", "HEAD"}:
            return redirect(f"{PREFIX}/", 308)(environ, start_response)
        if not wants_page(environ.get("HTTP_ACCEPT")):
            return self._application(environ, start_response)
        heard: list[tuple[int, dict[str, str]]] = []

        def start(
            status: str, headers: list[tuple[str, str]], exc_info: OptExcInfo | None = None, /
        ) -> Callable[[bytes], object]:
            given = {name.lower(): value for name, value in headers}
            number = int(status[:3])
            if number == _SIGN_IN_LEADS or not given.get("content-type", "").startswith(MEDIA_TYPE):
                return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)
            heard.append((number, given))
            return lambda _: None

        body = self._application(environ, start)
        if not heard:
            return body
        return self._page(environ, *heard[0], _document(body))(environ, start_response)

    def _page(
        self, environ: WSGIEnvironment, status: int, headers: dict[str, str], document: dict[str, Any]
    ) -> Response:
        with self._app.request_context(environ):
            told = _trouble(status, headers, document)
            answer = self._app.process_response(
                self._pages.page("trouble.html", "", told.title, status=status, trouble=told)
            )
        for name in _KEPT_HEADERS & headers.keys():
            answer.headers[name] = headers[name]
        return answer


def wants_page(accept: str | None) -> bool:
    """Whether a client that sends this header `Accept` would rather have HTML than JSON: a browser, by itself."""
    wanted = parse_accept_header(accept, MIMEAccept)
    return wanted["text/html"] > wanted["application/json"]


def _document(body: Iterable[bytes]) -> dict[str, Any]:
    """The problem that was answered; of a HEAD, which has no body, an empty one."""
    try:
        text = b"".join(body)
    finally:
        close = getattr(body, "close", None)
        if close is not None:
            close()
    found = json.loads(text) if text else {}
    return found if isinstance(found, dict) else {}


def _trouble(status: int, headers: dict[str, str], document: dict[str, Any]) -> Trouble:
    """In the context of its request."""
    detail = str(document.get("detail", ""))
    if isinstance(request.routing_exception, HTTPException) and status == request.routing_exception.code == 404:
        detail = f"There is no page at {printable(request.path)}."
    is_away = status == 503 and detail.startswith(DATABASE_AWAY)
    return Trouble(
        title=_DATABASE_AWAY if is_away else _TITLES.get(status, "This did not work"),
        detail=detail[:1].upper() + detail[1:],
        faults={str(fault["field"]): str(fault["message"]) for fault in document.get("errors", ())},
        retry_after_s=_wait(headers.get("retry-after")) if _may_be_repeated(status) else None,
        back=_way_back(),
        request_id=headers.get(REQUEST_ID_HEADER.lower()),
    )


def _may_be_repeated(status: int) -> bool:
    return status in COMES_BACK and request.method in {"GET", "HEAD"}


def _wait(retry_after: str | None) -> int:
    """Seconds until the next try, no sooner than the server wants it."""
    asked = int(retry_after) if retry_after is not None and retry_after.isdigit() else 0
    return min(LONGEST_WAIT_S, max(USUAL_WAIT_S, asked))


def _way_back() -> tuple[str, str]:
    """The list that this address lies in, or the first page."""
    segments = request.path.split("/")
    for _, words, endpoint in SECTIONS:
        way = url_for(endpoint)
        if len(segments) > 3 and way == f"{PREFIX}/{quote(segments[2])}":
            return words, way
    return "Now", url_for("dashboard.now")
