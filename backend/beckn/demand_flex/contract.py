"""A contract as it is kept, with its event's life."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from beckn.demand_flex.need import PER_THOUSAND, DemandNeed
from beckn.protocol.context import OrderContext
from flexibility.event_model import EventState, StoredEvent
from flexibility.rules.exact import HOURS
from workloads.model import UtcDatetime

RESTING = "RESTING"
"""The baseline of a battery."""


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class CommittedVolume(_Read):
    half_hour: UtcDatetime
    committed_mwh: Decimal


class SiteBaseline(_Read):
    """`metered_mwh` is None before the event is over and metered."""

    dc_id: str
    half_hour: UtcDatetime
    method: str
    baseline_mwh: Decimal
    metered_mwh: Decimal | None


class BatteryHalfHour(_Read):
    """What a battery does, in the event's half-hours and in those in which it takes its energy back."""

    asset_id: str
    half_hour: UtcDatetime
    charge_mw: Decimal
    discharge_mw: Decimal


class SettlementRun(_Read):
    run: int
    received_gbp: Decimal


class EventLife(_Read):
    event: StoredEvent
    commitments: tuple[CommittedVolume, ...]
    baselines: tuple[SiteBaseline, ...]
    storage: tuple[BatteryHalfHour, ...]
    settlements: tuple[SettlementRun, ...]


class Contract(_Read):
    """`told`: up to which of its event's decisions its buyer was told; `newest`: the newest, where that was asked."""

    contract_id: UUID
    transaction_id: UUID
    bap_id: str
    context: OrderContext
    need: DemandNeed
    told: int
    newest: int | None = None
    life: EventLife

    @property
    def event(self) -> StoredEvent:
        return self.life.event

    @property
    def state(self) -> EventState:
        return self.life.event.state

    @property
    def committed_kw(self) -> tuple[Decimal, ...] | None:
        """What was sold by half-hour, of all units together; None before anything was."""
        if not self.life.commitments:
            return None
        sold: dict[datetime, Decimal] = defaultdict(Decimal)
        for one in self.life.commitments:
            sold[one.half_hour] += one.committed_mwh
        return tuple(kw_of(sold[half_hour]) for half_hour in self.event.half_hours)

    @property
    def meters(self) -> dict[str, list[SiteBaseline]]:
        """By meter, one for each half-hour of the event: data centres, and batteries, which else would rest."""
        batteries = (
            SiteBaseline(
                dc_id=one.asset_id,
                half_hour=one.half_hour,
                method=RESTING,
                baseline_mwh=Decimal(0),
                metered_mwh=-one.discharge_mw * HOURS,
            )
            for one in self.life.storage
            if one.half_hour in self.event.half_hours
        )
        found: dict[str, list[SiteBaseline]] = defaultdict(list)
        for site in (*self.life.baselines, *batteries):
            found[site.dc_id].append(site)
        return dict(sorted(found.items()))

    @property
    def is_metered(self) -> bool:
        return self.state in {EventState.DELIVERED, EventState.SETTLED}


def kw_of(mwh: Decimal) -> Decimal:
    """The mean power of a half-hour's volume."""
    return mwh / HOURS * PER_THOUSAND
