"""The queues of work in the database: what each is, and the SQL functions that all of them share.

The functions are written once, in `sql/queue/`, and made for every queue that uses them (`queue_notifications_claim`,
`queue_inbox_claim` …), so that PostgreSQL keeps their plans and checks their types.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

TEMPLATES = Path(__file__).resolve().parent / "sql" / "queue"


@dataclass(frozen=True)
class Queue:
    """A table whose rows are work. Its rows bear the columns that `docs/architecture.md` lists.

    `scope` is the column that tells whose queue it is, where several platforms share the table; `sender` the one that
    tells who takes turns; `order` the column that says what comes first; `functions` what is made of `sql/queue/`.
    """

    name: str
    table: str
    key: str
    functions: tuple[str, ...]
    channel: str
    key_type: str = "bigint"
    scope: str | None = None
    scope_type: str = "text"
    sender: str = ""
    order: str = "turn"
    pauses_after_lost_leases: bool = False
    forgets: tuple[str, ...] = ()
    """Columns that are emptied when a lease ends."""
    expired: str = ""
    """What is said of a row whose time is over, in SQL."""
    one_conversation: tuple[str, ...] = ()
    """Columns that tell, beside the transaction, whether two messages are taken in their order."""

    def statements(self) -> str:
        """The queue's functions."""
        return "".join(self._filled(name) for name in self.functions)

    def _filled(self, function: str) -> str:
        emptied = [f"{column} = null" for column in self.forgets]
        words = {
            "queue": self.name,
            "table": self.table,
            "key": self.key,
            "key_type": self.key_type,
            "scope_type": self.scope_type,
            "mine": f"q.{self.scope} = p_scope" if self.scope else "true",
            "sender": self.sender,
            "order": f"q.{self.order}",
            "channel": self.channel,
            "expired": self.expired,
            "pause": " + public.pause_after_lost_leases(q.lost_leases)" if self.pauses_after_lost_leases else "",
            "after_a_pause": " and a pause is over, which grows" if self.pauses_after_lost_leases else "",
            "forget": "".join(f"\n            {assignment}," for assignment in emptied),
            "forget_last": "".join(f",\n        {assignment}" for assignment in emptied),
        }
        if self.one_conversation:
            words["one_conversation"] = " and ".join(f"earlier.{each} = q.{each}" for each in self.one_conversation)
        text = (TEMPLATES / f"{function}.sql").read_text(encoding="utf-8")
        return re.sub(r"\{(" + "|".join(words) + r")\}", lambda found: words[found[1]], text)


QUEUES = (
    Queue(
        name="notifications",
        table="workload_notifications",
        key="notification_id",
        functions=("turn", "sweep", "claim", "heartbeat", "complete", "fail", "release", "requeue"),
        channel="workload_ready",
        sender="fairness_key",
        pauses_after_lost_leases=True,
        forgets=("context",),
    ),
    Queue(
        name="inbox",
        table="beckn_inbox",
        key="inbox_id",
        functions=(
            "turn",
            "expire",
            "sweep",
            "shed",
            "senders",
            "claim",
            "heartbeat",
            "complete",
            "fail",
            "release",
            "next_due",
        ),
        channel="beckn_inbox",
        scope="recipient",
        sender="sender",
        expired="'its ttl ended before it was worked on' || coalesce('; before that: ' || q.last_error, '')",
        one_conversation=("recipient", "sender"),
    ),
    Queue(
        name="outbox",
        table="beckn_outbox",
        key="outbox_id",
        functions=("expire", "sweep", "shed", "senders", "claim", "complete", "fail", "next_due"),
        channel="beckn_outbox",
        scope="sender",
        sender="recipient",
        expired="format('its ttl ended after %s attempts', q.attempt)"
        " || coalesce('; the last: ' || q.last_error, '')",
        one_conversation=("sender", "origin", "recipient"),
    ),
    Queue(
        name="orders",
        table="beckn_orders",
        key="order_id",
        key_type="uuid",
        functions=("sweep", "claim", "heartbeat", "fail", "release", "next_due"),
        channel="beckn_orders",
        scope="bpp_id",
        sender="bap_id",
        order="scheduled_at",
    ),
    Queue(
        name="bookings",
        table="capacity_bookings",
        key="booking_id",
        functions=("sweep", "claim", "heartbeat", "complete", "fail", "release", "next_due"),
        channel="capacity_bookings",
        scope="carried_out_by",
        sender="tenant",
        order="scheduled_at",
    ),
    Queue(
        name="flexibility",
        table="flexibility_events",
        key="event_id",
        key_type="uuid",
        functions=("sweep", "claim", "heartbeat", "fail", "next_due"),
        channel="flexibility",
        sender="tenant",
        order="scheduled_at",
    ),
    Queue(
        name="negotiations",
        table="negotiations",
        key="negotiation_id",
        key_type="uuid",
        functions=("sweep", "claim", "heartbeat", "fail", "next_due"),
        channel="negotiations",
        sender="tenant",
        order="scheduled_at",
    ),
    Queue(
        name="webhooks",
        table="openadr_webhooks",
        key="webhook_id",
        functions=("sweep", "shed", "claim", "complete", "fail", "next_due"),
        channel="openadr_webhooks",
        order="webhook_id",
    ),
    Queue(
        name="runs",
        table="pipeline_runs",
        key="slot",
        key_type="timestamptz",
        functions=("sweep", "claim", "heartbeat", "complete", "fail"),
        channel="pipeline_runs",
        scope="slot",
        scope_type="timestamptz",
        order="scheduled_at",
    ),
)
