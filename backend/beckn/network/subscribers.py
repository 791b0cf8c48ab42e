"""Who is on the network: platforms, the roles they play, the keys they sign with, the URLs they are called at."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

from pydantic import ConfigDict, Field

from beckn.network.keys import OwnKey
from beckn.network.sender_limits import UnknownKeys
from beckn.protocol.context import SubscriberId, Text
from beckn.protocol.objects import BecknObject, Subscriber
from beckn.protocol.values import KEY_ID, HttpUri, KeyId, Omittable, Timestamp, canonical_key_id
from database.interface import Database, OrderBy, Row, Where
from vocabulary import StrEnum

REMEMBERED_FOR_S = 60.0
MOST_REMEMBERED = 10_000
OWN_KEY_VALID_FOR = timedelta(days=3650)

_TABLE = "beckn_subscribers"
_SUBSCRIBER_ID = re.compile(r"[A-Za-z0-9._:/-]{1,200}")


class Role(StrEnum):
    """Buyer's platform, provider's platform, gateway."""

    BAP = "BAP"
    BPP = "BPP"
    BG = "BG"


class SubscriptionStatus(StrEnum):
    INITIATED = "INITIATED"
    UNDER_SUBSCRIPTION = "UNDER_SUBSCRIPTION"
    SUBSCRIBED = "SUBSCRIBED"
    EXPIRED = "EXPIRED"
    UNSUBSCRIBED = "UNSUBSCRIBED"
    INVALID_SSL = "INVALID_SSL"


class Place(BecknObject):
    code: Omittable[Text] = None


class Territory(BecknObject):
    """Where a platform does business; * and what is left out mean everywhere."""

    model_config = ConfigDict(extra="ignore")

    country: Omittable[Place] = None
    city: Omittable[Place] = None


class SubscriptionQuery(BecknObject):
    """A lookup: the fields a subscription must have, any of them left out."""

    subscriber_id: Omittable[SubscriberId] = None
    url: Omittable[HttpUri] = None
    type: Omittable[Role] = None
    domain: Omittable[Text] = None
    location: Omittable[Territory] = None
    key_id: Omittable[KeyId] = None
    signing_public_key: Omittable[Text] = None
    status: Omittable[SubscriptionStatus] = None


class Subscription(BecknObject):
    """One platform in one role and domain, with one key, as the registry of 1.1.1 answers it."""

    model_config = ConfigDict(extra="ignore")

    subscriber_id: SubscriberId
    url: HttpUri
    type: Role
    domain: Text
    location: Omittable[Territory] = None
    key_id: KeyId
    signing_public_key: str
    encr_public_key: Omittable[str] = None
    valid_from: Timestamp
    valid_until: Timestamp
    status: SubscriptionStatus = SubscriptionStatus.SUBSCRIBED
    created: Omittable[Timestamp] = None
    updated: Omittable[Timestamp] = None
    private_address: bool = Field(
        False, exclude=True, description="Whether an operator allowed its URL to lead into a private network"
    )
    operator: Omittable[str] = Field(
        None, exclude=True, description="The operator of this installation that it speaks for; a stranger's has none"
    )
    present_until: Omittable[Timestamp] = Field(
        None,
        exclude=True,
        description="Until when it counts as running; not there for platforms that do not announce it",
    )

    def holds(self, now: datetime) -> bool:
        """Whether its key may sign at `now`."""
        return self.status is SubscriptionStatus.SUBSCRIBED and self.valid_from <= now <= self.valid_until

    def is_present(self, now: datetime) -> bool:
        """Whether it holds, and the platform runs as far as it has told."""
        return self.holds(now) and (self.present_until is None or now < self.present_until)

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Subscription:
        return cls.model_validate(row, strict=False)


class SubscriptionRefused(Exception):
    """A platform cannot be registered so; the message says why."""


class Subscribers(Protocol):
    """Where the public keys and the URLs of other platforms are found."""

    def known(self, subscriber_id: str, key_id: str) -> Subscription | None:
        """The subscription with this key, as it was in the last minute: to check a signature with.

        Raises:
            Refused: 429, too many keys that nobody knows were asked for just now.
        """

    def find(self, subscriber_id: str, key_id: str, *, fresh: bool = False) -> Subscription | None:
        """The subscription with this key, whether or not it holds; `fresh` asks anew what may be remembered."""

    def current(self, subscriber_id: str, role: Role, now: datetime) -> Subscription | None:
        """A subscription of the platform in this role that holds at `now`."""


class Registry:
    """The network's subscribers in the database. What was found is remembered for a minute.

    A key that is revoked meanwhile is refused at once all the same: the transaction that stores a message looks
    again.
    """

    def __init__(self, database: Database, *, unknown: UnknownKeys | None = None) -> None:
        """`unknown`: how often a key that nobody knows may be looked up, by default."""
        self._database = database
        self._lock = threading.Lock()
        self._remembered: dict[tuple[str, str], tuple[float, Subscription]] = {}
        self._unknown = unknown or UnknownKeys()

    def known(self, subscriber_id: str, key_id: str) -> Subscription | None:
        with self._lock:
            is_remembered = (subscriber_id, canonical_key_id(key_id)) in self._remembered
        if not is_remembered:
            self._unknown.take()
        return self.find(subscriber_id, key_id)

    def find(self, subscriber_id: str, key_id: str, *, fresh: bool = False) -> Subscription | None:
        if not KEY_ID.fullmatch(key_id) or not _SUBSCRIBER_ID.fullmatch(subscriber_id):
            return None
        key = subscriber_id, canonical_key_id(key_id)
        with self._lock:
            since, known = self._remembered.get(key, (0.0, None))
        if known is not None and not fresh and time.monotonic() - since < REMEMBERED_FOR_S:
            return known
        rows = self._database.select(
            _TABLE, where=[Where("key_id", key[1]), Where("subscriber_id", subscriber_id)], order=OrderBy(("key_id",))
        )
        if not rows:
            return None
        found = Subscription.of_row(rows[0])
        with self._lock:
            if len(self._remembered) >= MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = time.monotonic(), found
        return found

    def current(self, subscriber_id: str, role: Role, now: datetime) -> Subscription | None:
        if not _SUBSCRIBER_ID.fullmatch(subscriber_id):
            return None
        where = [Where("subscriber_id", subscriber_id), Where("type", str(role)), Where("status", "SUBSCRIBED")]
        rows = self._database.select(_TABLE, where=where, order=OrderBy(("updated", "key_id"), descending=True))
        return next((found for found in map(Subscription.of_row, rows) if found.holds(now)), None)

    def lookup(self, query: SubscriptionQuery, now: datetime) -> list[Subscription]:
        """Subscriptions that are like `query`; without a status, only those that hold at `now`. At most 1,000."""
        wanted = query.model_dump(mode="json")
        rows = self._database.call("beckn_lookup", {"p_query": wanted, "p_now": now}, repeatable=True)
        return list(map(Subscription.of_row, rows))

    def everyone(self) -> list[Subscription]:
        """Every subscription there has been, by platform."""
        rows = self._database.select(_TABLE, order=OrderBy(("subscriber_id", "type", "key_id")))
        return list(map(Subscription.of_row, rows))

    def add(self, subscription: Subscription) -> None:
        """Store a subscription, or bring the one with its key up to date.

        Raises:
            SubscriptionRefused: its key was revoked, or is another platform's, or there is no such operator.
        """
        row: Row = subscription.model_dump(mode="json") | {
            "private_address": subscription.private_address,
            "operator": subscription.operator,
        }
        state = self._database.call("beckn_register", {"p_subscriber": row}, repeatable=True)["state"]
        if state == "revoked":
            raise SubscriptionRefused(
                f"the key {subscription.key_id} of {subscription.subscriber_id} is no longer valid: "
                "it was revoked, so register a new key with a key_id of its own"
            )
        if state == "unknown_operator":
            raise SubscriptionRefused(
                f"there is no operator {subscription.operator}: "
                "python backend/tenants.py operators list shows which there are"
            )
        if state != "registered":
            raise SubscriptionRefused(
                f"the key_id {subscription.key_id} is already registered, for another platform, role or key"
            )

    def add_own(self, own: Subscriber, role: Role, key: OwnKey, *, domain: str, now: datetime) -> None:
        """Register one of this machine's own platforms, as each does when it starts.

        Its URL may be a private address: whoever runs this process is the operator.

        Raises:
            SubscriptionRefused: its key was revoked: delete the key's file to get another.
        """
        self.add(
            Subscription(
                subscriber_id=own.subscriber_id,
                url=own.url,
                type=role,
                domain=domain,
                key_id=key.key_id,
                signing_public_key=key.signing.public_key,
                valid_from=now - timedelta(minutes=5),
                valid_until=now + OWN_KEY_VALID_FOR,
                private_address=True,
            )
        )

    def revoke(self, subscriber_id: str, key_id: str | None, now: datetime) -> int:
        """End the subscriptions of a platform, or the one with this key; how many there were."""
        where = [Where("subscriber_id", subscriber_id), Where("status", "SUBSCRIBED")]
        if key_id is not None:
            if not KEY_ID.fullmatch(key_id):
                return 0
            where.append(Where("key_id", canonical_key_id(key_id)))
        revoked = self._database.update(_TABLE, {"status": "UNSUBSCRIBED", "updated": now}, where=where)
        with self._lock:
            self._remembered.clear()
        return len(revoked)


def same_url(one: str, other: str) -> bool:
    """Whether two subscriber URLs are the same but for a slash at the end."""
    return one.rstrip("/") == other.rstrip("/")
