"""The grid as a compute catalogue shows it: each region's signals in the half-hours that are offered."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from beckn.protocol.objects import TagGroup, TagValue
from decisions.scoring.capacity import free_kw_of
from decisions.scoring.context import DataCentre, NationalSignal, NationalSignals, RegionalSignals, SourceCounts
from decisions.scoring.freshness import STALE_AFTER
from decisions.scoring.grid_context import GridContext
from decisions.scoring.runs import Floats
from decisions.scoring.signals import GridSignals, line_up
from grid.half_hours import HALF_HOUR
from grid.provenance import SignalName, in_a_row, origin_remarks, signal_title
from vocabulary import Fuel

# As NESO counts it: biomass is low in carbon there, but not renewable.
RENEWABLE_FUELS = (Fuel.WIND, Fuel.SOLAR, Fuel.HYDRO)


@dataclass(frozen=True, eq=False)
class GridReading:
    """A grid read at `now`, with the same figures in the same half-hours as decisions are made from.

    Half-hours are counted from the present one: `ahead` 0 is the one that contains `now`.
    """

    grid: GridContext
    now: datetime
    signals: GridSignals

    @classmethod
    def at(cls, now: datetime, grid: GridContext) -> GridReading:
        return cls(grid, now, line_up(now, grid.national, grid.regional))

    def start(self, ahead: int) -> datetime:
        return self.signals.origin + ahead * HALF_HOUR

    def free_it_power_kw(self, centre: DataCentre, ahead: int) -> float:
        """The IT power that a data centre has free in a half-hour."""
        return float(free_kw_of(self.grid.capacity, [centre], self.start(ahead), 1)[0, 0])

    def wholesale_price_gbp_mwh(self, ahead: int) -> float | None:
        return _figure(self.signals.price_gbp_per_mwh, ahead)

    def tags(self, region_id: int, ahead: int) -> TagGroup | None:
        """What is known of a region's grid in a half-hour, with its sources, as the group `grid-signal`."""
        values = {
            **self._carbon_tags(region_id, ahead),
            **self._price_tags(ahead),
            **self._stress_tags(ahead),
            **self._mix_tags(region_id, ahead),
        }
        if values:
            values["observed-at"] = self._fetched_at(region_id)
        return TagGroup.known("grid-signal", values)

    def origin_tags(self, region_id: int) -> TagGroup | None:
        """In words what no source gave of a region's figures and the nation's, as the group `grid-signal-origin`."""
        national, region = self.grid.national.forecast, self._region(region_id)
        series: dict[str, tuple[SignalName, int | None, str | None, SourceCounts]] = {
            "wholesale-price": (SignalName.WHOLESALE_PRICE, None, None, national.price_sources),
            "grid-stress": (SignalName.GRID_STRESS, None, None, national.demand_sources),
        }
        if region is not None:
            carbon = SignalName.CARBON_INTENSITY, region_id, region.short_name, region.forecast.carbon_sources
            series["carbon-intensity"] = carbon
        values: dict[str, TagValue] = {}
        for code, (signal, of_region, place, sources) in series.items():
            if remarks := origin_remarks(signal, sources):
                values[code] = f"The {signal_title(signal, of_region, place)} {in_a_row(remarks)}."
        return TagGroup.known("grid-signal-origin", values)

    def good_until(self, region_id: int) -> datetime:
        """The end of the present half-hour or, if sooner, when the oldest figure grows stale; never before now."""
        end, fetched_at = self.start(1), self._fetched_at(region_id)
        return end if fetched_at is None else max(self.now, min(end, fetched_at + STALE_AFTER))

    def _carbon_tags(self, region_id: int, ahead: int) -> dict[str, TagValue]:
        region = self._region(region_id)
        intensity = _figure(self.signals.carbon_intensity_gco2_per_kwh[self.signals.row_of(region_id)], ahead)
        if region is None or intensity is None:
            return {}
        present = region.current_at(self.now) if ahead == 0 else None
        source = _source(present.carbon_source if present else None, region.forecast.carbon_sources)
        return {
            "carbon-intensity-gco2-per-kwh": intensity,
            "carbon-intensity-kind": "forecast",
            "carbon-intensity-source": source,
            # Only the present half-hour is stored with its index in the context.
            "carbon-index": present.carbon_index if present else None,
        }

    def _price_tags(self, ahead: int) -> dict[str, TagValue]:
        price = self.wholesale_price_gbp_mwh(ahead)
        if price is None:
            return {}
        present = self._national_signal(ahead)
        source = _source(present.price_source if present else None, self.grid.national.forecast.price_sources)
        return {"wholesale-price-gbp-per-mwh": price, "wholesale-price-source": source}

    def _stress_tags(self, ahead: int) -> dict[str, TagValue]:
        stress = _figure(self.signals.grid_stress_score, ahead)
        if stress is None:
            return {}
        present = self._national_signal(ahead)
        source = _source(present.demand_source if present else None, self.grid.national.forecast.demand_sources)
        return {"grid-stress-score": stress, "demand-source": source}

    def _mix_tags(self, region_id: int, ahead: int) -> dict[str, TagValue]:
        """The region's newest generation mix and the half-hour it is of: nothing is known of later ones."""
        newest = next((mix for mix in self.grid.generation_mix if mix.region_id == region_id), None)
        if newest is None or ahead > 0 or all(share is None for share in newest.mix.values()):
            return {}
        shares = {f"mix-{fuel}-percent": newest.mix[fuel] for fuel in sorted(newest.mix)}
        return {
            "renewable-mix-percent": renewable_percent(newest.mix),
            **shares,
            "mix-half-hour": newest.timestamp,
            "mix-source": newest.source,
        }

    def _region(self, region_id: int) -> RegionalSignals | None:
        return next((region for region in self.grid.regional if region.region_id == region_id), None)

    def _national_signal(self, ahead: int) -> NationalSignal | None:
        return self.grid.national.current_at(self.now) if ahead == 0 else None

    def _fetched_at(self, region_id: int) -> datetime | None:
        """When the oldest figure behind a region's half-hours was fetched."""
        signals: list[NationalSignals | RegionalSignals] = [self.grid.national]
        if region := self._region(region_id):
            signals.append(region)
        moments: list[datetime | None] = []
        for each in signals:
            present = each.current_at(self.now)
            moments += [each.forecast.oldest_fetched_at, present.fetched_at if present else None]
        return min((moment for moment in moments if moment), default=None)


def renewable_percent(mix: Mapping[str, float | None]) -> float | None:
    """The share of RENEWABLE_FUELS in a generation mix, per cent; None where one of them is unknown."""
    shares = [share for fuel in RENEWABLE_FUELS if (share := mix.get(fuel)) is not None]
    return round(sum(shares), 6) if len(shares) == len(RENEWABLE_FUELS) else None


def _figure(series: Floats, ahead: int) -> float | None:
    """One half-hour of a series; NaN, and what lies past its end, is unknown."""
    figure = float(series[ahead]) if ahead < len(series) else math.nan
    return None if math.isnan(figure) else figure


def _source(present: str | None, counts: SourceCounts) -> str | None:
    """Where a figure came from: as the present signal says, else where its whole series did, if from one source."""
    return present or (next(iter(counts)) if len(counts) == 1 else None)
