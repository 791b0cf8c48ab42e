"""What the gateway says about itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from clock import utc_now
from database.interface import Database, Where
from database.postgres import PostgresDatabase
from decisions.model.gemini import ModelState
from decisions.publishing.store import PublishedDecisions
from gateway.decision_process import NOT_RUNNING, DecidingStatus, ModelReport
from grid_world import NOW, store_grid, store_world, submit, workload
from new_database import only_reads
from running_gateway import DECIDING, running_gateway


def eventually(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up_at, "it did not happen in time"
        time.sleep(0.02)


GONE = ModelReport(
    name="gemini-old",
    role="score",
    state=ModelState.REFUSING,
    circuit_open=True,
    detail="the model gemini-old does not exist any more (404): set GEMINI_MODEL to a current one",
    answering_as=None,
    answers=0,
    failures=1,
    tokens={},
)


def test_the_root_names_every_endpoint(postgres: PostgresDatabase) -> None:
    with running_gateway(postgres) as gateway:
        service = gateway.get("/").json()
        assert service["service"] == "pylon-deg gateway"
        assert service["deciding"]["scorer"] == "deterministic"
        assert {"GET /beckn/broadcast", "POST /beckn/llm-output/acknowledge"} < set(service["endpoints"])
        assert gateway.get("/docs").status_code == 200
        for endpoint in service["endpoints"]:
            method, _, path = endpoint.partition(" ")
            other = {"GET": "POST", "POST": "GET"}[method]
            answer = gateway.client.request(other, path.replace("<", "a").replace(">", "b"))
            if f"{other} {path}" not in service["endpoints"]:
                assert (answer.status_code, answer.headers["Content-Type"]) == (405, "application/problem+json")


def test_health_tells_the_queue_the_scorer_the_signals_and_the_streams(database: Database) -> None:
    now = NOW
    with running_gateway(database, clock=lambda: now) as gateway:
        unknown = gateway.get("/health")
        assert (unknown.status_code, unknown.json()["state"]) == (200, "degraded")
        assert unknown.json()["signals"]["stale"]

        store_world(database)
        submit(database, workload("first"))
        well = gateway.get("/health")
        assert (well.status_code, well.json()["state"], well.json()["reasons"]) == (200, "ok", [])
        assert well.json()["queue"]["depth"] == 1
        assert well.json()["queue"]["oldest_waiting_seconds"] >= 0
        assert well.json()["signals"] == {
            "newest_fetched_at": "2026-11-22T08:04:11Z",
            "age_seconds": 0,
            "current_half_hour_known": True,
            "stale": False,
        }
        assert well.json()["streams"] == {"clients": 0, "newest_event": 0, "following": True, "troubles": []}

        now = NOW + timedelta(hours=2, minutes=1)
        stale = gateway.get("/health")
        assert (stale.status_code, stale.json()["state"]) == (200, "degraded")
        assert "stale" in stale.json()["reasons"][0]
        now = NOW

        gateway.deciding = DecidingStatus(**{**dict(DECIDING), "detail": GONE.detail, "model": GONE})
        gone = gateway.get("/health")
        assert (gone.status_code, gone.json()["state"]) == (200, "degraded")
        assert gone.json()["reasons"] == [GONE.detail]
        assert gone.json()["deciding"]["model"]["circuit_open"] is True

        gateway.deciding = NOT_RUNNING
        stopped = gateway.get("/health")
        assert (stopped.status_code, stopped.headers["Content-Type"]) == (503, "application/problem+json")
        assert (stopped.json()["state"], stopped.json()["deciding"]["running"]) == ("stopped", False)
        assert stopped.json()["queue"]["depth"] == 1


def test_health_says_what_waiting_workloads_wait_for(postgres: PostgresDatabase) -> None:
    with running_gateway(postgres) as gateway:
        assert not any("wait for" in reason for reason in gateway.get("/health").json()["reasons"])
        submit(postgres, workload("first"))
        reasons = gateway.get("/health").json()["reasons"]
        assert any(
            "workloads are waiting for the grid's figures for the present half-hour" in reason for reason in reasons
        )
        store_grid(postgres)
        assert gateway.get("/health").json()["reasons"] == [
            "workloads are waiting for a data centre that is not OFFLINE"
        ]


def test_health_is_not_well_while_figures_are_invented_and_says_which(postgres: PostgresDatabase) -> None:
    store_world(postgres, data_centres=2)
    with running_gateway(postgres) as gateway:
        assert gateway.get("/health").json()["state"] == "ok"
        postgres.update("regional_grid_signals", {"carbon_source": "synthetic"}, where=[Where("region_id", 2)])
        health = gateway.get("/health").json()
        assert (health["state"], health["signals"]["stale"]) == ("degraded", False)
        assert health["reasons"] == [
            "carbon intensity of South Scotland (region 2): invented (synthetic), with no real figure behind it"
        ]
        origins = {figure["region"]: figure["sources"] for figure in health["figures"]}
        assert origins["South Scotland"] == {"synthetic": 96}
        assert origins["North Scotland"] == {"carbon_intensity_api": 96}


def test_waiting_work_with_nobody_on_it_is_not_ok(postgres: PostgresDatabase) -> None:
    store_world(postgres)
    submit(postgres, workload("first"))
    long_ago = utc_now() - timedelta(minutes=5)
    with running_gateway(postgres) as gateway:
        assert gateway.get("/health").json()["state"] == "ok"
        postgres.update(
            "workload_notifications", {"scheduled_at": long_ago}, where=[Where("work_state", "available")]
        )
        unattended = gateway.get("/health").json()
        assert unattended["state"] == "degraded"
        assert "a workload has waited for its decision for 30" in unattended["reasons"][0]
        assert "nothing is working on it" in unattended["reasons"][0]
        assert 299 < unattended["queue"]["overdue_seconds"] < 400
        # A lease that ran out, as that of a worker who is gone.
        postgres.update(
            "workload_notifications",
            {"work_state": "running", "leased_until": long_ago, "lease_token": 1, "leased_by": "gone"},
            where=[Where("work_state", "available")],
        )
        assert "nothing is working on it" in gateway.get("/health").json()["reasons"][0]
        postgres.update(
            "workload_notifications",
            {"leased_until": utc_now() + timedelta(minutes=1)},
            where=[Where("work_state", "running")],
        )
        assert gateway.get("/health").json()["state"] == "ok"


def test_what_keeps_the_deciding_process_from_deciding_is_told(postgres: PostgresDatabase) -> None:
    store_world(postgres)
    trouble = "the database has not served the deciding process for 40 s: the disk is full"
    with running_gateway(postgres) as gateway:
        gateway.deciding = DECIDING.model_copy(update={"troubles": [trouble]})
        found = gateway.get("/health").json()
        assert (found["state"], found["reasons"]) == ("degraded", [trouble])


def test_a_disk_that_is_nearly_full_is_not_ok(postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("BG.data_disk_troubles", lambda _: ["the disk has 3 MB left"])
    store_world(postgres)
    with running_gateway(postgres) as gateway:
        found = gateway.get("/health").json()
        assert (found["state"], found["reasons"]) == ("degraded", ["the disk has 3 MB left"])


@pytest.mark.own_database
def test_a_database_that_takes_no_writes_is_not_ok(postgres: PostgresDatabase, conninfo: str) -> None:
    store_world(postgres)
    with running_gateway(postgres) as gateway:
        assert gateway.get("/health").json()["state"] == "ok"
        only_reads(conninfo, True)
        found = gateway.get("/health")
        assert (found.status_code, found.json()["state"]) == (200, "degraded")
        assert any("takes no writes" in reason and "read-only" in reason for reason in found.json()["reasons"])
        only_reads(conninfo, False)
        assert gateway.get("/health").json()["state"] == "ok"


def test_an_event_log_that_cannot_be_read_is_told_until_it_can(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the error is: this one is of no kind that anybody listed."""
    monkeypatch.setattr("queueing.supervised.TROUBLE_AFTER_S", 0.0)
    store_world(postgres)
    well = PublishedDecisions.events_after

    def broken(*_: object) -> None:
        raise RuntimeError("a row that nobody can read")

    with running_gateway(postgres, poll_seconds=0.05) as gateway:
        monkeypatch.setattr(PublishedDecisions, "events_after", broken)
        eventually(lambda: gateway.get("/health").json()["streams"]["following"] is False)
        found = gateway.get("/health").json()
        assert found["state"] == "degraded"
        assert any("a row that nobody can read" in reason for reason in found["reasons"])
        monkeypatch.setattr(PublishedDecisions, "events_after", well)
        eventually(lambda: gateway.get("/health").json()["state"] == "ok")


def _dead_message() -> dict[str, Any]:
    """A row of the inbox whose message could not be worked on."""
    return {
        "recipient": "bpp.pylon.localhost",
        "sender": "buyer.example",
        "action": "confirm",
        "transaction_id": str(uuid4()),
        "message_id": str(uuid4()),
        "body": "{}",
        "answer": {},
        "work_state": "discarded",
    }


def test_health_tells_how_the_beckn_network_is(database: Database, tmp_path: Path) -> None:
    store_world(database)
    with running_gateway(database) as alone:
        assert alone.get("/health").json()["network"] is None
    with running_gateway(database, keys_dir=tmp_path) as joined:
        well = joined.get("/health").json()
        nothing = {"waiting": 0, "in_flight": 0, "dead": 0, "oldest_waiting_seconds": None}
        assert well["network"] == {"authentication": "on", "inbox": nothing, "outbox": nothing}
        assert (well["state"], well["reasons"]) == ("ok", [])
        database.insert("beckn_inbox", [_dead_message()])
        failed = joined.get("/health")
        assert (failed.status_code, failed.json()["state"]) == (200, "degraded")
        assert failed.json()["network"]["inbox"]["dead"] == 1
        assert "GET /beckn/dead-letters" in failed.json()["reasons"][0]
    with running_gateway(database, environ={"BECKN_AUTH": "off"}, keys_dir=tmp_path) as open_to_all:
        unsigned = open_to_all.get("/health").json()
        assert unsigned["network"]["authentication"] == "off"
        assert "BECKN_AUTH=off" in unsigned["reasons"][0]
