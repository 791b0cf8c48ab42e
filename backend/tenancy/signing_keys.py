"""The issuer's public keys (a JSON Web Key Set), read in a thread of their own and never while a request waits.

The set is read again every five minutes, and sooner when a token names a key that is not in it, though never within
half a minute of the last attempt. So a key that the issuer has just begun to use may be unknown for half a minute,
and one that it has revoked is trusted for five more. While the issuer cannot be reached the last good set stands.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from jwt import PyJWK
from jwt.exceptions import PyJWTError

from outgoing.calls import Caller, Limits
from outgoing.failures import CallFailed
from printable import LONGEST_REASON, printable
from queueing.supervised import Rest, SupervisedLoop

_log = logging.getLogger(__name__)

REFRESH_S = 300.0
COOLDOWN_S = 30.0
CALL_LIMITS = Limits(connect_s=2.0, whole_s=5.0, answer_bytes=64 * 1024)
MOST_KEYS = 100
SHORTEST_RSA_BITS = 2048
FIRST_RETRY_S = 2.0
"""After a failure before there is any set, for until then no token is good."""
STUCK_AFTER_S = 60.0

KeySet = Mapping[str, PyJWK]
"""Usable keys, by their ids."""

_ALGORITHMS = {("EC", "P-256"): "ES256", ("RSA", None): "RS256"}


class KeySetUnreadable(Exception):
    """What the issuer answered is no set of keys; the message says why."""


class KeysNotRead(Exception):
    """The set has never been read, so no token can be told from another."""


def read_key_set(body: bytes) -> KeySet:
    """The keys of a set that verify ES256 or RS256; what else there is in it is left out.

    Raises:
        KeySetUnreadable: it is none.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise KeySetUnreadable("the answer is not JSON") from None
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise KeySetUnreadable("the answer has no list of keys")
    if len(listed) > MOST_KEYS:
        raise KeySetUnreadable(f"the answer has more than {MOST_KEYS} keys")
    keys: dict[str, PyJWK] = {}
    for each in listed:
        key = _usable(each)
        if key is not None:
            keys.setdefault(str(key.key_id), key)
    return MappingProxyType(keys)


def _usable(listed: Any) -> PyJWK | None:
    """The key, bound to the one algorithm that its kind has here, whatever a token may say."""
    if not isinstance(listed, dict) or not isinstance(listed.get("kid"), str):
        return None
    kind = listed.get("kty")
    algorithm = (
        _ALGORITHMS.get((kind, listed.get("crv") if kind == "EC" else None)) if isinstance(kind, str) else None
    )
    if algorithm is None or listed.get("alg", algorithm) != algorithm or listed.get("use", "sig") != "sig":
        return None
    try:
        key = PyJWK(listed, algorithm)
    except (PyJWTError, ValueError, TypeError):
        return None
    return None if getattr(key.key, "key_size", 0) < SHORTEST_RSA_BITS and algorithm == "RS256" else key


class SigningKeys:
    """The keys of the set at `url`, kept current by a thread from `start` to `stop`. Ask it from any thread."""

    def __init__(
        self,
        url: str,
        caller: Caller,
        *,
        refresh_s: float = REFRESH_S,
        cooldown_s: float = COOLDOWN_S,
        read: Callable[[], object] = lambda: None,
    ) -> None:
        """`read` is called in the thread after each attempt."""
        self._url = url
        self._caller = caller
        self._refresh_s = refresh_s
        self._cooldown_s = cooldown_s
        self._read = read
        self._keys: KeySet | None = None
        self._failure: str | None = None
        self._wanted = threading.Event()
        self._stopping = threading.Event()
        self._loop = SupervisedLoop(
            "the reader of the issuer's keys",
            self._take_a_turn,
            self._stopping,
            longest_turn_s=refresh_s + cooldown_s + STUCK_AFTER_S,
        )

    def start(self) -> None:
        self._loop.start()

    def stop(self, timeout_s: float = CALL_LIMITS.whole_s) -> None:
        self._stopping.set()
        self._wanted.set()
        self._loop.join(timeout_s)

    def find(self, key_id: str) -> PyJWK | None:
        """The key with this id. One that is not known is asked for, and may be there the next time.

        Raises:
            KeysNotRead: no set has been read yet.
        """
        keys = self._keys
        if keys is None:
            raise KeysNotRead(self._failure or "they are being read for the first time")
        found = keys.get(key_id)
        if found is None:
            self._wanted.set()
        return found

    def troubles(self) -> list[str]:
        """What is wrong with it, in words; empty when nothing is."""
        failure, stuck = self._failure, self._loop.trouble()
        return [
            *([] if failure is None else [f"the issuer's signing keys cannot be read: {failure}"]),
            *([] if stuck is None else [stuck]),
        ]

    def _take_a_turn(self) -> Rest:
        began = time.monotonic()
        self._wanted.clear()
        try:
            self._keys = self._fetch()
        except (CallFailed, KeySetUnreadable) as error:
            failure = printable(error, LONGEST_REASON)
            if failure != self._failure:
                _log.warning("the issuer's signing keys at %s cannot be read: %s", self._url, failure)
            self._failure = failure
        else:
            if self._failure is not None:
                _log.info("the issuer's signing keys can be read again")
            self._failure = None
        self._read()
        return lambda: self._rest(began)

    def _fetch(self) -> KeySet:
        answer = self._caller.call("GET", self._url, limits=CALL_LIMITS, headers={"Accept": "application/json"})
        if answer.status != 200:
            raise KeySetUnreadable(f"the answer is HTTP {answer.status}")
        return read_key_set(answer.body)

    def _rest(self, began: float) -> None:
        """Until the set is old, or one that failed or lacks a key has had its cool-down."""
        cooldown_s = min(self._cooldown_s, FIRST_RETRY_S) if self._keys is None else self._cooldown_s
        if self._stopping.wait(max(0.0, began + cooldown_s - time.monotonic())) or self._failure is not None:
            return
        self._wanted.wait(max(0.0, began + self._refresh_s - time.monotonic()))
