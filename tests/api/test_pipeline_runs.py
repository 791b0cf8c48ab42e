"""The list of the pipeline's runs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from database.interface import Database
from grid.half_hours import HALF_HOUR, half_hour_of, rfc3339
from grid_world import NOW
from served import Client

PATH = "/api/v1/pipeline-runs"
SLOT = half_hour_of(NOW)


def store_run(database: Database, back: int, **changes: Any) -> None:
    slot = SLOT - back * HALF_HOUR
    run = {
        "slot": slot,
        "state": "succeeded",
        "work_state": "completed",
        "attempt": 1,
        "started_at": slot + timedelta(minutes=4),
        "finished_at": slot + timedelta(minutes=5),
        "sources": {"neso": {"state": "fresh", "detail": "48 half-hours", "rows": 48}},
        "counts": {"national": 96},
        "stages_ms": {"fetch": 900.5},
        **changes,
    }
    database.insert("pipeline_runs", [run])


def slots(found: Any) -> list[str]:
    return [run["slot"] for run in found["runs"]]


def test_the_newest_run_comes_first_and_says_what_it_did(api_through: Client, database: Database) -> None:
    store_run(database, 2)
    store_run(
        database, 0, state="running", work_state="running", finished_at=None, sources={}, counts={}, stages_ms={}
    )
    store_run(database, 1, state="failed", last_error="the database refused a row")
    found = api_through.get(PATH).json()
    assert slots(found) == [rfc3339(SLOT - back * HALF_HOUR) for back in range(3)]
    assert found["next"] is None
    running, failed, succeeded = found["runs"]
    assert (running["state"], running["finished_at"]) == ("running", None)
    assert failed["error"] == "the database refused a row"
    assert succeeded == {
        "slot": rfc3339(SLOT - 2 * HALF_HOUR),
        "state": "succeeded",
        "started_at": "2026-11-22T07:04:00Z",
        "finished_at": "2026-11-22T07:05:00Z",
        "attempt": 1,
        "sources": {
            "neso": {"state": "fresh", "detail": "48 half-hours", "rows": 48, "last_success_at": None},
        },
        "counts": {"national": 96},
        "stages_ms": {"fetch": 900.5},
        "error": None,
    }


def test_it_is_paged(api_through: Client, database: Database) -> None:
    for back in range(5):
        store_run(database, back)
    first = api_through.get(f"{PATH}?limit=2").json()
    second = api_through.get(f"{PATH}?limit=2&after={first['next']}").json()
    last = api_through.get(f"{PATH}?limit=2&after={second['next']}").json()
    seen = [*slots(first), *slots(second), *slots(last)]
    assert seen == [rfc3339(SLOT - back * HALF_HOUR) for back in range(5)]
    assert last["next"] is None


def test_before_the_first_run_there_is_none(api: Client) -> None:
    assert api.get(PATH).json() == {"runs": [], "next": None}


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "after=soon"])
def test_a_page_that_is_none_is_refused(api: Client, query: str) -> None:
    assert api.get(f"{PATH}?{query}").status_code == 422
