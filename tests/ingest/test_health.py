from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from database.interface import Database
from database.postgres import PostgresDatabase
from grid.half_hours import HALF_HOUR, UTC, half_hour_of
from grid_world import store_grid, store_world
from ingest.health import Health, read_health
from ingest.run import run_once
from settings import load_settings

NOW = datetime(2026, 11, 22, 8, 14, 30, tzinfo=UTC)


def health(database: Database, now: datetime = NOW) -> Health:
    return read_health(database, now=now, version="0.1.0")


def record_run(database: Database, state: str = "succeeded", *, error: str | None = None, **sources: str) -> None:
    claim = database.call(
        "claim_pipeline_slot",
        {"p_slot": half_hour_of(NOW), "p_owner": "here:1:x", "p_lease_seconds": 60, "p_again": True},
    )
    arguments: dict[str, Any] = {
        "p_slot": half_hour_of(NOW),
        "p_lease_token": claim["lease_token"],
        "p_state": state,
        "p_sources": {name: {"state": was, "detail": "96 rows"} for name, was in sources.items()},
        "p_counts": {"national": 96},
        "p_stages_ms": {"fetch": 812.5},
        "p_error": error,
    }
    assert database.call("finish_pipeline_run", arguments)["state"] == "finished"


def test_with_fresh_signals_and_sources_all_is_well(database: Database) -> None:
    store_grid(database, NOW - timedelta(minutes=10))
    record_run(database, neso="fresh", elexon="fresh")
    found = health(database)
    assert (found.state, found.serves(), found.database) == ("ok", True, "ok")
    assert found.newest_signal_age_seconds == 600
    assert found.current_half_hour_known
    assert {name: source.state for name, source in found.sources.items()} == {"neso": "fresh", "elexon": "fresh"}
    assert found.last_run is not None
    assert (found.last_run.slot, found.last_run.state) == (half_hour_of(NOW), "succeeded")
    assert (found.last_run.counts, found.last_run.stages_ms) == ({"national": 96}, {"fetch": 812.5})


def test_before_the_first_run_it_is_starting_and_does_not_serve(postgres: PostgresDatabase) -> None:
    found = health(postgres)
    assert (found.state, found.serves(), found.pipeline_running) == ("starting", False, False)
    assert found.explanation() == "the first pipeline run has not finished yet"
    postgres.call("claim_pipeline_slot", {"p_slot": half_hour_of(NOW), "p_owner": "here:1:x", "p_lease_seconds": 60})
    store_grid(postgres, NOW)  # the run has stored its signals and not yet said how it went
    found = health(postgres)
    assert (found.state, found.serves(), found.pipeline_running) == ("starting", False, True)


@pytest.mark.parametrize("state", ["stale", "failed"])
def test_a_source_that_fails_degrades_but_serves(postgres: PostgresDatabase, state: str) -> None:
    store_grid(postgres, NOW)
    record_run(postgres, "partial", neso="fresh", elexon=state)
    found = health(postgres)
    assert (found.state, found.serves()) == ("degraded", True)
    assert found.sources["elexon"].state == state


def test_a_source_that_no_decision_rests_on_degrades_nothing_and_says_how_it_is(postgres: PostgresDatabase) -> None:
    store_grid(postgres, NOW)
    record_run(postgres, "partial", neso="fresh", elexon_loss_of_load="failed")
    found = health(postgres)
    assert (found.state, found.reasons) == ("ok", [])
    assert found.sources["elexon_loss_of_load"].state == "failed"


def test_a_run_without_a_network_is_well(postgres: PostgresDatabase) -> None:
    store_grid(postgres, NOW)
    record_run(postgres, network="off")
    assert health(postgres).state == "ok"


def test_a_run_that_failed_degrades_while_the_signals_are_young(postgres: PostgresDatabase) -> None:
    store_grid(postgres, NOW)
    record_run(postgres, "failed", error="no room")
    assert health(postgres).state == "degraded"


def test_a_first_run_that_failed_says_why(postgres: PostgresDatabase) -> None:
    record_run(postgres, "failed", error="no room on the disk")
    found = health(postgres)
    assert not found.serves()
    assert found.explanation() == "the last pipeline run failed: no room on the disk"


def said_of(database: Database, now: datetime = NOW) -> tuple[str, list[str]]:
    found = health(database, now)
    return found.state, found.reasons


def come_from(postgres: PostgresDatabase, source: str, *, region: int, from_half_hour: int = 0) -> None:
    with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
        connection.execute(
            "update regional_grid_signals set carbon_source = %s where region_id = %s and timestamp >= %s",
            (source, region, half_hour_of(NOW) + from_half_hour * HALF_HOUR),
        )


def test_invented_figures_degrade_and_the_regions_they_are_of_are_named(postgres: PostgresDatabase) -> None:
    store_world(postgres, NOW, data_centres=13)
    record_run(postgres, neso="fresh")
    assert said_of(postgres) == ("ok", [])
    come_from(postgres, "synthetic", region=13)
    come_from(postgres, "synthetic", region=7)
    come_from(postgres, "synthetic", region=17)  # has no data centre
    come_from(postgres, "synthetic", region=2, from_half_hour=90)
    assert said_of(postgres) == (
        "degraded",
        [
            "carbon intensity of South Scotland (region 2): invented (synthetic) in 6 of 96 half-hours",
            "carbon intensity of South Wales (region 7) and carbon intensity of London (region 13): "
            "invented (synthetic), with no real figure behind it",
        ],
    )


def test_a_modelled_present_degrades_and_a_modelled_future_does_not(postgres: PostgresDatabase) -> None:
    store_world(postgres, NOW, data_centres=2)
    come_from(postgres, "modelled", region=1, from_half_hour=29)
    assert said_of(postgres) == ("ok", [])
    come_from(postgres, "modelled", region=2)
    assert said_of(postgres) == ("degraded", ["carbon intensity of South Scotland (region 2): modelled"])


def test_sources_that_are_away_are_named_with_their_last_answer(postgres: PostgresDatabase) -> None:
    store_world(postgres, NOW, data_centres=2)
    come_from(postgres, "synthetic", region=1)
    record_run(postgres, "partial", neso="fresh", carbon_regional_forecast="failed")
    assert health(postgres).figure_reasons()[-1] == "without an answer: carbon_regional_forecast (none yet)"


def test_a_world_that_is_all_invented_serves_degraded_until_the_pipeline_stops(postgres: PostgresDatabase) -> None:
    settings = load_settings({})
    run_once(postgres, settings, None, now=NOW)
    found = health(postgres)
    assert (found.state, found.newest_signal_fetched_at) == ("degraded", None)
    assert "invented" in found.reasons[0]
    found = health(postgres, NOW + timedelta(hours=3))
    assert (found.state, found.explanation()) == (
        "stale",
        "no figure is real, and the pipeline has not run for a long time",
    )


def test_signals_that_are_too_old_do_not_serve(postgres: PostgresDatabase) -> None:
    store_grid(postgres, NOW)
    record_run(postgres, neso="fresh")
    assert health(postgres, NOW + timedelta(hours=2)).serves()
    found = health(postgres, NOW + timedelta(hours=2, seconds=1))
    assert (found.state, found.serves()) == ("stale", False)
    assert found.explanation() == "the newest signal was fetched 7201 s ago"


def test_without_a_signal_for_the_present_it_does_not_serve(postgres: PostgresDatabase) -> None:
    store_grid(postgres, NOW)
    record_run(postgres, neso="fresh")
    with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
        connection.execute("delete from grid_signals where timestamp = %s", (half_hour_of(NOW),))
    found = health(postgres)
    assert (found.state, found.current_half_hour_known) == ("stale", False)
    assert "no signal for the present half-hour" in found.explanation()


def test_a_pipeline_that_stood_still_for_days_is_stale_and_not_starting(postgres: PostgresDatabase) -> None:
    store_grid(postgres, NOW)
    record_run(postgres, neso="fresh")
    found = health(postgres, NOW + timedelta(days=9))
    assert (found.state, found.newest_signal_age_seconds) == ("stale", None)
    assert "the pipeline has not run for a long time" in found.explanation()
