"""One of this machine's platforms with all that it needs on the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from beckn.network.delivery import Deliverer
from beckn.network.inbox import Inbox
from beckn.network.inbox_workers import MOST_AT_ONCE_PER_SENDER
from beckn.network.keys import MessageSigner, own_key
from beckn.network.outbox import Outbox
from beckn.network.presence import Presence
from beckn.network.reception import Reception
from beckn.network.subscribers import Registry, Role
from beckn.protocol.objects import DOMAIN, Subscriber
from clock import utc_now
from database.interface import Database
from queueing.process_name import process_name
from queueing.supervised import troubles


@dataclass(frozen=True, eq=False)
class Participant:
    """A platform that is registered, checks what comes to it, and has its inbox and outbox in the database."""

    own: Subscriber
    role: Role
    registry: Registry
    signer: MessageSigner
    reception: Reception
    inbox: Inbox
    outbox: Outbox
    deliverer: Deliverer
    presence: Presence

    @classmethod
    def join(
        cls,
        database: Database,
        own: Subscriber,
        role: Role,
        *,
        data_dir: Path,
        authenticates: bool,
        domain: str = DOMAIN,
        also_takes: Sequence[str] = (),
        clock: Callable[[], datetime] = utc_now,
        for_requests: Database | None = None,
    ) -> Participant:
        """Register a platform with its key, which is made at its first start. Starts no thread.

        It stays registered until its `presence` was started and ends.

        Args:
            domain: the one it is registered for and takes messages of; a gateway takes those of every domain.
            also_takes: other domains that it takes messages of.
            for_requests: the same database for `reception` and `inbox`, where a server needs it in another way than
                the threads of `deliverer` do.

        Raises:
            KeyUnusable: its key cannot be read or made.
            SubscriptionRefused: its key was revoked.
            DatabaseError: the database does not answer.
        """
        key = own_key(data_dir, own.subscriber_id)
        for_requests = for_requests or database
        registry = Registry(for_requests)
        registry.add_own(own, role, key, domain=domain, now=clock())
        worker = process_name()
        signer = MessageSigner(own.subscriber_id, key)
        outbox = Outbox(database, own.subscriber_id, worker=worker)
        return cls(
            own=own,
            role=role,
            registry=registry,
            signer=signer,
            reception=Reception(
                registry,
                own=own,
                role=role,
                authenticates=authenticates,
                clock=clock,
                domains=None if role is Role.BG else (domain, *also_takes),
            ),
            inbox=Inbox(
                for_requests,
                own.subscriber_id,
                worker=worker,
                most_at_once_per_sender=MOST_AT_ONCE_PER_SENDER,
            ),
            outbox=outbox,
            deliverer=Deliverer(database, outbox, signer, authenticates=authenticates, clock=clock),
            presence=Presence(database, own.subscriber_id, role, worker),
        )

    def troubles(self) -> list[str]:
        """What is wrong with its threads, in words; empty when nothing is."""
        return [*self.deliverer.troubles(), *troubles([self.presence.loop])]
