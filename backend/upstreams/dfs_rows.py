"""The rows of the Demand Flexibility Service's three files, and how each column is read.

The service buys less or more demand in half-hours that it announces. Its files say the time four ways: the delivery
date and `From_Local` are the London clock's, and where that clock shows a time twice `From_UTC` tells which is meant.
Numbers are exact decimals: bids are settled in pounds and pence.

https://www.neso.energy/data-portal/demand-flexibility
"""

from __future__ import annotations

import re
from datetime import date, datetime, time
from decimal import Decimal
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from grid.half_hours import HALF_HOUR, LONDON, UTC
from printable import printable
from upstreams.row_models import Figure, RowModel, empty_as_none

HALF_AN_HOUR = Decimal("0.5")
FIRST_MONTH_OF_A_DELIVERY_YEAR = 4

_BRITISH_DATE = re.compile(r"(\d{2})/(\d{2})/(\d{4})", re.ASCII)
_ISO_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})(?:T00:00:00)?", re.ASCII)
_CLOCK = re.compile(r"(\d{2}):(\d{2})(?::00)?", re.ASCII)
_CAP = re.compile(r"\s*Z(\d{1,2})\s*:\s*(\d{1,6}(?:\.\d{1,6})?)\s*", re.ASCII)


def read_date(value: Any) -> date:
    """29/09/2026, as the files write it, or 2026-09-29, as the datastore does."""
    text = value.strip() if isinstance(value, str) else ""
    if british := _BRITISH_DATE.fullmatch(text):
        day, month, year = map(int, british.groups())
    elif iso := _ISO_DATE.fullmatch(text):
        year, month, day = map(int, iso.groups())
    else:
        raise PydanticCustomError("malformed_time", "is no date")
    try:
        return datetime(year, month, day, tzinfo=UTC).date()
    except ValueError:
        raise PydanticCustomError("malformed_time", "is no date") from None


def read_clock(value: Any) -> time:
    """A time of day; 24:00 is midnight."""
    match = _CLOCK.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or int(match[1]) > 24 or int(match[2]) > 59:
        raise PydanticCustomError("malformed_time", "is no time of day")
    return time(int(match[1]) % 24, int(match[2]))


def read_submission(value: Any) -> datetime:
    """A date and a time of the London clock, as a moment in UTC."""
    day, _, clock = str(value).strip().replace("T", " ").partition(" ")
    return datetime.combine(read_date(day), read_clock(clock), LONDON).astimezone(UTC)


def read_zonal_caps(value: Any) -> dict[int, Decimal]:
    """`Z1:0,Z6:500`: the most MW that is bought in each zone; empty where there is no such limit."""
    text = "" if value is None else str(value).strip()
    found: dict[int, Decimal] = {}
    for part in text.split(",") if text else []:
        match = _CAP.fullmatch(part)
        if match is None:
            raise PydanticCustomError("malformed_caps", "is no list of zones and MW")
        found[int(match[1])] = Decimal(match[2])
    return found


def read_names(value: Any) -> tuple[str, ...]:
    # They only tell who may bid: one that cannot be printed, or stored, costs no row.
    return tuple(printable(name.strip()) for name in str(value or "").split(",") if name.strip())


DeliveryDate = Annotated[date, BeforeValidator(read_date)]
Clock = Annotated[time, BeforeValidator(read_clock)]
Word = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Megawatts = Annotated[Figure, Field(ge=0, le=100_000)]
GbpPerMwh = Annotated[Figure, Field(ge=-100_000, le=100_000)]
Money = Annotated[Figure, Field(ge=-1_000_000_000, le=1_000_000_000)]
SettledMegawatts = Annotated[Figure, Field(ge=-100_000, le=100_000)]


class DfsRow(RowModel):
    """What every row of the service has: its event, and the half-hour it is about."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    event_id: Annotated[int, Field(ge=1, le=1_000_000, alias="Event ID")]
    direction: Literal["Downwards", "Upwards"] = Field(alias="Event Type")
    tag: Literal["Energy", "System"] = Field(alias="Event Tag")
    delivery_date: DeliveryDate = Field(alias="Delivery Date")
    from_local: Clock = Field(alias="From_Local")
    to_local: Clock = Field(alias="To_Local")
    from_utc: Clock = Field(alias="From_UTC")
    to_utc: Clock = Field(alias="To_UTC")
    requirement_type: Literal["Live", "Test"] = Field(alias="Service Requirement Type")

    @model_validator(mode="after")
    def _is_one_half_hour(self) -> DfsRow:
        end = self.start + HALF_HOUR
        if self.start.minute % 30:
            raise PydanticCustomError("malformed_time", "From_Local is not on a half-hour")
        if (end.time(), end.astimezone(LONDON).time()) != (self.to_utc, self.to_local):
            raise PydanticCustomError("malformed_time", "To_Local and To_UTC are not half an hour after From_Local")
        return self

    @cached_property
    def start(self) -> datetime:
        """UTC start of the half-hour.

        Raises:
            PydanticCustomError: no moment of the delivery date shows both clocks.
        """
        for fold in (0, 1):
            local = datetime.combine(self.delivery_date, self.from_local, LONDON).replace(fold=fold)
            found = local.astimezone(UTC)
            if found.time() == self.from_utc and found.astimezone(LONDON).time() == self.from_local:
                return found
        raise PydanticCustomError("malformed_time", "From_Local is not From_UTC on the delivery date")

    @property
    def event_ref(self) -> str:
        """The event's name here, such as 2026-136: its number begins anew with a delivery year, April to March."""
        day = self.delivery_date
        return f"{day.year - (day.month < FIRST_MONTH_OF_A_DELIVERY_YEAR)}-{self.event_id}"


class DfsRequirement(DfsRow):
    """A half-hour of an event as it was announced: how much is wanted. It says nothing of what is bought."""

    submitted_at: Annotated[datetime, BeforeValidator(read_submission)] = Field(alias="DFS Submission Time_Local")
    requirement_mw: Megawatts = Field(alias="Service Requirement MW")
    guaranteed_price_gbp_per_mwh: Annotated[GbpPerMwh | None, BeforeValidator(empty_as_none)] = Field(
        alias="Guaranteed Acceptance Price GBP per MWh"
    )
    dispatch_type: Annotated[Word | None, BeforeValidator(empty_as_none)] = Field(alias="Dispatch Type")
    participants: Annotated[tuple[str, ...], BeforeValidator(read_names)] = Field(alias="Participant Bids Eligible")
    zonal_caps_mw: Annotated[dict[int, Decimal], BeforeValidator(read_zonal_caps)] = Field(alias="Zonal Cap")


class DfsBid(DfsRow):
    """One bid of one unit for one half-hour, taken or not."""

    participant: Word = Field(alias="Registered DFS Participant")
    unit_id: Word = Field(alias="DFS Unit ID")
    zone: Annotated[int, Field(ge=0, le=99, alias="Zone")]
    bid_mw: Megawatts = Field(alias="DFS Procured MW")
    price_gbp_per_mwh: GbpPerMwh = Field(alias="Utilisation Price GBP per MWh")
    status: Literal["Accepted", "Rejected"] = Field(alias="Status")

    @property
    def cost_gbp(self) -> Decimal:
        """What it costs where it is accepted: every bid is paid its own price."""
        return self.bid_mw * HALF_AN_HOUR * self.price_gbp_per_mwh if self.status == "Accepted" else Decimal(0)


class DfsSummary(DfsRow):
    """A half-hour of an event as it was bought, and weeks later as it was settled, which may be below zero."""

    requirement_mw: Megawatts = Field(alias="Service Requirement MW")
    procured_mw: Megawatts = Field(alias="DFS Procured MW")
    accepted_cost_gbp: Money = Field(alias="DFS Provider Bids Accepted Total Cost GBP")
    settled_mw: Annotated[SettledMegawatts | None, BeforeValidator(empty_as_none)] = Field(alias="Settled Volume MW")
    settled_cost_gbp: Annotated[Money | None, BeforeValidator(empty_as_none)] = Field(alias="Settled Cost GBP")

    @property
    def mean_price_gbp_per_mwh(self) -> Decimal | None:
        """Of the accepted bids; None where none was."""
        return self.accepted_cost_gbp / (self.procured_mw * HALF_AN_HOUR) if self.procured_mw else None


def accepted_cost_gbp(bids: list[DfsBid]) -> Decimal:
    """What the accepted ones of these bids cost: their power for half an hour, each at its own price."""
    return sum((bid.cost_gbp for bid in bids), Decimal(0))
