"""The demand forecasts on NESO's data portal, a CKAN datastore (NESO Open Data Licence)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from functools import partial

from grid.half_hours import (
    HALF_HOUR,
    LONDON,
    UTC,
    as_utc,
    half_hour_of,
    settlement_period_start,
    settlement_periods_in,
)
from upstreams.call_limit import CallLimit
from upstreams.cardinal_points import CardinalKind, CardinalPoint, half_hourly, periods_between
from upstreams.demand import HIGHEST_MW, LOWEST_MW, NationalDemand, reject_zero, without_outliers
from upstreams.errors import UnusableAnswer
from upstreams.json_values import (
    JsonObject,
    half_hour,
    list_at,
    number_or_numeral,
    object_at,
    read_rows,
    shown,
    whole_number,
)
from upstreams.results import (
    FetchResult,
    Findings,
    ProblemKind,
    RejectedRow,
    Window,
    one_per_key,
    result_of,
)
from upstreams.session import RetryPolicy, UpstreamClient, UpstreamSession

# https://www.neso.energy/data-portal/api-guidance
NESO_URL = "https://api.neso.energy/api/3/action"
# The guidance's limit for datastore queries; NESO blocks addresses that exceed it.
DATASTORE_CALLS_PER_MINUTE = 2

DAY_AHEAD_RESOURCE = "aec5601a-7f3e-4c4c-bf56-d8e4184d3c5b"
TWO_TO_FOURTEEN_DAYS_RESOURCE = "7c0411cd-2714-4bb5-a408-adb065edf34d"

_KINDS = {str(kind): kind for kind in CardinalKind}


class NesoClient(UpstreamClient):
    """Reads NESO's demand forecasts. Safe to use from many threads.

    Two datastore calls a minute are allowed and a run makes two: so a fetch asks once and does not retry, and
    a client that has made two calls within a minute raises `UpstreamSkipped` instead of a third. Keep one
    client for a process's life, or the count starts anew. Every method raises an `UpstreamError` when nothing
    usable came, and `ValueError` for a time without a timezone.
    """

    def __init__(
        self,
        base_url: str = NESO_URL,
        *,
        patience: RetryPolicy | None = None,
        limit: CallLimit | None = None,
    ) -> None:
        super().__init__(
            UpstreamSession(
                "NESO data portal",
                base_url,
                patience=patience or RetryPolicy(attempts=1),
                limit=limit or CallLimit(DATASTORE_CALLS_PER_MINUTE, 60.0),
            )
        )

    def day_ahead_demand(self, now: datetime) -> FetchResult[NationalDemand]:
        """Tomorrow's demand: NESO's cardinal points and our curve through them (see `cardinal_points`)."""
        today = as_utc(now).astimezone(LONDON).date()
        window = Window(
            settlement_period_start(today - timedelta(days=1), 1),
            settlement_period_start(today + timedelta(days=3), 1),
        )
        return self._session.fetch(
            "/datastore_search",
            partial(parse_cardinal_points, window=window, fetched_at=as_utc(now)),
            _query(DAY_AHEAD_RESOURCE, limit=100),  # 12 rows
        )

    def demand_2_to_14_days(self, now: datetime) -> FetchResult[NationalDemand]:
        """The half-hourly forecast from the day after tomorrow."""
        slot = half_hour_of(now)
        window = Window(slot - timedelta(days=1), slot + timedelta(days=16))
        return self._session.fetch(
            "/datastore_search",
            partial(parse_half_hourly_demand, window=window, fetched_at=as_utc(now)),
            _query(TWO_TO_FOURTEEN_DAYS_RESOURCE, limit=1000),  # 624 rows
        )


def parse_cardinal_points(answer: object, window: Window, fetched_at: datetime) -> FetchResult[NationalDemand]:
    """The 1-day-ahead resource: a record for each cardinal point of a `TARGETDATE`; numerals are numbers too.

    Raises:
        UnusableAnswer: no records, or none usable.
    """
    findings = Findings()

    def point(record: JsonObject) -> tuple[date, CardinalPoint]:
        day = _target_date(record, window)
        return day, _cardinal_point(record, day)

    points: dict[date, list[CardinalPoint]] = {}
    for day, found_point in read_rows(_records(answer, findings), point, findings, named_by="CARDINALPOINT"):
        points.setdefault(day, []).append(found_point)
    rows: list[NationalDemand] = []
    for day, found in points.items():
        curve = half_hourly(day, _in_order(found, findings))
        missing = settlement_periods_in(day) - len(curve)
        if missing > 0:
            findings.note(ProblemKind.MISSING_HALF_HOUR, "no cardinal point reaches them", day, count=missing)
        rows.extend(curve)
    return result_of(rows, findings, window, fetched_at)


def parse_half_hourly_demand(answer: object, window: Window, fetched_at: datetime) -> FetchResult[NationalDemand]:
    """The 2-14 day resource: `GDATETIME` is UTC without saying so, and labels the END of a half-hour.

    Raises:
        UnusableAnswer: no records, or none usable.
    """
    findings = Findings()

    def demand(record: JsonObject) -> NationalDemand:
        start = half_hour(record.get("GDATETIME"), "GDATETIME", without_zone=UTC) - HALF_HOUR
        if not window.holds(start):
            raise RejectedRow(ProblemKind.OUTSIDE_WINDOW, f"it is not in {window}")
        return NationalDemand(start, _demand_mw(record, "NATIONALDEMAND"))

    rows = read_rows(_records(answer, findings), demand, findings, named_by="GDATETIME")
    kept = one_per_key(rows, lambda row: row.start, findings)
    return result_of(without_outliers(kept, findings), findings, window, fetched_at)


def _query(resource_id: str, *, limit: int) -> Mapping[str, str]:
    # One call has to bring every row: a page more would be a call more.
    return {"resource_id": resource_id, "limit": str(limit)}


def _records(answer: object, findings: Findings) -> list[object]:
    if isinstance(answer, dict) and answer.get("success") is False:
        raise UnusableAnswer(f"the datastore says it failed: {_datastore_error(answer)}")
    records = list_at(answer, "result", "records")
    total = object_at(answer, "result").get("total")
    if isinstance(total, int) and total > len(records):
        findings.note(ProblemKind.TRUNCATED, f"{len(records)} of {shown(total)} records")
    return records


def _datastore_error(answer: JsonObject) -> str:
    error = answer.get("error")
    if isinstance(error, dict):
        return f"{shown(error.get('__type'))} {shown(error.get('message'))}"
    return shown(error)


def _target_date(record: JsonObject, window: Window) -> date:
    digits = whole_number(record.get("TARGETDATE"), "TARGETDATE", 2000_01_01, 2099_12_31)
    try:
        day = datetime(digits // 10_000, digits // 100 % 100, digits % 100, tzinfo=UTC).date()
    except ValueError:
        raise RejectedRow(ProblemKind.MALFORMED_TIME, f"TARGETDATE is {digits}") from None
    if not window.holds(settlement_period_start(day, 1)):
        raise RejectedRow(ProblemKind.OUTSIDE_WINDOW, f"TARGETDATE is {digits}, not in {window}")
    return day


def _cardinal_point(record: JsonObject, day: date) -> CardinalPoint:
    word = record.get("CP_TYPE")
    kind = _KINDS.get(word) if isinstance(word, str) else None
    if kind is None:
        raise RejectedRow(ProblemKind.UNKNOWN_CARDINAL_POINT, f"CP_TYPE is {shown(word)}")
    start_label, end_label = _clock_label(record, "CP_ST_TIME"), _clock_label(record, "CP_END_TIME")
    periods = periods_between(day, start_label, end_label)
    if periods is None or (kind is CardinalKind.FIXED and start_label != end_label):
        raise RejectedRow(
            ProblemKind.UNKNOWN_CARDINAL_POINT, f"type {kind} from {start_label} to {end_label} on {day}"
        )
    return CardinalPoint(kind, *periods, _demand_mw(record, "FORECASTDEMAND"))


def _clock_label(record: JsonObject, column: str) -> int:
    label = whole_number(record.get(column), column, 30, 2400)
    if label % 100 not in (0, 30):
        raise RejectedRow(ProblemKind.OFF_THE_HALF_HOUR, f"{column} is {label}")
    return label


def _demand_mw(record: JsonObject, column: str) -> float:
    reject_zero(record.get(column), column)
    return number_or_numeral(record.get(column), column, LOWEST_MW, HIGHEST_MW)


def _in_order(points: list[CardinalPoint], findings: Findings) -> list[CardinalPoint]:
    """Points by time, one for each window. Of overlapping windows those that end first stay: one wrong window
    then costs itself, however many others it covers.
    """
    by_window: dict[tuple[int, int], CardinalPoint] = {}
    for point in points:
        window = (point.first, point.last)
        if by_window.get(window, point) != point:
            findings.note(ProblemKind.CONFLICTING_ROWS, "the later one is kept", f"periods {window}")
        by_window[window] = point
    ordered: list[CardinalPoint] = []
    for point in sorted(by_window.values(), key=lambda point: (point.last, point.first)):
        if ordered and point.first <= ordered[-1].last:
            why = f"periods {point.first} to {point.last} begin before period {ordered[-1].last} ends"
            findings.reject(RejectedRow(ProblemKind.OVERLAPPING_WINDOW, why))
        else:
            ordered.append(point)
    return ordered
