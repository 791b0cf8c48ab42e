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
            "pause": " + public.pause_after_lost_leases(q.lost_leases)" if self.pauses_after_lost_leases else "",
            "after_a_pause": " and a pause is over, which grows" if self.pauses_after_lost_leases else "",
            "forget": "".join(f"\n            {assignment}," for assignment in emptied),
            "forget_last": "".join(f",\n        {assignment}" for assignment in emptied),
        }
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
)
