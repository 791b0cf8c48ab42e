from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import pytest

from faulty_upstream import FaultyUpstream, Hang, Reply
from grid.half_hours import HALF_HOUR, UTC
from upstream_payloads import data, each_half_hour, generation_row, national_row, period
from upstreams.carbon_intensity import CarbonIntensityClient
from upstreams.errors import UpstreamInvalidResponse, UpstreamUnavailable
from upstreams.results import Window
from upstreams.session import RetryPolicy

NOW = datetime(2026, 11, 22, 8, 14, 35, tzinfo=UTC)
SLOT = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
IMPATIENT = RetryPolicy(read_timeout_seconds=1.5, deadline_seconds=20.0, attempts=2, backoff_seconds=0.001)


@contextmanager
def client_of(upstream: FaultyUpstream) -> Iterator[CarbonIntensityClient]:
    with CarbonIntensityClient(upstream.url, patience=IMPATIENT) as client:
        yield client


def national_days(start: datetime, days: int) -> Reply:
    return Reply(data([national_row(at) for at in each_half_hour(start, 48 * days)]))


def test_the_national_forecast_is_asked_for_a_minute_into_the_running_half_hour() -> None:
    with FaultyUpstream(national_days(SLOT, 2)) as upstream, client_of(upstream) as client:
        result = client.national_forecast(NOW)
    assert [seen.path for seen in upstream.seen] == ["/api/intensity/2026-11-22T08:01Z/fw48h"]
    assert [row.start for row in result.rows] == each_half_hour(SLOT, 96)
    assert result.fetched_at == NOW


def test_the_second_half_of_an_hour_is_asked_for_at_31() -> None:
    later = NOW + timedelta(minutes=25)
    with FaultyUpstream(national_days(SLOT + HALF_HOUR, 2)) as upstream, client_of(upstream) as client:
        result = client.national_forecast(later)
    assert upstream.seen[0].path == "/api/intensity/2026-11-22T08:31Z/fw48h"
    assert result.rows[0].start == SLOT + HALF_HOUR


def test_the_last_24_hours_end_with_the_last_complete_half_hour() -> None:
    yesterday = SLOT - timedelta(hours=24)
    rows = [national_row(at, 142, actual=139) for at in each_half_hour(yesterday, 48)]
    with FaultyUpstream(Reply(data(rows))) as upstream, client_of(upstream) as client:
        result = client.national_recent(NOW)
    assert upstream.seen[0].path == "/api/intensity/2026-11-22T08:01Z/pt24h"
    assert (result.rows[0].start, result.rows[-1].start) == (yesterday, SLOT - HALF_HOUR)
    assert {row.actual_carbon_intensity_gco2_per_kwh for row in result.rows} == {139}
    assert result.problems == ()


def test_all_regions_come_in_one_call() -> None:
    answer = Reply(data([period(at) for at in each_half_hour(SLOT, 96)]), gzipped=True)
    with FaultyUpstream(answer) as upstream, client_of(upstream) as client:
        result = client.regional_forecast(NOW)
    assert [seen.path for seen in upstream.seen] == ["/api/regional/intensity/2026-11-22T08:01Z/fw48h"]
    assert len(result.rows) == 96 * 17


def test_generation_is_the_last_complete_half_hour() -> None:
    answer = Reply(data(generation_row(SLOT - HALF_HOUR)))
    with FaultyUpstream(answer) as upstream, client_of(upstream) as client:
        result = client.generation(NOW)
    assert upstream.seen[0].path == "/api/generation"
    assert [row.start for row in result.rows] == [SLOT - HALF_HOUR]


def test_generation_of_another_week_is_no_answer() -> None:
    answer = Reply(data(generation_row(SLOT - timedelta(days=7))))
    with (
        FaultyUpstream(answer) as upstream,
        client_of(upstream) as client,
        pytest.raises(UpstreamInvalidResponse, match="outside the time asked for"),
    ):
        client.generation(NOW)


def test_national_history_is_read_in_fortnights() -> None:
    start = SLOT - timedelta(days=20)
    second = start + timedelta(days=14)
    with (
        FaultyUpstream(national_days(start, 14), national_days(second, 6)) as upstream,
        client_of(upstream) as client,
    ):
        chunks = list(client.national_between(start, SLOT, now=NOW))
    assert [seen.path for seen in upstream.seen] == [
        "/api/intensity/2026-11-02T08:01Z/2026-11-16T08:00Z",
        "/api/intensity/2026-11-16T08:01Z/2026-11-22T08:00Z",
    ]
    assert [len(chunk.rows) for chunk in chunks] == [14 * 48, 6 * 48]
    assert [chunk.window for chunk in chunks] == [Window(start, second), Window(second, SLOT)]
    assert all(chunk.problems == () for chunk in chunks)


def test_regional_history_comes_in_two_day_pieces_as_it_is_read() -> None:
    start = SLOT - timedelta(days=3)
    first = Reply(data([period(at) for at in each_half_hour(start, 96)]))
    last = Reply(data([period(at) for at in each_half_hour(start + timedelta(days=2), 48)]))
    with FaultyUpstream(first, last) as upstream, client_of(upstream) as client:
        chunks = client.regional_between(start, SLOT, now=NOW)
        assert len(next(chunks).rows) == 96 * 17
        assert len(upstream.seen) == 1
        assert len(next(chunks).rows) == 48 * 17
        assert next(chunks, None) is None
    assert upstream.seen[1].path == "/api/regional/intensity/2026-11-21T08:01Z/2026-11-22T08:00Z"


def test_generation_history_is_read_in_fortnights() -> None:
    start = SLOT - timedelta(days=1)
    answer = Reply(data([generation_row(at) for at in each_half_hour(start, 48)]))
    with FaultyUpstream(answer) as upstream, client_of(upstream) as client:
        (chunk,) = client.generation_between(start, SLOT, now=NOW)
    assert upstream.seen[0].path == "/api/generation/2026-11-21T08:01Z/2026-11-22T08:00Z"
    assert len(chunk.rows) == 48


def test_a_range_is_widened_to_whole_half_hours() -> None:
    with FaultyUpstream(national_days(SLOT, 1)) as upstream, client_of(upstream) as client:
        (chunk,) = client.national_between(NOW, NOW + timedelta(hours=24), now=NOW)
    assert chunk.window == Window(SLOT, SLOT + timedelta(hours=24, minutes=30))


def test_an_empty_piece_of_history_does_not_stop_the_others() -> None:
    start = SLOT - timedelta(days=42)
    empty = Reply({"data": []})
    answers = [empty, empty, *(national_days(start + timedelta(days=14 * n), 14) for n in (1, 2))]
    with FaultyUpstream(*answers) as upstream, client_of(upstream) as client:
        chunks = client.national_between(start, SLOT, now=NOW)
        got = [next(chunks), next(chunks)]
        with pytest.raises(UpstreamInvalidResponse, match="2026-10-11T08:01Z"):
            next(chunks)
    assert [chunk.window.start for chunk in got] == [start + timedelta(days=14), start + timedelta(days=28)]


def test_an_api_that_is_down_is_not_asked_for_the_rest_of_the_history() -> None:
    start = SLOT - timedelta(days=42)
    with FaultyUpstream(national_days(start, 14), Hang()) as upstream, client_of(upstream) as client:
        chunks = client.national_between(start, SLOT, now=NOW)
        assert next(chunks).window.start == start
        with pytest.raises(UpstreamUnavailable, match="timed out"):
            next(chunks)
    assert len(upstream.seen) == 1 + IMPATIENT.attempts


@pytest.mark.parametrize("end", [SLOT, SLOT - timedelta(days=1)])
def test_a_range_must_have_a_length(end: datetime) -> None:
    with (
        CarbonIntensityClient("http://127.0.0.1:1") as client,
        pytest.raises(ValueError, match="must be after the start"),
    ):
        client.national_between(SLOT, end, now=NOW)


def test_a_time_without_a_timezone_is_refused() -> None:
    naive = NOW.replace(tzinfo=None)
    with (
        CarbonIntensityClient("http://127.0.0.1:1") as client,
        pytest.raises(ValueError, match="no timezone"),
    ):
        client.national_forecast(naive)
