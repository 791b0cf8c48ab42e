"""A grid is read again as soon as the database's is another, and only then."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from queue import Queue
from typing import Any

import psycopg
import pytest

from database.interface import Database, Row, Where
from database.postgres import PostgresDatabase
from decisions.work.grid_keeper import GridKeeper
from decisions.work.notifications import WorkQueue
from grid.half_hours import half_hour_of
from grid_world import NOW, data_centre, store_data_centres, store_grid, store_world, submit, workload

SLOT = half_hour_of(NOW)
LATER = NOW + timedelta(minutes=3)


def queue_of(database: Database) -> WorkQueue:
    return WorkQueue(database, "gateway-1", lease_seconds=60)


def version(database: Database, now: Any = NOW) -> str:
    found: str = database.call("decision_contexts", {"p_job_ids": [], "p_now": now})["grid_version"]
    return found


def test_what_is_decided_from_a_known_grid_is_what_would_be_read_anew(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_world(database)
    submit(database, workload("job-0"), workload("job-1", carbon_cap_gco2=100))
    queue, answers = queue_of(database), list[Row]()
    call = database.call

    def noting(function: str, *arguments: Any, **options: Any) -> Any:
        answer = call(function, *arguments, **options)
        answers.append(answer)
        return answer

    monkeypatch.setattr(database, "call", noting)
    for now in (NOW, LATER, LATER + timedelta(minutes=3)):
        known, fresh = queue.contexts(["job-0", "job-1"], now), queue_of(database).contexts(["job-0", "job-1"], now)
        for job_id in ("job-1", "job-0"):
            own = {"context_id": "one"}
            assert known.context(job_id).model_copy(update=own) == fresh.context(job_id).model_copy(update=own)
        assert known.grid == fresh.grid
    assert [answer["grid"] is None for answer in answers] == [False, False, True, False, True, False]


def test_a_new_half_hour_is_another_grid(database: Database) -> None:
    store_world(database)
    assert version(database) == version(database, LATER)
    assert version(database) != version(database, NOW + timedelta(minutes=30))


@pytest.mark.own_database
def test_another_grid_is_read_and_parsed_before_a_workload_asks_for_it(postgres: PostgresDatabase) -> None:
    store_world(postgres)
    submit(postgres, workload("job-0"))
    stopping, queue, kept = threading.Event(), queue_of(postgres), Queue[str | None]()
    keep_grid = queue.keep_grid

    def noting(now: datetime) -> None:
        keep_grid(now)
        kept.put(queue.contexts([], now).grid_version)

    queue.keep_grid = noting  # type: ignore[method-assign]
    keeper = GridKeeper(postgres, queue, clock=lambda: NOW, stopping=stopping)
    keeper.start()
    try:
        first = kept.get(timeout=20)
        assert first == version(postgres)
        # Woken by the notice: it would look by itself in twenty seconds only.
        store_grid(postgres, NOW + timedelta(minutes=1))
        while (found := kept.get(timeout=20)) == first:
            pass
        assert found == version(postgres)
        assert queue.contexts(["job-0"], NOW).is_whole
    finally:
        stopping.set()
        keeper.stop(20)
    assert not keeper.loop.trouble()


def test_where_there_is_nothing_to_decide_from_no_grid_is_parsed(database: Database) -> None:
    queue = queue_of(database)
    queue.keep_grid(NOW)
    assert not queue.contexts([], NOW).is_whole


CHANGES: dict[str, Callable[[Database], object]] = {
    "a national signal": lambda database: database.update(
        "grid_signals", {"wholesale_price_gbp_mwh": 1}, where=[Where("timestamp", SLOT + timedelta(hours=47))]
    ),
    "a regional signal": lambda database: database.update(
        "regional_grid_signals",
        {"carbon_intensity_forecast": 1},
        where=[Where("region_id", 2), Where("timestamp", SLOT + timedelta(hours=47))],
    ),
    "the present signal of a region without a data centre": lambda database: database.update(
        "regional_grid_signals",
        {"carbon_intensity_forecast": 1},
        where=[Where("region_id", 9), Where("timestamp", SLOT)],
    ),
    "a data centre's load": lambda database: database.update(
        "data_centres", {"current_load_percentage": 51}, where=[Where("dc_id", "DC-001")]
    ),
    "a data centre": lambda database: store_data_centres(database, [data_centre(8)]),
    # And back: the regions are not made anew for the tests that follow.
    "a region": lambda database: [
        database.update("regions", {"short_name": name}, where=[Where("region_id", 1)])
        for name in ("Elsewhere", "North Scotland")
    ],
    "a whole pipeline run": lambda database: store_grid(database, NOW + timedelta(minutes=1)),
}


@pytest.mark.parametrize("what", CHANGES)
def test_whatever_changes_of_it_makes_another_version(database: Database, what: str) -> None:
    store_world(database)
    before = version(database)
    CHANGES[what](database)
    assert version(database) != before


def test_what_no_decision_is_made_from_makes_no_other_version(database: Database) -> None:
    store_world(database)
    own = [Where("dc_id", "DC-001")]
    database.update("data_centres", {"base_load_percentage": 20}, where=own)
    before = version(database)
    copied = {"current_carbon_intensity_gco2": 5, "carbon_intensity_timestamp": SLOT}
    database.update("data_centres", {"base_load_percentage": 20} | copied, where=own)
    assert version(database) == before
    database.update("data_centres", {"base_load_percentage": 21}, where=own)
    assert version(database) != before


@pytest.mark.own_database
def test_a_change_that_began_before_another_and_is_committed_after_it_is_seen(
    postgres: PostgresDatabase, conninfo: str
) -> None:
    store_world(postgres)
    change = "update grid_signals set wholesale_price_gbp_mwh = %s where timestamp = %s"
    with psycopg.connect(conninfo) as early, psycopg.connect(conninfo, autocommit=True) as late:
        seen = [version(postgres)]
        early.execute(change, [1, SLOT])
        assert version(postgres) == seen[-1]
        late.execute(change, [2, SLOT + timedelta(hours=1)])
        seen.append(version(postgres))
        early.commit()
        seen.append(version(postgres))
        assert len(set(seen)) == 3
        postgres.call("prune_history", {"p_before": NOW - timedelta(days=90)})
        late.execute("truncate generation_mix")
        assert version(postgres) not in seen


@pytest.mark.own_database
def test_a_version_says_that_the_grid_is_the_same_whatever_rows_go(postgres: PostgresDatabase, conninfo: str) -> None:
    store_world(postgres)
    submit(postgres, workload("job-0"))
    queue = queue_of(postgres)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        for table in ("generation_mix", "grid_signals", "regional_grid_signals", "generation_mix", "grid_signals"):
            for _ in range(5):
                connection.execute(
                    f"delete from {table} where ctid in (select ctid from {table} order by random() limit 3)"
                )
                assert queue.contexts(["job-0"], NOW).grid == queue_of(postgres).contexts(["job-0"], NOW).grid
