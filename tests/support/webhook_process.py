"""A process that delivers webhooks, and asks before and after each call: there it can be killed.

python webhook_process.py CONNINFO NOW

It writes `calling N` and `called N` lines, of the N-th call, and goes on after each when it reads a line. It ends
when nothing is due. NOW is not looked at: webhooks are due by the database's clock.
"""

from __future__ import annotations

import sys
from itertools import count
from typing import Any

import openadr.webhooks
from database.postgres import PostgresDatabase
from killed_steps import ask
from openadr.webhooks import WebhookSender
from outgoing.calls import Answer, Caller


class AskingCaller(Caller):
    """Calls nobody, and tells nobody that it has called, before it is told to."""

    numbers = count(1)

    def call(self, *args: Any, **named: Any) -> Answer:
        number = next(self.numbers)
        ask(f"calling {number}")
        answer = super().call(*args, **named)
        ask(f"called {number}")
        return answer


def main(conninfo: str, _now: str) -> None:
    setattr(openadr.webhooks, "Caller", AskingCaller)  # noqa: B010 - a name that the module only uses
    database = PostgresDatabase(conninfo, max_connections=1)
    sender = WebhookSender(database, worker="to be killed", private_hosts=["127.0.0.1"])
    while sender.work_once().taken:
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])
