"""What can go wrong with a whole fetch. A single bad row is no error: see `results.Problem`."""

from __future__ import annotations


class UpstreamError(Exception):
    """An upstream API gave nothing usable. The message says which API and route, what happened and how long.

    Rows stored by an earlier run stay good; the next run asks again.
    """

    def __init__(self, api: str, route: str, what: str, *, attempts: int, seconds: float) -> None:
        tries = "1 attempt" if attempts == 1 else f"{attempts} attempts"
        super().__init__(f"{api} {route}: {what} ({tries} in {seconds:.1f} s)")
        self.api = api
        self.route = route
        self.what = what
        self.attempts = attempts
        self.seconds = seconds


class UpstreamUnavailable(UpstreamError):
    """No answer: unreachable, timed out, dropped, HTTP 5xx, or 429 for longer than a fetch may take."""


class UpstreamRefused(UpstreamError):
    """The API understood and said no (HTTP 4xx): asking again would not help."""


class UpstreamInvalidResponse(UpstreamError):
    """An answer without one usable row: not JSON, the wrong shape, empty, or every row rejected."""


class UpstreamSkipped(UpstreamError):
    """Not asked at all, to keep to the API's own rate limit."""


class UnusableAnswer(ValueError):
    """Raised by a route's parser; the session turns it into `UpstreamInvalidResponse` with API and route."""
