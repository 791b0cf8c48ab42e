"""A data centre's power by the half-hour: base load, promised, running, free; and what of it is told to whom."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from booked_work import book
from clock import utc_now
from database.interface import Database, Where
from database.postgres import PostgresDatabase
from grid.half_hours import HALF_HOUR, half_hour_of, rfc3339
from grid_world import NOW, data_centre, store_data_centres
from served import Client
from tenancy.scopes import Role
from tenant_settings import PLATFORM_KEY, api_with_tenants, bearer, made_key
from two_operators import A, B, gate_of, make_operators

PATH = "/api/v1/data-centres/DC-001/capacity"
SLOT = half_hour_of(NOW)


def start(database: Database, job_id: str) -> None:
    database.update("capacity_bookings", {"state": "RUNNING"}, where=[Where("job_id", job_id)])


def test_base_booked_and_free_power_sum_to_the_whole_in_every_half_hour(
    api_through: Client, database: Database
) -> None:
    store_data_centres(database, [data_centre(1)])
    book(database, "runs", starts_at=NOW, hours=1, it_power_kw=1000)  # touches three half-hours
    start(database, "runs")
    book(database, "waits", starts_at=SLOT + HALF_HOUR, hours=1, it_power_kw=250.5)
    book(database, "reaches-further", starts_at=SLOT + 95 * HALF_HOUR, hours=5, it_power_kw=7)
    found = api_through.get(PATH).json()
    assert (found["as_of"], found["start"], found["half_hours"]) == (rfc3339(NOW), rfc3339(SLOT), 96)
    assert (found["dc_id"], found["name"], found["status"]) == ("DC-001", "Data centre 1", "ACTIVE")
    assert (found["total_kw"], found["base_kw"]) == (20_000, [10_000] * 96)
    assert found["booked_kw"] == [1000, 1250.5, 1250.5, *[0] * 92, 7]
    assert found["running_kw"] == [1000] * 3 + [0] * 93
    assert found["free_kw"] == [9000, 8749.5, 8749.5, *[10_000] * 92, 9993]


def test_a_run_that_began_before_now_counts_from_now_on(postgres: PostgresDatabase, api: Client) -> None:
    store_data_centres(postgres, [data_centre(1)])
    book(postgres, "long", starts_at=NOW - timedelta(hours=6), hours=7, it_power_kw=100)
    start(postgres, "long")
    assert api.get(PATH).json()["running_kw"] == [100] * 3 + [0] * 93


def test_nothing_is_free_where_more_is_promised_than_there_is(postgres: PostgresDatabase, api: Client) -> None:
    store_data_centres(postgres, [data_centre(1)])
    book(postgres, "large", it_power_kw=9000)
    postgres.update("data_centres", {"current_load_percentage": 90}, where=[Where("dc_id", "DC-001")])
    found = api.get(PATH).json()
    assert (found["base_kw"][0], found["booked_kw"][0], found["free_kw"][0]) == (18_000, 9000, 0)
    assert found["free_kw"][95] == 2000


@pytest.mark.parametrize("dc_id", ["DC-404", "DC%00", "\u00e9"])
def test_a_data_centre_that_there_is_not_is_404_and_some_that_there_are(
    postgres: PostgresDatabase, api: Client, dc_id: str
) -> None:
    store_data_centres(postgres, [data_centre(1), data_centre(2)])
    answer = api.get(f"/api/v1/data-centres/{dc_id}/capacity")
    assert answer.status_code == 404
    assert answer.json()["some_ids"] == ["DC-001", "DC-002"]


def test_what_runs_in_a_data_centre_is_told_to_its_operator_alone(postgres: PostgresDatabase, conninfo: str) -> None:
    make_operators(postgres)
    store_data_centres(postgres, [data_centre(1, operator=A), data_centre(2)])
    postgres.update("data_centres", {"operator": A}, where=[Where("dc_id", "DC-001")])
    book(postgres, "of-b", starts_at=utc_now(), it_power_kw=4, operator=B)
    start(postgres, "of-b")
    keys = {operator: made_key(postgres, operator, Role.READER)[0].text for operator in (A, B)}
    gate = gate_of(conninfo)
    with api_with_tenants(postgres, gate) as api:

        def told(credential: str, path: str = PATH) -> Any:
            return api.get(path, headers=bearer(credential)).json()

        assert told(keys[A])["running_kw"][0] == told(PLATFORM_KEY)["running_kw"][0] == 4
        assert told(keys[B])["running_kw"] is None
        assert told(keys[B])["booked_kw"][0] == told(keys[A])["booked_kw"][0] == 4
        nobodys = PATH.replace("DC-001", "DC-002")
        assert told(keys[A], nobodys)["running_kw"] is None
        assert told(PLATFORM_KEY, nobodys)["running_kw"] == [0] * 96
    gate.close()
