from __future__ import annotations

from datetime import timedelta

import pytest

from database.postgres import PostgresDatabase
from grid.half_hours import HALF_HOUR, half_hour_of, rfc3339
from grid_world import NOW, carbon_intensity_gco2_per_kwh, store_grid
from served import Client

SLOT = half_hour_of(NOW)
SLOTS = [rfc3339(SLOT + number * HALF_HOUR) for number in range(96)]


def test_all_17_regions_now_with_their_mix_and_source(world: Client) -> None:
    document = world.get("/api/v1/grid/regional").json()
    assert document["as_of"] == "2026-11-22T08:04:11Z"
    assert [region["region_id"] for region in document["regions"]] == list(range(1, 18))
    assert document["regions"][12] == {
        "region_id": 13,
        "short_name": "London",
        "dno_region": "UKPN London",
        "country": "England",
        "is_aggregate": False,
        "timestamp": "2026-11-22T08:00:00Z",
        "carbon_intensity_gco2": carbon_intensity_gco2_per_kwh(13, 0),
        "carbon_index": "moderate",
        "generation_mix": {"biomass": 5, "gas": 30, "imports": 5, "nuclear": 15, "solar": 5, "wind": 40},
        "data_source": "carbon_intensity_api",
        "fetched_at": "2026-11-22T08:04:11Z",
    }


def test_a_region_that_nothing_is_known_of_is_there_with_nulls(api_through: Client) -> None:
    regions = api_through.get("/api/v1/grid/regional").json()["regions"]
    assert len(regions) == 17
    assert {region["timestamp"] for region in regions} == {region["data_source"] for region in regions} == {None}
    assert [region["generation_mix"] for region in regions] == [{}] * 17


def test_the_present_is_the_half_hour_that_contains_now_and_not_the_last_one_stored(
    api: Client, postgres: PostgresDatabase
) -> None:
    store_grid(postgres, NOW - timedelta(hours=5))
    (north, *_) = api.get("/api/v1/grid/regional").json()["regions"]
    assert (north["timestamp"], north["carbon_intensity_gco2"]) == (
        rfc3339(SLOT),
        carbon_intensity_gco2_per_kwh(1, 10),
    )


def test_an_intensity_of_zero_is_zero(api: Client, postgres: PostgresDatabase) -> None:
    store_grid(postgres, regions=(1,), carbon_added=-10)
    (north, *_) = api.get("/api/v1/grid/regional").json()["regions"]
    assert north["carbon_intensity_gco2"] == 0
    (first, *_) = api.get("/api/v1/grid/forecast?region_id=1").json()["forecast"]
    assert first["carbon_intensity_forecast"] == 0


def test_the_national_forecast_is_48_hours_from_the_running_half_hour(world: Client) -> None:
    document = world.get("/api/v1/grid/forecast").json()
    assert document["region_id"] is None
    assert [signal["timestamp"] for signal in document["forecast"]] == SLOTS
    first = document["forecast"][0]
    assert (first["carbon_intensity_forecast"], first["wholesale_price_gbp_mwh"], first["grid_stress_score"]) == (
        150,
        80,
        0.3,
    )
    assert (first["carbon_source"], first["demand_source"], first["price_source"]) == (
        "carbon_intensity_api",
        "neso",
        "elexon",
    )


def test_a_region_s_forecast_is_its_own(world: Client) -> None:
    document = world.get("/api/v1/grid/forecast?region_id=7").json()
    assert (document["region_id"], [signal["timestamp"] for signal in document["forecast"]]) == (7, SLOTS)
    assert [signal["carbon_intensity_forecast"] for signal in document["forecast"]] == [
        carbon_intensity_gco2_per_kwh(7, ahead) for ahead in range(96)
    ]


def test_without_any_signal_the_forecast_is_empty(api: Client) -> None:
    assert api.get("/api/v1/grid/forecast").json()["forecast"] == []
    assert api.get("/api/v1/grid/forecast?region_id=17").json()["forecast"] == []


@pytest.mark.parametrize("query", ["region_id=0", "region_id=18", "region_id=London", "region_id=", "region=1"])
def test_a_bad_region_is_422_and_named(world: Client, query: str) -> None:
    answer = world.get(f"/api/v1/grid/forecast?{query}")
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [query.split("=")[0]]
