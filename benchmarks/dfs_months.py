"""What deferrable work would have earned in recorded months of NESO's Demand Flexibility Service.

    make bench NAME=dfs_months ARGS="dfs-utilisation-report-summary.csv …"

The files are NESO's summaries as it publishes them since April 2026: by event and half-hour what was bought, and for
how much. For every event work is drawn twice: submitted in the hours before bids close and placed by the scorer as it
comes, of which what is in the event's half-hours and has not begun may give way; and put into the event's half-hours
by owners who never asked, whose moving is worth something to them without any event.

An event is bid for as the platform does, at the mean price of what was bought in the newest event before it, and the
offer is the platform's own (`flexibility.choosing.offer`). A bid counts as sold in a half-hour where as much was paid
on the mean: single bids are not in a summary. What is sold is taken to be delivered in full (K = 1).

What the files do not say is modelled: prices and grid stress by `grid.model`, carbon by `synthetic.carbon`.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

from machine import machine

from decisions.scoring.context import DecisionContext
from decisions.scoring.decide import decide
from flexibility.choosing.choice import Event, committed_mwh
from flexibility.choosing.moves import Booked, Move, Mover
from flexibility.choosing.offer import make_offer
from flexibility.rules.exact import HOURS
from grid.half_hours import HALF_HOUR, LONDON, UTC, half_hour_of
from grid.model import grid_stress_score, modelled_demand_mw, modelled_price_gbp_per_mwh
from synthetic.carbon import synthetic_carbon
from upstreams.dfs import SUMMARIES, parse_file, read_csv
from upstreams.dfs_rows import DfsSummary
from vocabulary import Policy

BIDS_CLOSE = time(12)
"""On the day, by London's clock."""
HALF_HOURS = 96
CARBON_PRICE_GBP_PER_T = 100.0
SEED = 1
JOBS = 160
OWNERS_JOBS = 18
SUBMITTED_BEFORE = (timedelta(0), timedelta(hours=2), timedelta(hours=4), timedelta(hours=6))
SITES = {"DC-001": 13, "DC-002": 3, "DC-003": 2}
"""London, North West England, South Scotland."""
PUE = 1.2
FREE_KW = 3000.0
NEED_MW = Decimal(500)
DOWNWARDS = "Downwards"


@dataclass(frozen=True)
class Bought:
    """An event with what was bought by half-hour: MW, and the mean price where there was any."""

    name: str
    rows: tuple[DfsSummary, ...]

    @property
    def starts_at(self) -> datetime:
        return self.rows[0].start

    @property
    def mean_price(self) -> Decimal | None:
        mwh = sum((row.procured_mw for row in self.rows), Decimal(0)) * HOURS
        return sum((row.accepted_cost_gbp for row in self.rows), Decimal(0)) / mwh if mwh else None

    def took(self, place: int, bid_gbp_per_mwh: Decimal) -> bool:
        """Whether a bid would have been bought in a half-hour."""
        row = self.rows[place]
        return row.procured_mw > 0 and bid_gbp_per_mwh <= row.accepted_cost_gbp / (row.procured_mw * HOURS)


@dataclass
class Month:
    """What became of a month's events."""

    events: int = 0
    bid: int = 0
    offered: int = 0
    taken: int = 0
    in_the_way: int = 0
    """Workloads that the scorer had placed in an event."""
    moved: int = 0
    offered_mwh: Decimal = Decimal(0)
    offered_gbp: Decimal = Decimal(0)
    sold_mwh: Decimal = Decimal(0)
    revenue_gbp: Decimal = Decimal(0)
    cost_gbp: Decimal = Decimal(0)
    energy_gbp: float = 0.0
    carbon_kg: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("summaries", type=Path, nargs="+", help="dfs-utilisation-report-summary.csv of a month")
    events = read_events(parser.parse_args().summaries)
    print(machine())
    for named, work_of in (("the scorer", placed_work), ("its owners", owners_work)):
        months: dict[str, Month] = defaultdict(Month)
        for number, event in enumerate(events):
            month = months[f"{event.starts_at:%Y-%m}"]
            month.events += 1
            earlier = events[number - 1] if number and _same_month(events[number - 1], event) else None
            if earlier is not None and earlier.mean_price is not None:
                month.bid += 1
                follow(month, event, earlier.mean_price, work_of)
        for name, month in months.items():
            tell(f"{name}, placed by {named}", month)


def tell(name: str, month: Month) -> None:
    print(f"\n{name}: {month.events} events, bid for {month.bid}, offered for {month.offered}, sold {month.taken}")
    print(f"  {month.moved} of the {month.in_the_way} workloads in their half-hours gave way")
    print(f"  offered {month.offered_mwh:.3f} MWh for £{month.offered_gbp:.2f}")
    print(f"  sold {month.sold_mwh:.3f} MWh, revenue £{month.revenue_gbp:.2f}")
    print(f"  cost £{month.cost_gbp:.2f} of J, of it energy £{month.energy_gbp:.2f}; {month.carbon_kg:+.1f} kgCO2")


def read_events(files: Iterable[Path]) -> list[Bought]:
    """All downward events of the files, the earliest first."""
    rows: dict[str, list[DfsSummary]] = defaultdict(list)
    for file in files:
        read = parse_file(SUMMARIES, read_csv(file.read_bytes()), datetime.now(UTC))
        for row in read.rows:
            if row.direction == DOWNWARDS:
                rows[row.event_ref].append(row)
    found = [Bought(name, tuple(sorted(some, key=lambda row: row.start))) for name, some in rows.items()]
    return sorted(found, key=lambda event: event.starts_at)


Work = list[tuple[DecisionContext, Booked]]


def follow(month: Month, event: Bought, bid_gbp_per_mwh: Decimal, work_of: Callable[[Bought, Event], Work]) -> None:
    """Make the offer of one event and count what comes of it."""
    many = len(event.rows)
    wanted = Event(event.starts_at, (NEED_MW,) * many, (bid_gbp_per_mwh,) * many)
    work = work_of(event, wanted)
    month.in_the_way += len(work)
    offer = make_offer(Mover(wanted, frozenset(SITES), CARBON_PRICE_GBP_PER_T), work)
    if not offer.moves:
        return
    month.offered += 1
    month.moved += len(offer.moves)
    month.cost_gbp += offer.choice.cost_gbp
    sold = committed_mwh(wanted, offer.choice.freed_mwh)
    accepted = [mwh for place, mwh in enumerate(sold) if event.took(place, bid_gbp_per_mwh)]
    month.offered_mwh += sum(sold, Decimal(0))
    month.offered_gbp += sum(sold, Decimal(0)) * bid_gbp_per_mwh
    month.taken += any(accepted)
    month.sold_mwh += sum(accepted, Decimal(0))
    month.revenue_gbp += sum(accepted, Decimal(0)) * bid_gbp_per_mwh
    for move in offer.moves:
        energy_gbp, carbon_kg = _stayed(move)
        month.energy_gbp += move.to.cost_gbp - energy_gbp
        month.carbon_kg += move.to.carbon_gco2 / 1000 - carbon_kg


def bids_close(event: Bought) -> datetime:
    noon = datetime.combine(event.starts_at.astimezone(LONDON).date(), BIDS_CLOSE, LONDON).astimezone(UTC)
    return min(noon, event.starts_at - timedelta(hours=2))


def owners_work(event: Bought, wanted: Event) -> Work:
    """Work that its owners have put into the event's half-hours, and that has not begun when bids close."""
    as_of = bids_close(event)
    random = Random(f"{SEED} {event.name}")
    found = []
    for number in range(OWNERS_JOBS):
        task, it_power_kw = _task(number, random, as_of)
        half_hours = round(task["estimated_energy_kwh"] / it_power_kw * 2)
        first = random.randint(1 - half_hours, len(wanted.need_mw) - 1)
        starts_at = max(wanted.starts_at + first * HALF_HOUR, half_hour_of(as_of) + HALF_HOUR)
        task["deferral_window_mins"] = 1440
        booked = Booked(task["runs_at"][0], starts_at, starts_at + half_hours * HALF_HOUR, it_power_kw)
        found.append((DecisionContext.model_validate({**_grid(as_of), "task": task}), booked))
    return found


def placed_work(event: Bought, wanted: Event) -> Work:
    """Of the work that was submitted before bids close, what the scorer has placed in the event's half-hours."""
    as_of = bids_close(event)
    random = Random(f"{SEED} {event.name}")
    found = []
    for number in range(JOBS):
        task, it_power_kw = _task(number, random, as_of)
        submitted = datetime.fromisoformat(task["created_at"])
        decision = decide(
            DecisionContext.model_validate({**_grid(submitted), "task": task}),
            carbon_price_gbp_per_t=CARBON_PRICE_GBP_PER_T,
            policy=Policy.BALANCED,
        )
        run = decision.chosen.recommended if decision.chosen else None
        if run and decision.chosen and as_of < run.start < wanted.ends_at and run.end > wanted.starts_at:
            booked = Booked(decision.chosen.centre.dc_id, run.start, run.end, it_power_kw)
            found.append((DecisionContext.model_validate({**_grid(as_of), "task": task}), booked))
    return found


def _task(number: int, random: Random, as_of: datetime) -> tuple[dict[str, Any], float]:
    """A workload of one to four hours and 50 to 400 kW, which may wait for two hours to a day; and its IT power."""
    half_hours = random.randint(2, 8)
    it_power_kw = float(random.randrange(50, 401, 10))
    task = {
        "job_id": f"job-{number:03d}",
        "workload_type": "TRAINING_RUN",
        "urgency": random.choices(["LOW", "MEDIUM", "HIGH"], [5, 4, 1])[0],
        "required_gpu_mins": 30 * half_hours * 8,
        "estimated_energy_kwh": it_power_kw * half_hours / 2,
        "deferral_window_mins": random.choice([120, 360, 720, 1440]),
        "created_at": (as_of - random.choice(SUBMITTED_BEFORE)).isoformat(),
        "runs_at": [random.choice(sorted(SITES))],
    }
    return task, it_power_kw


@lru_cache(maxsize=8)
def _grid(as_of: datetime) -> dict[str, Any]:
    """A context without its task: everything modelled, from the half-hour of `as_of` on."""
    start = half_hour_of(as_of)
    times = [start + place * HALF_HOUR for place in range(HALF_HOURS)]
    demand = [modelled_demand_mw(moment) for moment in times]
    carbon = [synthetic_carbon(moment, SEED) for moment in times]
    national = {
        "start": start.isoformat(),
        "wholesale_price_gbp_mwh": [modelled_price_gbp_per_mwh(mw) for mw in demand],
        "grid_stress_score": [grid_stress_score(mw) for mw in demand],
        "price_sources": {"modelled": HALF_HOURS},
        "demand_sources": {"modelled": HALF_HOURS},
        "oldest_fetched_at": as_of.isoformat(),
    }
    return {
        "context_id": "00000000-0000-4000-8000-000000000001",
        "as_of": as_of.isoformat(),
        "national": {"current": None, "forecast": national},
        "regional": [
            {
                "region_id": region_id,
                "current": None,
                "forecast": {
                    "start": start.isoformat(),
                    "carbon_intensity_gco2_per_kwh": [
                        one.regions[region_id].carbon_intensity_gco2_per_kwh for one in carbon
                    ],
                    "carbon_sources": {"synthetic": HALF_HOURS},
                    "oldest_fetched_at": as_of.isoformat(),
                },
            }
            for region_id in sorted(set(SITES.values()))
        ],
        "data_centres": [
            {
                "dc_id": dc_id,
                "name": dc_id,
                "region_id": region_id,
                "location_region": str(region_id),
                "pue": PUE,
                "total_capacity_teraflops": 40_000,
                "total_capacity_mw": 10,
                "current_load_percentage": 60,
                "flexibility_rating": 0.5,
                "status": "ACTIVE",
            }
            for dc_id, region_id in SITES.items()
        ],
        "generation_mix": [],
        "capacity": {
            "start": start.isoformat(),
            "half_hours": HALF_HOURS,
            "free_it_kw": {dc_id: [[0, FREE_KW]] for dc_id in SITES},
        },
    }


def _stayed(move: Move) -> tuple[float, float]:
    """What a workload's energy costs and emits where it stays: £ and kgCO2."""
    booked, region_id = move.booked, SITES[move.booked.dc_id]
    gbp = kg = 0.0
    moment = booked.starts_at
    while moment < booked.ends_at:
        until = min(half_hour_of(moment) + HALF_HOUR, booked.ends_at)
        mwh = booked.it_power_kw * PUE / 1000 * ((until - moment) / timedelta(hours=1))
        gbp += mwh * modelled_price_gbp_per_mwh(modelled_demand_mw(half_hour_of(moment)))
        kg += mwh * synthetic_carbon(half_hour_of(moment), SEED).regions[region_id].carbon_intensity_gco2_per_kwh
        moment = until
    return gbp, kg


def _same_month(one: Bought, other: Bought) -> bool:
    return (one.starts_at.year, one.starts_at.month) == (other.starts_at.year, other.starts_at.month)


if __name__ == "__main__":
    main()
