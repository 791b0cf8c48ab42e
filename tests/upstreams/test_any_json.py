"""Whatever JSON an API sends, a parser returns good rows or says that the answer is unusable."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from datetime import date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grid.half_hours import UTC, is_half_hour
from upstream_payloads import (
    cardinal_day,
    data,
    datastore,
    demand_forecast_row,
    demand_record,
    each_half_hour,
    generation_row,
    metadata_and,
    national_row,
    outturn_row,
    period,
    price_row,
    region,
)
from upstreams.carbon_intensity_answers import (
    GenerationMix,
    NationalIntensity,
    RegionalIntensity,
    parse_generation,
    parse_generation_list,
    parse_national,
    parse_regional,
)
from upstreams.demand import NationalDemand
from upstreams.elexon import (
    MarketIndexPrice,
    parse_day_ahead_demand,
    parse_demand_outturn,
    parse_market_index_price,
)
from upstreams.errors import UnusableAnswer
from upstreams.neso import parse_cardinal_points, parse_half_hourly_demand
from upstreams.results import FetchResult, HalfHourRow, Window
from vocabulary import CarbonIndex, Fuel

START = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
NOW = START + timedelta(minutes=14)
WINDOW = Window(START - timedelta(days=1), START + timedelta(days=2))
SLOTS = each_half_hour(START, 3)

Parser = Callable[[object, Window, datetime], FetchResult[HalfHourRow]]

ROUTES: dict[str, tuple[Parser, object]] = {
    "national": (parse_national, data([national_row(at, 100, actual=101) for at in SLOTS])),
    "regional": (parse_regional, data([period(at, [region(1), region(13), region(18)]) for at in SLOTS])),
    "generation": (parse_generation, data(generation_row(START))),
    "generation list": (parse_generation_list, data([generation_row(at) for at in SLOTS])),
    "cardinal points": (parse_cardinal_points, datastore(cardinal_day(date(2026, 11, 23)))),
    "2-14 days": (parse_half_hourly_demand, datastore([demand_record(at, "25000") for at in SLOTS])),
    "day-ahead": (parse_day_ahead_demand, metadata_and([demand_forecast_row(at) for at in SLOTS])),
    "prices": (parse_market_index_price, metadata_and([price_row(at) for at in SLOTS])),
    "outturn": (parse_demand_outturn, metadata_and([outturn_row(at) for at in SLOTS])),
}

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -0.0, 10**400, -(10**400), 1e308, 18, 2400, 20261123, 99991231]),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        [
            "2026-11-22T08:00Z",
            "2026-11-22T08:30:00Z",
            "9999-12-31T23:30Z",
            "0000-00-00T00:00Z",
            "2026-11-22T24:00Z",
            "2026-11-22T08:00:60Z",
            "2026-11-22T08:00-23:59",
            "٢٠٢٦-11-22T08:00Z",
            "\ud800",
            "25000",
            "-0",
            "0.0",
            "F",
            "wind",
            "low",
            "N",
            "APXMIDP",
        ]
    ),
)
NAMES = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["data", "result", "records", "regions", "intensity", "from", "to", "error", "success"]),
)
ANY_JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(NAMES, inner, max_size=6),
    max_leaves=25,
)


@st.composite
def nearly(draw: st.DrawFn, good: object) -> object:
    """A good answer with some of its values, at any depth, replaced by any JSON or left out."""
    answer = deepcopy(good)
    for _ in range(draw(st.integers(1, 4))):
        at = answer
        while isinstance(at, (dict, list)) and at:
            key = draw(st.sampled_from(sorted(at) if isinstance(at, dict) else list(range(len(at)))))
            inner = at[key]
            if not isinstance(inner, (dict, list)) or draw(st.booleans()):
                if draw(st.integers(0, 4)) == 0:
                    del at[key]
                else:
                    at[key] = draw(ANY_JSON)
                break
            at = inner
    return answer


def assert_sound(row: HalfHourRow) -> None:
    assert is_half_hour(row.start)
    assert row.start.tzinfo is UTC
    if isinstance(row, NationalIntensity):
        figures = [row.carbon_intensity_gco2_per_kwh, row.actual_carbon_intensity_gco2_per_kwh]
        assert any(figure is not None for figure in figures)
        assert all(figure is None or is_number(figure, 0, 1_000) for figure in figures)
        assert row.index is None or isinstance(row.index, CarbonIndex)
    elif isinstance(row, RegionalIntensity):
        assert row.region_id in range(1, 18)
        assert is_number(row.carbon_intensity_gco2_per_kwh, 0, 1_000)
        assert row.index is None or isinstance(row.index, CarbonIndex)
        assert all(isinstance(fuel, Fuel) for fuel in row.percent_by_fuel)
        assert all(is_number(percent, 0, 100) for percent in row.percent_by_fuel.values())
    elif isinstance(row, GenerationMix):
        assert row.percent_by_fuel
        assert all(is_number(percent, 0, 100) for percent in row.percent_by_fuel.values())
    elif isinstance(row, NationalDemand):
        assert is_number(row.demand_mw, 4_000, 80_000)
    else:
        assert isinstance(row, MarketIndexPrice)
        assert is_number(row.price_gbp_per_mwh, -1_000, 10_000)
        assert row.volume_mwh > 0


def is_number(value: object, lowest: float, highest: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and lowest <= value <= highest


def assert_parses_or_refuses(parse: Parser, answer: object) -> None:
    try:
        result = parse(answer, WINDOW, NOW)
    except UnusableAnswer as unusable:
        str(unusable).encode()
        return
    result.summary().encode()
    assert result.rows
    keys = [(row.start, getattr(row, "region_id", None)) for row in result.rows]
    assert len(set(keys)) == len(keys)
    assert [start for start, _ in keys] == sorted(start for start, _ in keys)
    for row in result.rows:
        assert_sound(row)
        assert WINDOW.holds(row.start)


@pytest.mark.parametrize("route", ROUTES)
def test_the_good_answer_is_good(route: str) -> None:
    parse, good = ROUTES[route]
    assert parse(good, WINDOW, NOW).rejected_rows == 0


@given(ANY_JSON)
def test_any_json_is_parsed_or_named_unusable(answer: object) -> None:
    for parse, _ in ROUTES.values():
        assert_parses_or_refuses(parse, answer)


@pytest.mark.parametrize("route", ROUTES)
@settings(max_examples=60)
@given(st.data())
def test_a_good_answer_gone_wrong_somewhere_is_parsed_or_named_unusable(route: str, drawn: st.DataObject) -> None:
    parse, good = ROUTES[route]
    assert_parses_or_refuses(parse, drawn.draw(nearly(good)))
