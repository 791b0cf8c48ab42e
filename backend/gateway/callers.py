"""What the gateway answers the requests of several tenants with: the database as each has it, and their streams."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.serving.feed import BroadcastFeed
from gateway.serving.threads import CallersThreadedDatabase, ThreadedDatabase
from gateway.serving.visits import LOOK_EVERY_S, CallersVisits
from tenancy.access import Access
from tenancy.guard import calling, present_caller


@dataclass(frozen=True)
class CallersParts:
    """The parts; `visits` are to be started."""

    database: CallersThreadedDatabase
    visits: CallersVisits

    @classmethod
    def over(
        cls,
        service: ThreadedDatabase,
        gate: ThreadedDatabase,
        feed: BroadcastFeed,
        access: Access,
        *,
        look_every_s: float = LOOK_EVERY_S,
    ) -> CallersParts:
        """The parts over one database.

        Args:
            service: the whole of it, for the platform.
            gate: where `call_as` may be called, for tenants.
            look_every_s: how often those who listen are looked at anew.
        """
        database = CallersThreadedDatabase(service, gate, present_caller)
        visits = CallersVisits(
            feed, database.short_calls(), calling, access.standing, access.limits, look_every_s=look_every_s
        )
        return cls(database, visits)
