from __future__ import annotations

import json
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grid.half_hours import HALF_HOUR, UTC
from upstream_payloads import (
    CALM_MIX,
    WINDY_MIX,
    Json,
    data,
    each_half_hour,
    fuels,
    generation_row,
    minute,
    national_row,
    period,
    region,
    without,
)
from upstreams.carbon_intensity_answers import (
    NationalIntensity,
    RegionalIntensity,
    parse_generation,
    parse_generation_list,
    parse_national,
    parse_regional,
)
from upstreams.errors import UnusableAnswer
from upstreams.results import FetchResult, Problem, ProblemKind, Window
from vocabulary import CarbonIndex, Fuel

START = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
NOW = START + timedelta(minutes=14)
HORIZON = Window(START, START + timedelta(hours=48))
FOUR = Window(START, START + 4 * HALF_HOUR)
ONE = Window(START, START + HALF_HOUR)


def national(rows: object, window: Window = FOUR) -> FetchResult[NationalIntensity]:
    return parse_national(data(rows), window, NOW)


def regional(rows: object, window: Window = ONE) -> FetchResult[RegionalIntensity]:
    return parse_regional(data(rows), window, NOW)


def kinds(problems: tuple[Problem, ...]) -> dict[ProblemKind, int]:
    return {problem.kind: problem.count for problem in problems}


def four_rows(second: object) -> list[object]:
    """Three good rows around one that a test gives."""
    rows: list[object] = [national_row(start) for start in each_half_hour(START, 4)]
    rows[1] = second
    return rows


def test_a_whole_forecast_has_96_rows_from_the_running_half_hour() -> None:
    result = national([national_row(start, 200 - n) for n, start in enumerate(each_half_hour(START, 96))], HORIZON)
    assert [row.start for row in result.rows] == each_half_hour(START, 96)
    assert result.rows[0] == NationalIntensity(START, 200, None, CarbonIndex.MODERATE)
    assert result.rows[-1].carbon_intensity_gco2_per_kwh == 105
    assert result.problems == ()
    assert result.fetched_at == NOW
    assert result.window == HORIZON


def test_97_rows_keep_their_own_times() -> None:
    rows = [national_row(start, n) for n, start in enumerate(each_half_hour(START - HALF_HOUR, 97), 1)]
    result = national(rows, HORIZON)
    assert len(result.rows) == 96
    assert result.rows[0] == NationalIntensity(START, 2, None, CarbonIndex.MODERATE)
    assert result.problems == ()


@pytest.mark.parametrize("count", [29, 30, 31])
def test_a_short_horizon_keeps_its_rows_and_is_reported(count: int) -> None:
    result = national([national_row(start) for start in each_half_hour(START, count)], HORIZON)
    assert len(result.rows) == count
    (problem,) = result.problems
    assert problem.kind is ProblemKind.MISSING_HALF_HOUR
    assert problem.count == 96 - count
    assert not problem.rejected


def test_rows_in_any_order_come_out_in_order_of_time() -> None:
    rows = [national_row(start) for start in reversed(each_half_hour(START, 4))]
    assert [row.start for row in national(rows).rows] == each_half_hour(START, 4)


def test_a_zero_is_a_figure() -> None:
    result = national(four_rows(national_row(START + HALF_HOUR, 0, actual=0, index="very low")))
    assert result.rows[1] == NationalIntensity(START + HALF_HOUR, 0, 0, CarbonIndex.VERY_LOW)
    assert result.problems == ()


@pytest.mark.parametrize(
    ("forecast", "actual", "left"),
    [
        (142, 0, (142, None)),
        (0, 142, (None, 142)),
        (30, 0, (30, 0)),
        (51, 0, (51, None)),
    ],
)
def test_a_national_zero_is_believed_only_beside_a_figure_that_is_low_too(
    forecast: float, actual: float, left: tuple[float | None, float | None]
) -> None:
    result = national(four_rows(national_row(START + HALF_HOUR, forecast, actual=actual, index="very low")))
    row = result.rows[1]
    assert (row.carbon_intensity_gco2_per_kwh, row.actual_carbon_intensity_gco2_per_kwh) == left
    believed = left == (forecast, actual)
    assert row.index == (CarbonIndex.VERY_LOW if believed else None)
    assert kinds(result.problems) == ({} if believed else {ProblemKind.SPURIOUS_ZERO: 1})
    assert result.rejected_rows == 0


@pytest.mark.parametrize("zeros", [1, 2])
def test_zeros_between_figures_that_are_not_low_cost_their_half_hours(zeros: int) -> None:
    spurious = {START + n * HALF_HOUR for n in range(1, 1 + zeros)}
    rows = [national_row(start, 0 if start in spurious else 142) for start in each_half_hour(START, 4)]
    result = national(rows)
    assert [row.start for row in result.rows] == [s for s in each_half_hour(START, 4) if s not in spurious]
    assert kinds(result.problems)[ProblemKind.SPURIOUS_ZERO] == zeros


def test_zeros_that_are_reached_by_low_figures_are_figures() -> None:
    rows = [national_row(start, g) for start, g in zip(each_half_hour(START, 4), (40, 0, 0, 35), strict=True)]
    assert [row.carbon_intensity_gco2_per_kwh for row in national(rows).rows] == [40, 0, 0, 35]


def test_an_answer_of_nothing_but_zeros_is_not_usable() -> None:
    with pytest.raises(UnusableAnswer, match="zero that the figures beside it contradict"):
        national([national_row(start, 0) for start in each_half_hour(START, 4)])


def test_a_lone_glitch_is_left_out_unless_the_other_figure_bears_it_out() -> None:
    rows = [national_row(start, 140, actual=136) for start in each_half_hour(START, 4)]
    glitch = national([*rows[:2], national_row(START + 2 * HALF_HOUR, 28, actual=136), rows[3]])
    assert [row.carbon_intensity_gco2_per_kwh for row in glitch.rows] == [140, 140, None, 140]
    assert kinds(glitch.problems) == {ProblemKind.LONE_OUTLIER: 1}
    real = national([*rows[:2], national_row(START + 2 * HALF_HOUR, 28, actual=30), rows[3]])
    assert [row.carbon_intensity_gco2_per_kwh for row in real.rows] == [140, 140, 28, 140]


@given(
    st.lists(st.integers(1, 400), min_size=4, max_size=4).filter(
        lambda figures: all(abs(a - b) <= 100 for a, b in pairwise(figures))
    )
)
def test_figures_that_move_as_the_grid_does_are_all_believed(figures: list[int]) -> None:
    rows = [national_row(start, g) for start, g in zip(each_half_hour(START, 4), figures, strict=True)]
    assert [row.carbon_intensity_gco2_per_kwh for row in national(rows).rows] == figures


def test_actuals_are_read_where_they_are_there() -> None:
    result = national(four_rows(national_row(START + HALF_HOUR, 142, actual=137)))
    assert [row.actual_carbon_intensity_gco2_per_kwh for row in result.rows] == [None, 137, None, None]


def test_an_actual_without_a_forecast_is_kept() -> None:
    result = national(four_rows(national_row(START + HALF_HOUR, None, actual=137)))
    assert result.rows[1] == NationalIntensity(START + HALF_HOUR, None, 137, CarbonIndex.MODERATE)
    assert kinds(result.problems) == {}


def test_a_bad_actual_does_not_cost_the_forecast() -> None:
    result = national(four_rows(national_row(START + HALF_HOUR, 142, actual=-3)))
    assert result.rows[1].carbon_intensity_gco2_per_kwh == 142
    assert result.rows[1].actual_carbon_intensity_gco2_per_kwh is None
    assert kinds(result.problems) == {ProblemKind.IMPLAUSIBLE: 1}
    assert result.rejected_rows == 0


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, ProblemKind.MISSING_VALUE),
        ("142", ProblemKind.NOT_A_NUMBER),
        (True, ProblemKind.NOT_A_NUMBER),
        (False, ProblemKind.NOT_A_NUMBER),
        ([142], ProblemKind.NOT_A_NUMBER),
        (float("nan"), ProblemKind.NOT_A_NUMBER),
        (float("inf"), ProblemKind.NOT_A_NUMBER),
        (-1, ProblemKind.IMPLAUSIBLE),
        (1_001, ProblemKind.IMPLAUSIBLE),
        (10**400, ProblemKind.IMPLAUSIBLE),
    ],
)
def test_a_bad_number_costs_its_own_row_only(value: object, kind: ProblemKind) -> None:
    result = national(four_rows(national_row(START + HALF_HOUR, value)))
    assert len(result.rows) == 3
    assert kinds(result.problems) == {kind: 1, ProblemKind.MISSING_HALF_HOUR: 1}
    assert result.rejected_rows == 1


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_nan_token_in_the_text_costs_its_own_row_only(token: str) -> None:
    text = json.dumps(data(four_rows(national_row(START + HALF_HOUR, 777))))
    result = parse_national(json.loads(text.replace("777", token)), FOUR, NOW)
    assert len(result.rows) == 3
    assert kinds(result.problems)[ProblemKind.NOT_A_NUMBER] == 1


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (None, ProblemKind.MALFORMED_ROW),
        ([], ProblemKind.MALFORMED_ROW),
        ({}, ProblemKind.MALFORMED_TIME),
        (without(national_row(START), ["intensity"]), ProblemKind.MALFORMED_ROW),
        ({**national_row(START), "intensity": 142}, ProblemKind.MALFORMED_ROW),
        ({**national_row(START), "from": "2026-11-22T08:30"}, ProblemKind.MALFORMED_TIME),
        ({**national_row(START), "from": "2026-11-22 08:30Z"}, ProblemKind.MALFORMED_TIME),
        ({**national_row(START), "from": "2026-02-30T08:30Z"}, ProblemKind.MALFORMED_TIME),
        ({**national_row(START), "from": "0001-01-01T00:00+14:00"}, ProblemKind.MALFORMED_TIME),
        ({**national_row(START), "from": "2026-11-22T08:00+99:99"}, ProblemKind.MALFORMED_TIME),
        ({**national_row(START), "from": 1_795_000_000}, ProblemKind.MALFORMED_TIME),
        ({**national_row(START), "from": "2026-11-22T08:15Z"}, ProblemKind.OFF_THE_HALF_HOUR),
        ({**national_row(START), "to": minute(START)}, ProblemKind.WRONG_LENGTH),
        ({**national_row(START), "to": minute(START + 2 * HALF_HOUR)}, ProblemKind.WRONG_LENGTH),
        ({**national_row(START), "to": None}, ProblemKind.MALFORMED_TIME),
        (national_row(START + timedelta(days=9)), ProblemKind.OUTSIDE_WINDOW),
        (national_row(START - 2 * HALF_HOUR), ProblemKind.OUTSIDE_WINDOW),
    ],
)
def test_a_malformed_row_costs_itself_only(row: object, kind: ProblemKind) -> None:
    result = national(four_rows(row))
    assert len(result.rows) == 3
    assert kinds(result.problems)[kind] == 1
    assert result.rejected_rows == 1


@pytest.mark.parametrize("stamp", ["2026-11-22T08:30:00Z", "2026-11-22T08:30+00:00", "2026-11-22T09:30:00.000+01:00"])
def test_a_time_may_have_seconds_or_an_offset(stamp: str) -> None:
    result = national(four_rows({**national_row(START + HALF_HOUR), "from": stamp}))
    assert result.rows[1].start == START + HALF_HOUR
    assert result.rows[1].start.tzinfo is UTC


@pytest.mark.parametrize("word", ["extreme", None, 3, "", ["low"], "Low"])
def test_an_unknown_index_word_is_left_out_and_reported(word: object) -> None:
    result = national(four_rows(national_row(START + HALF_HOUR, 142, index=word)))
    assert result.rows[1] == NationalIntensity(START + HALF_HOUR, 142, None, None)
    assert kinds(result.problems) == {ProblemKind.UNKNOWN_INDEX: 1}


def test_identical_duplicates_are_one_row() -> None:
    result = national([*four_rows(national_row(START)), national_row(START)], FOUR)
    assert [row.start for row in result.rows] == [START, START + 2 * HALF_HOUR, START + 3 * HALF_HOUR]
    assert ProblemKind.CONFLICTING_ROWS not in kinds(result.problems)


def test_of_conflicting_duplicates_the_later_wins_and_that_is_reported() -> None:
    result = national([*four_rows(national_row(START + HALF_HOUR, 142)), national_row(START + HALF_HOUR, 150)])
    assert result.rows[1].carbon_intensity_gco2_per_kwh == 150
    assert kinds(result.problems) == {ProblemKind.CONFLICTING_ROWS: 1}


EMPTY_OR_WRONG: list[object] = [
    None,
    True,
    7,
    "data",
    [],
    {},
    {"data": None},
    {"data": []},
    {"data": {}},
    {"data": "rows"},
    {"data": [{}]},
    {"error": {"code": "500 Internal Server Error", "message": "Requested resource not found."}},
    {"error": "broken"},
]


@pytest.mark.parametrize("parse", [parse_national, parse_regional, parse_generation, parse_generation_list])
@pytest.mark.parametrize("answer", EMPTY_OR_WRONG)
def test_an_answer_without_a_usable_row_is_a_failure(parse: object, answer: object) -> None:
    assert callable(parse)
    with pytest.raises(UnusableAnswer):
        parse(answer, FOUR, NOW)


def test_a_failure_says_why_its_rows_were_rejected() -> None:
    rows = [national_row(START, -1), national_row(START + HALF_HOUR, -2)]
    with pytest.raises(UnusableAnswer, match="no usable row; 2 × implausible value .*forecast is -1, not within"):
        national(rows)


def test_an_error_in_a_200_is_repeated() -> None:
    with pytest.raises(UnusableAnswer, match="data is missing; it says 'Requested resource not found.'"):
        parse_national({"error": {"code": "500", "message": "Requested resource not found."}}, FOUR, NOW)


# --- the regions


def test_one_call_holds_17_regions_with_their_mixes() -> None:
    result = regional([period(start) for start in each_half_hour(START, 96)], HORIZON)
    assert len(result.rows) == 96 * 17
    assert [row.region_id for row in result.rows[:17]] == list(range(1, 18))
    first = result.rows[0]
    assert first == RegionalIntensity(1, START, 142, CarbonIndex.MODERATE, first.percent_by_fuel)
    assert dict(first.percent_by_fuel) == {Fuel(name): perc for name, perc in CALM_MIX.items()}
    assert result.problems == ()


def test_the_undocumented_region_18_is_left_out_quietly() -> None:
    result = regional([period(START)])
    assert 18 not in {row.region_id for row in result.rows}
    assert result.problems == ()


@pytest.mark.parametrize("region_id", [0, 19, -1, "13", 13.0, True, None, 10**30])
def test_an_unknown_region_is_left_out_and_reported(region_id: object) -> None:
    regions = [*(region(n) for n in range(1, 18)), region(region_id)]
    result = regional([period(START, regions)])
    assert [row.region_id for row in result.rows] == list(range(1, 18))
    assert kinds(result.problems) == {ProblemKind.UNKNOWN_REGION: 1}


def test_a_missing_region_is_reported() -> None:
    result = regional([period(START, [region(n) for n in range(1, 18) if n not in (4, 13)])])
    assert len(result.rows) == 15
    assert kinds(result.problems) == {ProblemKind.MISSING_REGION: 2}
    assert "no region 4" in result.problems[0].example


@pytest.mark.parametrize("regions", [None, {}, "none", []])
def test_a_period_without_regions_does_not_cost_the_others(regions: object) -> None:
    rows = [{**period(START), "regions": regions}, period(START + HALF_HOUR)]
    result = regional(rows, Window(START, START + 2 * HALF_HOUR))
    assert {row.start for row in result.rows} == {START + HALF_HOUR}
    assert kinds(result.problems)[ProblemKind.MISSING_HALF_HOUR] == 1


@pytest.mark.parametrize("bad", [None, "region", {"regionid": 5}, {**region(5), "intensity": []}, region(5, "88")])
def test_a_bad_region_costs_itself_only(bad: object) -> None:
    regions: list[object] = [region(n) for n in range(1, 18)]
    regions[4] = bad
    result = regional([period(START, regions)])
    assert [row.region_id for row in result.rows] == [n for n in range(1, 18) if n != 5]
    assert result.rejected_rows == 1
    assert kinds(result.problems)[ProblemKind.MISSING_REGION] == 1


def one_region(changed: Json) -> FetchResult[RegionalIntensity]:
    return regional([period(START, [region(1), changed])])


def test_a_zero_that_its_mix_bears_out_is_kept() -> None:
    result = one_region(region(2, 0, WINDY_MIX, "very low"))
    assert result.rows[1].carbon_intensity_gco2_per_kwh == 0
    assert result.rows[1].index is CarbonIndex.VERY_LOW


def test_imports_count_towards_a_credible_zero() -> None:
    result = one_region(region(2, 0, {**WINDY_MIX, "wind": 40.4, "imports": 51.1, "hydro": 7.6, "gas": 0.9}))
    assert result.rows[1].carbon_intensity_gco2_per_kwh == 0


@pytest.mark.parametrize(
    "mix",
    [
        {"biomass": 100},
        {"biomass": 0.1, "gas": 99.9},
        {**WINDY_MIX, "wind": 91.3, "gas": 1.1},
        {},
    ],
    ids=["all biomass", "nearly all gas", "98.9 % clean", "no mix"],
)
def test_a_zero_that_its_mix_contradicts_is_missing(mix: dict[str, object]) -> None:
    result = one_region(region(13, 0, mix, "very low"))
    assert [row.region_id for row in result.rows] == [1]
    problem = next(problem for problem in result.problems if problem.rejected)
    assert problem.kind is ProblemKind.INCREDIBLE_ZERO
    assert problem.example.startswith("2026-11-22T08:00:00Z regionid 13: forecast is 0 with")


def test_an_unknown_fuel_is_left_out_and_reported() -> None:
    result = one_region(region(2, 142, {**CALM_MIX, "wind": 22.5, "tidal": 7.5}))
    mix = result.rows[1].percent_by_fuel
    assert set(mix) == set(Fuel)
    assert mix[Fuel.WIND] == 22.5
    assert kinds(result.problems)[ProblemKind.UNKNOWN_FUEL] == 1
    assert result.rejected_rows == 0


def test_a_missing_fuel_is_reported_and_not_made_zero() -> None:
    mix = {name: perc for name, perc in CALM_MIX.items() if name != "coal"}
    result = one_region(region(2, 142, mix))
    assert Fuel.COAL not in result.rows[1].percent_by_fuel
    assert kinds(result.problems)[ProblemKind.MISSING_FUEL] == 1


@pytest.mark.parametrize(
    "generation_mix",
    [
        None,
        {},
        [],
        "windy",
        [None],
        [{"fuel": "wind"}],
        fuels({**CALM_MIX, "wind": None}),
        fuels({**CALM_MIX, "wind": "30"}),
        fuels({**CALM_MIX, "wind": -30}),
        fuels({**CALM_MIX, "wind": 130}),
        fuels({**CALM_MIX, "wind": float("nan")}),
        fuels({**CALM_MIX, "wind": True}),
        fuels({**CALM_MIX, "wind": 3.0}),
        fuels({**CALM_MIX, "wind": 32.0}),
        [{"fuel": None, "perc": 100}],
    ],
)
def test_a_broken_mix_does_not_cost_the_intensity(generation_mix: object) -> None:
    result = one_region({**region(2), "generationmix": generation_mix})
    assert result.rows[1].carbon_intensity_gco2_per_kwh == 142
    assert result.rows[1].percent_by_fuel == {}
    assert result.rejected_rows == 0
    assert result.problems


def test_conflicting_regions_within_a_period_keep_the_later() -> None:
    result = regional([period(START, [region(1, 50), region(2, 60), region(1, 55)])])
    assert [(row.region_id, row.carbon_intensity_gco2_per_kwh) for row in result.rows] == [(1, 55), (2, 60)]
    assert kinds(result.problems)[ProblemKind.CONFLICTING_ROWS] == 1


# --- the mixes


def test_generation_is_one_object() -> None:
    result = parse_generation(data(generation_row(START)), ONE, NOW)
    (row,) = result.rows
    assert row.start == START
    assert row.percent_by_fuel[Fuel.GAS] == 31.3


def test_generation_as_the_vendors_page_shows_it_is_refused() -> None:
    with pytest.raises(UnusableAnswer, match="data is a list, not an object"):
        parse_generation(data([generation_row(START)]), ONE, NOW)


def test_generation_between_is_a_list_of_such_objects() -> None:
    rows = [generation_row(start) for start in each_half_hour(START, 3)]
    result = parse_generation_list(data(rows), FOUR, NOW)
    assert [row.start for row in result.rows] == each_half_hour(START, 3)
    assert kinds(result.problems) == {ProblemKind.MISSING_HALF_HOUR: 1}


def test_a_national_mix_that_does_not_sum_up_is_rejected() -> None:
    rows = [generation_row(START), generation_row(START + HALF_HOUR, {**CALM_MIX, "wind": 5})]
    result = parse_generation_list(data(rows), FOUR, NOW)
    assert [row.start for row in result.rows] == [START]
    assert kinds(result.problems)[ProblemKind.BROKEN_MIX] == 1


@pytest.mark.parametrize("total", [99.8, 100.2])
def test_a_mix_may_be_off_by_rounding(total: float) -> None:
    mix = {**CALM_MIX, "wind": round(30 + total - 100, 1)}
    assert parse_generation(data(generation_row(START, mix)), ONE, NOW).problems == ()
