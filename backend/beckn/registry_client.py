"""The network's subscribers as a platform without the database sees them: by asking the registry over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from pydantic import TypeAdapter, ValidationError

from beckn.keys import MessageSigner
from beckn.outgoing_calls import Caller, CallFailed, Reach
from beckn.reception import AUTHORIZATION
from beckn.subscribers import Role, Subscription, SubscriptionQuery

SIGNATURE_HOLDS_FOR = timedelta(seconds=30)

_SUBSCRIPTIONS = TypeAdapter(list[Subscription])


class RegistryUnavailable(Exception):
    """The registry did not answer, or refused; the message says why."""


class NotSubscribed(RegistryUnavailable):
    """The registry does not know the key that asks."""


class LookupRegistry:
    """`Subscribers` over `POST {url}/lookup`. Remembers nothing, so a revoked key is refused at once."""

    def __init__(
        self,
        url: str,
        signer: MessageSigner,
        *,
        clock: Callable[[], datetime],
        caller: Caller | None = None,
        reach: Reach = Reach.ANYWHERE,
    ) -> None:
        """`url` is the registry's (http://127.0.0.1:5050/registry). An operator chose it, so it may be private."""
        self._url = f"{url.rstrip('/')}/lookup"
        self._signer = signer
        self._clock = clock
        self._caller = caller or Caller()
        self._reach = reach

    def find(self, subscriber_id: str, key_id: str, *, fresh: bool = False) -> Subscription | None:  # noqa: ARG002
        try:
            query = SubscriptionQuery(subscriber_id=subscriber_id, key_id=key_id)
        except ValidationError:
            return None  # nobody can have such an id
        return next(iter(self.lookup(query)), None)

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
        try:
            reply = self._caller.post(self._url, body, headers, reach=self._reach)
        except CallFailed as failed:
            raise RegistryUnavailable(f"{self._url}: {failed}") from failed
        if reply.status != 200:
            said = reply.body[:300].decode("utf-8", "replace")
            kind = NotSubscribed if reply.status == 401 else RegistryUnavailable
            raise kind(f"{self._url}: HTTP {reply.status}: {said}")
        try:
            return _SUBSCRIPTIONS.validate_json(reply.body)
        except ValidationError as error:
            raise RegistryUnavailable(f"{self._url} answered something else: {error.errors()[0]['msg']}") from None
