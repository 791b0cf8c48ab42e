"""One pipeline run: claim the half-hour, fetch, derive, fill gaps, store, prune, record."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import orjson
import psutil
from pydantic import TypeAdapter

from database.errors import DatabaseClosed, DatabaseError
from database.interface import Database
from grid.columns import CARBON_INTENSITY_COLUMN
from grid.half_hours import from_rfc3339, half_hour_of, rfc3339
from ingest.accounts import keep_accounts
from ingest.market import store_market
from ingest.reconsidering import reconsider_deferred, settle_unbooked
from ingest.report import RunReport
from ingest.rows import REAL_SOURCES, GridRows, Known, complete_rows
from ingest.sources import FetchOutcome, SourceState, Upstreams, fetch_all, offline_outcome
from printable import LONGEST_REASON, printable
from queueing.heartbeat import Heartbeat
from queueing.process_name import process_name
from settings import Settings
from synthetic.world import data_centres, operators, pipeline_agent, storage_assets, workloads
from version import VERSION

log = logging.getLogger(__name__)

LEASE_SECONDS = 60.0
LONGEST_RUN_S = 600.0  # much longer than one whose every source uses up its time
WORLD_SEED = 1
WORKLOAD_OWNERS = {"CLOUD", "COLOCATION", "AI_LAB"}

# The stored figure of each kind.
_COLUMNS = {
    "carbon": CARBON_INTENSITY_COLUMN,
    "demand": "demand_mw",
    "price": "wholesale_price_gbp_mwh",
}

_PROCESS = secrets.token_hex(4)  # tells this process from another that had its number
_SOURCE_STATES = TypeAdapter(dict[str, SourceState])


def run_once(
    database: Database, settings: Settings, upstreams: Upstreams | None, *, now: datetime, again: bool = False
) -> RunReport:
    """Bring the database up to the half-hour that contains `now`. Without `upstreams`, offline.

    Of all processes that ask for a half-hour one runs it; `again` repeats one that is done. Repeating changes
    no figure that the sources have not changed.

    Raises:
        DatabaseError: the run could not be stored; its slot can be claimed again.
    """
    report = RunReport(half_hour_of(now), "taken")
    with _timed(report, "claim"):
        claim = _claim(database, report.slot, again=again)
    if not claim["claimed"]:
        if claim["state"] == "running":
            report.taken_until = from_rfc3339(claim["lease_until"])
        return report
    try:
        with _held(database, report.slot, claim["lease_token"]):
            _run_claimed(database, settings, upstreams, now, report, claim["lease_token"])
    except Exception as error:
        _record(database, report, claim["lease_token"], "failed", printable(error, LONGEST_REASON))
        raise
    return report


def _claim(database: Database, slot: datetime, *, again: bool) -> dict[str, Any]:
    arguments = {
        "p_slot": slot,
        "p_owner": f"{process_name()}:{_PROCESS}",
        "p_lease_seconds": LEASE_SECONDS,
        "p_again": again,
    }
    claim: dict[str, Any] = database.call("claim_pipeline_slot", arguments)
    if not claim["claimed"] and claim["state"] == "running" and _has_died(claim["owner"]):
        claim = database.call("claim_pipeline_slot", {**arguments, "p_dead_owner": claim["owner"]})
    return claim


@contextmanager
def _held(database: Database, slot: datetime, token: int) -> Iterator[None]:
    """Keep the slot's lease until the block ends. One that is lost all the same is told when the run is stored."""

    def extend(tokens: Sequence[int]) -> None:
        for held in tokens:
            arguments = {"p_slot": slot, "p_lease_token": held, "p_lease_seconds": LEASE_SECONDS}
            database.call("heartbeat_pipeline_slot", arguments, repeatable=True)

    heartbeat = Heartbeat(
        "the keeper of the pipeline's slot", extend, lease_seconds=LEASE_SECONDS, longest_hold_s=LONGEST_RUN_S
    )
    with heartbeat.holding([token]), heartbeat.beating():
        yield


def _has_died(owner: str) -> bool:
    # Only of a process on this machine can it be known; a restarted container may have its predecessor's number.
    host, pid, process = owner.rsplit(":", 2)
    if host != socket.gethostname() or process == _PROCESS:
        return False
    return pid == str(os.getpid()) or not psutil.pid_exists(int(pid))


def _run_claimed(
    database: Database,
    settings: Settings,
    upstreams: Upstreams | None,
    now: datetime,
    report: RunReport,
    token: int,
) -> None:
    with _timed(report, "known"):
        stored = database.call("known_signals", {"p_now": now}, repeatable=True)
    with _timed(report, "fetch"):
        outcome = _fetch(upstreams, now, _SOURCE_STATES.validate_python(stored["last_sources"]))
    report.sources = outcome.states
    with _timed(report, "derive"):
        rows = complete_rows(outcome.fetched, _known(stored), now=now, seed=WORLD_SEED)
        batch = _batch(rows, settings, report.slot)
    with _timed(report, "store"):
        answer = database.call("store_run", {"p_slot": report.slot, "p_lease_token": token, "p_batch": batch})
    if answer.pop("state") == "fenced":
        report.state = "fenced"
        return
    report.counts = answer
    with _timed(report, "market"):
        report.counts |= store_market(database, outcome.market, now)
    with _timed(report, "prune"):
        before = now - timedelta(days=settings.pylon_retention_days)
        pruned = database.call("prune_history", {"p_before": before}, repeatable=True)
    report.counts["pruned"] = sum(pruned.values())
    with _timed(report, "account"):
        report.counts["revised"] = keep_accounts(database, now)
    with _timed(report, "reconsider"):
        again, unbooked = reconsider_deferred(database, now), settle_unbooked(database, now)
    report.counts["reconsidered"] = len(again.reconsidered) + len(unbooked.reconsidered)
    report.counts["expired"] = len(again.failed) + len(unbooked.failed)
    whole = all(source.state in {"fresh", "off"} for source in outcome.states.values())
    _record(database, report, token, "succeeded" if whole else "partial", None)


def _fetch(upstreams: Upstreams | None, now: datetime, last_states: Mapping[str, SourceState]) -> FetchOutcome:
    return offline_outcome() if upstreams is None else fetch_all(upstreams, now=now, last_states=last_states)


def _known(stored: Mapping[str, Any]) -> Known:
    kinds: dict[str, dict[datetime, float]] = {"carbon": {}, "demand": {}, "price": {}}
    fetched_at: dict[str, datetime | None] = dict.fromkeys(kinds)
    interpolated: dict[datetime, float] = {}
    for row in stored["national"]:
        start = from_rfc3339(row["timestamp"])
        for kind, column in _COLUMNS.items():
            if row[column] is None:
                continue
            if row[f"{kind}_source"] in REAL_SOURCES:
                kinds[kind][start] = row[column]
                fetched_at[kind] = _newer(fetched_at[kind], row[f"{kind}_fetched_at"])
            elif kind == "demand" and row["demand_interpolated"]:
                interpolated[start] = row[column]
    regional: dict[int, dict[datetime, float]] = {}
    regional_fetched_at: dict[int, datetime] = {}
    for row in stored["regional"]:
        region, intensity = row["region_id"], row[CARBON_INTENSITY_COLUMN]
        if intensity is not None and row["carbon_source"] in REAL_SOURCES:
            regional.setdefault(region, {})[from_rfc3339(row["timestamp"])] = intensity
            if newest := _newer(regional_fetched_at.get(region), row["fetched_at"]):
                regional_fetched_at[region] = newest
    return Known(
        kinds["carbon"],
        kinds["demand"],
        kinds["price"],
        regional,
        has_recent_mix=stored["has_recent_mix"],
        interpolated_demand_mw=interpolated,
        carbon_fetched_at=fetched_at["carbon"],
        demand_fetched_at=fetched_at["demand"],
        price_fetched_at=fetched_at["price"],
        regional_fetched_at=regional_fetched_at,
    )


def _newer(moment: datetime | None, text: str | None) -> datetime | None:
    other = None if text is None else from_rfc3339(text)
    return max((each for each in (moment, other) if each is not None), default=None)


def _batch(rows: GridRows, settings: Settings, slot: datetime) -> dict[str, Any]:
    companies = operators()
    centres = data_centres(settings.synthetic_data_centres, at=slot, seed=WORLD_SEED)
    batch = {
        **rows.batch(),
        "operators": [company.model_dump() for company in companies],
        "agents": [pipeline_agent(VERSION).model_dump()],
        "data_centres": [centre.model_dump() for centre in centres],
        "storage_assets": [asset.model_dump() for asset in storage_assets(at=slot, seed=WORLD_SEED)],
        "workloads": [
            workload.model_dump()
            for workload in workloads(
                settings.synthetic_workloads_per_run,
                slot=slot,
                seed=WORLD_SEED,
                data_centre_ids=[centre.dc_id for centre in centres],
                operator_ids=[c.operator_id for c in companies if c.operator_type in WORKLOAD_OWNERS],
            )
        ],
    }
    # A round trip through JSON turns rows, enums and times into what every database door takes.
    document: dict[str, Any] = orjson.loads(orjson.dumps(batch, option=orjson.OPT_NON_STR_KEYS))
    return document


def _record(database: Database, report: RunReport, token: int, state: str, error: str | None) -> None:
    try:
        answer = database.call(
            "finish_pipeline_run",
            {
                "p_slot": report.slot,
                "p_lease_token": token,
                "p_state": state,
                "p_sources": {name: source.model_dump() for name, source in report.sources.items()},
                "p_counts": report.counts,
                "p_stages_ms": report.stages_ms,
                "p_error": error,
            },
        )
    except DatabaseError as failure:
        if error is None:
            raise
        if not isinstance(failure, DatabaseClosed):
            log.warning("run slot=%s could not be recorded as failed: %s", rfc3339(report.slot), failure)
        return
    if error is None:
        report.state = "fenced" if answer["state"] == "fenced" else state  # type: ignore[assignment]


@contextmanager
def _timed(report: RunReport, stage: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    report.stages_ms[stage] = round((time.perf_counter() - began) * 1000, 1)
