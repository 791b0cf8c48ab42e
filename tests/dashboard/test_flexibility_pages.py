"""The pages of flexibility: an event from its announcement to its last settlement."""

from __future__ import annotations

from database.postgres import PostgresDatabase
from flexibility_world import ENDS_AT, announced, carry_on, store_flexible_world
from grid_world import NOW
from served import Client

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


def test_what_is_no_event_is_not_found(api: Client) -> None:
    for unknown in (UNKNOWN, "no-identity"):
        assert api.get(f"/dashboard/flexibility/{unknown}").status_code == 404
    assert api.get("/dashboard/flexibility?after=nowhere").status_code == 200
