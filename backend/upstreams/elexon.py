"""Elexon's Insights API: demand, the market index price, system prices and the margin ahead.

Contains BMRS data © Elexon Limited copyright and database right. Every number must be a JSON number, as the
API has always sent them. The routes used here wrap their rows as `{"metadata": …, "data": [...]}`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial

from grid.half_hours import (
    HALF_HOUR,
    as_utc,
    half_hour_of,
    rfc3339,
    settlement_date,
    settlement_period_start,
)
from upstreams.demand import HIGHEST_MW, LOWEST_MW, NationalDemand, reject_zero, without_outliers
from upstreams.elexon_rows import read_labelled, start_in
from upstreams.errors import UnusableAnswer, UpstreamInvalidResponse
from upstreams.json_values import JsonObject, half_hour, moment, number, shown
from upstreams.loss_of_load import LossOfLoad, parse_loss_of_load
from upstreams.pieces import all_pieces, all_results
from upstreams.results import (
    FetchResult,
    Findings,
    ProblemKind,
    RejectedRow,
    RowT,
    Window,
    one_per_key,
    result_of,
)
from upstreams.session import EXACT_JSON, RetryPolicy, UpstreamClient, UpstreamSession
from upstreams.system_prices import SystemPrice, parse_system_prices

# https://bmrs.elexon.co.uk/api-documentation
ELEXON_URL = "https://data.elexon.co.uk/bmrs/api/v1"

# A wider range answers HTTP 400 "must not exceed 7 days".
LONGEST_RANGE = timedelta(days=7)
# The other provider, N2EXMIDP, reports 0 at volume 0 nearly always.
PRICE_PROVIDER = "APXMIDP"
# Half-hourly prices have stayed between about -200 and 6,000 £/MWh (the day-ahead auction's cap).
PRICE_GBP_PER_MWH = (-1_000, 10_000)
HIGHEST_VOLUME_MWH = 100_000
NATIONAL_BOUNDARY = "N"


@dataclass(frozen=True)
class MarketIndexPrice:
    """The market index price of one half-hour: an outturn, and sometimes negative.

    Attributes:
        start: UTC start of the half-hour.
        price_gbp_per_mwh: volume-weighted price of its short-term trades.
        volume_mwh: what was traded; always more than 0.
    """

    start: datetime
    price_gbp_per_mwh: float
    volume_mwh: float


class ElexonClient(UpstreamClient):
    """Reads demand and prices. Safe to use from many threads.

    Every method raises an `UpstreamError` when nothing usable came, and `ValueError` for a time without a
    timezone. A range that needs several calls keeps what came; a failed piece is among its problems.
    """

    def __init__(self, base_url: str = ELEXON_URL, *, patience: RetryPolicy | None = None) -> None:
        super().__init__(UpstreamSession("Elexon Insights", base_url, patience=patience or RetryPolicy()))

    def day_ahead_demand(self, now: datetime) -> FetchResult[NationalDemand]:
        """NESO's half-hourly forecast for today and tomorrow, its latest issue for every half-hour."""
        slot = half_hour_of(now)
        window = Window(slot - timedelta(hours=24), slot + timedelta(hours=72))
        return self._session.fetch(
            "/forecast/demand/day-ahead",
            partial(parse_day_ahead_demand, window=window, fetched_at=as_utc(now)),
        )

    def market_index_price(self, start: datetime, end: datetime, *, now: datetime) -> FetchResult[MarketIndexPrice]:
        """Prices of [start, end): there are none for the running half-hour or later ones."""

        def fetch(piece: Window) -> FetchResult[MarketIndexPrice]:
            # The API counts both ends as inside; a minute less keeps the half-hour after the piece out.
            until = piece.end - timedelta(minutes=1)
            return self._session.fetch(
                "/balancing/pricing/market-index",
                partial(parse_market_index_price, window=piece, fetched_at=as_utc(now)),
                {"from": rfc3339(piece.start), "to": rfc3339(until), "dataProviders": PRICE_PROVIDER},
            )

        return all_pieces(Window.around(start, end), LONGEST_RANGE, fetch)

    def demand_outturn(self, start: datetime, end: datetime, *, now: datetime) -> FetchResult[NationalDemand]:
        """Initial national demand outturn (INDO) of [start, end), known soon after each half-hour."""

        def fetch(piece: Window) -> FetchResult[NationalDemand]:
            first, last = settlement_date(piece.start), settlement_date(piece.end - HALF_HOUR)
            return self._session.fetch(
                "/demand/outturn",
                partial(parse_demand_outturn, window=piece, fetched_at=as_utc(now)),
                {"settlementDateFrom": first.isoformat(), "settlementDateTo": last.isoformat()},
            )

        # The API counts settlement days, and six days that begin at noon touch seven.
        return all_pieces(Window.around(start, end), LONGEST_RANGE - timedelta(days=1), fetch)

    def system_prices(self, days: Iterable[date], *, now: datetime) -> FetchResult[SystemPrice]:
        """System prices of these settlement dates, a call each; of one that has none yet there are none."""

        def fetch(day: Window) -> FetchResult[SystemPrice]:
            return self._session.fetch(
                f"/balancing/settlement/system-prices/{settlement_date(day.start).isoformat()}",
                partial(parse_system_prices, window=day, fetched_at=as_utc(now)),
                written_as=EXACT_JSON,
            )

        asked = [_settlement_day(day) for day in sorted(set(days))]
        try:
            return all_results(asked, fetch)
        except UnusableAnswer as nothing:
            what = f"no settlement date from {asked[0]} on has a price yet"
            raise UpstreamInvalidResponse(
                self._session.api, "/balancing/settlement/system-prices", what, attempts=len(asked), seconds=0.0
            ) from nothing

    def loss_of_load(self, start: datetime, end: datetime, *, now: datetime) -> FetchResult[LossOfLoad]:
        """Loss-of-load probability and de-rated margin of [start, end), the latest issue for every half-hour."""

        def fetch(piece: Window) -> FetchResult[LossOfLoad]:
            until = piece.end - timedelta(minutes=1)
            return self._session.fetch(
                "/forecast/system/loss-of-load",
                partial(parse_loss_of_load, window=piece, fetched_at=as_utc(now)),
                {"from": rfc3339(piece.start), "to": rfc3339(until)},
                written_as=EXACT_JSON,
            )

        return all_pieces(Window.around(start, end), LONGEST_RANGE, fetch)


def parse_day_ahead_demand(answer: object, window: Window, fetched_at: datetime) -> FetchResult[NationalDemand]:
    """`/forecast/demand/day-ahead`: rows of boundary N; of several issues the one published last counts.

    Raises:
        UnusableAnswer: no list of rows, or none usable.
    """
    findings = Findings()

    def issued(row: JsonObject) -> _Issued:
        if row.get("boundary") != NATIONAL_BOUNDARY:
            why = f"boundary is {shown(row.get('boundary'))}, not {NATIONAL_BOUNDARY}"
            raise RejectedRow(ProblemKind.MALFORMED_ROW, why)
        start = start_in(row, window)
        published_at = moment(row.get("publishTime"), "publishTime")
        return _Issued(published_at, NationalDemand(start, _demand_mw(row, "nationalDemand")))

    every_issue = read_labelled(answer, issued, findings)
    latest: dict[datetime, datetime] = {}
    for issue in every_issue:
        start = issue.row.start
        latest[start] = max(issue.published_at, latest.get(start, issue.published_at))
    rows = [issue.row for issue in every_issue if issue.published_at == latest[issue.row.start]]
    return _demand_result(rows, findings, window, fetched_at)


def parse_market_index_price(answer: object, window: Window, fetched_at: datetime) -> FetchResult[MarketIndexPrice]:
    """`/balancing/pricing/market-index`: rows of one provider; volume 0 means missing, whatever the price.

    Raises:
        UnusableAnswer: no list of rows, or none usable.
    """
    findings = Findings()

    def price(row: JsonObject) -> MarketIndexPrice | None:
        if row.get("dataProvider") != PRICE_PROVIDER:
            return None
        start = start_in(row, window)
        volume_mwh = number(row.get("volume"), "volume", 0, HIGHEST_VOLUME_MWH)
        if volume_mwh == 0:
            raise RejectedRow(ProblemKind.MISSING_VALUE, "volume is 0: nothing was traded, so no price")
        return MarketIndexPrice(start, number(row.get("price"), "price", *PRICE_GBP_PER_MWH), volume_mwh)

    rows = read_labelled(answer, price, findings)
    return _result(rows, findings, window, fetched_at)


def parse_demand_outturn(answer: object, window: Window, fetched_at: datetime) -> FetchResult[NationalDemand]:
    """`/demand/outturn`: `initialDemandOutturn` in MW, for whole settlement days; the rest is left out.

    Raises:
        UnusableAnswer: no list of rows, or none usable.
    """
    findings = Findings()

    def outturn(row: JsonObject) -> NationalDemand | None:
        start = half_hour(row.get("startTime"), "startTime")
        if not window.holds(start):
            return None
        return NationalDemand(start, _demand_mw(row, "initialDemandOutturn"))

    rows = read_labelled(answer, outturn, findings)
    return _demand_result(rows, findings, window, fetched_at)


def _settlement_day(day: date) -> Window:
    return Window(settlement_period_start(day, 1), settlement_period_start(day + timedelta(days=1), 1))


@dataclass(frozen=True)
class _Issued:
    published_at: datetime
    row: NationalDemand


def _demand_mw(row: JsonObject, name: str) -> float:
    reject_zero(row.get(name), name)
    return number(row.get(name), name, LOWEST_MW, HIGHEST_MW)


def _result(rows: list[RowT], findings: Findings, window: Window, fetched_at: datetime) -> FetchResult[RowT]:
    return result_of(one_per_key(rows, lambda row: row.start, findings), findings, window, fetched_at)


def _demand_result(
    rows: list[NationalDemand], findings: Findings, window: Window, fetched_at: datetime
) -> FetchResult[NationalDemand]:
    kept = one_per_key(rows, lambda row: row.start, findings)
    return result_of(without_outliers(kept, findings), findings, window, fetched_at)
