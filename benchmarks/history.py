"""Do the reads of the present stay flat as the history grows? The same reads over an empty and over a long history.

    make bench NAME=history ARGS="--regional-rows 5000000 --repeats 200"

Builds two databases on an embedded PostgreSQL of its own in a temporary folder; takes a few minutes and about 2 GB.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

import psycopg
from machine import machine
from psycopg.conninfo import make_conninfo

from database.embedded import EmbeddedPostgres
from database.postgres import PostgresDatabase
from database.schema import install_schema
from ingest.run import run_once
from settings import Settings

READS: Mapping[str, str] = {
    "view current_system_state": "select * from current_system_state",
    "view regional_carbon_ranking": "select * from regional_carbon_ranking",
    "regional_overview (GET /grid/regional)": "select regional_overview(now())",
    "national forecast, 48 h": "select * from grid_signals where timestamp >= half_hour_of(now()) "
    "and timestamp < half_hour_of(now()) + interval '48 hours' order by timestamp",
    "one region's forecast, 48 h": "select * from regional_grid_signals where region_id = 13 and timestamp >= "
    "half_hour_of(now()) and timestamp < half_hour_of(now()) + interval '48 hours' order by timestamp",
    "latest row of every region": "select r.region_id, s.* from regions r cross join lateral (select g.timestamp, "
    "g.carbon_intensity_forecast from regional_grid_signals g where g.region_id = r.region_id "
    "order by g.timestamp desc limit 1) s",
    "grid_context (a decision's inputs)": "select grid_context(now())",
    "live_state, all types": 'select live_state(now(), \'["Operator","Region","GridSignal","RegionalGridSignal",'
    '"GenerationMix","DataCentre","ComputeWorkload","Agent","AgentState","OrchestrationDecision","StorageAsset"]\')',
    "system_health": "select system_health(now())",
}

FILL = """
set session_replication_role = replica; -- no foreign-key lookups while the history is made up
insert into grid_signals (timestamp, settlement_period, carbon_intensity_forecast, carbon_source, carbon_fetched_at,
    demand_mw, demand_source, demand_fetched_at)
select t, 1, 150, 'synthetic', t, 30000, 'synthetic', t
from generate_series(half_hour_of(now()) - %(half_hours)s * interval '30 minutes',
    half_hour_of(now()) - interval '30 minutes', interval '30 minutes') as t;
insert into regional_grid_signals (region_id, timestamp, carbon_intensity_forecast, carbon_source, fetched_at)
select r, t, 100 + r, 'synthetic', t
from generate_series(half_hour_of(now()) - %(half_hours)s * interval '30 minutes',
    half_hour_of(now()) - interval '30 minutes', interval '30 minutes') as t, generate_series(1, 17) as r;
insert into generation_mix (region_id, timestamp, fuel, percentage, mix_source)
select s.region_id, s.timestamp, f.fuel, 11.1, 'synthetic'
from regional_grid_signals s,
    unnest(array['biomass','coal','imports','gas','nuclear','other','hydro','solar','wind']) as f (fuel)
where s.timestamp between now() - interval '90 days' and half_hour_of(now()) - interval '30 minutes';
"""

WARM_UP = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--regional-rows", type=int, default=5_000_000)
    parser.add_argument("--repeats", type=int, default=500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pylon-history-") as folder:
        Path(folder).chmod(0o711)
        server = EmbeddedPostgres(Path(folder) / "data")
        server.start()
        try:
            _compare(server.conninfo, options.regional_rows, options.repeats)
        finally:
            server.stop()


def _compare(conninfo: str, regional_rows: int, repeats: int) -> None:
    names = ("empty_history", "long_history")
    with psycopg.connect(conninfo, autocommit=True) as admin:
        for name in names:
            admin.execute(f"create database {name}")
    connections = {name: _world(make_conninfo(conninfo, dbname=name)) for name in names}
    began = time.perf_counter()
    half_hours = -(-regional_rows // 17)
    with psycopg.ClientCursor(connections["long_history"]) as cursor:
        cursor.execute(FILL, {"half_hours": half_hours})
        cursor.execute("reset session_replication_role")
    for connection in connections.values():
        connection.execute("vacuum analyze")
    stored = connections["long_history"].execute("select count(*) from regional_grid_signals").fetchone()
    print(f"{machine()}; PostgreSQL {connections['long_history'].info.parameter_status('server_version')}")
    print(
        f"{stored[0] if stored else 0:,} regional rows, filled in {time.perf_counter() - began:.0f} s; "
        f"median of {repeats} in ms\n"
    )
    print("| read | empty history | long history | ratio |")
    print("|---|---|---|---|")
    for label, query in READS.items():
        empty, long = _interleaved_medians(connections["empty_history"], connections["long_history"], query, repeats)
        print(f"| {label} | {empty:.3f} | {long:.3f} | {long / empty:.2f} |", flush=True)


def _world(conninfo: str) -> psycopg.Connection[tuple[object, ...]]:
    """A database with the tables and one offline run: the present and the next 48 hours."""
    database = PostgresDatabase(conninfo, max_connections=1)
    install_schema(database)
    run_once(database, Settings(), None, now=datetime.now(timezone.utc))
    database.close()
    return psycopg.connect(conninfo, autocommit=True)


def _interleaved_medians(
    first: psycopg.Connection[tuple[object, ...]],
    second: psycopg.Connection[tuple[object, ...]],
    query: str,
    repeats: int,
) -> tuple[float, float]:
    # In turns, so that whatever else the machine does falls on both, and warm: the first ones read from the disk.
    for _ in range(WARM_UP):
        first.execute(query.encode()).fetchall()
        second.execute(query.encode()).fetchall()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for connection, taken in zip((first, second), times, strict=True):
            began = time.perf_counter()
            connection.execute(query.encode()).fetchall()
            taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(times[0]), statistics.median(times[1])


if __name__ == "__main__":
    main()
