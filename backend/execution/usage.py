"""What a run used, worked out from the half-hours that it really ran in. Pure.

Carbon and cost follow the intensity and the price that are stored for each half-hour (docs/accounting.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

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
    """The grid in one half-hour of a run; None is unknown.

    The intensity is the region's last forecast, times national actual / national forecast where these are known.
    """

    start: datetime
    carbon_intensity_gco2_per_kwh: float | None
    price_gbp_per_mwh: float | None
    carbon_source: str | None = None
    price_source: str | None = None


def used(
    start: datetime, end: datetime, site_energy_wh: Mapping[datetime, Fraction], half_hours: Iterable[UsedHalfHour]
) -> Actuals:
    """What a run came to whose site energy is known by the half-hour: the carbon and cost of every half-hour's share.

    Carbon or cost is None where it is unknown for one of the half-hours in which it used anything. The database's
    account_runs does the same, and again as the grid's actual figures come.
    """
    known = {half_hour.start: half_hour for half_hour in half_hours}
    carbon_g: Fraction | None = Fraction(0)
    cost_gbp: Fraction | None = Fraction(0)
    for slot, site_wh in site_energy_wh.items():
        if site_wh == 0:
            continue
        grid = known.get(slot)
        intensity = grid.carbon_intensity_gco2_per_kwh if grid else None
        price = grid.price_gbp_per_mwh if grid else None
        carbon_g = _plus(carbon_g, site_wh, intensity, 1000)
        cost_gbp = _plus(cost_gbp, site_wh, price, 1_000_000)
    return Actuals(
        start=start,
        end=end,
        energy_kwh=float(sum(site_energy_wh.values(), Fraction(0)) / 1000),
        carbon_gco2=None if carbon_g is None else float(round(carbon_g, 6)),
        cost_gbp=None if cost_gbp is None else float(round(cost_gbp, 9)),
    )


def _plus(total: Fraction | None, site_wh: Fraction, figure: float | None, wh: int) -> Fraction | None:
    """A total with a half-hour's share, by a figure for each `wh` watt-hours."""
    return None if total is None or figure is None else total + site_wh * Fraction(figure) / wh


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
