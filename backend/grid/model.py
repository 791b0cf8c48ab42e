"""What is derived from the grid's figures, and the curves that stand in where no source has a figure.

Everything here is a pure function of its arguments; `docs/modelled_data.md` gives each formula with its
reasoning. A half-hour is named by its start in UTC. The three `anchored_` functions answer only for the
half-hours that are asked for and not known, so a real figure is never replaced, and say of each answer
whether real figures stand behind it (`MODELLED`) or none does (`SYNTHETIC`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import cos, exp, pi
from statistics import fmean, median
from typing import overload

from grid.half_hours import LONDON, as_utc
from vocabulary import CarbonIndex, Fuel, SignalSource

# National demand (ND) of Great Britain runs from about 16 GW on a summer night to about 45 GW on the
# coldest evenings.
LOW_DEMAND_MW = 16_000
HIGH_DEMAND_MW = 45_000

# A de-rated margin of 10 GW is more than the largest losses ever seen at once; at 0 there is nothing to spare.
EASY_MARGIN_MW = 10_000

# gCO2/kWh of each burnt fuel, as the Carbon Intensity API weighs them. Wind, solar, hydro and nuclear weigh
# nothing there, and imports nothing here: they are as clean as the neighbour's mix of the moment.
GAS_GCO2_PER_KWH = 394
COAL_GCO2_PER_KWH = 937
BIOMASS_GCO2_PER_KWH = 120
OTHER_GCO2_PER_KWH = 300

# First gCO2/kWh above each of "very low", "low", "moderate" and "high", by the first year they hold for.
# The API tightens them every year; a year's new bands are one line more. Regions are judged by the same
# national bands.
CARBON_INDEX_BANDS: dict[int, tuple[int, int, int, int]] = {2026: (25, 90, 170, 230)}

# A real figure further away than this says nothing about a half-hour any more.
ANCHOR_REACH = timedelta(days=7)
# In this time the difference between the real figures and a curve fades to 37 %.
DEMAND_MEMORY = timedelta(hours=48)
PRICE_MEMORY = timedelta(hours=3)
CARBON_MEMORY = timedelta(hours=12)

# One outlier among few prices of a half-hour of the day must not pass for that half-hour's habit.
PRICE_HABIT_SHRINKAGE_DAYS = 2
# A price further from its habit than this is a spike: it fades like one of this size.
PRICE_SPIKE_GBP_PER_MWH = 40.0

_DAY = timedelta(days=1)

# National demand in GW at each London clock hour, mid-January and mid-July (see docs/modelled_data.md).
# fmt: off
_WINTER_WEEKDAY_GW = (24.6, 23.9, 23.4, 23.0, 23.0, 24.0, 27.5, 32.0, 34.6, 35.0, 34.8, 34.6,
                      34.4, 34.0, 33.8, 34.8, 37.8, 41.0, 40.6, 38.8, 36.2, 33.4, 30.0, 26.8)
_WINTER_WEEKEND_GW = (24.4, 23.5, 22.8, 22.2, 22.0, 22.2, 23.2, 25.2, 27.8, 30.2, 31.4, 31.8,
                      31.8, 31.0, 30.6, 31.6, 34.6, 37.6, 37.2, 35.6, 33.4, 31.0, 28.4, 26.0)
_SUMMER_WEEKDAY_GW = (19.8, 18.8, 18.2, 17.8, 17.8, 18.5, 20.6, 22.8, 23.8, 23.5, 22.8, 22.3,
                      22.0, 21.7, 21.6, 22.2, 23.8, 25.8, 26.4, 26.0, 25.5, 25.2, 23.8, 21.6)
_SUMMER_WEEKEND_GW = (19.4, 18.3, 17.5, 17.0, 16.6, 16.4, 16.9, 18.3, 19.8, 20.2, 19.6, 18.9,
                      18.4, 17.9, 17.6, 18.1, 19.6, 21.8, 23.2, 23.5, 23.5, 23.4, 22.4, 20.8)
# fmt: on


@dataclass(frozen=True)
class DemandEstimate:
    """National demand of one half-hour, estimated."""

    demand_mw: int
    source: SignalSource


@dataclass(frozen=True)
class PriceEstimate:
    """Market index price of one half-hour, estimated; may be negative."""

    price_gbp_per_mwh: float
    source: SignalSource


@dataclass(frozen=True)
class CarbonEstimate:
    """Carbon intensity of one half-hour, estimated from real figures."""

    carbon_intensity_gco2_per_kwh: int
    source: SignalSource


@overload
def grid_stress_score(demand_mw: float) -> float: ...
@overload
def grid_stress_score(demand_mw: None) -> None: ...
def grid_stress_score(demand_mw: float | None) -> float | None:
    """How near national demand is to the highest the system sees: 0 at 16 GW and below, 1 at 45 GW and above.

    Linear in between, to four decimals. Unknown demand is unknown stress.
    """
    return None if demand_mw is None else round(_stress(demand_mw), 4)


def margin_stress_score(derated_margin_mw: float, loss_of_load_probability: float) -> float:
    """A second opinion on grid stress, from what is to spare instead of from demand: 0 to 1.

    0 where 10 GW or more are to spare, 1 where nothing is, linear in between, and never below the probability that
    demand cannot be met. To four decimals.
    """
    shortage = min(max(1 - derated_margin_mw / EASY_MARGIN_MW, 0.0), 1.0)
    return round(max(shortage, loss_of_load_probability), 4)


def carbon_index(carbon_intensity_gco2_per_kwh: float, year: int) -> CarbonIndex:
    """The Carbon Intensity API's word for an intensity in `year`.

    Uses the newest bands in `CARBON_INDEX_BANDS` that are not later than `year`, or the oldest there are.
    """
    first_year = max((first for first in CARBON_INDEX_BANDS if first <= year), default=min(CARBON_INDEX_BANDS))
    words = (CarbonIndex.VERY_LOW, CarbonIndex.LOW, CarbonIndex.MODERATE, CarbonIndex.HIGH)
    for word, upper in zip(words, CARBON_INDEX_BANDS[first_year], strict=True):
        if carbon_intensity_gco2_per_kwh < upper:
            return word
    return CarbonIndex.VERY_HIGH


def intensity_from_mix(percentages: Mapping[Fuel, float]) -> float:
    """Carbon intensity [gCO2/kWh] of a generation mix given in per cent; absent fuels count as 0 %.

    Meets the Carbon Intensity API's own figures within 2 g where nothing is imported.
    """
    return (
        percentages.get(Fuel.GAS, 0.0) * GAS_GCO2_PER_KWH
        + percentages.get(Fuel.COAL, 0.0) * COAL_GCO2_PER_KWH
        + percentages.get(Fuel.BIOMASS, 0.0) * BIOMASS_GCO2_PER_KWH
        + percentages.get(Fuel.OTHER, 0.0) * OTHER_GCO2_PER_KWH
    ) / 100


def modelled_demand_mw(half_hour_start: datetime) -> int:
    """National demand [MW] of Great Britain that the time of day, the day of the week and the season suggest.

    The day follows the London clock; public holidays count as ordinary days.
    """
    local = as_utc(half_hour_start).astimezone(LONDON)
    weekend = local.weekday() >= 5
    winter = _by_the_clock(_WINTER_WEEKEND_GW if weekend else _WINTER_WEEKDAY_GW, local)
    summer = _by_the_clock(_SUMMER_WEEKEND_GW if weekend else _SUMMER_WEEKDAY_GW, local)
    return round(1000 * (summer + (winter - summer) * _winterness(local)))


def modelled_price_gbp_per_mwh(demand_mw: float) -> float:
    """Wholesale price [£/MWh] that a national demand suggests: £55 at 16 GW, ever steeper to £145 at 45."""
    stress = _stress(demand_mw)
    return 55 + 30 * stress + 60 * stress**3


def anchored_demand(
    known_mw: Mapping[datetime, float], half_hours: Iterable[datetime]
) -> dict[datetime, DemandEstimate]:
    """National demand for those of `half_hours` that `known_mw` lacks.

    The demand curve is scaled to agree with the nearest known half-hours on either side, the less the further
    they are. `known_mw` holds real figures, all above 0.
    """
    scale = _Anchors({start: mw / modelled_demand_mw(start) - 1 for start, mw in known_mw.items()}, DEMAND_MEMORY)
    estimates = {}
    for start in half_hours:
        if start not in known_mw:
            demand_mw = round(modelled_demand_mw(start) * (1 + scale.correction_at(start)))
            estimates[start] = DemandEstimate(demand_mw, scale.source_at(start))
    return estimates


def anchored_price(
    known_gbp_per_mwh: Mapping[datetime, float],
    half_hours: Iterable[datetime],
    demand_mw: Mapping[datetime, float] | None = None,
) -> dict[datetime, PriceEstimate]:
    """Wholesale price for those of `half_hours` that `known_gbp_per_mwh` lacks.

    The price that demand suggests, plus the habit of that half-hour of the day in the last week's known
    prices, plus what is left of the nearest known prices' difference from both.

    `demand_mw` is the demand to reckon with, real or estimated; the demand curve answers where it has
    nothing.
    """
    demand = {} if demand_mw is None else demand_mw

    def suggested_by_demand(start: datetime) -> float:
        return modelled_price_gbp_per_mwh(demand.get(start, modelled_demand_mw(start)))

    difference = {start: price - suggested_by_demand(start) for start, price in known_gbp_per_mwh.items()}
    habit = _HabitByTimeOfDay(difference)
    deviation = _Anchors(
        {start: _without_spike(gbp - habit.at(start)) for start, gbp in difference.items()}, PRICE_MEMORY
    )
    estimates = {}
    for start in half_hours:
        if start in known_gbp_per_mwh:
            continue
        price, source = suggested_by_demand(start), deviation.source_at(start)
        if source is SignalSource.MODELLED:
            price += habit.at(start) + deviation.correction_at(start)
        estimates[start] = PriceEstimate(round(price, 2), source)
    return estimates


def anchored_carbon(
    known_gco2_per_kwh: Mapping[datetime, float], half_hours: Iterable[datetime]
) -> dict[datetime, CarbonEstimate]:
    """Carbon intensity of one place for those of `half_hours` that `known_gco2_per_kwh` lacks.

    The intensity of the same half-hour a day (else two days) before, else the mean of the newest 24 hours
    known, corrected by how the nearest known figures differed from that same expectation. A half-hour with
    no real figure within `ANCHOR_REACH` is left out: it is unknown, and inventing it is for the offline world
    (`synthetic_carbon`).
    """
    known = known_gco2_per_kwh
    if not known:
        return {}
    newest = max(known)
    recent_mean = fmean(gco2 for start, gco2 in known.items() if start > newest - _DAY)

    def days_before(start: datetime) -> float | None:
        return known.get(start - _DAY, known.get(start - 2 * _DAY))

    # The two expectations err differently, so each is corrected by its own errors.
    from_mean = _Anchors({start: gco2 - recent_mean for start, gco2 in known.items()}, CARBON_MEMORY)
    from_days_before = _Anchors(
        {start: gco2 - before for start, gco2 in known.items() if (before := days_before(start)) is not None},
        CARBON_MEMORY,
    )
    estimates = {}
    for start in half_hours:
        if start in known or from_mean.source_at(start) is not SignalSource.MODELLED:
            continue
        before = days_before(start)
        if before is None:
            intensity = recent_mean + from_mean.correction_at(start)
        else:
            intensity = before + from_days_before.correction_at(start)
        estimates[start] = CarbonEstimate(round(max(intensity, 0.0)), SignalSource.MODELLED)
    return estimates


class _Anchors:
    """How far a curve was from the real figures, and so how far it may be near them.

    At a real figure the correction is the whole difference, so the corrected curve passes through it. Away
    from it the difference fades as exp(-distance / memory); between two figures the two faded differences
    are mixed, the nearer counting for more. Without figures the correction is 0.
    """

    def __init__(self, differences: Mapping[datetime, float], memory: timedelta) -> None:
        self._starts = sorted(differences)
        self._differences = differences
        self._memory = memory

    def correction_at(self, start: datetime) -> float:
        before, after = self._neighbours(start)
        if before is None:
            return 0.0 if after is None else self._faded(after, start)
        if after is None:
            return self._faded(before, start)
        share_of_after = (start - before) / (after - before)
        return self._faded(before, start) * (1 - share_of_after) + self._faded(after, start) * share_of_after

    def source_at(self, start: datetime) -> SignalSource:
        near = (anchor for anchor in self._neighbours(start) if anchor is not None)
        within_reach = any(abs(start - anchor) <= ANCHOR_REACH for anchor in near)
        return SignalSource.MODELLED if within_reach else SignalSource.SYNTHETIC

    def _neighbours(self, start: datetime) -> tuple[datetime | None, datetime | None]:
        """The last anchor before `start` and the first at or after it."""
        position = bisect_left(self._starts, start)
        before = self._starts[position - 1] if position > 0 else None
        after = self._starts[position] if position < len(self._starts) else None
        return before, after

    def _faded(self, anchor: datetime, start: datetime) -> float:
        return self._differences[anchor] * exp(-abs(start - anchor) / self._memory)


class _HabitByTimeOfDay:
    """The usual value of each half-hour of the London day in the newest week of a series.

    Medians, so that one extraordinary day does not make a habit; a half-hour of the day seen on few days
    leans towards the usual value of the whole week.
    """

    def __init__(self, values: Mapping[datetime, float]) -> None:
        newest = max(values, default=None)
        recent = {s: value for s, value in values.items() if newest is not None and s > newest - ANCHOR_REACH}
        self._overall = median(recent.values()) if recent else 0.0
        self._by_clock: dict[tuple[int, int], list[float]] = {}
        for start, value in recent.items():
            self._by_clock.setdefault(_london_clock(start), []).append(value)

    def at(self, start: datetime) -> float:
        seen = self._by_clock.get(_london_clock(start))
        if seen is None:
            return self._overall
        days = len(seen)
        return (days * median(seen) + PRICE_HABIT_SHRINKAGE_DAYS * self._overall) / (
            days + PRICE_HABIT_SHRINKAGE_DAYS
        )


def _stress(demand_mw: float) -> float:
    share = (demand_mw - LOW_DEMAND_MW) / (HIGH_DEMAND_MW - LOW_DEMAND_MW)
    return min(max(share, 0.0), 1.0)


def _london_clock(start: datetime) -> tuple[int, int]:
    local = as_utc(start).astimezone(LONDON)
    return local.hour, local.minute


def _without_spike(deviation_gbp_per_mwh: float) -> float:
    return min(max(deviation_gbp_per_mwh, -PRICE_SPIKE_GBP_PER_MWH), PRICE_SPIKE_GBP_PER_MWH)


def _by_the_clock(hourly: tuple[float, ...], local: datetime) -> float:
    """The value at a local time, on straight lines between full hours."""
    here, following = hourly[local.hour], hourly[(local.hour + 1) % 24]
    return here + (following - here) * local.minute / 60


def _winterness(local: datetime) -> float:
    """1 in mid-January, 0 in mid-July, a cosine in between."""
    return (1 + cos(2 * pi * (local.timetuple().tm_yday - 15) / 365.25)) / 2
