"""Drains jobs that do nothing with another queue library, on an embedded server that runs: gateway_backlog's peers.

    python benchmarks/empty_jobs.py SOCKET_DIRECTORY JOBS (procrastinate | pgqueuer)

Runs in an environment of its own, with the library and nothing of ours. Prints a JSON document.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version

import psycopg

Drained = Callable[[Awaitable[object]], Awaitable[None]]
"""Waits for what drains a queue, and takes the time."""

CONCURRENCY = 4
CLAIMED_TOGETHER = 24
"""As many as our workers claim."""
FILLED_TOGETHER = 500


async def procrastinate_jobs(conninfo: str, jobs: int, drained: Drained) -> None:
    """Fills procrastinate's queue, and drains it with one worker of four jobs at a time."""
    import procrastinate  # type: ignore[import-not-found]

    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=conninfo))

    @app.task(name="nothing")  # type: ignore[untyped-decorator]
    async def nothing() -> None:
        pass

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        for first in range(0, jobs, FILLED_TOGETHER):
            await nothing.batch_defer_async(*[{}] * min(FILLED_TOGETHER, jobs - first))
        await drained(
            app.run_worker_async(
                concurrency=CONCURRENCY, wait=False, install_signal_handlers=False, listen_notify=False
            )
        )


async def pgqueuer_jobs(conninfo: str, jobs: int, drained: Drained) -> None:
    """Fills pgqueuer's queue, and drains it with four managers, each over a connection of its own."""
    from pgqueuer import PgQueuer  # type: ignore[import-not-found]
    from pgqueuer.db import PsycopgDriver  # type: ignore[import-not-found]
    from pgqueuer.queries import Queries  # type: ignore[import-not-found]
    from pgqueuer.types import QueueExecutionMode  # type: ignore[import-not-found]

    connections = [await psycopg.AsyncConnection.connect(conninfo, autocommit=True) for _ in range(1 + CONCURRENCY)]
    drivers = [PsycopgDriver(connection) for connection in connections]
    queries = Queries(drivers[0])
    await queries.install()
    for first in range(0, jobs, FILLED_TOGETHER):
        amount = min(FILLED_TOGETHER, jobs - first)
        await queries.enqueue(["nothing"] * amount, [None] * amount, [0] * amount)
    managers = [PgQueuer(driver) for driver in drivers[1:]]
    for manager in managers:

        @manager.entrypoint("nothing")  # type: ignore[untyped-decorator]
        async def nothing(job: object) -> None:
            del job

    await drained(
        asyncio.gather(
            *(manager.run(batch_size=CLAIMED_TOGETHER, mode=QueueExecutionMode.drain) for manager in managers)
        )
    )


LIBRARIES = {"procrastinate": procrastinate_jobs, "pgqueuer": pgqueuer_jobs}


async def main() -> None:
    socket_dir, jobs, library = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    with psycopg.connect(f"host={socket_dir} user=postgres dbname=postgres", autocommit=True) as connection:
        connection.execute("drop database if exists peer with (force)")
        connection.execute("create database peer")

    async def drained(working: Awaitable[object]) -> None:
        began, cpu = time.perf_counter(), time.process_time()
        await working
        elapsed, cpu = time.perf_counter() - began, time.process_time() - cpu
        found = {
            "library": f"{library} {version(library)}",
            "rate": jobs / elapsed,
            "cpu_ms": 1000 * cpu / jobs,
        }
        print(json.dumps(found))

    await LIBRARIES[library](f"host={socket_dir} user=postgres dbname=peer", jobs, drained)


if __name__ == "__main__":
    asyncio.run(main())
