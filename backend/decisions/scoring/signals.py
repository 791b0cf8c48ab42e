"""The grid's half-hour series on one time axis, from the present half-hour on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import numpy as np

from decisions.scoring.context import DecisionContext, MarginForecast, NationalSignals, RegionalSignals
from decisions.scoring.runs import Booleans, Flags, Floats
from decisions.scoring.shared import Shared
from grid.half_hours import HALF_HOUR, half_hour_of


@dataclass(frozen=True)
class Extent:
    """How much of a series is known: `known` half-hours, and `reach` from the first to the last of them."""

    known: int
    reach: int

    @classmethod
    def of(cls, series: Floats) -> Extent:
        known = np.flatnonzero(~np.isnan(series))
        return cls(len(known), int(known[-1]) + 1 if len(known) else 0)


@dataclass(frozen=True)
class StressOpinion:
    """A second opinion on grid stress, from the margin: in how many half-hours it is known beside the one from
    demand, and in how many it is the higher one and so the one that counts."""

    source: str
    published_at: datetime | None
    known_half_hours: int
    higher_half_hours: int


@dataclass(frozen=True, eq=False)
class GridSignals:
    """Price, stress and regional carbon intensity by half-hour; NaN is unknown.

    Half-hour 0 starts at `origin` and contains the context's `as_of`. The last row of the regional array is
    unknown throughout: it stands for every region that has no signal.
    """

    origin: datetime
    price_gbp_per_mwh: Floats
    grid_stress_score: Floats
    """From demand, or from the margin where that is known and says more."""
    carbon_intensity_gco2_per_kwh: Floats
    """Shape (regions + 1, half-hours)."""
    rows: dict[int, int]
    """Row of each region_id in the regional array."""
    stress_opinion: StressOpinion | None = None
    """None where no source gives the margin."""

    @property
    def half_hours(self) -> int:
        return len(self.price_gbp_per_mwh)

    def row_of(self, region_id: int) -> int:
        return self.rows.get(region_id, len(self.carbon_intensity_gco2_per_kwh) - 1)

    @cached_property
    def known(self) -> Booleans:
        """Half-hours whose price, stress and regional intensity are all known, shape (regions + 1, n)."""
        national = ~(np.isnan(self.price_gbp_per_mwh) | np.isnan(self.grid_stress_score))
        return national & ~np.isnan(self.carbon_intensity_gco2_per_kwh)

    @cached_property
    def unknown(self) -> Flags:
        """The others."""
        return Flags.of(~self.known)

    @cached_property
    def price_extent(self) -> Extent:
        return Extent.of(self.price_gbp_per_mwh)

    @cached_property
    def stress_extent(self) -> Extent:
        return Extent.of(self.grid_stress_score)

    @cached_property
    def carbon_extents(self) -> tuple[Extent, ...]:
        """By row of the regional array."""
        return tuple(map(Extent.of, self.carbon_intensity_gco2_per_kwh))


_SIGNALS = Shared[GridSignals]()


def read_signals(context: DecisionContext) -> GridSignals:
    """Line the context's series up from the half-hour of `as_of`.

    The present half-hour is taken from the current signal where its series has no figure for it. Contexts that share
    one grid, as those of a batch of workloads do, share the result throughout a half-hour.
    """
    national, regional = context.national, context.regional
    return _SIGNALS.of(
        (national, regional), half_hour_of(context.as_of), lambda: line_up(context.as_of, national, regional)
    )


def line_up(as_of: datetime, national: NationalSignals, regional: Sequence[RegionalSignals]) -> GridSignals:
    """As `read_signals`, from the signals themselves."""
    origin = half_hour_of(as_of)
    regions = sorted(regional, key=lambda region: region.region_id)
    # At least one half-hour, so that a forecast without any is an unknown half-hour like any other.
    half_hours = max(
        1,
        _reach(origin, national.forecast.start, national.forecast.wholesale_price_gbp_mwh),
        _reach(origin, national.forecast.start, national.forecast.grid_stress_score),
        *(_reach(origin, r.forecast.start, r.forecast.carbon_intensity_gco2_per_kwh) for r in regions),
    )
    forecast, now = national.forecast, national.current_at(as_of)
    price = _aligned(origin, half_hours, forecast.start, forecast.wholesale_price_gbp_mwh)
    stress = _aligned(origin, half_hours, forecast.start, forecast.grid_stress_score)
    _fill_present(price, now.wholesale_price_gbp_mwh if now else None)
    _fill_present(stress, now.grid_stress_score if now else None)
    stress, opinion = _with_margin(origin, stress, national.margin)

    carbon = np.full((len(regions) + 1, half_hours), np.nan)
    for row, region in enumerate(regions):
        series = region.forecast.carbon_intensity_gco2_per_kwh
        carbon[row] = _aligned(origin, half_hours, region.forecast.start, series)
        present = region.current_at(as_of)
        _fill_present(carbon[row], present.carbon_intensity_gco2_per_kwh if present else None)
    rows = {region.region_id: row for row, region in enumerate(regions)}
    return GridSignals(origin, price, stress, carbon, rows, opinion)


def _with_margin(
    origin: datetime, stress: Floats, margin: MarginForecast | None
) -> tuple[Floats, StressOpinion | None]:
    """The higher of the two opinions on stress where both are known; where demand is not, stress is unknown."""
    if margin is None:
        return stress, None
    second = _aligned(origin, len(stress), margin.start, margin.stress_scores)
    known, higher = ~np.isnan(stress) & ~np.isnan(second), second > stress
    opinion = StressOpinion(
        margin.source, margin.published_at, int(np.count_nonzero(known)), int(np.count_nonzero(higher))
    )
    return np.where(higher, second, stress), opinion


def _reach(origin: datetime, start: datetime, series: Sequence[float | None]) -> int:
    """How many half-hours from `origin` to the end of a series."""
    return (start - origin) // HALF_HOUR + len(series)


def _aligned(origin: datetime, half_hours: int, start: datetime, series: Sequence[float | None]) -> Floats:
    """A series moved onto the axis that starts at `origin`; what it does not cover is NaN."""
    aligned = np.full(half_hours, np.nan)
    offset = (start - origin) // HALF_HOUR
    begin = max(0, -offset)
    # None becomes NaN in a float array.
    values = np.array(series[begin : max(begin, half_hours - offset)], dtype=np.float64)
    aligned[begin + offset : begin + offset + len(values)] = values
    return aligned


def _fill_present(series: Floats, value: float | None) -> None:
    if value is not None and np.isnan(series[0]):
        series[0] = value
