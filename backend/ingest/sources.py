"""Asks every upstream source at once, and says of each how it went."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Literal

from pydantic import BaseModel

from grid.half_hours import from_rfc3339, half_hour_of, rfc3339
from ingest.market import MarketData, settlement_dates_to_ask
from ingest.rows import Fetched
from printable import LONGEST_REASON, printable
from settings import Settings
from upstreams.carbon_intensity import CarbonIntensityClient
from upstreams.demand import NationalDemand
from upstreams.dfs import DfsClient
from upstreams.elexon import ElexonClient
from upstreams.errors import UpstreamError, UpstreamSkipped
from upstreams.neso import NesoClient
from upstreams.results import FetchResult

log = logging.getLogger(__name__)

PRICE_HISTORY = timedelta(days=2)
MARGIN_AHEAD = timedelta(hours=48)
AT_MOST_EVERY = {"neso_dfs_bids": timedelta(hours=2), "neso_dfs_summary": timedelta(hours=2)}
"""Sources that change a few times a day, and are large: one that answered less long ago is not asked again."""
NO_DECISION_RESTS_ON = frozenset(
    {"elexon_system_price", "elexon_loss_of_load", "neso_dfs_requirement", "neso_dfs_bids", "neso_dfs_summary"}
)
"""What is read for flexibility and for people, and the margin, which is a second opinion: without one of these every
decision stands on what it has always stood on."""


class SourceState(BaseModel):
    """How one source did in a run. `stale`: it failed, and the rows of an earlier success are kept."""

    state: Literal["fresh", "stale", "failed", "off"]
    detail: str
    rows: int = 0
    last_success_at: str | None = None

    @property
    def last_answer_in_words(self) -> str:
        return f"last answer {self.last_success_at}" if self.last_success_at else "none yet"


@dataclass(frozen=True)
class FetchOutcome:
    """What came, and the state of every source by name."""

    fetched: Fetched
    states: dict[str, SourceState]
    market: MarketData = field(default_factory=MarketData)


class Upstreams:
    """The clients, kept for the life of a process (connections, and NESO's limit of calls a minute)."""

    def __init__(self, settings: Settings) -> None:
        self.carbon = CarbonIntensityClient(settings.carbon_intensity_url)
        self.neso = NesoClient(settings.neso_url)
        self.elexon = ElexonClient(settings.elexon_url)
        self.dfs = DfsClient(settings.neso_url)

    def close(self) -> None:
        for client in (self.carbon, self.neso, self.elexon, self.dfs):
            client.close()

    def __enter__(self) -> Upstreams:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def fetch_all(upstreams: Upstreams, *, now: datetime, last_states: Mapping[str, SourceState]) -> FetchOutcome:
    """Ask all sources at once. A source that fails leaves its part empty and never stops the others."""
    slot = half_hour_of(now)
    requests: dict[str, Callable[[], FetchResult[Any]]] = {
        "carbon_national_forecast": lambda: upstreams.carbon.national_forecast(now),
        "carbon_national_recent": lambda: upstreams.carbon.national_recent(now),
        "carbon_regional_forecast": lambda: upstreams.carbon.regional_forecast(now),
        "carbon_generation_mix": lambda: upstreams.carbon.generation(now),
        "neso_day_ahead_demand": lambda: upstreams.neso.day_ahead_demand(now),
        "neso_2_to_14_day_demand": lambda: upstreams.neso.demand_2_to_14_days(now),
        "elexon_day_ahead_demand": lambda: upstreams.elexon.day_ahead_demand(now),
        "elexon_market_index_price": lambda: upstreams.elexon.market_index_price(slot - PRICE_HISTORY, slot, now=now),
        "elexon_system_price": lambda: upstreams.elexon.system_prices(settlement_dates_to_ask(now), now=now),
        "elexon_loss_of_load": lambda: upstreams.elexon.loss_of_load(slot, slot + MARGIN_AHEAD, now=now),
        "neso_dfs_requirement": lambda: upstreams.dfs.requirements(now),
        "neso_dfs_bids": lambda: upstreams.dfs.bids(now),
        "neso_dfs_summary": lambda: upstreams.dfs.summaries(now),
    }
    kept = {
        name: last for name, last in last_states.items() if name in requests and _answered_lately(name, last, now)
    }
    for name in kept:
        del requests[name]
    with ThreadPoolExecutor(len(requests), thread_name_prefix="fetch") as pool:
        running = {name: pool.submit(request) for name, request in requests.items()}
    states = {name: _state(name, future, now, last_states.get(name)) for name, future in running.items()} | kept
    horizon = slot + timedelta(hours=48)

    def rows(*names: str) -> tuple[Any, ...]:
        asked = [running[name] for name in names if name in running]
        found = [future.result() for future in asked if future.exception() is None]
        return tuple(row for result in found for row in result.rows)

    return FetchOutcome(
        Fetched(
            national_carbon=rows("carbon_national_recent", "carbon_national_forecast"),
            regional_carbon=rows("carbon_regional_forecast"),
            national_mix=rows("carbon_generation_mix"),
            neso_demand=_before(horizon, rows("neso_day_ahead_demand", "neso_2_to_14_day_demand")),
            elexon_demand=_before(horizon, rows("elexon_day_ahead_demand")),
            prices=rows("elexon_market_index_price"),
        ),
        states,
        MarketData(
            system_prices=rows("elexon_system_price"),
            loss_of_load=rows("elexon_loss_of_load"),
            dfs_requirements=rows("neso_dfs_requirement"),
            dfs_bids=rows("neso_dfs_bids"),
            dfs_summaries=rows("neso_dfs_summary"),
        ),
    )


def offline_outcome() -> FetchOutcome:
    """Nothing asked, nothing come."""
    return FetchOutcome(Fetched(), {"network": SourceState(state="off", detail="run with --offline")})


def _answered_lately(name: str, last: SourceState, now: datetime) -> bool:
    if name not in AT_MOST_EVERY or last.state != "fresh" or last.last_success_at is None:
        return False
    return timedelta(0) <= now - from_rfc3339(last.last_success_at) < AT_MOST_EVERY[name]


def _state(name: str, future: Future[FetchResult[Any]], now: datetime, last: SourceState | None) -> SourceState:
    error = future.exception()
    if error is None:
        result = future.result()
        detail = printable(result.summary(), LONGEST_REASON)
        if result.problems:
            log.info("source=%s %s", name, detail)
        return SourceState(state="fresh", detail=detail, rows=len(result.rows), last_success_at=rfc3339(now))
    reason = failure_of(name, error)
    before = last.last_success_at if last else None
    if isinstance(error, UpstreamSkipped) and last is not None and last.state == "fresh":
        return last
    log.warning(
        "source=%s failed: %s; %s", name, reason, f"rows from {before} are kept" if before else "no earlier rows"
    )
    return SourceState(state="stale" if before else "failed", detail=reason, last_success_at=before)


def failure_of(name: str, error: BaseException) -> str:
    """Why a source gave nothing, for its state. What nobody foresaw is in the log as well: the others go on."""
    if isinstance(error, UpstreamError):
        return printable(error, LONGEST_REASON)
    log.error("source=%s failed unexpectedly", name, exc_info=error)
    return printable(f"{type(error).__name__}: {error}", LONGEST_REASON)


def _before(end: datetime, rows: tuple[NationalDemand, ...]) -> tuple[NationalDemand, ...]:
    return tuple(row for row in rows if row.start < end)
