"""Replays over a real database and real HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import requests

from api.backtest import backtest_endpoints
from api.what_if import ConcurrencyLimit
from api_application import create_app
from database.embedded import EmbeddedPostgres
from database.interface import Database, Row
from database.postgres import PostgresDatabase
from grid.half_hours import rfc3339
from grid_world import NOW, data_centre, store_data_centres, store_grid
from new_database import new_database
from served import Client, served
from settings import load_settings
from web.application import make_application

DAY = timedelta(days=1)
JOB: Row = {"workload_type": "RAG_QUERY", "required_gpu_mins": 60, "urgency": "LOW", "deferral_window_mins": 240}
SIX_DAYS: Row = {"from": rfc3339(NOW - 6 * DAY), "to": rfc3339(NOW - 2 * DAY)}


def store_history(database: Database) -> None:
    """Eight days that end now, and three data centres. Every day carbon rises from eight o'clock on."""
    for days in range(10, -1, -2):
        store_grid(database, NOW - days * DAY)
    store_data_centres(database, [data_centre(number) for number in (1, 2, 3)])


@pytest.fixture(scope="module")
def replayer(postgres_server: EmbeddedPostgres) -> Iterator[Client]:
    with new_database(postgres_server) as conninfo:
        database = PostgresDatabase(conninfo)
        store_history(database)
        with served(create_app(database, load_settings({}), clock=lambda: NOW)) as client:
            yield client
        database.close()


def fields(answer: requests.Response) -> list[str]:
    assert answer.status_code == 422, answer.text[:500]
    return [error["field"] for error in answer.json()["errors"]]


def replayed(client: Client, *workloads: Row, **parts: Any) -> Row:
    answer = client.post("/api/v1/backtest", {"workloads": list(workloads) or [JOB], **SIX_DAYS, **parts})
    assert answer.status_code == 200, answer.text[:500]
    found: Row = answer.json()
    return found


def test_each_workload_is_replayed_under_each_policy_beside_three_rules(
    api_through: Client, database: Database
) -> None:
    store_history(database)
    answer = replayed(api_through, JOB, {**JOB, "job_id": "hosted", "host_dc_id": "DC-002"})
    assert answer["moments"] == 4
    assert [one["job_id"] for one in answer["workloads"]] == ["workload-1", "hosted"]
    for one in answer["workloads"]:
        assert [found["policy"] for found in one["policies"]] == ["balanced", "carbon", "cost"]
        for found in one["policies"]:
            assert (found["moments"], found["compared"], found["unknown"]) == (4, 4, 0)
    carbon = answer["workloads"][1]["policies"][1]
    # From now on is greenest, at DC-001 in region 1: the host is in region 2.
    assert carbon["predicted"] == carbon["realised"] == carbon["perfect_foresight"]
    assert carbon["realised"]["carbon_gco2"] < carbon["run_now"]["carbon_gco2"]
    assert carbon["captured_pct"] == 100
    saved = 100 * (1 - carbon["realised"]["carbon_gco2"] / carbon["run_now"]["carbon_gco2"])
    assert carbon["realised_saving"]["carbon_pct"] == pytest.approx(saved)
    assert carbon["realised_saving"]["cost_pct"] == pytest.approx(0)
    assert carbon["worse_than_run_now"] == 0


def test_the_answer_says_how_it_was_reckoned_and_from_what(replayer: Client) -> None:
    answer = replayed(replayer)
    assert any("No regional actual" in sentence for sentence in answer["accounting"])
    # From a week before the first moment, of which four days are stored, until two days after the last.
    assert answer["history"]["half_hours"] == 48 * (7 + 3 + 2) + 1
    assert answer["history"]["price_sources"] == {"elexon": 48 * (4 + 3 + 2) + 1}
    assert answer["history"]["with_actual_carbon"] == 0


def test_moments_follow_each_other_as_asked_and_end_before_the_end(replayer: Client) -> None:
    answer = replayed(replayer, every_minutes=720, policies=["cost", "cost"])
    assert answer["moments"] == 8
    (found,) = answer["workloads"][0]["policies"]
    assert (found["policy"], found["moments"]) == ("cost", 8)


def test_power_is_held_unless_the_question_says_that_it_is_not(replayer: Client) -> None:
    jobs = [{**JOB, "host_dc_id": "DC-002"}] * 2
    held, alone = replayed(replayer, *jobs), replayed(replayer, *jobs, hold_power=False)
    assert held["workloads"] == alone["workloads"]  # there is power for both
    assert any("holds its power" in sentence for sentence in held["accounting"])
    assert any("No power is held" in sentence for sentence in alone["accounting"])


def test_without_a_period_it_is_the_last_week(replayer: Client) -> None:
    last_week = replayed(replayer, **{"from": rfc3339(NOW - 7 * DAY), "to": rfc3339(NOW)})
    assert last_week["moments"] == 7
    assert replayer.post("/api/v1/backtest", {"workloads": [JOB]}).json() == last_week


def test_moments_without_a_stored_future_are_not_compared(replayer: Client) -> None:
    answer = replayed(replayer, **{"from": rfc3339(NOW - timedelta(hours=2)), "to": rfc3339(NOW)}, every_minutes=30)
    (found, *_) = answer["workloads"][0]["policies"]
    assert found["compared"] < found["moments"] == 4


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ({"workloads": []}, "workloads"),
        ({"workloads": [JOB] * 21}, "workloads"),
        ({"from": SIX_DAYS["to"], "to": SIX_DAYS["from"]}, "from"),
        ({"to": rfc3339(NOW + timedelta(minutes=1))}, "to"),
        ({"from": "yesterday"}, "from"),
        ({"from": rfc3339(NOW - timedelta(days=370))}, "from"),
        ({"from": rfc3339(NOW - timedelta(days=25 * 365)), "every_minutes": 10080}, "from"),
        ({"from": "0001-01-01T00:00:00Z"}, "from"),
        ({"to": "0001-01-01T00:00:00Z"}, "to"),
        ({"to": "9999-12-31T23:30:00Z"}, "to"),
        ({"every_minutes": 45}, "every_minutes"),
        ({"every_minutes": 30, "workloads": [JOB] * 20}, "every_minutes"),
        ({"policies": []}, "policies"),
        ({"policies": ["fast"]}, "policies.0"),
        ({"workloads": [{**JOB, "deadline": rfc3339(NOW)}]}, "workloads.0.deadline"),
        ({"workloads": [{**JOB, "host_dc_id": "DC-9"}]}, "workloads.0.host_dc_id"),
        ({"hold_power": "no"}, "hold_power"),
        ({"since": 1}, "since"),
    ],
)
def test_what_is_wrong_with_a_replay_is_named(replayer: Client, parts: Row, named: str) -> None:
    body = {"workloads": [JOB], **SIX_DAYS, **parts}
    assert fields(replayer.post("/api/v1/backtest", body)) == [named]


def test_a_replay_waits_for_its_turn(postgres: PostgresDatabase) -> None:
    store_history(postgres)
    turns = ConcurrencyLimit(at_once=1, patience_s=0.01)
    app = make_application("Back-tests", "", "0")
    app.register_api(backtest_endpoints(postgres, lambda: NOW, turns, 100.0))
    asked: list[str] = []
    call = postgres.call

    def noted(function: str, *arguments: Any, **options: Any) -> Any:
        asked.append(function)
        return call(function, *arguments, **options)

    postgres.call = noted  # type: ignore[method-assign]
    with served(app) as client, turns.take():
        busy = client.post("/api/v1/backtest", {"workloads": [JOB], **SIX_DAYS})
        assert busy.status_code == 503
        assert int(busy.headers["Retry-After"]) > 0
    assert asked == []  # what is refused has read nothing
