"""What an event is: how it comes in, whichever door it comes by, and how it is kept."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from decisions.scoring.context import HalfHourStart
from flexibility.choosing.choice import Event
from flexibility.rules.baseline import InDay
from flexibility.rules.p415 import Compensation
from grid.half_hours import HALF_HOUR
from vocabulary import StrEnum
from workloads.model import UtcDatetime

MOST_HALF_HOURS = 96
LARGEST_NEED_MW = Decimal(10_000)
LARGEST_PRICE_GBP_PER_MWH = Decimal(100_000)
DECIMALS = 6


class Door(StrEnum):
    """How an event came in."""

    DFS = "dfs"
    BECKN = "beckn"
    OPENADR = "openadr"
    MANUAL = "manual"


class Programme(StrEnum):
    """The rule that an event is paid by."""

    P415 = "P415"
    DFS = "DFS"
    DEG = "DEG"


class EventState(StrEnum):
    ANNOUNCED = "ANNOUNCED"
    OFFERED = "OFFERED"
    COMMITTED = "COMMITTED"
    NOTIFIED = "NOTIFIED"
    DELIVERED = "DELIVERED"
    SETTLED = "SETTLED"
    DECLINED = "DECLINED"
    """There is nothing to offer that pays."""
    MISSED = "MISSED"
    """Its gate closed first."""
    CANCELLED = "CANCELLED"


def _amount(most: Decimal, description: str) -> Any:
    return Field(ge=0, le=most, decimal_places=DECIMALS, allow_inf_nan=False, description=description)


Need = Annotated[Decimal, _amount(LARGEST_NEED_MW, "How much less is to be drawn in a half-hour, MW")]
Price = Annotated[Decimal, _amount(LARGEST_PRICE_GBP_PER_MWH, "£/MWh")]
Half = Annotated[list[Need], Field(min_length=1, max_length=MOST_HALF_HOURS)]
SourceId = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]


class NewEvent(BaseModel):
    """An event to announce: reductions alone. One value for each half-hour, from the first on.

    `tenant` is whose event it is; None: the platform's. DFS and P415 know no penalty of their own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tenant: str | None = None
    door: Door
    source_id: SourceId
    programme: Programme = Programme.P415
    starts_at: HalfHourStart
    need_mw: Half
    price_gbp_per_mwh: Annotated[list[Price], Field(min_length=1, max_length=MOST_HALF_HOURS)]
    penalty_gbp_per_mwh: Annotated[list[Price], Field(max_length=MOST_HALF_HOURS)] | None = None
    compensation: Compensation = Compensation.MUTUALISED
    in_day: InDay = InDay.NONE
    document: dict[str, Any] = {}

    @model_validator(mode="after")
    def _has_a_value_for_each_half_hour(self) -> NewEvent:
        many = len(self.need_mw)
        if len(self.price_gbp_per_mwh) != many:
            raise ValueError(f"give one price for each of the {many} half-hours, not {len(self.price_gbp_per_mwh)}")
        if (self.programme is Programme.DEG) != (self.penalty_gbp_per_mwh is not None):
            raise ValueError("a DEG event has penalty_gbp_per_mwh, and no other has")
        if self.programme is Programme.DEG and self.in_day is not InDay.NONE:
            raise ValueError("a DEG event takes no in-day adjustment: its buyer is told the baseline when it is sold")
        if self.penalty_gbp_per_mwh is not None and len(self.penalty_gbp_per_mwh) != many:
            raise ValueError(f"give one penalty for each of the {many} half-hours")
        return self

    @property
    def wanted(self) -> Event:
        """What is needed and paid."""
        return Event(self.starts_at, tuple(self.need_mw), tuple(self.price_gbp_per_mwh))

    def to_row(self) -> dict[str, Any]:
        """As the database takes it: decimals as text, which keeps every digit."""
        return {
            **self.model_dump(mode="json", exclude={"need_mw", "price_gbp_per_mwh", "penalty_gbp_per_mwh"}),
            "need_mw": _texts(self.need_mw),
            "price_gbp_per_mwh": _texts(self.price_gbp_per_mwh),
            "penalty_gbp_per_mwh": None if self.penalty_gbp_per_mwh is None else _texts(self.penalty_gbp_per_mwh),
        }


def _texts(values: list[Decimal]) -> list[str]:
    return [format(value.normalize(), "f") for value in values]


class StoredEvent(BaseModel):
    """An event as it is kept."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    event_id: UUID
    tenant: str
    door: Door
    source_id: str
    programme: Programme
    starts_at: UtcDatetime
    ends_at: UtcDatetime
    gate_closes_at: UtcDatetime
    need_mw: tuple[Decimal, ...]
    price_gbp_per_mwh: tuple[Decimal, ...]
    penalty_gbp_per_mwh: tuple[Decimal, ...] | None = None
    compensation: Compensation
    in_day: InDay
    state: EventState
    state_reason: str | None = None
    announced_at: UtcDatetime
    updated_at: UtcDatetime

    @property
    def wanted(self) -> Event:
        """What is needed and paid."""
        return Event(self.starts_at, self.need_mw, self.price_gbp_per_mwh)

    @property
    def half_hours(self) -> tuple[datetime, ...]:
        return tuple(self.starts_at + place * HALF_HOUR for place in range(len(self.need_mw)))


class ClaimedEvent(StoredEvent):
    """An event whose next step is in hand."""

    lease_token: int
