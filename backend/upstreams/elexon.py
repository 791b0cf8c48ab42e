"""Elexon's Insights API: demand and the market index price.

Contains BMRS data © Elexon Limited copyright and database right. Every number must be a JSON number, as the
API has always sent them. The routes used here wrap their rows as `{"metadata": …, "data": [...]}`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from grid.half_hours import HALF_HOUR, as_utc, half_hour_of, rfc3339, settlement_date
from upstreams.demand import HIGHEST_MW, LOWEST_MW, NationalDemand, reject_zero, without_outliers
from upstreams.json_values import (
    JsonObject,
    half_hour,
    list_at,
    moment,
    number,
    read_rows,
    settlement_period_contradiction,
    shown,
)
from upstreams.pieces import all_pieces
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
from upstreams.session import RetryPolicy, UpstreamClient, UpstreamSession

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

_Read = TypeVar("_Read")


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
        start = _start(row, window)
        published_at = moment(row.get("publishTime"), "publishTime")
        return _Issued(published_at, NationalDemand(start, _demand_mw(row, "nationalDemand")))

    every_issue = _read(answer, issued, findings)
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
        start = _start(row, window)
        volume_mwh = number(row.get("volume"), "volume", 0, HIGHEST_VOLUME_MWH)
        if volume_mwh == 0:
            raise RejectedRow(ProblemKind.MISSING_VALUE, "volume is 0: nothing was traded, so no price")
        return MarketIndexPrice(start, number(row.get("price"), "price", *PRICE_GBP_PER_MWH), volume_mwh)

    rows = _read(answer, price, findings)
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

    rows = _read(answer, outturn, findings)
    return _demand_result(rows, findings, window, fetched_at)


@dataclass(frozen=True)
class _Issued:
    published_at: datetime
    row: NationalDemand


def _read(answer: object, read: Callable[[JsonObject], _Read | None], findings: Findings) -> list[_Read]:
    """What `read` makes of each row, those first whose settlement period contradicts their start time.

    They are kept at their start time and noted; of two rows for one half-hour the later one counts, so one whose
    labels agree.
    """
    agreeing: list[_Read] = []
    contradicting: list[_Read] = []

    def labelled(row: JsonObject) -> None:
        found = read(row)
        if found is None:
            return
        contradiction = settlement_period_contradiction(row, half_hour(row.get("startTime"), "startTime"))
        if contradiction is not None:
            findings.note(ProblemKind.WRONG_SETTLEMENT_PERIOD, f"kept at its start time: {contradiction}")
        (agreeing if contradiction is None else contradicting).append(found)

    read_rows(list_at(answer, "data"), labelled, findings, named_by="startTime")
    return contradicting + agreeing


def _start(row: JsonObject, window: Window) -> datetime:
    start = half_hour(row.get("startTime"), "startTime")
    if not window.holds(start):
        raise RejectedRow(ProblemKind.OUTSIDE_WINDOW, f"it is not in {window}")
    return start


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
