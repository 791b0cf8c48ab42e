"""The pages of negotiations: the list, and one replayed round by round."""

from __future__ import annotations

import re

from database.postgres import PostgresDatabase
from grid_world import store_world
from served import Client
from stored_negotiations import carry_on, opened

UNKNOWN = "00000000-0000-4000-8000-000000000000"


def test_a_negotiation_is_replayed_round_by_round_to_its_payments(api: Client, postgres: PostgresDatabase) -> None:
    assert "No negotiation yet" in api.get("/dashboard/negotiations").text
    store_world(postgres)
    negotiation = opened(postgres)
    path = f"/dashboard/negotiations/{negotiation.negotiation_id}"
    assert "Nothing yet: it closes at" in api.get(path).text
    carry_on(postgres)
    assert f'href="{path}"' in api.get("/dashboard/negotiations").text
    told = api.get(f"/api/v1/negotiations/{negotiation.negotiation_id}").json()
    page = api.get(path).text
    for words in told["explanation"]:
        assert words.replace("'", "&#39;") in page
    assert f'href="/dashboard/api/v1/negotiations/{negotiation.negotiation_id}"' in page
    assert page.count('<td class="draw"><svg class="chart"') >= len(told["awards"])
    assert "Who pays whom" in page
    numbers = [one["number"] for one in told["rounds"]]
    assert re.findall(r'<a href="\?round=(\d+)#replay" aria-current="page">', page) == [str(numbers[-1])]
    for one in told["rounds"]:
        replayed = api.get(f"{path}?round={one['number']}").text
        assert f'<a href="?round={one["number"]}#replay" aria-current="page">' in replayed
        assert ("Each was asked what it would do alone." in replayed) == (one["number"] == 0)
    first = api.get(f"{path}?round={numbers[0]}").text
    assert "The round before" not in first
    assert "The next round" in first
    assert api.get(f"{path}?round=nonsense").status_code == 200


def test_what_is_no_negotiation_is_not_found(api: Client) -> None:
    for unknown in (UNKNOWN, "no-identity"):
        assert api.get(f"/dashboard/negotiations/{unknown}").status_code == 404
    assert "This cannot be asked for" in api.get("/dashboard/negotiations?after=nowhere").text
