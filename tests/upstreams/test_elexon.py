from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from faulty_upstream import FaultyUpstream, Reply
from grid.half_hours import HALF_HOUR, UTC
from upstream_payloads import (
    Json,
    demand_forecast_row,
    each_half_hour,
    metadata_and,
    outturn_row,
    price_row,
    without,
)
from upstreams.demand import NationalDemand
from upstreams.elexon import (
    ElexonClient,
    MarketIndexPrice,
    parse_day_ahead_demand,
    parse_demand_outturn,
    parse_market_index_price,
)
from upstreams.errors import UnusableAnswer, UpstreamInvalidResponse, UpstreamRefused
from upstreams.results import FetchResult, Problem, ProblemKind, Window
from upstreams.session import RetryPolicy

NOW = datetime(2026, 11, 22, 8, 14, tzinfo=UTC)
SLOT = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
WIDE = Window(SLOT - timedelta(days=400), SLOT + timedelta(days=7))
IMPATIENT = RetryPolicy(read_timeout_seconds=1.5, deadline_seconds=20.0, attempts=1)


def demand(rows: list[object]) -> FetchResult[NationalDemand]:
    return parse_day_ahead_demand(metadata_and(rows), WIDE, NOW)


def prices(rows: list[object]) -> FetchResult[MarketIndexPrice]:
    return parse_market_index_price(metadata_and(rows), WIDE, NOW)


def problem_kinds(problems: tuple[Problem, ...]) -> dict[ProblemKind, int]:
    return {problem.kind: problem.count for problem in problems}


def test_the_forecast_covers_today_half_hour_by_half_hour() -> None:
    result = demand([demand_forecast_row(start, 30_000 + n) for n, start in enumerate(each_half_hour(SLOT, 85))])
    assert [row.start for row in result.rows] == each_half_hour(SLOT, 85)
    assert result.rows[0] == NationalDemand(SLOT, 30_000)
    assert result.problems == ()


def test_of_several_issues_the_latest_counts_wherever_it_stands() -> None:
    early, late = SLOT - timedelta(hours=2), SLOT - timedelta(hours=1)
    rows: list[object] = [
        demand_forecast_row(SLOT, 30_000, published=late),
        demand_forecast_row(SLOT, 29_000, published=early),
        demand_forecast_row(SLOT + HALF_HOUR, 31_000, published=early),
    ]
    result = demand(rows)
    assert [row.demand_mw for row in result.rows] == [30_000, 31_000]
    assert result.problems == ()


def test_within_one_issue_the_later_of_two_conflicting_rows_wins() -> None:
    result = demand([demand_forecast_row(SLOT, 30_000), demand_forecast_row(SLOT, 30_400)])
    assert [row.demand_mw for row in result.rows] == [30_400]
    assert problem_kinds(result.problems) == {ProblemKind.CONFLICTING_ROWS: 1}


def test_identical_rows_are_one() -> None:
    assert demand([demand_forecast_row(SLOT), demand_forecast_row(SLOT)]).problems == ()


GOOD_FORECAST = demand_forecast_row(SLOT + HALF_HOUR)


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (None, ProblemKind.MALFORMED_ROW),
        (demand_forecast_row(SLOT, 0), ProblemKind.MISSING_VALUE),
        (demand_forecast_row(SLOT, None), ProblemKind.MISSING_VALUE),
        (demand_forecast_row(SLOT, "30000"), ProblemKind.NOT_A_NUMBER),
        (demand_forecast_row(SLOT, True), ProblemKind.NOT_A_NUMBER),
        (demand_forecast_row(SLOT, False), ProblemKind.NOT_A_NUMBER),
        (demand_forecast_row(SLOT, float("inf")), ProblemKind.NOT_A_NUMBER),
        (demand_forecast_row(SLOT, 300), ProblemKind.IMPLAUSIBLE),
        (demand_forecast_row(SLOT, -30_000), ProblemKind.IMPLAUSIBLE),
        (demand_forecast_row(SLOT, boundary="B9"), ProblemKind.MALFORMED_ROW),
        (without(demand_forecast_row(SLOT), ["boundary"]), ProblemKind.MALFORMED_ROW),
        (without(demand_forecast_row(SLOT), ["nationalDemand"]), ProblemKind.MISSING_VALUE),
        (without(demand_forecast_row(SLOT), ["publishTime"]), ProblemKind.MALFORMED_TIME),
        ({**demand_forecast_row(SLOT), "startTime": "2026-11-22T08:00:00"}, ProblemKind.MALFORMED_TIME),
        ({**demand_forecast_row(SLOT), "startTime": "2026-11-22T08:10:00Z"}, ProblemKind.OFF_THE_HALF_HOUR),
        (demand_forecast_row(SLOT + timedelta(days=30)), ProblemKind.OUTSIDE_WINDOW),
    ],
)
def test_a_bad_forecast_row_costs_itself_only(row: object, kind: ProblemKind) -> None:
    result = demand([row, GOOD_FORECAST])
    assert [found.start for found in result.rows] == [SLOT + HALF_HOUR]
    assert problem_kinds(result.problems) == {kind: 1}


@pytest.mark.parametrize(
    "start",
    [
        datetime(2026, 3, 29, 1, 0, tzinfo=UTC),
        datetime(2026, 10, 25, 1, 0, tzinfo=UTC),
        datetime(2026, 10, 24, 23, 0, tzinfo=UTC),
        datetime(2026, 10, 25, 23, 30, tzinfo=UTC),
    ],
)
def test_settlement_periods_agree_with_utc_across_the_clock_changes(start: datetime) -> None:
    assert demand([demand_forecast_row(start)]).problems == ()


@pytest.mark.parametrize(
    "wrong",
    [
        {"settlementPeriod": 18},
        {"settlementPeriod": "17"},
        {"settlementPeriod": 99},
        {"settlementPeriod": None},
        {"settlementDate": "2026-11-23"},
        {"settlementDate": "22/11/2026"},
        {"settlementDate": "9999-12-31"},
    ],
)
def test_a_row_whose_settlement_period_contradicts_its_start_is_kept_at_its_start_and_noted(
    wrong: dict[str, object],
) -> None:
    result = demand([{**demand_forecast_row(SLOT, 30_000), **wrong}, GOOD_FORECAST])
    assert result.rows[0] == NationalDemand(SLOT, 30_000)
    (problem,) = result.problems
    assert (problem.kind, problem.count, problem.rejected) == (ProblemKind.WRONG_SETTLEMENT_PERIOD, 1, False)
    assert problem.example.startswith("kept at its start time: settlement date ")


@pytest.mark.parametrize("wrong_first", [True, False])
def test_of_two_rows_for_a_half_hour_the_one_whose_settlement_period_agrees_counts(wrong_first: bool) -> None:
    wrong = {**price_row(SLOT, 91.0), "settlementDate": "2026-11-23"}
    right = price_row(SLOT, 83.25)
    rows: list[object] = [wrong, right] if wrong_first else [right, wrong]
    assert [row.price_gbp_per_mwh for row in prices(rows).rows] == [83.25]


def test_a_row_without_settlement_period_is_keyed_by_its_start() -> None:
    row = without(demand_forecast_row(SLOT), ["settlementDate", "settlementPeriod"])
    assert demand([row]).rows == (NationalDemand(SLOT, 31_000),)


def test_a_demand_that_no_grid_can_jump_to_and_back_from_is_left_out() -> None:
    figures = (30_000, 9_000, 30_500, 31_000, 52_000, 33_000)
    rows: list[object] = [demand_forecast_row(SLOT + n * HALF_HOUR, mw) for n, mw in enumerate(figures)]
    result = demand(rows)
    assert [row.demand_mw for row in result.rows] == [30_000, 30_500, 31_000, 33_000]
    assert problem_kinds(result.problems) == {ProblemKind.LONE_OUTLIER: 2}


def test_prices_come_from_one_provider() -> None:
    rows: list[object] = [
        price_row(SLOT, 83.25),
        price_row(SLOT, 0.0, 0.0, provider="N2EXMIDP"),
        price_row(SLOT + HALF_HOUR, 44, 10),
    ]
    result = prices(rows)
    assert result.rows == (
        MarketIndexPrice(SLOT, 83.25, 1_892.45),
        MarketIndexPrice(SLOT + HALF_HOUR, 44, 10),
    )
    assert result.problems == ()


@pytest.mark.parametrize("price", [-42.5, 0, 0.0, 4_000])
def test_negative_and_zero_prices_are_real(price: float) -> None:
    assert [row.price_gbp_per_mwh for row in prices([price_row(SLOT, price)]).rows] == [price]


@pytest.mark.parametrize("price", [0.0, 83.25])
def test_volume_0_means_missing_whatever_the_price(price: float) -> None:
    result = prices([price_row(SLOT, price, 0.0), price_row(SLOT + HALF_HOUR)])
    assert [row.start for row in result.rows] == [SLOT + HALF_HOUR]
    assert problem_kinds(result.problems) == {ProblemKind.MISSING_VALUE: 1}


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (["APXMIDP"], ProblemKind.MALFORMED_ROW),
        (price_row(SLOT, None), ProblemKind.MISSING_VALUE),
        (price_row(SLOT, "83.25"), ProblemKind.NOT_A_NUMBER),
        (price_row(SLOT, float("nan")), ProblemKind.NOT_A_NUMBER),
        (price_row(SLOT, 83.25, None), ProblemKind.MISSING_VALUE),
        (price_row(SLOT, 83.25, -5), ProblemKind.IMPLAUSIBLE),
        (price_row(SLOT, 83.25, True), ProblemKind.NOT_A_NUMBER),
        (price_row(SLOT, 1e7), ProblemKind.IMPLAUSIBLE),
        (price_row(SLOT, -5_000), ProblemKind.IMPLAUSIBLE),
        ({**price_row(SLOT), "startTime": None}, ProblemKind.MALFORMED_TIME),
    ],
)
def test_a_bad_price_row_costs_itself_only(row: object, kind: ProblemKind) -> None:
    result = prices([row, price_row(SLOT + HALF_HOUR)])
    assert [found.start for found in result.rows] == [SLOT + HALF_HOUR]
    assert problem_kinds(result.problems) == {kind: 1}


def test_an_outturn_outside_the_window_is_left_out_quietly() -> None:
    window = Window(SLOT, SLOT + 2 * HALF_HOUR)
    rows = [outturn_row(start) for start in each_half_hour(SLOT - HALF_HOUR, 6)]
    result = parse_demand_outturn(metadata_and(rows), window, NOW)
    assert [row.start for row in result.rows] == each_half_hour(SLOT, 2)
    assert result.problems == ()


def test_an_outturn_of_0_or_null_is_missing() -> None:
    rows = [
        outturn_row(SLOT, 0),
        outturn_row(SLOT + HALF_HOUR, None),
        outturn_row(SLOT + 2 * HALF_HOUR, 30_111),
    ]
    result = parse_demand_outturn(metadata_and(rows), WIDE, NOW)
    assert [row.demand_mw for row in result.rows] == [30_111]
    assert problem_kinds(result.problems) == {ProblemKind.MISSING_VALUE: 2}


@pytest.mark.parametrize("parse", [parse_day_ahead_demand, parse_market_index_price, parse_demand_outturn])
@pytest.mark.parametrize(
    "answer",
    [None, [], {}, {"data": None}, {"data": {}}, {"data": []}, {"data": [{}]}, {"errors": {"": ["no"]}}],
)
def test_an_answer_without_a_usable_row_is_a_failure(parse: object, answer: object) -> None:
    assert callable(parse)
    with pytest.raises(UnusableAnswer):
        parse(answer, WIDE, NOW)


# --- the client


@contextmanager
def client_of(upstream: FaultyUpstream) -> Iterator[ElexonClient]:
    with ElexonClient(upstream.url, patience=IMPATIENT) as client:
        yield client


def queries(upstream: FaultyUpstream) -> list[dict[str, list[str]]]:
    return [parse_qs(urlsplit(seen.path).query) for seen in upstream.seen]


def metadata_reply(rows: list[Json]) -> Reply:
    return Reply(metadata_and(rows))


def test_the_latest_forecast_is_asked_for_without_parameters() -> None:
    rows = [demand_forecast_row(start) for start in each_half_hour(SLOT, 85)]
    with FaultyUpstream(metadata_reply(rows)) as upstream, client_of(upstream) as client:
        assert len(client.day_ahead_demand(NOW).rows) == 85
    assert [seen.path for seen in upstream.seen] == ["/api/forecast/demand/day-ahead"]


def test_prices_are_asked_for_in_weeks_and_come_back_as_one() -> None:
    start = SLOT - timedelta(days=10)
    first = metadata_reply([price_row(at) for at in each_half_hour(start, 48 * 7)])
    second = metadata_reply([price_row(at) for at in each_half_hour(start + timedelta(days=7), 48 * 3)])
    with FaultyUpstream(first, second) as upstream, client_of(upstream) as client:
        result = client.market_index_price(start, SLOT, now=NOW)
    assert [row.start for row in result.rows] == each_half_hour(start, 480)
    assert result.window == Window(start, SLOT)
    assert result.problems == ()
    assert urlsplit(upstream.seen[0].path).path == "/api/balancing/pricing/market-index"
    assert queries(upstream) == [
        {"from": ["2026-11-12T08:00:00Z"], "to": ["2026-11-19T07:59:00Z"], "dataProviders": ["APXMIDP"]},
        {"from": ["2026-11-19T08:00:00Z"], "to": ["2026-11-22T07:59:00Z"], "dataProviders": ["APXMIDP"]},
    ]


def test_a_failed_week_of_prices_is_a_problem_and_not_the_end() -> None:
    start = SLOT - timedelta(days=10)
    too_wide = Reply({"errors": {"": ["The date range … must not exceed 7 days"]}}, status=400)
    second = metadata_reply([price_row(at) for at in each_half_hour(start + timedelta(days=7), 3)])
    with FaultyUpstream(too_wide, second) as upstream, client_of(upstream) as client:
        result = client.market_index_price(start, SLOT, now=NOW)
    assert len(result.rows) == 3
    (problem,) = result.problems
    assert problem.kind is ProblemKind.FAILED_PIECE
    assert "must not exceed 7 days" in problem.example


def test_a_range_of_prices_that_fails_everywhere_is_a_failure() -> None:
    too_wide = Reply({"errors": {"": ["The date range … must not exceed 7 days"]}}, status=400)
    with (
        FaultyUpstream(too_wide) as upstream,
        client_of(upstream) as client,
        pytest.raises(UpstreamRefused, match=r"Elexon Insights /balancing/pricing/market-index\?from=.*HTTP 400"),
    ):
        client.market_index_price(SLOT - timedelta(days=10), SLOT, now=NOW)


def test_outturns_are_asked_for_by_settlement_day() -> None:
    start = datetime(2026, 7, 31, 23, 0, tzinfo=UTC)  # midnight in London
    end = start + timedelta(days=8)
    rows = [outturn_row(at) for at in each_half_hour(start, 48 * 6)]
    more = [outturn_row(at) for at in each_half_hour(start + timedelta(days=6), 48 * 2)]
    with (
        FaultyUpstream(metadata_reply(rows), metadata_reply(more)) as upstream,
        client_of(upstream) as client,
    ):
        result = client.demand_outturn(start, end, now=NOW)
    assert [row.start for row in result.rows] == each_half_hour(start, 48 * 8)
    assert urlsplit(upstream.seen[0].path).path == "/api/demand/outturn"
    assert queries(upstream) == [
        {"settlementDateFrom": ["2026-08-01"], "settlementDateTo": ["2026-08-06"]},
        {"settlementDateFrom": ["2026-08-07"], "settlementDateTo": ["2026-08-08"]},
    ]


def test_an_empty_range_of_outturns_is_a_failure() -> None:
    with (
        FaultyUpstream(metadata_reply([])) as upstream,
        client_of(upstream) as client,
        pytest.raises(UpstreamInvalidResponse, match="no usable row"),
    ):
        client.demand_outturn(SLOT - timedelta(hours=2), SLOT, now=NOW)
