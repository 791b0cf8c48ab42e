"""Calls to other platforms, made so that no message can turn them against us.

A call goes to the URL that is registered for a platform, and to nothing else: redirects are not followed, and no
proxy or password file of this machine has a say. An address in a private network or on this machine needs the
operator's word. The whole call has a deadline, and the answer a size.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import outgoing.calls
from outgoing.addresses import AddressPolicy
from outgoing.calls import Limits
from outgoing.failures import AddressRefused, CallFailed, CallTimedOut
from version import VERSION

__all__ = ["AddressPolicy", "AddressRefused", "CallFailed", "Caller", "Reply"]

CONNECT_TIMEOUT_S = 2.0
WHOLE_CALL_S = 5.0
LONGEST_ANSWER_BYTES = 64 * 1024

USER_AGENT = f"PylonDEG/{VERSION} (Beckn 1.1)"


@dataclass(frozen=True)
class Reply:
    """An answer, whatever it says. One that broke off is here as far as it came."""

    status: int
    body: bytes


@dataclass(frozen=True)
class Caller:
    """Makes calls within these limits. Holds nothing: every call is a connection of its own."""

    connect_timeout_s: float = CONNECT_TIMEOUT_S
    whole_call_s: float = WHOLE_CALL_S
    longest_answer_bytes: int = LONGEST_ANSWER_BYTES

    def post(self, url: str, body: bytes, headers: Mapping[str, str], *, reach: AddressPolicy) -> Reply:
        """POST `body`, the very bytes, as JSON.

        Raises:
            AddressRefused: an address of the host is not within `reach`.
            CallFailed: no whole answer in time.
        """
        sent = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": USER_AGENT, **headers}
        limits = Limits(
            connect_s=self.connect_timeout_s, whole_s=self.whole_call_s, answer_bytes=self.longest_answer_bytes
        )
        caller = outgoing.calls.Caller(tls=_tls, whole_answers=False)
        try:
            answer = caller.call("POST", url, limits=limits, headers=sent, body=body, reach=reach)
        except (AddressRefused, CallTimedOut):
            raise
        except CallFailed as failed:
            if failed.cause is None:
                raise
            kind = type(failed.cause).__name__
            raise CallFailed(f"{kind}: {failed.cause}" if str(failed.cause) else kind, failed.cause) from failed
        return Reply(answer.status, answer.body)


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
