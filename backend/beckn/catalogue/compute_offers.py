"""The compute that the data centres offer, as a Beckn catalogue.

An operator is a provider, a data centre one of its locations, and an item is a slot: one half-hour in one data
centre, known as `DC-001:gpu-slot:20260115T1300Z`.

    price [GBP per GPU-minute] = wholesale price [GBP/MWh] / 1000 x GPU_IT_POWER_KW x PUE / 60
    available [GPU-minutes]    = whole GPUs that the free IT power feeds x minutes of the half-hour still to come

The price is the electricity's, the one that decisions reckon with, so it is below zero when the market's is; a slot
whose wholesale price is unknown has a price without a value. Free is what the base load and all promises leave in
that half-hour. A full data centre is listed, with nothing available. Any figure that is not known is left out. A
provider's list expires with the half-hour or, if that is sooner, when a signal behind it grows stale.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from beckn.catalogue.grid_reading import GridReading
from beckn.catalogue.slot import Slot
from beckn.protocol.objects import (
    COMPUTE,
    COMPUTE_SLOT,
    COUNTRY,
    CURRENCY,
    GPU_MINUTE,
    Catalog,
    Category,
    Country,
    Descriptor,
    Fulfillment,
    Item,
    ItemQuantity,
    Location,
    Payment,
    PaymentType,
    Price,
    Provider,
    Quantity,
    Scalar,
    State,
    Stop,
    TagGroup,
    Time,
    TimeRange,
    UnitQuantity,
)
from beckn.protocol.values import decimal_text
from decisions.scoring.context import DataCentre
from decisions.scoring.grid_context import GridContext
from hardware import GPU_IT_POWER_KW
from vocabulary import DataCentreStatus

SLOTS_OFFERED = 4
"""How many half-hours a data centre offers: the present one and the next three."""

PRICE_DECIMALS = 9

# Outside the alphabet of operator ids, so that no operator can be called this.
UNSTATED_OPERATOR = "~unstated"

SLOT_CATEGORY_ID = "cat-compute-slot"
PAYMENT_ID = "pay-post"

_SLOT_CATEGORY = Category(id=SLOT_CATEGORY_ID, descriptor=Descriptor(code=COMPUTE_SLOT, name="Compute slot"))
_PAYMENT = Payment(id=PAYMENT_ID, type=PaymentType.POST_FULFILLMENT, collected_by="BPP")
_ONE_GPU_MINUTE = UnitQuantity(count=1, measure=Scalar(unit=GPU_MINUTE, value="1"))
_MICROSECOND = timedelta(microseconds=1)
_MICROSECONDS_PER_MINUTE = timedelta(minutes=1) // _MICROSECOND


def compute_offers(grid: GridContext, *, now: datetime, slots: int = SLOTS_OFFERED) -> Catalog:
    """The slots of the data centres that take work at `now`, from the half-hour of `now` on.

    Providers and locations are in the order of their ids, items in that of data centre and time.

    Raises:
        ValueError: `slots` is below 1.
    """
    if slots < 1:
        raise ValueError(f"a catalogue offers at least 1 slot, not {slots}")
    active = [centre for centre in grid.data_centres if centre.status is DataCentreStatus.ACTIVE]
    return slot_offers({centre.dc_id: range(slots) for centre in active}, grid, now=now)


def slot_offers(slots: Mapping[str, Iterable[int]], grid: GridContext, *, now: datetime) -> Catalog:
    """These slots of these data centres, by their ids: how many half-hours each slot is ahead of that of `now`."""
    reading = GridReading.at(now, grid)
    centres = sorted((centre for centre in grid.data_centres if centre.dc_id in slots), key=lambda each: each.dc_id)
    offers = _Offers(reading, {centre.dc_id: sorted(slots[centre.dc_id]) for centre in centres})
    centres_of: defaultdict[str, list[DataCentre]] = defaultdict(list)
    for centre in centres:
        centres_of[centre.operator or UNSTATED_OPERATOR].append(centre)
    providers = tuple(offers.provider(operator, centres_of[operator]) for operator in sorted(centres_of))
    return Catalog(
        descriptor=Descriptor(name="Compute slots", short_desc="Priced at the wholesale price of their electricity"),
        providers=providers,
        exp=min((provider.exp for provider in providers if provider.exp), default=reading.start(1)),
    )


def gbp_per_gpu_minute(wholesale_price_gbp_mwh: float, pue: float) -> float:
    """What the electricity of one GPU-minute costs, in GBP; negative when the wholesale price is."""
    return wholesale_price_gbp_mwh / 1000 * GPU_IT_POWER_KW * pue / 60


@dataclass(frozen=True, eq=False)
class _Offers:
    """What one catalogue's items have in common: which slots are offered where, and the grid in them."""

    reading: GridReading
    slots: Mapping[str, Sequence[int]]
    _signals: dict[tuple[int, int], TagGroup | None] = field(default_factory=dict)

    def provider(self, operator: str, centres: Sequence[DataCentre]) -> Provider:
        return Provider(
            id=operator,
            descriptor=Descriptor(name="Operator not stated" if operator == UNSTATED_OPERATOR else operator),
            categories=(_SLOT_CATEGORY,),
            fulfillments=tuple(
                _fulfillment(Slot(centre.dc_id, self.reading.start(ahead)))
                for centre in centres
                for ahead in self.slots[centre.dc_id]
            ),
            payments=(_PAYMENT,),
            locations=tuple(_location(centre) for centre in centres),
            items=tuple(item for centre in centres for item in self._items(centre)),
            exp=min(self.reading.good_until(centre.region_id) for centre in centres),
        )

    def _items(self, centre: DataCentre) -> Iterator[Item]:
        facility, origin = _facility(centre), self.reading.origin_tags(centre.region_id)
        for ahead in self.slots[centre.dc_id]:
            slot = Slot(centre.dc_id, self.reading.start(ahead))
            groups = (self._grid_signals(centre.region_id, ahead), origin, facility)
            yield Item(
                id=slot.item_id,
                descriptor=Descriptor(
                    code=COMPUTE_SLOT,
                    name=f"GPU slot, {centre.name}",
                    short_desc=f"{slot.start:%Y-%m-%d %H:%M} to {slot.end:%H:%M} UTC",
                ),
                price=_price(self.reading.wholesale_price_gbp_mwh(ahead), centre.pue),
                quantity=_quantity(self.reading.free_it_power_kw(centre, ahead), slot, self.reading.now),
                category_ids=(SLOT_CATEGORY_ID,),
                location_ids=(centre.dc_id,),
                fulfillment_ids=(slot.fulfillment_id,),
                payment_ids=(PAYMENT_ID,),
                time=Time(range=TimeRange(start=slot.start, end=slot.end)),
                tags=tuple(group for group in groups if group),
            )

    def _grid_signals(self, region_id: int, ahead: int) -> TagGroup | None:
        place = region_id, ahead
        if place not in self._signals:
            self._signals[place] = self.reading.tags(region_id, ahead)
        return self._signals[place]


def _fulfillment(slot: Slot) -> Fulfillment:
    place = Location(id=slot.dc_id)
    stops = (
        Stop(type="start", location=place, time=Time(timestamp=slot.start)),
        Stop(type="end", location=place, time=Time(timestamp=slot.end)),
    )
    return Fulfillment(id=slot.fulfillment_id, type=COMPUTE, tracking=False, stops=stops)


def _quantity(free_it_power_kw: float, slot: Slot, now: datetime) -> ItemQuantity:
    gpus = math.floor(free_it_power_kw / GPU_IT_POWER_KW)
    to_come = slot.end - max(slot.start, now)
    gpu_minutes = gpus * (to_come // _MICROSECOND) // _MICROSECONDS_PER_MINUTE
    return ItemQuantity(
        unitized=_ONE_GPU_MINUTE, available=Quantity(measure=Scalar(unit=GPU_MINUTE, value=str(gpu_minutes)))
    )


def _price(wholesale_price_gbp_mwh: float | None, pue: float) -> Price:
    if wholesale_price_gbp_mwh is None:
        return Price(currency=CURRENCY)
    gbp = round(gbp_per_gpu_minute(wholesale_price_gbp_mwh, pue), PRICE_DECIMALS)
    return Price(currency=CURRENCY, value=decimal_text(gbp))


def _location(centre: DataCentre) -> Location:
    gps = None
    if centre.latitude is not None and centre.longitude is not None:
        gps = f"{decimal_text(centre.latitude)}, {decimal_text(centre.longitude)}"
    return Location(
        id=centre.dc_id,
        descriptor=Descriptor(name=centre.name),
        gps=gps,
        state=State(name=centre.location_region, code=f"GB-CI-REGION-{centre.region_id}"),
        country=Country(name="United Kingdom", code=COUNTRY),
    )


def _facility(centre: DataCentre) -> TagGroup | None:
    return TagGroup.known(
        "facility",
        {
            "pue": centre.pue,
            "capacity-mw": centre.total_capacity_mw,
            "capacity-teraflops": centre.total_capacity_teraflops,
            "current-load-percent": centre.current_load_percentage,
            "flexibility-rating": centre.flexibility_rating,
            "min-load-percent": centre.min_load_percentage,
            "ramp-rate-mw-per-min": centre.ramp_rate_mw_per_min,
            "gpu-it-power-kw": GPU_IT_POWER_KW,
            "status": centre.status,
            "synthetic": centre.is_synthetic,
        },
    )
