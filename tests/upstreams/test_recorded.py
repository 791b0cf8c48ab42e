"""The parsers against real recorded answers, when there are any (PYLON_RECORDED_DIR)."""

from __future__ import annotations

import csv
import json
import os
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from half_hours import HALF_HOUR, UTC
from upstreams.carbon_intensity_answers import (
    CREDIBLE_ZERO_PERCENT,
    ZERO_CARBON_FUELS,
    parse_generation,
    parse_generation_list,
    parse_national,
    parse_regional,
)
from upstreams.elexon import parse_day_ahead_demand, parse_demand_outturn, parse_market_index_price
from upstreams.errors import UnusableAnswer
from upstreams.neso import parse_cardinal_points, parse_half_hourly_demand
from upstreams.results import ProblemKind, Window
from vocabulary import CarbonIndex, Fuel

RECORDED = os.environ.get("PYLON_RECORDED_DIR", "")
pytestmark = pytest.mark.skipif(not RECORDED, reason="PYLON_RECORDED_DIR names no folder of recorded answers")

NOW = datetime(2026, 11, 22, 8, 14, tzinfo=UTC)


def recorded(path: str) -> object:
    return json.loads((Path(RECORDED) / path).read_text())


def recorded_rows(path: str, *names: str) -> list[dict[str, object]]:
    rows = recorded(path)
    for name in names:
        assert isinstance(rows, dict)
        rows = rows[name]
    assert isinstance(rows, list)
    return rows


def recorded_csv(path: str) -> dict[str, object]:
    """A recorded CSV file as the datastore would answer it, every column a string."""
    with (Path(RECORDED) / path).open(newline="") as file:
        records = list(csv.DictReader(file))
    return {"success": True, "result": {"records": records, "total": len(records)}}


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def days(first: str, count: int) -> Window:
    return Window(utc(first), utc(first) + timedelta(days=count))


def test_the_97_row_forecast() -> None:
    window = days("2026-08-17T08:00", 2)
    result = parse_national(recorded("carbon_intensity/intensity_fw48h_97_rows.json"), window, NOW)
    assert len(result.rows) == 96
    assert result.problems == ()
    assert result.rows[0].start == window.start
    assert result.rows[0].forecast_gco2_per_kwh == 218
    assert result.rows[-1].start == window.end - HALF_HOUR
    assert result.rows[-1].forecast_gco2_per_kwh == 78


def test_national_rows_with_actuals() -> None:
    path = "carbon_intensity/intensity_with_actuals.json"
    result = parse_national(recorded(path), days("2026-07-31T23:30", 1), NOW)
    sent = recorded_rows(path, "data")
    assert len(result.rows) == len(sent)
    assert (result.rows[0].forecast_gco2_per_kwh, result.rows[0].actual_gco2_per_kwh) == (156, 166)


def test_the_last_complete_half_hour() -> None:
    result = parse_national(
        recorded("carbon_intensity/intensity.json"),
        Window(utc("2021-04-30T22:30"), utc("2021-04-30T23:00")),
        NOW,
    )
    (row,) = result.rows
    assert (row.forecast_gco2_per_kwh, row.actual_gco2_per_kwh, row.index) == (
        255,
        None,
        CarbonIndex.MODERATE,
    )


@pytest.mark.parametrize(
    ("path", "first", "periods", "incredible"),
    [
        ("carbon_intensity/regional_intensity_48_periods.json", "2019-12-31T23:30", 48, 4),
        ("carbon_intensity/regional_intensity_fw24h_2_periods_2026.json", "2026-05-05T23:30", 2, 0),
        ("carbon_intensity/regional.json", "2021-04-30T22:30", 1, 0),
    ],
)
def test_every_regional_figure_is_the_one_that_was_sent(path: str, first: str, periods: int, incredible: int) -> None:
    window = Window(utc(first), utc(first) + periods * HALF_HOUR)
    result = parse_regional(recorded(path), window, NOW)
    assert len(result.rows) == periods * 17 - incredible
    assert result.rejected_rows == incredible
    got = {(row.start, row.region_id): row for row in result.rows}
    for period in recorded_rows(path, "data"):
        start = utc(str(period["from"]).rstrip("Z"))
        regions = period["regions"]
        assert isinstance(regions, list)
        for region in regions:
            row = got.pop((start, region["regionid"]), None)
            if row is None:
                assert region["regionid"] == 18 or region["intensity"]["forecast"] == 0
                continue
            assert row.forecast_gco2_per_kwh == region["intensity"]["forecast"]
            assert str(row.index) == region["intensity"]["index"]
            mix = {str(fuel): percent for fuel, percent in row.percent_by_fuel.items()}
            assert mix == {item["fuel"]: item["perc"] for item in region["generationmix"]}
    assert got == {}


def test_the_spurious_zeros_of_london_are_missing() -> None:
    path = "carbon_intensity/regional_intensity_48_periods.json"
    result = parse_regional(recorded(path), days("2019-12-31T23:30", 1), NOW)
    (rejected,) = [problem for problem in result.problems if problem.rejected]
    assert (rejected.kind, rejected.count) == (ProblemKind.INCREDIBLE_ZERO, 4)
    london = {row.start for row in result.rows if row.region_id == 13}
    assert len(london) == 44


def test_the_real_zeros_of_scotland_are_kept() -> None:
    path = "carbon_intensity/regional_intensity_fw24h_2_periods_2026.json"
    result = parse_regional(recorded(path), days("2026-05-05T23:30", 1), NOW)
    zeros = [row for row in result.rows if row.forecast_gco2_per_kwh == 0]
    assert {row.region_id for row in zeros} == {1, 2, 16}
    for row in zeros:
        clean = sum(row.percent_by_fuel[fuel] for fuel in ZERO_CARBON_FUELS)
        assert clean >= CREDIBLE_ZERO_PERCENT


def test_the_route_of_one_region_is_not_mistaken_for_all() -> None:
    answer = recorded("carbon_intensity/regional_intensity_fw24h_regionid_13.json")
    with pytest.raises(UnusableAnswer, match="data is an object, not a list"):
        parse_regional(answer, days("2026-05-05T23:30", 1), NOW)


def test_the_national_mix() -> None:
    result = parse_generation(recorded("carbon_intensity/generation.json"), days("2021-04-30T21:30", 1), NOW)
    (row,) = result.rows
    assert result.problems == ()
    assert row.percent_by_fuel[Fuel.GAS] == 58.6
    assert set(row.percent_by_fuel) == set(Fuel)


def test_the_national_mixes_of_a_day() -> None:
    answer = recorded("carbon_intensity/generation_pt24h_8_rows.json")
    window = Window(utc("2024-01-11T06:00"), utc("2024-01-11T10:00"))
    result = parse_generation_list(answer, window, NOW)
    assert len(result.rows) == 8
    assert result.problems == ()


@pytest.mark.parametrize("name", ["error_500", "error_200_empty_object", "error_400_content_type"])
@pytest.mark.parametrize("parse", [parse_national, parse_regional, parse_generation])
def test_error_bodies_are_no_answers(parse: object, name: str) -> None:
    assert callable(parse)
    with pytest.raises(UnusableAnswer):
        parse(recorded(f"carbon_intensity/{name}.json"), days("2026-05-05T23:30", 1), NOW)


def test_a_real_day_of_cardinal_points() -> None:
    result = parse_cardinal_points(
        recorded_csv("neso/day_ahead_demand_20261009.csv"), days("2026-10-08T23:00", 3), NOW
    )
    assert result.problems == ()
    assert len(result.rows) == 48
    assert result.rows[0].start == utc("2026-10-08T23:00")  # British Summer Time
    assert result.rows[0].demand_mw == 21371
    assert min(row.demand_mw for row in result.rows) == 18215
    assert max(row.demand_mw for row in result.rows) == 30581
    evening = [row for row in result.rows if row.demand_mw == 30581]
    assert all(utc("2026-10-09T17:30") <= row.start <= utc("2026-10-09T18:30") for row in evening)


def test_the_curve_is_lowest_at_night_and_highest_in_the_evening() -> None:
    curve = parse_cardinal_points(
        recorded_csv("neso/day_ahead_demand_20261009.csv"), days("2026-10-08T23:00", 3), NOW
    )
    lowest = min(curve.rows, key=lambda row: row.demand_mw)
    highest = max(curve.rows, key=lambda row: row.demand_mw)
    assert 2 <= lowest.start.hour <= 5
    assert 17 <= highest.start.hour <= 19


def test_the_half_hourly_file_of_a_summer_day_begins_at_london_midnight() -> None:
    result = parse_half_hourly_demand(
        recorded_csv("neso/demand_2_14_day_half_hourly_20261010.csv"), days("2026-10-09T00:00", 16), NOW
    )
    assert result.problems == ()
    assert len(result.rows) == 48
    assert (result.rows[0].start, result.rows[0].demand_mw) == (utc("2026-10-09T23:00"), 20660)
    assert (result.rows[-1].start, result.rows[-1].demand_mw) == (utc("2026-10-10T22:30"), 21821)


def test_an_old_datastore_envelope_is_read_and_its_foreign_records_rejected() -> None:
    with pytest.raises(UnusableAnswer, match="6 × malformed time .*GDATETIME"):
        parse_half_hourly_demand(recorded("neso/datastore_envelope_2021.json"), days("2019-12-01T00:00", 1), NOW)


def test_real_market_index_rows() -> None:
    result = parse_market_index_price(
        recorded("elexon/market_index_mid_2_rows.json"), days("2026-05-06T00:00", 1), NOW
    )
    (row,) = result.rows
    assert (row.start, row.price_gbp_per_mwh, row.volume_mwh) == (utc("2026-05-06T03:00"), 105.43, 1892.45)
    assert result.problems == ()


def test_real_demand_forecast_issues() -> None:
    """The dataset calls its figure `demand`, the route we use `nationalDemand`; the rest is the same."""
    rows = [
        {**row, "nationalDemand": row["demand"]} for row in recorded_rows("elexon/day_ahead_demand_ndf.json", "data")
    ]
    result = parse_day_ahead_demand({"data": rows}, days("2026-08-19T00:00", 2), NOW)
    assert result.problems == ()
    by_start = {row.start: row.demand_mw for row in result.rows}
    assert by_start[utc("2026-08-19T11:00")] == 22700
    assert by_start[utc("2026-08-19T10:30")] == 22939
    assert len(by_start) == len({row["startTime"] for row in rows})


def test_real_demand_outturns() -> None:
    rows = [
        {**row, "initialDemandOutturn": row["demand"]}
        for row in recorded_rows("elexon/demand_outturn_indo.json", "data")
    ]
    result = parse_demand_outturn({"data": rows}, days("2026-08-19T00:00", 1), NOW)
    assert result.problems == ()
    assert [row.demand_mw for row in result.rows] == [23803, 23134, 22748]
