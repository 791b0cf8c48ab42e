"""How the gateway is doing: the database, the queue, who scores, how fresh the signals are, the Beckn network."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from beckn.network.health import NetworkHealth, network_health, overdue
from beckn.network.settings import NetworkSettings
from database.interface import Database
from database.write_probe import write_trouble
from decisions.work.notifications import WorkQueue
from gateway.decision_process import DecidingStatus
from ingest.health import STALE_AFTER, FigureOrigin, Health, read_health
from ontology.types import Moment

OVERDUE_S = 60.0


class QueueState(BaseModel):
    """The notifications that are not done."""

    depth: int = Field(description="How many wait, those to be tried again later included")
    oldest_waiting_seconds: float | None
    overdue_seconds: float | None = Field(
        description="How long the first one due has been waiting with nothing working on it; null or 0 when none is"
    )
    in_flight: int = Field(description="How many are being decided, by any gateway on the database")
    dead: int = Field(description="How many failed for good: GET /queue/dead")


class SignalState(BaseModel):
    """The grid's signals."""

    newest_fetched_at: Moment | None
    age_seconds: float | None
    current_half_hour_known: bool
    stale: bool = Field(description="Older than two hours, or none for the present half-hour: outputs say so too")


class StreamState(BaseModel):
    """The broadcast, as this process sees it."""

    clients: int = Field(description="Open streams")
    newest_event: int = Field(description="Number of the newest event; 0 before the first")
    following: bool = Field(description="Whether the event log could be read last time, and goes on being read")
    troubles: list[str] = Field(default=[], description="What keeps events from the streams")


class GatewayHealth(BaseModel):
    """`ok` and `degraded` serve (200). `stopped` still answers what it can, but decides nothing (503)."""

    state: Literal["ok", "degraded", "stopped"]
    as_of: Moment
    version: str
    reasons: list[str] = Field(description="Why it is not ok")
    database: Literal["ok"] = "ok"
    queue: QueueState
    deciding: DecidingStatus
    signals: SignalState
    streams: StreamState
    figures: list[FigureOrigin] = Field(description="Where the figures behind the decisions come from")
    network: NetworkHealth | None = Field(description="The Beckn network; null where the gateway has not joined it")


def read_gateway_health(
    database: Database,
    queue: WorkQueue,
    deciding: DecidingStatus,
    streams: StreamState,
    *,
    network: NetworkSettings | None,
    troubles: Sequence[str] = (),
    now: datetime,
    version: str,
) -> GatewayHealth:
    """The state of things.

    Args:
        network: the Beckn network's settings, if the gateway has joined it.
        troubles: what else is wrong, as with the gateway's threads for that network.

    Raises:
        DatabaseError: the database does not answer.
    """
    waiting = QueueState.model_validate(queue.health(), from_attributes=True)
    data = read_health(database, now=now, version=version)
    age_s = data.newest_signal_age_seconds
    signals = SignalState(
        newest_fetched_at=data.newest_signal_fetched_at,
        age_seconds=age_s,
        current_half_hour_known=data.current_half_hour_known,
        stale=age_s is None or age_s > STALE_AFTER.total_seconds() or not data.current_half_hour_known,
    )
    joined = None if network is None else network_health(database, network)
    awaited = queue.readiness(now).awaited if waiting.depth else None
    unwritten = write_trouble(database)
    reasons = [
        *_reasons(waiting, awaited, deciding, signals, data),
        *([] if unwritten is None else [unwritten]),
        *streams.troubles,
        *([] if streams.following or streams.troubles else ["the event log cannot be read: streams get no events"]),
        *(_network_reasons(joined) if joined else []),
        *(overdue(database, None, now).reasons() if joined else []),
        *troubles,
    ]
    state: Literal["ok", "degraded", "stopped"] = "degraded" if reasons else "ok"
    return GatewayHealth(
        state=state if deciding.running else "stopped",
        as_of=now,
        version=version,
        reasons=reasons,
        queue=waiting,
        deciding=deciding,
        signals=signals,
        streams=streams,
        figures=data.figures,
        network=joined,
    )


def _reasons(
    queue: QueueState, awaited: str | None, deciding: DecidingStatus, signals: SignalState, data: Health
) -> list[str]:
    reasons = []
    if not deciding.running:
        reasons.append("no decisions are made: the deciding process is not running and is being restarted")
    reasons += deciding.troubles
    if queue.overdue_seconds is not None and queue.overdue_seconds > OVERDUE_S and awaited is None:
        reasons.append(_overdue_reason(queue.overdue_seconds, queue.in_flight))
    if deciding.model is not None and deciding.model.detail is not None:
        reasons.append(deciding.model.detail)
    if signals.stale and not data.serves():
        reasons.append("the grid's signals are stale: is the API server running?")
    reasons += data.figure_reasons()
    if awaited is not None:
        reasons.append(f"workloads are waiting for {awaited}")
    if queue.dead:
        reasons.append(f"{queue.dead} notifications failed for good: GET /queue/dead says why")
    return reasons


def _overdue_reason(seconds: float, in_flight: int) -> str:
    if in_flight:
        return f"the decisions are {seconds:.0f} s behind: workloads arrive faster than they are decided"
    return f"a workload has waited for its decision for {seconds:.0f} s, and nothing is working on it"


def _network_reasons(network: NetworkHealth) -> list[str]:
    reasons = []
    if network.authentication == "off":
        reasons.append("Beckn messages are neither signed nor checked: BECKN_AUTH=off")
    # Only those that came in: what goes out also dies of recipients that are away, which is no fault of ours.
    if network.inbox.dead:
        reasons.append(
            f"{network.inbox.dead} Beckn messages failed for good: GET /beckn/dead-letters on "
            "the provider platform says why"
        )
    return reasons
