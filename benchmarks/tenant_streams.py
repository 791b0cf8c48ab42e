"""Many streams of many operators: does each get its own events, and only those, and soon?

    make bench NAME=tenant_streams [ARGS="--clients 1000 --operators 100 --seconds 30"]

Workloads of different operators are inserted, ten a second; each decision goes to its operator's clients. Delivery
is measured from the publishing transaction, and from before the insertion, to each client's socket. The clients share
the machine with the gateway and the database.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

from gateways import gateway, percentile, workload, world
from machine import machine
from sse_clients import sse_clients

from database.interface import Database, OrderBy, Row
from tenancy.administration import Keys, NewKey, PlatformFunctions
from tenancy.scopes import Scope

INSERTED_A_SECOND = 10
STREAMS_OF_ONE = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--operators", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=30)
    options = parser.parse_args()
    print(f"{machine()}; {INSERTED_A_SECOND} decisions a second for {options.seconds} s\n")
    print("| streams | operators | published → delivered p50 | p99 | inserted → delivered p50 | p99 | gone astray |")
    print("|---|---|---|---|---|---|---|")
    print(_measure(options.clients, options.operators, options.seconds), flush=True)


def _measure(clients: int, operators: int, seconds: int) -> str:
    with world() as database, tempfile.TemporaryDirectory() as folder:
        os.environ.update(TENANCY="multi", PYLON_API_KEY="of-this-benchmark")
        credentials = Path(folder) / "credentials.json"
        credentials.write_text(json.dumps([_key(database, f"op-{number}") for number in range(operators)]))
        with gateway() as running, sse_clients(running.port, clients, seconds + 6, credentials) as streams:
            inserted = _insert(database, operators, seconds)
            arrivals = streams.arrivals_by_name()
        events = _events(database)
    astray = set(arrivals) - {_name(event) for event in events}
    since_published: list[float] = []
    since_inserted: list[float] = []
    for event in events:
        moments = arrivals.get(_name(event), [])
        if len(moments) != clients // operators:
            raise RuntimeError(f"event {_name(event)} came {len(moments)} times to {clients // operators} streams")
        published = datetime.fromisoformat(event["created_at"]).timestamp()
        since_published += [moment - published for moment in moments]
        since_inserted += [moment - inserted[event["job_id"]] for moment in moments]
    return "| " + " | ".join(
        [
            str(clients),
            str(operators),
            *(f"{1000 * percentile(since_published, share):.0f} ms" for share in (0.5, 0.99)),
            *(f"{1000 * percentile(since_inserted, share):.0f} ms" for share in (0.5, 0.99)),
            f"{len(astray)} |",
        ]
    )


def _key(service: Database, operator: str) -> str:
    """A key of a new operator, which may have all of this benchmark's streams."""
    service.call("tenancy_set_operator", {"p_operator": {"operator_id": operator, "name": operator}})
    service.call("tenancy_set_limit", {"p_operator": operator, "p_name": "streams", "p_capacity": STREAMS_OF_ONE})
    keys = Keys(PlatformFunctions(service, operator, "benchmark"), operator, frozenset(Scope))
    tomorrow = datetime.now(timezone.utc) + timedelta(days=1)
    return keys.make(NewKey(name="benchmark", expires_at=tomorrow))[0].text


def _insert(database: Database, operators: int, seconds: int) -> dict[str, float]:
    """When each job was inserted, in seconds since 1970."""
    inserted = {}
    for number in range(seconds * INSERTED_A_SECOND):
        job_id = f"job-{number}"
        inserted[job_id] = time.time()
        database.insert("compute_workloads", [workload(job_id) | {"operator": f"op-{number % operators}"}])
        time.sleep(1 / INSERTED_A_SECOND)
    return inserted


def _events(database: Database) -> list[Row]:
    columns = ["sequence", "tenant", "tenant_sequence", "job_id", "created_at"]
    return database.select("broadcast_log", order=OrderBy(("sequence",)), columns=columns)


def _name(event: Row) -> str:
    """As the clients name it: the place of the operator's credential, and the operator's number."""
    return f"{event['tenant'].removeprefix('op-')}/{event['tenant_sequence']}"


if __name__ == "__main__":
    main()
