"""The answer to a search: the slots that can take the job, best first, a page at a time. Pure.

Items are listed under their operator; `rank` in the tag group `suitability` counts through all of them. The tag group
`paging` of every provider says which page this is and how many items there are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from beckn.catalogue.compute_offers import PRICE_DECIMALS, UNSTATED_OPERATOR, slot_offers
from beckn.protocol.objects import (
    COMPUTE,
    CURRENCY,
    GPU_MINUTE,
    Catalog,
    Descriptor,
    Fulfillment,
    Item,
    ItemQuantity,
    Location,
    Price,
    Provider,
    Quantity,
    Scalar,
    Stop,
    TagGroup,
    Time,
    TimeRange,
)
from beckn.protocol.values import decimal_text
from beckn.provider.quotes import amount_text, price_gbp
from beckn.provider.requirements import Paging, Wanted
from beckn.provider.slots import SlotRun, as_sold, possible_runs
from decisions.publishing.waiting import waiting_status
from decisions.scoring.capacity import displaced_gbp, free_power_kw, least_free_kw
from decisions.scoring.context import Capacity, DecisionContext
from decisions.scoring.decide import SCORER_VERSION, decide
from decisions.scoring.grid_context import GridContext
from grid.half_hours import HALF_HOUR, half_hour_of

CATALOGUE_NAME = "Compute slots for a workload"


@dataclass(frozen=True)
class _Ranked:
    rank: int
    run: SlotRun


def search_catalogue(
    wanted: Wanted,
    paging: Paging,
    grid: GridContext,
    capacity: Capacity | None,
    *,
    now: datetime,
    carbon_price_gbp_per_t: float,
) -> Catalog:
    """The catalogue of `on_search`. Without any slot it has no provider, and its descriptor says why."""
    if wanted.unsold:
        return nothing_to_sell(wanted.unsold)
    runs = possible_runs(wanted, grid, capacity, now=now, carbon_price_gbp_per_t=carbon_price_gbp_per_t)
    first = (paging.page - 1) * paging.page_size
    page = [_Ranked(first + place, run) for place, run in enumerate(runs[first : first + paging.page_size], start=1)]
    if not page:
        why = f"There are {len(runs)} slots, and page {paging.page} is past the last of them."
        if not runs:
            why = _why_none(wanted, grid, now=now, carbon_price_gbp_per_t=carbon_price_gbp_per_t)
        return nothing_to_sell(why)
    slots: defaultdict[str, list[int]] = defaultdict(list)
    for ranked in page:
        slots[ranked.run.centre.dc_id].append((ranked.run.slot.start - half_hour_of(now)) // HALF_HOUR)
    offers = slot_offers(slots, grid, now=now)
    of_operator: defaultdict[str, list[_Ranked]] = defaultdict(list)
    for ranked in page:
        of_operator[ranked.run.centre.operator or UNSTATED_OPERATOR].append(ranked)
    offered = {provider.id: provider for provider in offers.providers}
    tag = TagGroup.known(
        "paging",
        {
            "page": paging.page,
            "page-size": paging.page_size,
            "total-items": len(runs),
            "next-page": paging.page + 1 if first + paging.page_size < len(runs) else None,
        },
    )
    gpu_minutes = wanted.task.required_gpu_mins
    providers = tuple(
        _provider(offered[operator], of_operator[operator], capacity, gpu_minutes, tag) for operator in of_operator
    )
    return Catalog(descriptor=Descriptor(name=CATALOGUE_NAME), providers=providers, exp=offers.exp)


def nothing_to_sell(why: str) -> Catalog:
    """The catalogue without an item, which says why."""
    return Catalog(descriptor=Descriptor(name=CATALOGUE_NAME, short_desc=why), providers=())


def estimate_tags(run: SlotRun) -> TagGroup | None:
    """What a run is predicted to use, emit and cost."""
    return TagGroup.known(
        "estimate",
        {
            "energy-kwh": round(run.site_energy_kwh, 6),
            "carbon-gco2": round(run.carbon_gco2, 3),
            "cost-gbp": amount_text(price_gbp(run.cost_gbp)),
            "duration": f"PT{max(1, round(run.load.duration.total_seconds()))}S",
            "it-power-kw": round(run.load.it_power_kw, 6),
            "basis": f"{run.load.basis} energy x pue x forecast carbon intensity and price of each half-hour",
        },
    )


def price_per_gpu_minute(run: SlotRun, gpu_minutes: float) -> Price:
    """The run's cost spread over its GPU-minutes."""
    return Price(currency=CURRENCY, value=decimal_text(round(run.cost_gbp / gpu_minutes, PRICE_DECIMALS)))


def gpu_minutes_of(run: SlotRun, stated: float | None) -> float:
    """The GPU-minutes of a job; where none are stated, those of its GPUs for as long as it takes."""
    return stated or max(run.load.gpus, 1) * run.load.duration_h * 60


def run_fulfillment(run: SlotRun) -> Fulfillment:
    place = Location(id=run.centre.dc_id)
    stops = (
        Stop(type="start", location=place, time=Time(timestamp=run.start)),
        Stop(type="end", location=place, time=Time(timestamp=run.end)),
    )
    return Fulfillment(id=run.slot.fulfillment_id, type=COMPUTE, tracking=False, stops=stops)


def _provider(
    offered: Provider,
    page: Sequence[_Ranked],
    capacity: Capacity | None,
    gpu_minutes: float | None,
    paging: TagGroup | None,
) -> Provider:
    items = {item.id: item for item in offered.items}
    return offered.model_copy(
        update={
            "fulfillments": tuple(run_fulfillment(ranked.run) for ranked in page),
            "items": tuple(_item(items[ranked.run.slot.item_id], ranked, capacity, gpu_minutes) for ranked in page),
            "tags": (paging,) if paging else None,
        }
    )


def _item(offered: Item, ranked: _Ranked, capacity: Capacity | None, stated_gpu_minutes: float | None) -> Item:
    run = ranked.run
    gpu_minutes = gpu_minutes_of(run, stated_gpu_minutes)
    free_kw = least_free_kw(capacity, run.centre.dc_id, run.start, run.end) if capacity else free_power_kw(run.centre)
    jobs = int(free_kw / run.load.it_power_kw) if run.load.it_power_kw > 0 else 1
    room = Quantity(measure=Scalar(unit=GPU_MINUTE, value=decimal_text(round(max(jobs, 1) * gpu_minutes, 3))))
    displaced = displaced_gbp(capacity, run.centre.dc_id, run.start, run.end, run.load.it_power_kw)
    suitability = TagGroup.known(
        "suitability",
        {
            "score": round(run.score, 2),
            "method": f"pylon-{SCORER_VERSION}",
            "rank": ranked.rank,
            "displaced-gbp": None if displaced is None else round(displaced, PRICE_DECIMALS),
        },
    )
    added = (estimate_tags(run), suitability)
    short_desc = f"{run.start:%Y-%m-%d %H:%M} to {run.end:%H:%M} UTC, {run.carbon_gco2:.0f} gCO2"
    return offered.model_copy(
        update={
            "descriptor": offered.descriptor.model_copy(update={"short_desc": short_desc}),
            "price": price_per_gpu_minute(run, gpu_minutes),
            "quantity": ItemQuantity(unitized=offered.quantity.unitized, available=room, maximum=room),
            "fulfillment_ids": (run.slot.fulfillment_id,),
            "time": Time(range=TimeRange(start=run.start, end=run.end)),
            "matched": True,
            "recommended": ranked.rank == 1,
            "tags": (*offered.tags, *(group for group in added if group)),
        }
    )


def _why_none(wanted: Wanted, grid: GridContext, *, now: datetime, carbon_price_gbp_per_t: float) -> str:
    context = DecisionContext(
        context_id="search",
        as_of=now,
        task=as_sold(wanted.task),
        national=grid.national,
        regional=grid.regional,
        data_centres=grid.data_centres,
        generation_mix=grid.generation_mix,
    )
    waits = waiting_status(decide(context, carbon_price_gbp_per_t=carbon_price_gbp_per_t))
    if waits:
        return waits.reason
    return "All the slots in the time asked for have already been ordered."
