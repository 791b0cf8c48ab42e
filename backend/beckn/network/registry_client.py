"""The network's subscribers as a platform without the database sees them: by asking the registry over HTTP."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from pydantic import TypeAdapter, ValidationError

from beckn.network.keys import MessageSigner
from beckn.network.outgoing_calls import AddressPolicy, Caller, CallFailed
from beckn.network.reception import AUTHORIZATION
from beckn.network.sender_limits import UnknownKeys
from beckn.network.subscribers import MOST_REMEMBERED, REMEMBERED_FOR_S, Role, Subscription, SubscriptionQuery
from beckn.protocol.values import canonical_key_id
from printable import printable

SIGNATURE_HOLDS_FOR = timedelta(seconds=30)
MOST_LOOKUPS_AT_ONCE = 4
WAIT_FOR_LOOKUP_S = 5.0
UNKNOWN_KEYS_PER_S = 5.0
UNKNOWN_KEYS_AT_ONCE = 20.0

_SUBSCRIPTIONS = TypeAdapter(list[Subscription])


class RegistryUnavailable(Exception):
    """The registry did not answer, or refused; the message says why."""


class NotSubscribed(RegistryUnavailable):
    """The registry does not know the key that asks."""


class LookupRegistry:
    """`Subscribers` over `POST {url}/lookup`.

    What was found is remembered for a minute, to check signatures with; who signed is asked for when that proved
    right, so that a revoked key is refused at once. Keys that nobody knows are asked for a few times a second, and
    few questions are under way at once, whatever strangers send.
    """

    def __init__(
        self,
        url: str,
        signer: MessageSigner,
        *,
        clock: Callable[[], datetime],
        caller: Caller | None = None,
        reach: AddressPolicy = AddressPolicy.ANYWHERE,
    ) -> None:
        """`url` is the registry's (http://127.0.0.1:5050/registry). An operator chose it, so it may be private."""
        self._url = f"{url.rstrip('/')}/lookup"
        self._signer = signer
        self._clock = clock
        self._caller = caller or Caller()
        self._reach = reach
        self._turns = threading.BoundedSemaphore(MOST_LOOKUPS_AT_ONCE)
        self._lock = threading.Lock()
        self._remembered: dict[tuple[str, str], tuple[float, Subscription]] = {}
        self._unknown = UnknownKeys(per_s=UNKNOWN_KEYS_PER_S, at_once=UNKNOWN_KEYS_AT_ONCE)

    def known(self, subscriber_id: str, key_id: str) -> Subscription | None:
        with self._lock:
            since, found = self._remembered.get((subscriber_id, canonical_key_id(key_id)), (0.0, None))
        if found is not None and time.monotonic() - since < REMEMBERED_FOR_S:
            return found
        self._unknown.take()
        return self.find(subscriber_id, key_id)

    def find(self, subscriber_id: str, key_id: str, *, fresh: bool = False) -> Subscription | None:  # noqa: ARG002
        try:
            query = SubscriptionQuery(subscriber_id=subscriber_id, key_id=key_id)
        except ValidationError:
            return None  # nobody can have such an id
        key = subscriber_id, canonical_key_id(key_id)
        found = next(iter(self.lookup(query)), None)
        with self._lock:
            if found is None:
                self._remembered.pop(key, None)
            elif key in self._remembered or len(self._remembered) < MOST_REMEMBERED:
                self._remembered[key] = time.monotonic(), found
        return found

    def current(self, subscriber_id: str, role: Role, now: datetime) -> Subscription | None:
        try:
            query = SubscriptionQuery(subscriber_id=subscriber_id, type=role)
        except ValidationError:
            return None
        return next((found for found in self.lookup(query) if found.holds(now)), None)

    def lookup(self, query: SubscriptionQuery) -> list[Subscription]:
        """Subscriptions that hold and are like `query`.

        Raises:
            NotSubscribed: who asks is not in the registry.
            RegistryUnavailable: there is no answer that could be used.
        """
        body = query.model_dump_json().encode()
        now = self._clock()
        headers = {AUTHORIZATION: self._signer.authorization(body, now=now, expires=now + SIGNATURE_HOLDS_FOR)}
        if not self._turns.acquire(timeout=WAIT_FOR_LOOKUP_S):
            raise RegistryUnavailable(f"{self._url}: {MOST_LOOKUPS_AT_ONCE} look-ups are already under way")
        try:
            reply = self._caller.post(self._url, body, headers, reach=self._reach)
        except CallFailed as failed:
            raise RegistryUnavailable(f"{self._url}: {failed}") from failed
        finally:
            self._turns.release()
        if reply.status != 200:
            said = printable(reply.body[:300].decode("utf-8", "replace"), 300)
            kind = NotSubscribed if reply.status == 401 else RegistryUnavailable
            raise kind(f"{self._url}: HTTP {reply.status}: {said}")
        try:
            return _SUBSCRIPTIONS.validate_json(reply.body)
        except ValidationError as error:
            raise RegistryUnavailable(f"{self._url} gave an unexpected answer: {error.errors()[0]['msg']}") from None
