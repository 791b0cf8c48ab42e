"""Headers that keep a page to itself: what it may load, who may frame it, what it tells others."""

from __future__ import annotations

from flask import Flask, Response

# The page of the documentation holds the operator's key once it is typed in. Its style sheet sets styles of elements
# and has small pictures in it.
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)


def keep_pages_to_themselves(app: Flask) -> None:
    """Set the headers on every page that `app` answers; whatever it is, no browser may take it for something else.

    A page that has a policy of its own keeps it.
    """

    @app.after_request
    def _set_headers(answer: Response) -> Response:
        answer.headers["X-Content-Type-Options"] = "nosniff"
        if answer.mimetype == "text/html":
            answer.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
            answer.headers["X-Frame-Options"] = "DENY"
            answer.headers.setdefault("Referrer-Policy", "no-referrer")
        return answer
