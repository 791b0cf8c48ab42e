"""The pages of flexibility: an event from its announcement to its last settlement."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from balancing_payloads import csv_file, dfs_requirement, dfs_summary
from database.postgres import PostgresDatabase
from flexibility_world import ENDS_AT, HALF_HOURS, STARTS_AT, announced, carry_on, store_flexible_world
from grid.half_hours import HALF_HOUR, half_hour_of
from grid_world import NOW
from ingest.market import MarketData, store_market
from served import Client
from upstreams.dfs import CSV, REQUIREMENTS, SUMMARIES, parse_file

UNKNOWN = "00000000-0000-4000-8000-000000000000"


def test_an_event_is_shown_from_its_offer_to_its_settlement(api: Client, postgres: PostgresDatabase) -> None:
    assert "No event yet" in api.get("/dashboard/flexibility").text
    store_flexible_world(postgres)
    event = announced(postgres)
    path = f"/dashboard/flexibility/{event.event_id}"
    assert "announced" in api.get(path).text
    carry_on(postgres, NOW)
    carry_on(postgres, ENDS_AT)
    listed = api.get("/dashboard/flexibility").text
    assert f'href="{path}"' in listed
    assert "Run 1: £480.00 received." in listed
    page = api.get(path).text
    assert "The baseline comes to 2.88 MWh, and 0 MWh were metered." in page
    assert 'href="/dashboard/workloads/job-1"' in page
    assert "NESO" in page
    assert "Brought" in page
    assert page.count("£480.00</td>") == 1, "the one workload that moved brought all of it"
    assert "To give way: 1 of 1 workloads." in page


def published(postgres: PostgresDatabase, start: datetime, **columns: Any) -> None:
    """What NESO wants in the four half-hours from `start` on, and what it bought two days before."""
    wanted = [dfs_requirement(start + place * HALF_HOUR, 1, 137, **columns) for place in range(HALF_HOURS)]
    earlier = start - timedelta(days=2)
    bought = [dfs_summary(earlier, "2", "500", event_id=136)]
    rows = MarketData(
        dfs_requirements=parse_file(
            REQUIREMENTS, CSV.read(csv_file([dfs_requirement(earlier, 500, 136, **columns), *wanted])), NOW
        ).rows,
        dfs_summaries=parse_file(SUMMARIES, CSV.read(csv_file(bought)), NOW).rows,
    )
    store_market(postgres, rows, NOW)


def test_todays_event_of_the_service_is_shown_with_what_is_offered_and_why(
    api: Client, postgres: PostgresDatabase
) -> None:
    store_flexible_world(postgres)
    published(postgres, STARTS_AT)
    before = api.get("/dashboard/flexibility").text
    assert "No event yet." in before
    assert "It is no event here yet" in before
    assert before.count("2026-13") == 1, "an earlier day's is not told"
    carry_on(postgres, NOW)
    (event,) = api.get("/api/v1/flexibility/events").json()["events"]
    path = f"/dashboard/flexibility/{event['event_id']}"
    listed = api.get("/dashboard/flexibility").text
    assert f'<a href="{path}">notified</a>: It was notified' in listed
    page = api.get(path).text
    assert "To give way: 1 of 1 workloads. It brings £1,000.00" in page
    assert "At 500.00 £/MWh: the mean accepted in event 2026-136" in page


@pytest.mark.parametrize(
    ("start", "columns", "why"),
    [
        (NOW - timedelta(minutes=4), {}, "Nothing was offered: its gate closed at Sun 22 Nov 07:00 UTC, before"),
        (STARTS_AT, {"Event Type": "Upwards"}, "More load is wanted, and nothing is offered for that."),
    ],
)
def test_why_nothing_is_offered_for_an_event_of_today_is_told(
    api: Client, postgres: PostgresDatabase, start: datetime, columns: dict[str, Any], why: str
) -> None:
    store_flexible_world(postgres)
    published(postgres, half_hour_of(start), **columns)
    carry_on(postgres, NOW)
    page = api.get("/dashboard/flexibility").text
    assert "2026-137" in page
    assert why in page


def test_what_is_no_event_is_not_found(api: Client) -> None:
    for unknown in (UNKNOWN, "no-identity"):
        assert api.get(f"/dashboard/flexibility/{unknown}").status_code == 404
    assert api.get("/dashboard/flexibility?after=nowhere").status_code == 200
