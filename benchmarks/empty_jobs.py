"""Drains jobs that do nothing with procrastinate, on an embedded server that runs: gateway_backlog's peer.

    python benchmarks/empty_jobs.py SOCKET_DIRECTORY JOBS

Runs in an environment of its own, with procrastinate and nothing of ours. Prints a JSON document.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from importlib.metadata import version

import procrastinate  # type: ignore[import-not-found]
import psycopg

CONCURRENCY = 4


async def main() -> None:
    socket_dir, jobs = sys.argv[1], int(sys.argv[2])
    with psycopg.connect(f"host={socket_dir} user=postgres dbname=postgres", autocommit=True) as connection:
        connection.execute("drop database if exists peer with (force)")
        connection.execute("create database peer")
    connector = procrastinate.PsycopgConnector(conninfo=f"host={socket_dir} user=postgres dbname=peer")
    app = procrastinate.App(connector=connector)

    @app.task(name="nothing")  # type: ignore[untyped-decorator]
    async def nothing() -> None:
        pass

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        for first in range(0, jobs, 500):
            await nothing.batch_defer_async(*[{}] * min(500, jobs - first))
        began, cpu = time.perf_counter(), time.process_time()
        await app.run_worker_async(
            concurrency=CONCURRENCY, wait=False, install_signal_handlers=False, listen_notify=False
        )
        elapsed, cpu = time.perf_counter() - began, time.process_time() - cpu
    print(
        json.dumps(
            {
                "library": f"procrastinate {version('procrastinate')}",
                "rate": jobs / elapsed,
                "cpu_ms": 1000 * cpu / jobs,
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(main())
