from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta

import pytest

from faulty_upstream import FaultyUpstream, Reply
from grid.half_hours import HALF_HOUR, UTC, settlement_period_start
from upstream_payloads import Json, cardinal, cardinal_day, datastore, demand_record, each_half_hour, without
from upstreams.call_limit import CallLimit
from upstreams.demand import NationalDemand
from upstreams.errors import UnusableAnswer, UpstreamRefused, UpstreamSkipped, UpstreamUnavailable
from upstreams.neso import NesoClient, parse_cardinal_points, parse_half_hourly_demand
from upstreams.results import FetchResult, ProblemKind, Window

NOW = datetime(2026, 11, 22, 8, 14, tzinfo=UTC)
TOMORROW = date(2026, 11, 23)
MIDNIGHT = datetime(2026, 11, 23, tzinfo=UTC)
DAY_AFTER = datetime(2026, 11, 24, tzinfo=UTC)
ANY_DAY = Window(datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))


def cardinal_points(records: list[Json]) -> FetchResult[NationalDemand]:
    return parse_cardinal_points(datastore(records), ANY_DAY, NOW)


def half_hourly(records: list[object]) -> FetchResult[NationalDemand]:
    return parse_half_hourly_demand(datastore(records), ANY_DAY, NOW)


def problem_kinds(result: FetchResult[NationalDemand]) -> dict[ProblemKind, int]:
    return {problem.kind: problem.count for problem in result.problems}


def test_twelve_cardinal_points_become_48_half_hours() -> None:
    result = cardinal_points(cardinal_day(TOMORROW))
    assert [row.start for row in result.rows] == each_half_hour(MIDNIGHT, 48)
    assert result.problems == ()
    by_label = {n * 30 // 60 * 100 + n * 30 % 60: row.demand_mw for n, row in enumerate(result.rows, 1)}
    # The fixed points, and every published peak and trough, at the half-hours that end at these times.
    assert {label: by_label[label] for label in (30, 400, 800, 2400)} == {
        30: 27_100,
        400: 24_500,
        800: 33_900,
        2400: 28_800,
    }
    assert max(by_label.values()) == by_label[1730] == 43_700
    assert min(by_label.values()) == by_label[530] == 23_800
    assert sum(not row.is_interpolated for row in result.rows) == 12


@pytest.mark.parametrize(
    ("day", "half_hours", "first", "last"),
    [
        (date(2026, 3, 29), 46, datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 3, 29, 22, 30, tzinfo=UTC)),
        (
            date(2026, 10, 25),
            50,
            datetime(2026, 10, 24, 23, tzinfo=UTC),
            datetime(2026, 10, 25, 23, 30, tzinfo=UTC),
        ),
        (
            date(2026, 8, 1),
            48,
            datetime(2026, 7, 31, 23, tzinfo=UTC),
            datetime(2026, 8, 1, 22, 30, tzinfo=UTC),
        ),
        (date(2026, 12, 1), 48, datetime(2026, 12, 1, tzinfo=UTC), datetime(2026, 12, 1, 23, 30, tzinfo=UTC)),
    ],
)
def test_local_end_labels_become_utc_starts_on_every_kind_of_day(
    day: date, half_hours: int, first: datetime, last: datetime
) -> None:
    result = cardinal_points(cardinal_day(day))
    assert [row.start for row in result.rows] == each_half_hour(first, half_hours)
    assert result.rows[-1].start == last
    assert result.problems == ()
    assert max(row.demand_mw for row in result.rows) == 43_700


def test_numerals_are_numbers() -> None:
    as_text: list[Json] = [{name: str(value) for name, value in record.items()} for record in cardinal_day(TOMORROW)]
    assert cardinal_points(as_text).rows == cardinal_points(cardinal_day(TOMORROW)).rows


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"FORECASTDEMAND": 0}, ProblemKind.MISSING_VALUE),
        ({"FORECASTDEMAND": "0"}, ProblemKind.MISSING_VALUE),
        ({"FORECASTDEMAND": None}, ProblemKind.MISSING_VALUE),
        ({"FORECASTDEMAND": -21_000}, ProblemKind.IMPLAUSIBLE),
        ({"FORECASTDEMAND": 21_000_000}, ProblemKind.IMPLAUSIBLE),
        ({"FORECASTDEMAND": "n/a"}, ProblemKind.NOT_A_NUMBER),
        ({"FORECASTDEMAND": "21,371"}, ProblemKind.NOT_A_NUMBER),
        ({"FORECASTDEMAND": "2_1371"}, ProblemKind.NOT_A_NUMBER),
        ({"FORECASTDEMAND": "nan"}, ProblemKind.NOT_A_NUMBER),
        ({"FORECASTDEMAND": True}, ProblemKind.NOT_A_NUMBER),
        ({"FORECASTDEMAND": float("nan")}, ProblemKind.NOT_A_NUMBER),
        ({"CP_TYPE": "X"}, ProblemKind.UNKNOWN_CARDINAL_POINT),
        ({"CP_TYPE": None}, ProblemKind.UNKNOWN_CARDINAL_POINT),
        ({"CP_ST_TIME": 445}, ProblemKind.OFF_THE_HALF_HOUR),
        ({"CP_ST_TIME": 0}, ProblemKind.IMPLAUSIBLE),
        ({"CP_END_TIME": 2430}, ProblemKind.IMPLAUSIBLE),
        ({"CP_END_TIME": 530.5}, ProblemKind.IMPLAUSIBLE),
        ({"CP_ST_TIME": 700, "CP_END_TIME": 430}, ProblemKind.UNKNOWN_CARDINAL_POINT),
        ({"CP_TYPE": "F"}, ProblemKind.UNKNOWN_CARDINAL_POINT),
        ({"TARGETDATE": 20261340}, ProblemKind.MALFORMED_TIME),
        ({"TARGETDATE": "tomorrow"}, ProblemKind.NOT_A_NUMBER),
        ({"TARGETDATE": 20280101}, ProblemKind.OUTSIDE_WINDOW),
        ({"CP_END_TIME": 900}, ProblemKind.OVERLAPPING_WINDOW),
    ],
)
def test_a_bad_cardinal_point_costs_itself_only(change: Json, kind: ProblemKind) -> None:
    records = cardinal_day(TOMORROW)
    records[4] = {**records[4], **change}
    result = cardinal_points(records)
    assert [row.start for row in result.rows] == each_half_hour(MIDNIGHT, 48)
    assert result.rejected_rows == 1
    assert problem_kinds(result)[kind] == 1


def test_a_day_that_begins_late_is_not_made_up() -> None:
    result = cardinal_points(cardinal_day(TOMORROW)[3:])
    assert result.rows[0].start == settlement_period_start(TOMORROW, 8)
    assert problem_kinds(result) == {ProblemKind.MISSING_HALF_HOUR: 7}


def test_identical_cardinal_points_are_one_and_conflicting_ones_reported() -> None:
    again = cardinal(TOMORROW, "F", 400, 400, 24_500)
    other = cardinal(TOMORROW, "F", 400, 400, 24_900)
    assert cardinal_points([*cardinal_day(TOMORROW), again]).problems == ()
    result = cardinal_points([*cardinal_day(TOMORROW), other])
    assert problem_kinds(result) == {ProblemKind.CONFLICTING_ROWS: 1}
    assert result.rows[7].demand_mw == 24_900


def test_two_days_in_one_answer_are_two_curves() -> None:
    result = cardinal_points(cardinal_day(TOMORROW) + cardinal_day(TOMORROW + timedelta(days=1)))
    assert [row.start for row in result.rows] == each_half_hour(MIDNIGHT, 96)


def test_the_half_hourly_file_labels_ends_in_utc() -> None:
    result = half_hourly([demand_record(start, 25_000 + n) for n, start in enumerate(each_half_hour(DAY_AFTER, 624))])
    assert [row.start for row in result.rows] == each_half_hour(DAY_AFTER, 624)
    assert result.rows[0] == NationalDemand(DAY_AFTER, 25_000)


def test_the_half_hourly_file_crosses_the_clock_change_without_a_seam() -> None:
    start = datetime(2026, 10, 24, 22, tzinfo=UTC)
    result = half_hourly([demand_record(at, "24000") for at in each_half_hour(start, 10)])
    assert [row.start for row in result.rows] == each_half_hour(start, 10)


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        (None, ProblemKind.MALFORMED_ROW),
        (demand_record(DAY_AFTER, 0), ProblemKind.MISSING_VALUE),
        (demand_record(DAY_AFTER, None), ProblemKind.MISSING_VALUE),
        (demand_record(DAY_AFTER, ""), ProblemKind.NOT_A_NUMBER),
        (without(demand_record(DAY_AFTER, 25_000), ["GDATETIME"]), ProblemKind.MALFORMED_TIME),
        ({**demand_record(DAY_AFTER, 25_000), "GDATETIME": "2026-11-24"}, ProblemKind.MALFORMED_TIME),
        (
            {**demand_record(DAY_AFTER, 25_000), "GDATETIME": "2026-11-24T00:15:00"},
            ProblemKind.OFF_THE_HALF_HOUR,
        ),
        (demand_record(DAY_AFTER + timedelta(days=60), 25_000), ProblemKind.OUTSIDE_WINDOW),
    ],
)
def test_a_bad_half_hourly_record_costs_itself_only(record: object, kind: ProblemKind) -> None:
    good = [demand_record(start, 25_000) for start in each_half_hour(DAY_AFTER + HALF_HOUR, 3)]
    result = half_hourly([record, *good])
    assert len(result.rows) == 3
    assert problem_kinds(result) == {kind: 1}


def test_an_answer_shorter_than_its_total_is_reported() -> None:
    answer = datastore([demand_record(DAY_AFTER, 25_000)], total=624)
    result = parse_half_hourly_demand(answer, ANY_DAY, NOW)
    assert problem_kinds(result) == {ProblemKind.TRUNCATED: 1}


@pytest.mark.parametrize("parse", [parse_cardinal_points, parse_half_hourly_demand])
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({}, "result is missing"),
        ([], "the answer is a list"),
        ({"success": True, "result": []}, "result is a list, not an object"),
        ({"success": True, "result": {}}, "result.records is missing"),
        ({"success": True, "result": {"records": {}}}, "not a list"),
        (datastore([]), "no usable row"),
        (datastore([{}]), "no usable row"),
        (
            {"success": False, "error": {"__type": "Validation Error", "message": "no such column"}},
            "Validation Error.*no such column",
        ),
        ({"success": False, "error": "locked"}, "locked"),
        ({"success": False}, "says it failed"),
    ],
)
def test_an_answer_without_records_is_a_failure(parse: object, answer: object, words: str) -> None:
    assert callable(parse)
    with pytest.raises(UnusableAnswer, match=words):
        parse(answer, ANY_DAY, NOW)


# --- the client


@contextmanager
def client_of(upstream: FaultyUpstream, limit: CallLimit | None = None) -> Iterator[NesoClient]:
    with NesoClient(upstream.url, limit=limit) as client:
        yield client


def test_a_run_makes_one_call_for_each_resource_with_room_for_every_row() -> None:
    day_ahead = Reply(datastore(list(cardinal_day(TOMORROW))))
    later = Reply(datastore([demand_record(start, "25000") for start in each_half_hour(DAY_AFTER, 624)]))
    with FaultyUpstream(day_ahead, later) as upstream, client_of(upstream) as client:
        assert len(client.day_ahead_demand(NOW).rows) == 48
        assert len(client.demand_2_to_14_days(NOW).rows) == 624
    assert [seen.path for seen in upstream.seen] == [
        "/api/datastore_search?resource_id=aec5601a-7f3e-4c4c-bf56-d8e4184d3c5b&limit=100",
        "/api/datastore_search?resource_id=7c0411cd-2714-4bb5-a408-adb065edf34d&limit=1000",
    ]


def test_a_second_run_within_a_minute_is_skipped_and_one_after_it_is_not() -> None:
    seconds = [0.0]
    limit = CallLimit(2, 60.0, monotonic=lambda: seconds[0])
    with (
        FaultyUpstream(Reply(datastore(list(cardinal_day(TOMORROW))))) as upstream,
        client_of(upstream, limit) as client,
    ):
        client.day_ahead_demand(NOW)
        client.day_ahead_demand(NOW)
        seconds[0] = 59.0
        with pytest.raises(UpstreamSkipped, match="rate limit; the next call may be made in 1 s"):
            client.day_ahead_demand(NOW)
        seconds[0] = 60.0
        client.day_ahead_demand(NOW)
    assert len(upstream.seen) == 3


def test_a_failure_is_not_tried_again_within_the_minute() -> None:
    with (
        FaultyUpstream(Reply(b"", status=502)) as upstream,
        client_of(upstream) as client,
        pytest.raises(UpstreamUnavailable, match="NESO data portal /datastore_search.*aec5601a.*HTTP 502"),
    ):
        client.day_ahead_demand(NOW)
    assert len(upstream.seen) == 1


def test_a_refused_query_says_what_ckan_said() -> None:
    refusal = {
        "success": False,
        "error": {"__type": "Not Found Error", "message": "Not found: Resource was not found."},
    }
    with (
        FaultyUpstream(Reply(refusal, status=404)) as upstream,
        client_of(upstream) as client,
        pytest.raises(UpstreamRefused, match="HTTP 404.*Resource was not found"),
    ):
        client.demand_2_to_14_days(NOW)


def test_last_months_file_is_no_answer() -> None:
    with (
        FaultyUpstream(Reply(datastore(list(cardinal_day(date(2026, 10, 9)))))) as upstream,
        client_of(upstream) as client,
        pytest.raises(Exception, match="12 × outside the time asked for"),
    ):
        client.day_ahead_demand(NOW)
