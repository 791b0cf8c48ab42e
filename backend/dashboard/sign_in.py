"""Signing in: a credential typed once, kept in a cookie that no script can read, and put into the header it is for.

Browsers send a cookie of the path /dashboard back to nothing else. So the JSON endpoints stay what they are, for
headers alone; pages ask for them below /dashboard/api, where the cookie stands for the header.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import quote

from flask import Response, redirect, request, url_for

from dashboard.page import Pages
from log_lines import request_id
from printable import printable
from tenancy.access import Access
from tenancy.guard import refusal_of
from tenancy.identification import NoMember, NotIdentified

if TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PREFIX = "/dashboard"
JSON_PREFIX = f"{PREFIX}/api/"
SIGN_IN_PATH = f"{PREFIX}/sign-in"
COOKIE = "pylon_credential"
LONGEST_CREDENTIAL = 3800
"""Browsers keep no cookie of more than 4 kB."""

_PUBLIC = (SIGN_IN_PATH, f"{PREFIX}/static/")


class CookieCredential:
    """Stands before the guard: makes the cookie's credential the header's, and refusals of pages a way to sign in."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if not path.startswith(f"{PREFIX}/") or path.startswith(_PUBLIC):
            return self._application(environ, start_response)
        if "HTTP_AUTHORIZATION" not in environ and (credential := _cookie_of(environ)) is not None:
            environ["HTTP_AUTHORIZATION"] = f"Bearer {credential}"
        if path.startswith(JSON_PREFIX):
            environ["PATH_INFO"] = path[len(PREFIX) :]
            return self._application(environ, start_response)
        return self._application(environ, _sent_to_sign_in(environ, start_response))


def sign_in_page(pages: Pages, *, why: str | None = None, status: int = 200) -> Response:
    """The form, and what was wrong with the last try."""
    return pages.page("sign_in.html", "", "Sign in", status=status, why=why, onward=_onward())


def take_credential(pages: Pages, access: Access) -> Response:
    """Keep what was typed in, if it proves who somebody is."""
    credential = request.form.get("credential", "").strip()
    if not credential or len(credential) > LONGEST_CREDENTIAL or not credential.isascii():
        return sign_in_page(pages, why="Paste a key or a token.", status=422)
    try:
        access.identification.principal(credential, None)
    except (NotIdentified, NoMember) as error:
        why = printable(str(error))
        refusal = refusal_of(f"POST {SIGN_IN_PATH}", request.environ, None, 401, why)
        access.audit.refused(refusal, request_id.get())
        return sign_in_page(pages, why=f"Not accepted: {why}.", status=401)
    answer = redirect(_onward(), 303)
    answer.set_cookie(
        COOKIE, credential, path=PREFIX, httponly=True, samesite="Strict", secure=request.scheme == "https"
    )
    return _as_response(answer)


def forget_credential() -> Response:
    """Sign out."""
    answer = redirect(url_for("dashboard.sign_in"), 303)
    answer.delete_cookie(COOKIE, path=PREFIX, httponly=True, samesite="Strict")
    return _as_response(answer)


def _as_response(answer: object) -> Response:
    assert isinstance(answer, Response)  # noqa: S101 - Flask's redirect says werkzeug's base class
    return answer


def _onward() -> str:
    """Where to go once signed in: a page of ours, or the first."""
    wanted = request.values.get("next", "")
    is_ours = wanted.startswith(f"{PREFIX}/") and "\\" not in wanted and wanted.isprintable()
    return wanted if is_ours else url_for("dashboard.now")


def _cookie_of(environ: WSGIEnvironment) -> str | None:
    try:
        found = SimpleCookie(environ.get("HTTP_COOKIE", "")).get(COOKIE)
    except CookieError:
        return None
    return found.value if found is not None and found.value else None


def _sent_to_sign_in(environ: WSGIEnvironment, start_response: StartResponse) -> StartResponse:
    """Turns a 401 into the way to the form, which comes back to where it was asked for; for browsers alone."""
    is_browser = environ["REQUEST_METHOD"] in {"GET", "HEAD"} and "text/html" in environ.get("HTTP_ACCEPT", "")

    def start(
        status: str, headers: list[tuple[str, str]], exc_info: OptExcInfo | None = None, /
    ) -> Callable[[bytes], object]:
        if status.startswith("401") and is_browser:
            wanted = environ["PATH_INFO"] + (f"?{environ['QUERY_STRING']}" if environ.get("QUERY_STRING") else "")
            kept = [(name, value) for name, value in headers if name.lower() not in {"www-authenticate", "location"}]
            way = f"{SIGN_IN_PATH}?next={quote(wanted, safe='/')}"
            return start_response("303 See Other", [*kept, ("Location", way), ("Cache-Control", "no-store")])
        return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

    return start
