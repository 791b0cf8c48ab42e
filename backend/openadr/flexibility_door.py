"""What an OpenADR event asks of Pylon's own flexibility: less load by DISPATCH_SETPOINT_RELATIVE, and its price."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal

from pydantic import ValidationError

from flexibility.event_model import DECIMALS, MOST_HALF_HOURS, Door, NewEvent
from grid.half_hours import HALF_HOUR, is_half_hour
from openadr.objects import EventRequest
from openadr.values import Interval, IntervalPeriod, PayloadDescriptor, length_of

REDUCTION = "DISPATCH_SETPOINT_RELATIVE"
PRICE = "PRICE"
_MW_PER = {"KW": Decimal("0.001"), "MW": Decimal(1)}
_PER_MWH = {"KWH": Decimal(1000), "MWH": Decimal(1)}
_LARGEST = Decimal(10) ** 12
_PLACES = Decimal(1).scaleb(-DECIMALS)


class NotToBeAsked(ValueError):
    """The event asks for something that flexibility cannot give; the message says what."""


def asked_of_flexibility(event: EventRequest, event_id: str) -> NewEvent | None:
    """What the event asks for; None of one without reductions, which is for VENs alone.

    Raises:
        NotToBeAsked: more load is asked for, not in whole half-hours one after the other, or in units not known here.
    """
    intervals = event.intervals or []
    if not any(payload.type == REDUCTION for interval in intervals for payload in interval.payloads):
        return None
    mw_per = _factor(event, REDUCTION, _MW_PER, "KW")
    needs: list[Decimal] = []
    prices: list[Decimal] = []
    periods = list(_periods(event, intervals))
    for (_, lasts), interval in zip(periods, intervals, strict=True):
        many = int(lasts / HALF_HOUR)
        if len(needs) + many > MOST_HALF_HOURS:
            raise NotToBeAsked(f"it lasts longer than {MOST_HALF_HOURS} half-hours")
        needs += [_rounded(-_number(interval, REDUCTION) * mw_per)] * many
        prices += [_price(event, interval)] * many
    if min(needs) < 0:
        raise NotToBeAsked(f"{REDUCTION} above 0 asks for more load: only reductions, below 0, can be met")
    try:
        return NewEvent(
            door=Door.OPENADR,
            source_id=event_id,
            starts_at=periods[0][0],
            need_mw=needs,
            price_gbp_per_mwh=prices,
            document=event.written(),
        )
    except ValidationError as error:
        raise NotToBeAsked("; ".join(one["msg"] for one in error.errors())) from error


def ends_at(event: EventRequest) -> datetime | None:
    """When its last interval ends; None where that is open."""
    if event.duration is not None:
        return None
    try:
        spans = list(_spans(event.interval_period, event.intervals or []))
    except NotToBeAsked:
        return None
    return max((start + lasts for start, lasts in spans), default=None) if all(lasts for _, lasts in spans) else None


def _periods(event: EventRequest, intervals: list[Interval]) -> Iterator[tuple[datetime, timedelta]]:
    expected: datetime | None = None
    for start, lasts in _spans(event.interval_period, intervals):
        if not is_half_hour(start) or not lasts or lasts % HALF_HOUR:
            raise NotToBeAsked("reductions are asked for in whole half-hours, on the hour or at half past")
        if expected not in {None, start}:
            raise NotToBeAsked("the intervals of a reduction follow one another without a gap")
        expected = start + lasts
        yield start, lasts


def _spans(whole: IntervalPeriod | None, intervals: list[Interval]) -> Iterator[tuple[datetime, timedelta]]:
    """When each interval begins and how long it lasts: by its own period, or after the one before it."""
    at = None if whole is None else whole.start
    for interval in intervals:
        own = interval.interval_period
        start = at if own is None else own.start
        duration = (None if own is None else own.duration) or (None if whole is None else whole.duration)
        if start is None or duration is None:
            raise NotToBeAsked("say when each interval begins and how long it lasts: intervalPeriod")
        lasts = length_of(duration)
        try:
            at = start + lasts
        except OverflowError:
            raise NotToBeAsked(f"interval {interval.id} ends after the last day there is") from None
        yield start, lasts


def _number(interval: Interval, kind: str) -> Decimal:
    found = [value for payload in interval.payloads if payload.type == kind for value in payload.values]
    if len(found) != 1 or isinstance(found[0], bool) or not isinstance(found[0], (int, float)):
        raise NotToBeAsked(f"interval {interval.id} needs one number of {kind}")
    return Decimal(str(found[0]))


def _price(event: EventRequest, interval: Interval) -> Decimal:
    if all(payload.type != PRICE for payload in interval.payloads):
        return Decimal(0)
    described = _described(event, PRICE)
    if described is None or described.currency != "GBP":
        raise NotToBeAsked("a PRICE for a reduction is in pounds: say so by a payload descriptor with currency GBP")
    return _rounded(_number(interval, PRICE) * _factor(event, PRICE, _PER_MWH, "KWH"))


def _factor(event: EventRequest, kind: str, factors: dict[str, Decimal], usual: str) -> Decimal:
    described = _described(event, kind)
    units = (None if described is None else described.units) or usual
    factor = factors.get(units)
    if factor is None:
        raise NotToBeAsked(f"{kind} is in one of {', '.join(factors)}, not in {units}")
    return factor


def _described(event: EventRequest, kind: str) -> PayloadDescriptor | None:
    return next((one for one in event.payload_descriptors or () if one.payload_type == kind), None)


def _rounded(value: Decimal) -> Decimal:
    if abs(value) > _LARGEST:
        raise NotToBeAsked(f"{value:.3g} is more than there is")
    return value.quantize(_PLACES, rounding=ROUND_HALF_EVEN)
