"""The grid in columns: all regions ahead, and what came of what was forecast."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from api.grid_series import read_regional_forecasts
from database.interface import Database, Where
from database.postgres import PostgresDatabase
from grid.half_hours import HALF_HOUR, half_hour_of, rfc3339
from grid_world import NOW, REGIONS, carbon_intensity_gco2_per_kwh, store_grid
from served import Client

FORECASTS = "/api/v1/grid/forecast/regions"
HISTORY = "/api/v1/grid/history"
SLOT = half_hour_of(NOW)
DAY = timedelta(days=1)


def asked(api: Client, path: str) -> Any:
    found = api.get(path)
    assert found.status_code == 200, found.text
    return found.json()


def change(database: Database, table: str, slot: datetime, values: dict[str, Any], *where: Where) -> None:
    database.update(table, values, where=[Where("timestamp", slot), *where])


def test_all_regions_ahead_in_columns(world: Client) -> None:
    found = asked(world, FORECASTS)
    assert (found["as_of"], found["start"], found["half_hours"]) == (rfc3339(NOW), rfc3339(SLOT), 96)
    assert found["region_ids"] == list(REGIONS)
    assert found["carbon_intensity_gco2"] == [
        [carbon_intensity_gco2_per_kwh(region, ahead) for ahead in range(96)] for region in REGIONS
    ]
    assert (found["carbon_indices"], found["carbon_index_changes"]) == (["moderate"], [[[0, 0]]] * 17)
    assert (found["carbon_sources"], found["carbon_source_changes"]) == (["carbon_intensity_api"], [[[0, 0]]] * 17)
    assert found["oldest_fetched_at"] == rfc3339(NOW)


def test_it_fits_into_seven_kilobytes(world: Client) -> None:
    assert len(world.get(FORECASTS).content) <= 7 * 1024


def test_sources_and_words_are_told_from_where_they_change(postgres: PostgresDatabase, api: Client) -> None:
    store_grid(postgres)
    change(postgres, "regional_grid_signals", SLOT + 90 * HALF_HOUR, {"carbon_index": "high"}, Where("region_id", 2))
    for ahead in (94, 95):
        modelled = {"carbon_source": "modelled", "carbon_intensity_forecast": 101.26}
        change(postgres, "regional_grid_signals", SLOT + ahead * HALF_HOUR, modelled, Where("region_id", 2))
    found = asked(api, FORECASTS)
    assert found["carbon_indices"] == ["moderate", "high"]
    assert found["carbon_index_changes"][1] == [[0, 0], [90, 1], [91, 0]]
    assert found["carbon_source_changes"][1] == [[0, 0], [94, 1]]
    assert found["carbon_sources"] == ["carbon_intensity_api", "modelled"]
    assert found["carbon_intensity_gco2"][1][93:] == [carbon_intensity_gco2_per_kwh(2, 93), 101.3, 101.3]


def test_what_is_not_known_is_null_in_its_place(api_through: Client, database: Database) -> None:
    store_grid(database, NOW - timedelta(hours=47), regions=(3,))
    found = asked(api_through, FORECASTS)
    assert found["carbon_intensity_gco2"][0] == [None] * 96
    assert found["carbon_intensity_gco2"][2][:3] == [carbon_intensity_gco2_per_kwh(3, 94), 125, None]
    assert found["carbon_source_changes"][2] == [[0, 0], [2, None]]
    assert found["carbon_index_changes"][0] == [[0, None]]


def test_without_a_grid_there_are_regions_of_nulls(postgres: PostgresDatabase) -> None:
    found = read_regional_forecasts(postgres, NOW)
    assert found.carbon_intensity_gco2 == [[None] * 96] * 17
    assert (found.carbon_sources, found.oldest_fetched_at) == ([], None)


def test_the_nation_s_last_day_forecast_against_actual(api_through: Client, database: Database) -> None:
    store_grid(database, NOW - DAY)
    change(database, "grid_signals", SLOT - HALF_HOUR, {"carbon_intensity_actual": 120, "price_source": "modelled"})
    found = asked(api_through, HISTORY)
    assert (found["start"], found["half_hours"], found["region_id"]) == (rfc3339(SLOT - DAY), 49, None)
    assert found["carbon_intensity_forecast_gco2"] == [150] * 49
    assert found["carbon_intensity_actual_gco2"] == [None] * 47 + [120, None]
    assert found["actual_is_estimated"] is False
    assert found["demand_mw"] == [28_000] * 49
    assert found["grid_stress_score"] == [0.3] * 49
    assert found["wholesale_price_gbp_mwh"] == [80] * 49
    assert found["price_source_changes"] == [[0, "elexon"], [47, "modelled"], [48, "elexon"]]
    assert found["carbon_source_changes"] == [[0, "carbon_intensity_api"]]
    assert found["carbon_index_changes"] == [[0, "moderate"]]
    assert found["generation_mix"]["wind"] == [40] + [None] * 48
    assert found["mix_source_changes"] == [[0, "carbon_intensity_api"], [1, None]]


def test_a_region_s_actual_is_estimated_from_the_nation_s(postgres: PostgresDatabase, api: Client) -> None:
    store_grid(postgres, NOW - DAY)
    for back in (1, 2, 3):
        change(postgres, "grid_signals", SLOT - back * HALF_HOUR, {"carbon_intensity_actual": 120})
    change(postgres, "regional_grid_signals", SLOT - HALF_HOUR, {"carbon_source": "modelled"}, Where("region_id", 13))
    change(postgres, "grid_signals", SLOT - 2 * HALF_HOUR, {"carbon_intensity_forecast": 0})
    found = asked(api, f"{HISTORY}?region_id=13&from={rfc3339(SLOT - 3 * HALF_HOUR)}&to={rfc3339(SLOT)}")
    assert found["carbon_intensity_forecast_gco2"] == [carbon_intensity_gco2_per_kwh(13, at) for at in (45, 46, 47)]
    assert found["carbon_intensity_actual_gco2"] == [pytest.approx(175 * 120 / 150), None, None]
    assert found["actual_is_estimated"] is True
    assert found["demand_mw"] == [None] * 3
    assert found["demand_source_changes"] == [[0, None]]


def test_a_region_s_mix(world: Client) -> None:
    found = asked(world, f"{HISTORY}?region_id=13&from={rfc3339(SLOT)}&to={rfc3339(SLOT + HALF_HOUR)}")
    assert found["half_hours"] == 1
    assert found["generation_mix"] == {
        "biomass": [5],
        "gas": [30],
        "imports": [5],
        "nuclear": [15],
        "solar": [5],
        "wind": [40],
    }


def test_a_history_begins_with_the_half_hour_that_from_is_in(world: Client) -> None:
    found = asked(world, f"{HISTORY}?from={rfc3339(NOW)}&to={rfc3339(NOW + timedelta(seconds=1))}")
    assert (found["start"], found["half_hours"]) == (rfc3339(SLOT), 1)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("from=2026-11-22T08:00:00Z&to=2026-11-22T08:00:00Z", "from"),
        ("from=2026-11-23T08:00:00Z", "from"),
        ("from=2026-10-01T00:00:00Z&to=2026-11-01T01:00:00Z", "from"),
        ("to=yesterday", "to"),
        ("region_id=18", "region_id"),
        ("region=3", "region"),
    ],
)
def test_a_period_that_is_none_is_refused(world: Client, query: str, field: str) -> None:
    answer = world.get(f"{HISTORY}?{query}")
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
