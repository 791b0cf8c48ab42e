from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from inspect import signature

import pytest

import data_fetchers
from data_fetchers import (
    CARBON_INTENSITY_URL,
    ELEXON_URL,
    NESO_URL,
    CarbonIntensityClient,
    ElexonClient,
    FetchResult,
    HalfHourRow,
    NesoClient,
    RetryPolicy,
    UpstreamError,
)
from faulty_upstream import FaultyUpstream, Reply
from grid.half_hours import UTC
from upstream_payloads import (
    cardinal_day,
    data,
    datastore,
    demand_forecast_row,
    each_half_hour,
    generation_row,
    metadata_and,
    national_row,
    period,
)

NOW = datetime(2026, 11, 22, 8, 14, tzinfo=UTC)
SLOT = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)


def test_everything_public_is_there() -> None:
    assert all(hasattr(data_fetchers, name) for name in data_fetchers.__all__)


@pytest.mark.parametrize(
    ("client", "url"),
    [
        (CarbonIntensityClient, CARBON_INTENSITY_URL),
        (NesoClient, NESO_URL),
        (ElexonClient, ELEXON_URL),
    ],
)
def test_clients_ask_the_public_apis_unless_told_otherwise(client: type[object], url: str) -> None:
    assert url.startswith("https://")
    assert signature(client).parameters["base_url"].default == url


def test_a_run_asks_all_three_apis_at_once() -> None:
    slots = each_half_hour(SLOT, 96)
    with (
        FaultyUpstream(Reply(data([national_row(at) for at in slots]))) as national,
        FaultyUpstream(Reply(data([period(at) for at in slots]))) as regional,
        FaultyUpstream(Reply(data(generation_row(SLOT - timedelta(minutes=30))))) as mix,
        FaultyUpstream(Reply(datastore(cardinal_day(date(2026, 11, 23))))) as neso,
        FaultyUpstream(Reply(metadata_and([demand_forecast_row(at) for at in slots[:85]]))) as elexon,
        CarbonIntensityClient(national.url) as national_client,
        CarbonIntensityClient(regional.url) as regional_client,
        CarbonIntensityClient(mix.url) as mix_client,
        NesoClient(neso.url) as neso_client,
        ElexonClient(elexon.url) as elexon_client,
        ThreadPoolExecutor(5) as pool,
    ):
        fetches: tuple[Callable[[datetime], FetchResult[HalfHourRow]], ...] = (
            national_client.national_forecast,
            regional_client.regional_forecast,
            mix_client.generation,
            neso_client.day_ahead_demand,
            elexon_client.day_ahead_demand,
        )
        results = [future.result() for future in [pool.submit(fetch, NOW) for fetch in fetches]]
    assert [len(result.rows) for result in results] == [96, 96 * 17, 1, 48, 85]
    assert [result.problems for result in results] == [()] * 5
    assert {result.fetched_at for result in results} == {NOW}


def test_one_api_that_fails_leaves_the_others_alone() -> None:
    with (
        FaultyUpstream(Reply(b"<html>down</html>", status=503)) as down,
        FaultyUpstream(Reply(metadata_and([demand_forecast_row(SLOT)]))) as up,
        CarbonIntensityClient(down.url, patience=RetryPolicy(attempts=1)) as carbon,
        ElexonClient(up.url) as elexon,
    ):
        with pytest.raises(UpstreamError, match="Carbon Intensity API /generation: HTTP 503: <html>down"):
            carbon.generation(NOW)
        assert len(elexon.day_ahead_demand(NOW).rows) == 1


def test_a_result_sums_itself_up_in_a_line() -> None:
    rows = [demand_forecast_row(SLOT), demand_forecast_row(SLOT + timedelta(minutes=30), 0)]
    with FaultyUpstream(Reply(metadata_and(rows))) as upstream, ElexonClient(upstream.url) as elexon:
        result = elexon.day_ahead_demand(NOW)
    assert result.rejected_rows == 1
    assert result.summary() == (
        "1 row; 1 × missing value (startTime '2026-11-22T08:30:00Z': nationalDemand is 0, which means missing)"
    )
