"""Back-filling history from a loopback server in the part of the APIs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from balancing_payloads import PUBLISHED_AFTER
from database.interface import Database, OrderBy, Row, Where
from database.postgres import PostgresDatabase
from faulty_upstream import Reply
from grid.half_hours import HALF_HOUR, UTC, from_rfc3339, half_hours
from grid_upstreams import (
    GridUpstreams,
    national_gco2_per_kwh,
    outturn_demand_mw,
    price_gbp_per_mwh,
    regional_gco2_per_kwh,
    system_price_gbp_per_mwh,
)
from ingest.backfill import backfill
from ingest.sources import Upstreams

NOW = datetime(2026, 11, 22, 8, 14, 30, tzinfo=UTC)
END = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)


@pytest.fixture
def upstream() -> Iterator[GridUpstreams]:
    with GridUpstreams(NOW) as server:
        yield server


def load(database: Database, server: GridUpstreams, span: timedelta) -> int:
    with Upstreams(server.settings()) as upstreams:
        return backfill(database, upstreams, span=span, now=NOW)


def national(database: Database) -> dict[datetime, Row]:
    found = database.select("grid_signals", order=OrderBy(("timestamp",)))
    return {from_rfc3339(row["timestamp"]): row for row in found}


def regional(database: Database) -> dict[tuple[int, datetime], Row]:
    found = database.select("regional_grid_signals", order=OrderBy(("region_id", "timestamp")))
    return {(row["region_id"], from_rfc3339(row["timestamp"])): row for row in found}


def test_every_half_hour_of_the_span_has_what_the_sources_say(database: Database, upstream: GridUpstreams) -> None:
    assert load(database, upstream, timedelta(hours=36)) == 0
    span = list(half_hours(END - timedelta(hours=36), END))
    stored = national(database)
    assert sorted(stored) == span
    for at, row in stored.items():
        assert row["carbon_intensity_forecast"] == national_gco2_per_kwh(at)
        assert row["carbon_intensity_actual"] == national_gco2_per_kwh(at) + 5
        assert row["demand_mw"] == outturn_demand_mw(at)
        assert row["wholesale_price_gbp_mwh"] == price_gbp_per_mwh(at)
        assert row["carbon_source"] == "carbon_intensity_api"
        assert row["demand_source"] == row["price_source"] == "elexon"
    imbalance = database.select("system_prices", order=OrderBy(("half_hour",)))
    known = [at for at in span if at + PUBLISHED_AFTER <= NOW]
    assert [(from_rfc3339(row["half_hour"]), row["system_price_gbp_mwh"]) for row in imbalance] == [
        (at, system_price_gbp_per_mwh(at)) for at in known
    ]
    regions = regional(database)
    assert len(regions) == 17 * len(span)
    assert all(row["carbon_intensity_forecast"] == regional_gco2_per_kwh(*key) for key, row in regions.items())
    mixes = database.select("generation_mix", order=OrderBy(("mix_id",)), where=[Where("region_id", True, "is_null")])
    assert len(mixes) == 9 * len(span)


def test_the_newest_day_is_loaded_first(postgres: PostgresDatabase, upstream: GridUpstreams) -> None:
    load(postgres, upstream, timedelta(days=2))
    starts = [path.split("/")[4] for path in upstream.asked("/carbon/intensity/")]
    assert starts == ["2026-11-21T08:01Z", "2026-11-20T08:01Z"]


def test_loading_it_again_changes_nothing(postgres: PostgresDatabase, upstream: GridUpstreams) -> None:
    load(postgres, upstream, timedelta(hours=6))
    before: tuple[Any, Any] = national(postgres), regional(postgres)
    load(postgres, upstream, timedelta(hours=6))
    assert (national(postgres), regional(postgres)) == before


def test_a_source_that_has_nothing_is_named_and_the_others_are_stored(
    postgres: PostgresDatabase, upstream: GridUpstreams, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.faults = {"/market-index": Reply({"errors": {}}, status=404)}
    caplog.set_level("INFO")
    assert load(postgres, upstream, timedelta(hours=6)) == 1
    assert "Elexon Insights /balancing/pricing/market-index" in caplog.text
    assert "failures=1" in caplog.text
    stored = national(postgres)
    assert {row["price_source"] for row in stored.values()} == {None}
    assert {row["demand_source"] for row in stored.values()} == {"elexon"}
    upstream.faults = {}
    assert load(postgres, upstream, timedelta(hours=6)) == 0
    assert {row["price_source"] for row in national(postgres).values()} == {"elexon"}


def test_a_span_that_begins_within_a_half_hour_counts_from_the_running_one(
    postgres: PostgresDatabase, upstream: GridUpstreams
) -> None:
    load(postgres, upstream, timedelta(hours=1))
    assert sorted(national(postgres)) == [END - 2 * HALF_HOUR, END - HALF_HOUR]
