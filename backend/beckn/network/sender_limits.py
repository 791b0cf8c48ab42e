"""How much one sender may ask of a platform, so that none can take what all of them need.

Two kinds of bounds. How fast its messages may come is counted in memory, by each process, before anything else is
done for them. What may lie here unfinished, and how much may be stored in a day, is counted by the database in the
transaction that stores a message (`beckn_over_limit`). Whoever is over a bound is told so with 429 in the place of
an ACK: what was acknowledged is worked on.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from beckn.protocol.acknowledgement import Error, ErrorCode, Refused

MESSAGES_PER_S = 200.0
MESSAGES_AT_ONCE = 2000.0
BYTES_PER_S = 1024.0 * 1024
BYTES_AT_ONCE = 32 * 1024.0 * 1024
MOST_SENDERS_COUNTED = 10_000

UNFINISHED_MESSAGES = 200
UNFINISHED_BYTES = 32 * 1024 * 1024
WAITING_FOR_ONE = 100
"""Of a sender's messages that a gateway has yet to deliver to the same recipient."""
MESSAGES_A_DAY = 50_000
BYTES_A_DAY = 1024 * 1024 * 1024

UNKNOWN_KEYS_PER_S = 50.0
UNKNOWN_KEYS_AT_ONCE = 100.0
"""Keys that were never heard of, named by anybody: each is looked up, and so many a second at most."""

RETRY_AFTER_S = 5
_ROUNDING = 1e-6
_NEXT_LOOK_S = 3600


@dataclass(frozen=True)
class StoredLimits:
    """What the database lets one sender leave with one platform."""

    unfinished_messages: int = UNFINISHED_MESSAGES
    unfinished_bytes: int = UNFINISHED_BYTES
    waiting_for_one: int = WAITING_FOR_ONE
    messages_a_day: int = MESSAGES_A_DAY
    bytes_a_day: int = BYTES_A_DAY

    def refusal(self, reason: str) -> Refused:
        """What a sender that is over the bound of this name is told."""
        told = {
            "unfinished_messages": f"{self.unfinished_messages} of your messages are not finished yet",
            "unfinished_bytes": f"{self.unfinished_bytes:,} bytes of your messages are not finished yet",
            "waiting_for_one": f"{self.waiting_for_one} of your messages to this recipient are already waiting",
            "messages_a_day": f"you sent {self.messages_a_day:,} messages today",
            "bytes_a_day": f"you sent {self.bytes_a_day:,} bytes today",
        }
        return too_many(told[reason], _NEXT_LOOK_S if reason.endswith("_a_day") else RETRY_AFTER_S)


def too_many(what: str, retry_after_s: int) -> Refused:
    """The refusal of a message that comes too soon: 429, with when to send it again."""
    error = Error(code=ErrorCode.BUSINESS_ERROR, message=f"{what}: send this one again in {retry_after_s} s")
    return Refused(429, error, {"Retry-After": str(retry_after_s)})


class SenderRates:
    """How fast each sender's messages come: token buckets in the memory of this process. Safe to share by threads."""

    def __init__(
        self,
        *,
        messages_per_s: float = MESSAGES_PER_S,
        messages_at_once: float = MESSAGES_AT_ONCE,
        bytes_per_s: float = BYTES_PER_S,
        bytes_at_once: float = BYTES_AT_ONCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._messages = messages_per_s, messages_at_once
        self._bytes = bytes_per_s, bytes_at_once
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[Bucket, Bucket]] = OrderedDict()

    def take(self, sender: str, size_bytes: int) -> None:
        """Count a message of this sender.

        Raises:
            Refused: 429, the sender's messages come too fast.
        """
        now = self._clock()
        with self._lock:
            if sender not in self._buckets:
                self._buckets[sender] = Bucket(*self._messages, now), Bucket(*self._bytes, now)
                if len(self._buckets) > MOST_SENDERS_COUNTED:
                    self._buckets.popitem(last=False)
            self._buckets.move_to_end(sender)
            messages, size = self._buckets[sender]
            wait_s = max(messages.wait_s(1, now), size.wait_s(size_bytes, now))
            if wait_s == 0:
                messages.take(1)
                size.take(size_bytes)
        if wait_s > 0:
            raise too_many("your messages come too fast", math.ceil(wait_s))


class UnknownKeys:
    """How many keys that nobody knows are looked up. Safe to share by threads."""

    def __init__(
        self,
        *,
        per_s: float = UNKNOWN_KEYS_PER_S,
        at_once: float = UNKNOWN_KEYS_AT_ONCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._bucket = Bucket(per_s, at_once, clock())

    def take(self) -> None:
        """Count a look-up.

        Raises:
            Refused: 429, strangers ask for too many.
        """
        with self._lock:
            wait_s = self._bucket.wait_s(1, self._clock())
            if wait_s == 0:
                self._bucket.take(1)
        if wait_s > 0:
            raise too_many("too many messages have come in that are signed with unknown keys", math.ceil(wait_s))


class Bucket:
    """Tokens that come at a rate, up to so many at once. The caller holds a lock."""

    def __init__(self, per_s: float, at_once: float, now: float) -> None:
        self._per_s = per_s
        self._at_once = at_once
        self._left = at_once
        self._since = now

    def wait_s(self, tokens: float, now: float) -> float:
        """How long until there are so many, 0 where there are; those that came since are counted in."""
        self._left = min(self._at_once, self._left + max(0.0, now - self._since) * self._per_s)
        self._since = now
        missing = min(tokens, self._at_once) - self._left
        return missing / self._per_s if missing > _ROUNDING else 0.0

    def take(self, tokens: float) -> None:
        self._left -= tokens
