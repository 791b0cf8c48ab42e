"""System prices: exact, by half-hour, one each."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest

from balancing_payloads import system_price_row
from faulty_upstream import FaultyUpstream, Reply
from grid.half_hours import UTC, settlement_period_start, settlement_periods_in
from recorded_answers import Recordings, recordings
from upstream_payloads import Json, each_half_hour, metadata_and
from upstreams.elexon import ElexonClient
from upstreams.errors import UnusableAnswer, UpstreamInvalidResponse
from upstreams.results import FetchResult, ProblemKind, Window
from upstreams.session import EXACT_JSON, RetryPolicy
from upstreams.system_prices import SystemPrice, parse_system_prices

NOW = datetime(2026, 11, 22, 8, 14, tzinfo=UTC)
DAY = date(2026, 11, 20)
SLOT = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
ONCE = RetryPolicy(attempts=1)


def settlement_day(day: date) -> Window:
    return Window(settlement_period_start(day, 1), settlement_period_start(day + timedelta(days=1), 1))


def read(text: str, day: date = DAY) -> FetchResult[SystemPrice]:
    return parse_system_prices(EXACT_JSON.read(text.encode()), settlement_day(day), NOW)


def parsed(rows: list[Json], day: date = DAY) -> FetchResult[SystemPrice]:
    return read(json.dumps(metadata_and(rows)), day)


def test_a_price_is_kept_to_its_last_decimal() -> None:
    text = json.dumps(metadata_and([system_price_row(SLOT, "PRICE")]))
    (row,) = read(text.replace('"PRICE"', "-160.000000000000000001")).rows
    assert row == SystemPrice(
        start=SLOT,
        published_at=SLOT + timedelta(hours=24, minutes=44),
        price_gbp_per_mwh=Decimal("-160.000000000000000001"),
        net_imbalance_volume_mwh=Decimal("-37.5"),
        reserve_scarcity_price_gbp_per_mwh=Decimal("0.0"),
        derivation_code="N",
        bsad_defaulted=False,
    )


def test_of_two_runs_for_a_half_hour_the_one_made_last_counts_whatever_their_order() -> None:
    first = system_price_row(SLOT, 80.5)
    later = system_price_row(SLOT, 79.25, published_at=NOW)
    for rows in ([first, later], [later, first]):
        result = parsed(rows)
        assert [row.price_gbp_per_mwh for row in result.rows] == [Decimal("79.25")]
        assert [problem.kind for problem in result.problems] == [ProblemKind.CONFLICTING_ROWS]


@pytest.mark.parametrize(("day", "periods"), [("2026-03-29", 46), ("2026-10-25", 50), ("2026-12-01", 48)])
def test_a_day_of_a_clock_change_has_its_own_number_of_half_hours(day: str, periods: int) -> None:
    at = date.fromisoformat(day)
    starts = each_half_hour(settlement_period_start(at, 1), settlement_periods_in(at))
    result = parsed([system_price_row(start) for start in starts], at)
    assert [row.start for row in result.rows] == starts
    assert (len(starts), result.problems) == (periods, ())


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"systemSellPrice": None}, ProblemKind.MISSING_VALUE),
        ({"systemSellPrice": "cheap"}, ProblemKind.NOT_A_NUMBER),
        ({"systemSellPrice": True}, ProblemKind.NOT_A_NUMBER),
        ({"systemSellPrice": float("nan")}, ProblemKind.NOT_A_NUMBER),
        ({"systemSellPrice": 1e9, "systemBuyPrice": 1e9}, ProblemKind.IMPLAUSIBLE),
        ({"systemBuyPrice": 1.0}, ProblemKind.TWO_PRICES),
        ({"createdDateTime": "yesterday"}, ProblemKind.MALFORMED_TIME),
        ({"startTime": "2026-11-22T12:00:00Z"}, ProblemKind.OUTSIDE_WINDOW),
        ({"bsadDefaulted": "no"}, ProblemKind.MALFORMED_ROW),
    ],
)
def test_a_row_that_is_not_right_costs_itself_and_no_other(change: Json, kind: ProblemKind) -> None:
    good, bad = system_price_row(SLOT), {**system_price_row(SLOT + timedelta(hours=1)), **change}
    result = parsed([bad, good])
    assert [row.start for row in result.rows] == [SLOT]
    assert {problem.kind for problem in result.problems if problem.rejected} == {kind}


def test_figures_that_may_be_missing_may() -> None:
    optional = ("netImbalanceVolume", "reserveScarcityPrice", "priceDerivationCode", "bsadDefaulted")
    (row,) = parsed([{**system_price_row(SLOT), **dict.fromkeys(optional)}]).rows
    assert (row.net_imbalance_volume_mwh, row.derivation_code, row.bsad_defaulted) == (None, None, None)


def test_an_exponent_beyond_all_numbers_is_no_json() -> None:
    with pytest.raises(ValueError, match=r"[Ii]nvalid"):
        EXACT_JSON.read(b'{"price": 1e9999999999999999999}')


def test_of_a_day_that_has_begun_there_may_be_nothing_yet() -> None:
    assert parsed([]).rows == ()
    with pytest.raises(UnusableAnswer):
        parsed([{"startTime": "never"}])


def test_days_are_asked_for_one_by_one_and_empty_ones_are_left_out() -> None:
    with FaultyUpstream(Reply(metadata_and([system_price_row(SLOT)])), Reply(metadata_and([]))) as server:
        client = ElexonClient(server.url, patience=ONCE)
        days = [DAY + timedelta(days=1), DAY]
        result = client.system_prices(days, now=NOW)
        assert [seen.path.rpartition("/")[2] for seen in server.seen] == ["2026-11-20", "2026-11-21"]
        assert ([row.start for row in result.rows], result.problems) == ([SLOT], ())
        with pytest.raises(UpstreamInvalidResponse, match="has a price yet"):
            client.system_prices([DAY + timedelta(days=2)], now=NOW)
        client.close()


@pytest.mark.parametrize("recorded", [each for each in recordings() if str(each) == "recorded"], ids=str)
def test_recorded_prices(recorded: Recordings) -> None:
    found: dict[datetime, tuple[Decimal, Decimal | None]] = {}
    for name, day in (("2026-05-06_sp1_2", date(2026, 5, 6)), ("2026-08-01_sp5", date(2026, 8, 1))):
        result = read(recorded.text_of(f"elexon/system_prices_{name}.json"), day)
        assert result.problems == ()
        found |= {row.start: (row.price_gbp_per_mwh, row.net_imbalance_volume_mwh) for row in result.rows}
    assert found == {
        datetime(2026, 5, 5, 23, 0, tzinfo=UTC): (Decimal("96.79"), Decimal("-37.99166666666667")),
        datetime(2026, 5, 5, 23, 30, tzinfo=UTC): (Decimal("97.02"), Decimal("-35.72121737036261")),
        datetime(2026, 8, 1, 1, 0, tzinfo=UTC): (Decimal(160), Decimal("344.249492314814801830")),
    }
