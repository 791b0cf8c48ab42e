"""What a run used, worked out from the half-hours that it really ran in. Pure.

Energy is power x time; carbon and cost follow the intensity and the price that are stored for each half-hour.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from grid.half_hours import HALF_HOUR, half_hour_of
from grid.provenance import in_a_row
from vocabulary import SignalSource


@dataclass(frozen=True)
class Actuals:
    """What a run really used. What could not be worked out is None."""

    start: datetime | None = None
    end: datetime | None = None
    energy_kwh: float | None = None
    """Of the whole site, PUE included."""
    carbon_gco2: float | None = None
    cost_gbp: float | None = None


NOTHING_USED = Actuals()


@dataclass(frozen=True)
class UsedHalfHour:
    """The grid in one half-hour of a run; None is unknown."""

    start: datetime
    carbon_intensity_gco2_per_kwh: float | None
    price_gbp_per_mwh: float | None
    carbon_source: str | None = None
    price_source: str | None = None


def used(start: datetime, end: datetime, site_kw: float, half_hours: Iterable[UsedHalfHour]) -> Actuals:
    """What a run at a site power used: energy, and the carbon and cost of every half-hour's share.

    Carbon or cost is None where it is unknown for one of the half-hours.
    """
    known = {half_hour.start: half_hour for half_hour in half_hours}
    carbon: float | None = 0.0
    cost: float | None = 0.0
    for slot, time in shares(start, end):
        energy_kwh = site_kw * (time / timedelta(hours=1))
        grid = known.get(slot)
        intensity = grid.carbon_intensity_gco2_per_kwh if grid else None
        price = grid.price_gbp_per_mwh if grid else None
        carbon = None if carbon is None or intensity is None else carbon + energy_kwh * intensity
        cost = None if cost is None or price is None else cost + energy_kwh * price / 1000
    return Actuals(
        start=start,
        end=end,
        energy_kwh=round(site_kw * ((end - start) / timedelta(hours=1)), 9),
        carbon_gco2=None if carbon is None else round(carbon, 6),
        cost_gbp=None if cost is None else round(cost, 9),
    )


def shares(start: datetime, end: datetime) -> Iterator[tuple[datetime, timedelta]]:
    """The half-hours that [start, end) touches, and how long it lasts in each."""
    slot = half_hour_of(start)
    while slot < end:
        yield slot, min(end, slot + HALF_HOUR) - max(start, slot)
        slot += HALF_HOUR


def basis(half_hours: Sequence[UsedHalfHour]) -> str:
    """What of a run's carbon and cost no source gave, as a sentence to add; else nothing."""
    remarks = []
    for what, sources in (
        ("carbon", [each.carbon_source for each in half_hours]),
        ("cost", [each.price_source for each in half_hours]),
    ):
        for source, word in ((SignalSource.SYNTHETIC, "invented"), (SignalSource.MODELLED, "modelled")):
            if count := sources.count(source):
                remarks.append(f"its {what} rests on {word} figures in {count} of {len(half_hours)} half-hours")
    return f" Note that {in_a_row(remarks)}." if remarks else ""
