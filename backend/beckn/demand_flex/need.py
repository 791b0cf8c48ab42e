"""From a buyer's need to an event: what is wanted and paid, by half-hour. Pure: the time is an argument."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import starmap
from math import isnan
from typing import Any

from pydantic import BaseModel, ConfigDict

from beckn.demand_flex.wire import Commitment, NeedRequest, PayloadDescriptor, Series
from beckn.protocol.acknowledgement import Refused
from beckn.protocol.objects import CURRENCY, Action
from flexibility.event_model import DECIMALS, LARGEST_NEED_MW, LARGEST_PRICE_GBP_PER_MWH, Door, NewEvent, Programme
from flexibility.rules.gate_closure import is_open
from grid.half_hours import HALF_HOUR, is_half_hour, rfc3339
from printable import printable
from vocabulary import StrEnum
from workloads.model import UtcDatetime

FURTHEST_AHEAD = timedelta(days=14)
PER_THOUSAND = 1000
"""Kilowatts in a megawatt, and kilowatt-hours in a megawatt-hour."""
PAY_AS_CLEAR = "PAY-AS-CLEAR"

_COMMITMENT = "message.contract.commitments[0]"
_NEED = f"{_COMMITMENT}.resources[0].resourceAttributes"
_OFFERED = f"{_COMMITMENT}.commitmentAttributes"
_INPUTS = f"{_COMMITMENT}.offer.offerAttributes.inputs"
_PLACES = Decimal(1).scaleb(-DECIMALS)


class PayloadType(StrEnum):
    """The values of an interval that are read and written here."""

    CAPACITY_REQUESTED = "CAPACITY_REQUESTED"
    PRICE = "PRICE"
    SHORTFALL_PENALTY = "SHORTFALL_PENALTY"
    CAPACITY_OFFERED = "CAPACITY_OFFERED"
    CAPACITY_CLEARED = "CAPACITY_CLEARED"
    CLEARING_PRICE = "CLEARING_PRICE"
    BASELINE = "BASELINE"
    USAGE = "USAGE"


CAPACITIES = (PayloadType.CAPACITY_REQUESTED, PayloadType.CAPACITY_OFFERED, PayloadType.CAPACITY_CLEARED)
PRICES = (PayloadType.PRICE, PayloadType.SHORTFALL_PENALTY, PayloadType.CLEARING_PRICE)
CAPACITY_UNITS = "KW"
PRICE_UNITS = f"{CURRENCY}_PER_KWH"


class DemandNeed(BaseModel):
    """What a buyer needs, as it is kept with its contract: one value a half-hour, kW and £/kWh.

    `bound_kw` is the most that the buyer takes: what it accepted of an offer, or what it cleared; what it requested
    where it said neither. `clears`: the price is what the buyer's market cleared at.
    """

    model_config = ConfigDict(frozen=True)

    commitment_id: str
    resource_id: str
    offer_id: str | None
    buyer: str
    clears: bool
    starts_at: UtcDatetime
    requested_kw: tuple[Decimal, ...]
    bound_kw: tuple[Decimal, ...]
    price_gbp_per_kwh: tuple[Decimal, ...]
    penalty_gbp_per_kwh: tuple[Decimal, ...]

    def to_event(self, source_id: str) -> NewEvent:
        """The event that it is; whose it is, is the database's to say."""
        return NewEvent(
            door=Door.BECKN,
            source_id=source_id,
            programme=Programme.DEG,
            starts_at=self.starts_at,
            need_mw=[_rounded(kw / PER_THOUSAND) for kw in self.bound_kw],
            price_gbp_per_mwh=[_rounded(price * PER_THOUSAND) for price in self.price_gbp_per_kwh],
            penalty_gbp_per_mwh=[_rounded(penalty * PER_THOUSAND) for penalty in self.penalty_gbp_per_kwh],
            # All may read of the platform's events, but not who bought them.
            document={"contract_id": source_id, "requested_kw": [str(kw) for kw in self.requested_kw]},
        )


def read_need(action: Action, request: NeedRequest, now: datetime) -> DemandNeed:
    """What a select, an init or a confirm needs.

    Raises:
        Refused: it is no reduction in half-hours whose gate is open, or its values are missing or no numbers.
    """
    commitment = request.message.contract.commitments[0]
    resource = commitment.resources[0]
    need = resource.resource_attributes
    starts_at = _checked_start(need, now)
    _check_units(need.payload_descriptors)
    requested = _numbers(need, PayloadType.CAPACITY_REQUESTED, _NEED)
    clears = _clearing_method(commitment) == PAY_AS_CLEAR
    offered = commitment.commitment_attributes if action is Action.CONFIRM else None
    if offered is not None:
        _check_same_intervals(need, offered)
        _check_units(offered.payload_descriptors)
    if clears:
        if offered is None:
            raise Refused.invalid(
                "a market that clears is bought from by a confirm, with what was cleared and at which price", _OFFERED
            )
        bound = _numbers(offered, PayloadType.CAPACITY_CLEARED, _OFFERED)
        price = _numbers(offered, PayloadType.CLEARING_PRICE, _OFFERED)
        penalty = (_penalty_rate(commitment),) * len(price)
    else:
        accepted = _given(offered, PayloadType.CAPACITY_OFFERED, _OFFERED) if offered else None
        bound = tuple(starmap(min, zip(requested, accepted, strict=True))) if accepted else requested
        price = _numbers(need, PayloadType.PRICE, _NEED)
        penalty = _given(need, PayloadType.SHORTFALL_PENALTY, _NEED) or (Decimal(0),) * len(price)
    return DemandNeed(
        commitment_id=commitment.id,
        resource_id=resource.id,
        offer_id=commitment.offer.id if commitment.offer else None,
        buyer=_buyer(commitment) or request.context.bap_id,
        clears=clears,
        starts_at=starts_at,
        requested_kw=requested,
        bound_kw=bound,
        price_gbp_per_kwh=price,
        penalty_gbp_per_kwh=penalty,
    )


def _checked_start(need: Series, now: datetime) -> datetime:
    period = need.interval_period
    path = f"{_NEED}.intervalPeriod"
    if period.duration != HALF_HOUR:
        raise Refused.invalid("an interval is PT30M: what is sold here is metered by half-hours", f"{path}.duration")
    if not is_half_hour(period.start):
        raise Refused.invalid("a need begins on the hour or at half past", f"{path}.start")
    if not is_open(period.start, now):
        raise Refused.invalid(f"its gate closed an hour before {rfc3339(period.start)}", f"{path}.start")
    if period.start > now + FURTHEST_AHEAD:
        raise Refused.invalid(f"it begins more than {FURTHEST_AHEAD.days} days ahead", f"{path}.start")
    if [interval.id for interval in need.intervals] != list(range(len(need.intervals))):
        raise Refused.invalid("intervals are numbered 0, 1, 2 and so on, in this order", f"{_NEED}.intervals")
    return period.start


def _check_same_intervals(need: Series, offered: Series) -> None:
    same_period = offered.interval_period == need.interval_period
    if not same_period or [one.id for one in offered.intervals] != [one.id for one in need.intervals]:
        raise Refused.invalid("its intervals are those of the need", _OFFERED)


def _check_units(descriptors: tuple[PayloadDescriptor, ...]) -> None:
    wanted = {str(kind): CAPACITY_UNITS for kind in CAPACITIES} | {str(kind): PRICE_UNITS for kind in PRICES}
    for descriptor in descriptors:
        units = wanted.get(descriptor.payload_type)
        if units and descriptor.units and descriptor.units.upper() != units:
            told = f"{descriptor.payload_type} is in {units} here, not in {printable(descriptor.units)}"
            raise Refused.invalid(told, f"{_NEED}.payloadDescriptors")


def _given(series: Series, kind: PayloadType, path: str) -> tuple[Decimal, ...] | None:
    """The values of a kind; None where no interval has one."""
    if not any(payload.type == kind for interval in series.intervals for payload in interval.payloads):
        return None
    return _numbers(series, kind, path)


def _numbers(series: Series, kind: PayloadType, path: str) -> tuple[Decimal, ...]:
    most = LARGEST_NEED_MW * PER_THOUSAND if kind in CAPACITIES else LARGEST_PRICE_GBP_PER_MWH / PER_THOUSAND
    numbers = []
    for place, interval in enumerate(series.intervals):
        at = f"{path}.intervals[{place}]"
        found = [payload.values for payload in interval.payloads if payload.type == kind]
        if len(found) != 1 or len(found[0]) != 1:
            raise Refused.invalid(f"each interval has one value of {kind}", at)
        numbers.append(_number(found[0][0], kind, most, at))
    return tuple(numbers)


def _number(value: Any, kind: str, most: Decimal, at: str) -> Decimal:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # Of floats alone: an integer of 400 digits is none.
    if not is_number or (isinstance(value, float) and isnan(value)):
        raise Refused.invalid(f"{kind} is a number", at)
    if value < 0:
        told = "only reductions are sold here, of 0 or more, at prices of 0 or more: nobody draws more for a payment"
        raise Refused.invalid(f"{kind}: {told}", at)
    if value > most:
        raise Refused.invalid(f"{kind} is {most} at most", at)
    return Decimal(repr(value))


def _inputs_of_buyer(commitment: Commitment) -> Any:
    offer = commitment.offer.offer_attributes if commitment.offer else None
    return next((one for one in offer.inputs if one.role == "buyer"), None) if offer else None


def _buyer(commitment: Commitment) -> str | None:
    inputs = _inputs_of_buyer(commitment)
    return inputs.participant_id if inputs else None


def _clearing_method(commitment: Commitment) -> str | None:
    inputs = _inputs_of_buyer(commitment)
    given = inputs.inputs if inputs else None
    if given and given.currency and given.currency != CURRENCY:
        raise Refused.invalid(f"it is paid in {CURRENCY} here", f"{_INPUTS}.currency")
    return given.clearing_method if given else None


def _penalty_rate(commitment: Commitment) -> Decimal:
    inputs = _inputs_of_buyer(commitment)
    given = inputs.inputs.penalty_rate if inputs and inputs.inputs else None
    if given is None:
        return Decimal(0)
    return _number(float(given), "penaltyRate", LARGEST_PRICE_GBP_PER_MWH / PER_THOUSAND, f"{_INPUTS}.penaltyRate")


def _rounded(value: Decimal) -> Decimal:
    return value.quantize(_PLACES, rounding=ROUND_HALF_EVEN)
