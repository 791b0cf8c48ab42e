"""One API's HTTP session: pooled, identified, patient within a deadline, and bounded."""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import TypeVar
from urllib.parse import SplitResult, unquote, urlencode, urlsplit

import urllib3

from outgoing.calls import Answer, KeptCaller, Limits
from outgoing.failures import AnswerTooLong, CallFailed, CallTimedOut, NoConnection
from queueing.backoff import pause_s
from upstreams.call_limit import CallLimit
from upstreams.errors import (
    UnusableAnswer,
    UpstreamError,
    UpstreamInvalidResponse,
    UpstreamRefused,
    UpstreamSkipped,
    UpstreamUnavailable,
)
from version import VERSION

# The terms of the Carbon Intensity API ask a client to say who it is.
USER_AGENT = f"PylonDEG/{VERSION} (grid data backbone for AI agents; asks once a half-hour)"

_log = logging.getLogger(__name__)

_HEADERS = {"User-Agent": USER_AGENT, "Accept-Encoding": "gzip, deflate"}
_MOVED = {301, 302, 303, 307, 308}
_Parsed = TypeVar("_Parsed")
_ClientT = TypeVar("_ClientT", bound="UpstreamClient")


@dataclass(frozen=True)
class RetryPolicy:
    """How long and how often one fetch tries.

    Attributes:
        connect_timeout_seconds: for a connection to be made.
        read_timeout_seconds: for the headers, and then for each next piece of the body.
        deadline_seconds: for the whole fetch, with every attempt and pause. A body that comes in drips and
            then stops is given up at most one read timeout later.
        attempts: how often a fetch asks at most.
        backoff_seconds: the pause after the first failure, give or take a quarter; it doubles with each further one.
        longest_answer_bytes: a longer body, after decompression, is refused.
    """

    connect_timeout_seconds: float = 5.0
    read_timeout_seconds: float = 30.0
    deadline_seconds: float = 60.0
    attempts: int = 3
    backoff_seconds: float = 1.0
    longest_answer_bytes: int = 16 * 1024 * 1024


@dataclass(frozen=True)
class Format:
    """How an answer is written: its name, what a request says it accepts, and how a body is read.

    `read` raises ValueError for a body that is not in this format.
    """

    name: str
    accepted: str
    read: Callable[[bytes], object]


def _exact_json(body: bytes) -> object:
    try:
        return json.loads(body, parse_float=Decimal)
    except ArithmeticError as error:  # an exponent that no Decimal holds
        raise ValueError(str(error)) from error


JSON = Format("JSON", "application/json", json.loads)
EXACT_JSON = Format("JSON", "application/json", _exact_json)
"""JSON whose fractions are kept as they are written, for money."""


class UpstreamSession:
    """GETs answers of one API and hands them to a route's parser. Safe to use from many threads.

    Args:
        api: the API's name, for messages.
        base_url: where its routes begin.
        patience: timeouts, retries and the size limit.
        limit: a limit on attempts that the API asks for.

    Raises:
        ValueError: `base_url` is not an http or https URL.
    """

    def __init__(
        self,
        api: str,
        base_url: str,
        *,
        patience: RetryPolicy,
        limit: CallLimit | None = None,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        address = urlsplit(base_url)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ValueError(f"the {api}'s base URL must be http(s)://host/…, not {base_url!r}")
        self.api = api
        self._base_url = address._replace(netloc=address.netloc.rpartition("@")[2]).geturl().rstrip("/")
        self._headers = _HEADERS | _credentials(address)
        self._patience = patience
        self._limit = limit
        self._sleep = sleep
        self._monotonic = monotonic
        self._jitter = jitter
        self._caller = KeptCaller()

    def close(self) -> None:
        self._caller.close()

    def fetch(
        self,
        route: str,
        parse: Callable[[object], _Parsed],
        params: Mapping[str, str] | None = None,
        *,
        written_as: Format = JSON,
    ) -> _Parsed:
        """GET `route` and parse what it answers, trying again after a failure that may pass.

        Raises:
            UpstreamUnavailable: no answer in time.
            UpstreamRefused: HTTP 4xx.
            UpstreamInvalidResponse: an answer that `parse` could not use.
            UpstreamSkipped: the rate limit leaves no call now.
        """
        asked = f"{route}?{urlencode(params)}" if params else route
        began = self._monotonic()
        wait = self._seconds_to_next_call()
        if wait:
            what = f"skipped: rate limit; the next call may be made in {wait:.0f} s"
            raise UpstreamSkipped(self.api, asked, what, attempts=0, seconds=0.0)
        attempts = 0
        while True:
            attempts += 1
            try:
                return self._parsed(parse, asked, written_as, began + self._patience.deadline_seconds)
            except _Failure as failed:
                failure = failed
            pause = self._pause_before_next(failure, attempts, began)
            if pause is not None:
                self._sleep(pause)
            if pause is None or self._seconds_to_next_call():
                seconds = self._monotonic() - began
                raise failure.kind(self.api, asked, failure.what, attempts=attempts, seconds=seconds) from failure

    def _parsed(self, parse: Callable[[object], _Parsed], asked: str, written_as: Format, deadline: float) -> _Parsed:
        answer = self._get(asked, written_as, deadline)
        try:
            return parse(answer)
        except UnusableAnswer as unusable:
            raise _Failure(UpstreamInvalidResponse, str(unusable)) from unusable
        except Exception as error:  # an answer that no parser foresaw is this API's failure and nobody else's
            _log.exception("%s %s: the answer cannot be read", self.api, asked)
            raise _Failure(UpstreamInvalidResponse, f"the answer cannot be read ({type(error).__name__})") from error

    def _seconds_to_next_call(self) -> float:
        return self._limit.take() if self._limit else 0.0

    def _pause_before_next(self, failure: _Failure, attempts: int, began: float) -> float | None:
        if not failure.may_pass or attempts >= self._patience.attempts:
            return None
        pause = pause_s(
            attempts,
            first_s=self._patience.backoff_seconds,
            longest_s=self._patience.deadline_seconds,
            chance=self._jitter,
        )
        pause = max(pause, failure.retry_after_seconds)
        elapsed = self._monotonic() - began
        return pause if elapsed + pause < self._patience.deadline_seconds else None

    def _get(self, asked: str, written_as: Format, deadline: float) -> object:
        limits = Limits(
            connect_s=self._patience.connect_timeout_seconds,
            silence_s=self._patience.read_timeout_seconds,
            whole_s=max(deadline - self._monotonic(), 0.001),
            answer_bytes=self._patience.longest_answer_bytes,
        )
        try:
            headers = {**self._headers, "Accept": written_as.accepted}
            answer = self._caller.call("GET", self._base_url + asked, limits=limits, headers=headers)
        except AnswerTooLong as error:
            raise _Failure(UpstreamInvalidResponse, str(error), may_pass=False) from error
        except CallTimedOut as error:
            raise _Failure(UpstreamUnavailable, _one_line(str(error))) from error
        except NoConnection as error:
            raise _Failure(UpstreamUnavailable, f"connection failed: {_one_line(str(error))}") from error
        except CallFailed as error:  # of proxies and certificates that the machine's settings name, for one
            what = f"cannot be asked: {_one_line(str(error))}"
            raise _Failure(UpstreamUnavailable, what, may_pass=False) from error
        _check_status(answer)
        try:
            return written_as.read(answer.body)
        except (ValueError, RecursionError) as error:
            what = f"HTTP {answer.status} without {written_as.name}: {_excerpt(answer.body)}"
            raise _Failure(UpstreamInvalidResponse, what) from error


class UpstreamClient:
    """What the clients share: a session that closes with them."""

    def __init__(self, session: UpstreamSession) -> None:
        self._session = session

    def close(self) -> None:
        self._session.close()

    def __enter__(self: _ClientT) -> _ClientT:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _Failure(Exception):
    def __init__(
        self,
        kind: type[UpstreamError],
        what: str,
        *,
        may_pass: bool = True,
        retry_after_seconds: float = 0.0,
    ) -> None:
        super().__init__(what)
        self.kind = kind
        self.what = what
        self.may_pass = may_pass
        self.retry_after_seconds = retry_after_seconds


def _credentials(address: SplitResult) -> dict[str, str]:
    if address.username is None:
        return {}
    return urllib3.make_headers(basic_auth=f"{unquote(address.username)}:{unquote(address.password or '')}")


def _check_status(answer: Answer) -> None:
    status = answer.status
    if 200 <= status < 300:
        return
    what = f"HTTP {status}: {_excerpt(answer.body)}"
    if status in _MOVED and "Location" in answer.headers:
        what = f"HTTP {status}: moved to {_one_line(answer.headers['Location'])}; set the base URL to that"
    if status == 429 or status >= 500:
        wait = _retry_after_seconds(answer.headers)
        if wait:
            what += f"; asked to wait {wait:.0f} s"
        raise _Failure(UpstreamUnavailable, what, retry_after_seconds=wait)
    raise _Failure(UpstreamRefused, what, may_pass=False)


def _retry_after_seconds(headers: Mapping[str, str]) -> float:
    """RFC 9110 10.2.3: seconds, or a date, which is measured against the answer's own `Date`."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    until, sent = _http_date(text), _http_date(headers.get("Date", ""))
    if until is None or sent is None:
        return 0.0
    return max((until - sent).total_seconds(), 0.0)


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo else None


def _excerpt(body: bytes) -> str:
    return _one_line(body[:2000].decode("utf-8", "replace")) or "an empty body"


def _one_line(text: str) -> str:
    words = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return words if len(words) <= 200 else f"{words[:200]}…"
