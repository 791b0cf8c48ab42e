"""The events in the database, as whoever carries them on reads and steps them. Each step is one transaction."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, ConfigDict

from database.interface import Database, Row
from decisions.scoring.context import DecisionContext
from decisions.work.notifications import ContextBatch
from decisions.work.placed_work import PlacedWork
from flexibility.choosing.moves import Booked
from flexibility.event_model import ClaimedEvent, EventState, StoredEvent
from flexibility.rules.exact import HOURS
from grid.half_hours import from_rfc3339
from printable import LONGEST_REASON, printable
from vocabulary import StrEnum
from workloads.model import UtcDatetime


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class BookedWork(PlacedWork):
    """A workload that is placed in an event's half-hours and has not begun."""

    booking_id: int

    @property
    def place(self) -> Booked:
        return Booked(self.dc_id, self.starts_at, self.ends_at, self.it_power_kw, self.operator)


class BatteryRow(_Row):
    """A battery that may be sold."""

    asset_id: str
    unit_id: str
    region_id: int
    power_mw: float
    capacity_mwh: float
    state_of_charge_percentage: float
    round_trip_efficiency: float


@dataclass(frozen=True)
class Situation:
    """All that an offer is made from, read at one moment."""

    unit_of: dict[str, str]
    """The unit of each data centre that may give way."""
    booked: tuple[BookedWork, ...]
    contexts: ContextBatch
    batteries: tuple[BatteryRow, ...] = ()

    @property
    def known(self) -> list[tuple[BookedWork, DecisionContext]]:
        """What is booked, each with what it would be decided from."""
        return [(one, self.contexts.context(one.job)) for one in self.booked if one.job in self.contexts]


def read_situation(answer: Any) -> Situation:
    """What `flexibility_situation` answers."""
    return Situation(
        {site["dc_id"]: site["unit_id"] for site in answer["sites"]},
        tuple(BookedWork.model_validate(row) for row in answer["booked"]),
        ContextBatch.of(answer["contexts"]),
        tuple(BatteryRow.model_validate(row) for row in answer["batteries"]),
    )


class SiteHistory(_Row):
    """What a data centre drew for runs: whole days of 48 half-hours, and what is booked in the event's, MWh."""

    days: dict[date, list[Decimal]]
    event_days: list[date]
    expected_mwh: list[Decimal]


class MeteredHalfHour(_Row):
    dc_id: str
    unit_id: str
    half_hour: UtcDatetime
    baseline_mwh: Decimal
    metered_mwh: Decimal


class BatteryHalfHour(_Row):
    """What a battery does in a half-hour of the event; without the event it would rest."""

    asset_id: str
    unit_id: str
    half_hour: UtcDatetime
    discharge_mw: Decimal

    @property
    def freed_mwh(self) -> Decimal:
        return self.discharge_mw * HOURS


class CommittedHalfHour(_Row):
    unit_id: str
    half_hour: UtcDatetime
    committed_mwh: Decimal
    has_wman: bool


class SystemPrice(_Row):
    half_hour: UtcDatetime
    system_price_gbp_mwh: Decimal


class Outcome(_Row):
    """What an event is settled from."""

    is_metered: bool
    run: int
    """The newest settlement; 0 without any."""
    inputs: dict[str, Any] | None
    baselines: tuple[MeteredHalfHour, ...]
    batteries: tuple[BatteryHalfHour, ...]
    commitments: tuple[CommittedHalfHour, ...]
    system_prices: tuple[SystemPrice, ...]


@dataclass(frozen=True)
class Step:
    """What becomes of an event next. `content` None: nothing is decided, it is only looked at again later."""

    state: EventState
    reason: str
    due_at: datetime | None
    content: Row | None = None
    with_it: Row = field(default_factory=dict)
    """What is stored with it: moves, commitments, baselines, notifications, a settlement."""


class Stepped(StrEnum):
    """`FENCED`: somebody else has it. `WRONG_STATE`: it has changed. `OUTDATED`: what was to move has changed."""

    CHANGED = "changed"
    FENCED = "fenced"
    WRONG_STATE = "wrong_state"
    OUTDATED = "outdated"


class EventBook:
    """Safe to use from many threads and processes at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim_due(
        self, worker: str, now: datetime, *, lease_seconds: float, limit: int
    ) -> tuple[list[ClaimedEvent], datetime | None]:
        """Events whose next step is due, on a lease; and when the next one after them is."""
        arguments = {"p_worker": worker, "p_now": now, "p_lease_seconds": lease_seconds, "p_limit": limit}
        answer = self._database.call("claim_flexibility_events", arguments)
        due = answer["next_due_at"]
        return [ClaimedEvent.model_validate(row) for row in answer["claimed"]], from_rfc3339(due) if due else None

    def situation(self, event: StoredEvent, now: datetime) -> Situation:
        """What is booked in the event's half-hours, and what it would be decided from at `now`."""
        arguments = {"p_event_id": str(event.event_id), "p_now": now}
        return read_situation(self._database.call("flexibility_situation", arguments, repeatable=True))

    def history(self, event: StoredEvent, dc_ids: list[str]) -> dict[str, SiteHistory]:
        """What the data centres drew on the days before."""
        arguments = {"p_event_id": str(event.event_id), "p_dc_ids": dc_ids}
        answer = self._database.call("flexibility_history", arguments, repeatable=True)
        return {dc_id: SiteHistory.model_validate(row) for dc_id, row in answer.items()}

    def in_day_readings(self, event: StoredEvent, dc_ids: list[str]) -> dict[str, dict[datetime, Decimal]]:
        """What data centres drew for runs in the hours before the event's gate closure, MWh, where it is known."""
        arguments = {"p_event_id": str(event.event_id), "p_dc_ids": dc_ids}
        answer = self._database.call("flexibility_in_day_readings", arguments, repeatable=True)
        return {
            dc_id: {from_rfc3339(half_hour): Decimal(mwh) for half_hour, mwh in metered.items()}
            for dc_id, metered in answer.items()
        }

    def outcome(self, event: StoredEvent) -> Outcome:
        """What was committed and metered, and the prices that are known."""
        answer = self._database.call("flexibility_outcome", {"p_event_id": str(event.event_id)}, repeatable=True)
        return Outcome.model_validate(answer)

    def store(self, event: ClaimedEvent, step: Step, now: datetime, *, worked_s: float = 0.0) -> Stepped:
        """Make a step that was worked out at `now`, whole or not at all; `worked_s` is how long that has taken.

        What a gate has closed on meanwhile is OUTDATED.
        """
        row: Row = {
            "event_id": str(event.event_id),
            "lease_token": event.lease_token,
            "from_state": str(event.state),
            "state": str(step.state),
            "reason": printable(step.reason, LONGEST_REASON),
            "content": step.content,
            "due_at": step.due_at,
            "now": now,
            "stored_at": now + timedelta(seconds=worked_s),
            **step.with_it,
        }
        return Stepped(self._database.call("step_flexibility_event", {"p_step": row})["state"])

    def fail(self, event: ClaimedEvent, error: str, now: datetime, *, again_after_s: float) -> None:
        """Look again after a while."""
        arguments = {
            "p_event_id": str(event.event_id),
            "p_lease_token": event.lease_token,
            "p_error": printable(error, LONGEST_REASON),
            "p_now": now,
            "p_retry_seconds": again_after_s,
        }
        self._database.call("fail_flexibility_event", arguments, repeatable=True)
