"""The parsers against whole answers: ours, and real recorded ones where there are any (see `recorded_answers`)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from grid.half_hours import HALF_HOUR, LONDON, UTC, settlement_period_start
from recorded_answers import Recordings, recordings
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
from vocabulary import Fuel

pytestmark = pytest.mark.parametrize("recorded", recordings(), ids=str)

NOW = datetime(2026, 11, 22, 8, 14, tzinfo=UTC)
TWO_DAYS = timedelta(days=2)


def utc(text: object) -> datetime:
    return datetime.fromisoformat(str(text).rstrip("Z")).replace(tzinfo=UTC)


def all_of(rows: list[dict[str, Any]], name: str = "from") -> Window:
    """From the first of the rows' half-hours to the last, both inclusive."""
    starts = [utc(row[name]) for row in rows]
    return Window(min(starts), max(starts) + HALF_HOUR)


def test_the_97_row_forecast(recorded: Recordings) -> None:
    path = "carbon_intensity/intensity_fw48h_97_rows.json"
    _, *sent = recorded.rows(path, "data")
    window = all_of(sent)
    result = parse_national(recorded.document(path), window, NOW)
    assert window.end - window.start == TWO_DAYS
    assert result.problems == ()
    assert [row.start for row in result.rows] == [utc(row["from"]) for row in sent]
    assert [
        {"forecast": row.carbon_intensity_gco2_per_kwh, "actual": None, "index": row.index} for row in result.rows
    ] == [row["intensity"] for row in sent]


def test_national_rows_with_actuals(recorded: Recordings) -> None:
    path = "carbon_intensity/intensity_with_actuals.json"
    sent = recorded.rows(path, "data")
    result = parse_national(recorded.document(path), all_of(sent), NOW)
    assert [
        {
            "forecast": row.carbon_intensity_gco2_per_kwh,
            "actual": row.actual_carbon_intensity_gco2_per_kwh,
            "index": row.index,
        }
        for row in result.rows
    ] == [row["intensity"] for row in sent]
    assert all(row.actual_carbon_intensity_gco2_per_kwh for row in result.rows)


def test_the_last_complete_half_hour(recorded: Recordings) -> None:
    path = "carbon_intensity/intensity.json"
    (sent,) = recorded.rows(path, "data")
    (row,) = parse_national(recorded.document(path), all_of([sent]), NOW).rows
    assert sent["intensity"] == {"forecast": row.carbon_intensity_gco2_per_kwh, "actual": None, "index": row.index}


@pytest.mark.parametrize(
    ("path", "periods", "incredible"),
    [
        ("carbon_intensity/regional_intensity_48_periods.json", 48, 4),
        ("carbon_intensity/regional_intensity_fw24h_2_periods_2026.json", 2, 0),
        ("carbon_intensity/regional.json", 1, 0),
    ],
)
def test_every_regional_figure_is_the_one_that_was_sent(
    recorded: Recordings, path: str, periods: int, incredible: int
) -> None:
    sent = recorded.rows(path, "data")
    result = parse_regional(recorded.document(path), all_of(sent), NOW)
    assert len(result.rows) == periods * 17 - incredible
    assert result.rejected_rows == incredible
    got = {(row.start, row.region_id): row for row in result.rows}
    for period in sent:
        regions = period["regions"]
        assert isinstance(regions, list)
        for region in regions:
            row = got.pop((utc(period["from"]), region["regionid"]), None)
            if row is None:
                assert region["regionid"] == 18 or region["intensity"]["forecast"] == 0
                continue
            assert row.carbon_intensity_gco2_per_kwh == region["intensity"]["forecast"]
            assert str(row.index) == region["intensity"]["index"]
            mix = {str(fuel): percent for fuel, percent in row.percent_by_fuel.items()}
            assert mix == {item["fuel"]: item["perc"] for item in region["generationmix"]}
    assert got == {}


def test_the_spurious_zeros_of_london_are_missing(recorded: Recordings) -> None:
    path = "carbon_intensity/regional_intensity_48_periods.json"
    result = parse_regional(recorded.document(path), all_of(recorded.rows(path, "data")), NOW)
    (rejected,) = [problem for problem in result.problems if problem.rejected]
    assert (rejected.kind, rejected.count) == (ProblemKind.INCREDIBLE_ZERO, 4)
    london = {row.start for row in result.rows if row.region_id == 13}
    assert len(london) == 44


def test_the_real_zeros_of_scotland_are_kept(recorded: Recordings) -> None:
    path = "carbon_intensity/regional_intensity_fw24h_2_periods_2026.json"
    result = parse_regional(recorded.document(path), all_of(recorded.rows(path, "data")), NOW)
    zeros = [row for row in result.rows if row.carbon_intensity_gco2_per_kwh == 0]
    assert {row.region_id for row in zeros} == {1, 2, 16}
    for row in zeros:
        clean = sum(row.percent_by_fuel[fuel] for fuel in ZERO_CARBON_FUELS)
        assert clean >= CREDIBLE_ZERO_PERCENT


def test_the_route_of_one_region_is_not_mistaken_for_all(recorded: Recordings) -> None:
    path = "carbon_intensity/regional_intensity_fw24h_regionid_13.json"
    window = all_of(recorded.rows(path, "data", "data"))
    with pytest.raises(UnusableAnswer, match="data is an object, not a list"):
        parse_regional(recorded.document(path), window, NOW)


def test_the_national_mix(recorded: Recordings) -> None:
    answer: Any = recorded.document("carbon_intensity/generation.json")
    result = parse_generation(answer, all_of([answer["data"]]), NOW)
    (row,) = result.rows
    assert result.problems == ()
    assert set(row.percent_by_fuel) == set(Fuel)
    sent = {item["fuel"]: item["perc"] for item in answer["data"]["generationmix"]}
    assert {str(fuel): percent for fuel, percent in row.percent_by_fuel.items()} == sent


def test_the_national_mixes_of_a_day(recorded: Recordings) -> None:
    path = "carbon_intensity/generation_pt24h_8_rows.json"
    result = parse_generation_list(recorded.document(path), all_of(recorded.rows(path, "data")), NOW)
    assert len(result.rows) == 8
    assert result.problems == ()


@pytest.mark.parametrize("name", ["error_500", "error_200_empty_object", "error_400_content_type"])
@pytest.mark.parametrize("parse", [parse_national, parse_regional, parse_generation])
def test_error_bodies_are_no_answers(recorded: Recordings, parse: Any, name: str) -> None:
    window = Window(NOW - TWO_DAYS, NOW)
    with pytest.raises(UnusableAnswer):
        parse(recorded.document(f"carbon_intensity/{name}.json"), window, NOW)


CARDINAL_POINTS = "neso/day_ahead_demand_20261009.csv"


def target_day(recorded: Recordings) -> tuple[datetime, Window]:
    """Midnight in London of the day that the points are of, in British Summer Time, and three days around it."""
    label = recorded.records(CARDINAL_POINTS)[0]["TARGETDATE"]
    midnight = settlement_period_start(datetime.strptime(label, "%Y%m%d").replace(tzinfo=LONDON).date(), 1)
    assert midnight.hour == 23
    return midnight, Window(midnight, midnight + timedelta(days=3))


def test_a_whole_day_of_cardinal_points(recorded: Recordings) -> None:
    midnight, window = target_day(recorded)
    sent = [float(record["FORECASTDEMAND"]) for record in recorded.records(CARDINAL_POINTS)]
    result = parse_cardinal_points(recorded.datastore(CARDINAL_POINTS), window, NOW)
    assert result.problems == ()
    assert [row.start for row in result.rows] == [midnight + number * HALF_HOUR for number in range(48)]
    assert result.rows[0].demand_mw == sent[0]
    assert min(row.demand_mw for row in result.rows) == min(sent)
    assert max(row.demand_mw for row in result.rows) == max(sent)
    evening = [row for row in result.rows if row.demand_mw == max(sent)]
    assert all(18.5 <= (row.start - midnight).total_seconds() / 3600 <= 19.5 for row in evening)


def test_the_curve_is_lowest_at_night_and_highest_in_the_evening(recorded: Recordings) -> None:
    _, window = target_day(recorded)
    curve = parse_cardinal_points(recorded.datastore(CARDINAL_POINTS), window, NOW)
    lowest = min(curve.rows, key=lambda row: row.demand_mw)
    highest = max(curve.rows, key=lambda row: row.demand_mw)
    assert 2 <= lowest.start.hour <= 5
    assert 17 <= highest.start.hour <= 19


def test_the_half_hourly_file_of_a_summer_day_begins_at_london_midnight(recorded: Recordings) -> None:
    path = "neso/demand_2_14_day_half_hourly_20261010.csv"
    sent = recorded.records(path)
    first = utc(sent[0]["DATE"]) - timedelta(hours=1)
    result = parse_half_hourly_demand(recorded.datastore(path), Window(first, first + 14 * TWO_DAYS), NOW)
    assert result.problems == ()
    assert [row.start for row in result.rows] == [first + number * HALF_HOUR for number in range(48)]
    assert [row.demand_mw for row in result.rows] == [float(record["NATIONALDEMAND"]) for record in sent]


def test_the_envelope_is_read_and_foreign_records_are_rejected(recorded: Recordings) -> None:
    with pytest.raises(UnusableAnswer, match="6 × malformed time .*GDATETIME"):
        parse_half_hourly_demand(
            recorded.document("neso/datastore_envelope_2021.json"), Window(NOW - TWO_DAYS, NOW), NOW
        )


def test_the_price_is_the_one_provider_that_trades(recorded: Recordings) -> None:
    path = "elexon/market_index_mid_2_rows.json"
    trading, idle = recorded.rows(path, "data")
    result = parse_market_index_price(recorded.document(path), all_of([trading], "startTime"), NOW)
    (row,) = result.rows
    assert idle["volume"] == 0
    assert (row.start, row.price_gbp_per_mwh, row.volume_mwh) == (
        utc(trading["startTime"]),
        trading["price"],
        trading["volume"],
    )
    assert result.problems == ()


def test_the_newest_issue_of_a_demand_forecast_holds(recorded: Recordings) -> None:
    """The dataset calls its figure `demand`, the route we use `nationalDemand`; the rest is the same."""
    sent = recorded.rows("elexon/day_ahead_demand_ndf.json", "data")
    rows = [{**row, "nationalDemand": row["demand"]} for row in sent]
    result = parse_day_ahead_demand({"data": rows}, all_of(rows, "startTime"), NOW)
    assert result.problems == ()
    by_issue = sorted(sent, key=lambda row: str(row["publishTime"]))
    newest = {utc(row["startTime"]): row["demand"] for row in by_issue}
    assert {row.start: row.demand_mw for row in result.rows} == newest
    assert len(newest) < len(sent)


def test_demand_outturns(recorded: Recordings) -> None:
    sent = recorded.rows("elexon/demand_outturn_indo.json", "data")
    rows = [{**row, "initialDemandOutturn": row["demand"]} for row in sent]
    result = parse_demand_outturn({"data": rows}, all_of(rows, "startTime"), NOW)
    assert result.problems == ()
    assert [row.demand_mw for row in result.rows] == [row["demand"] for row in reversed(sent)]
