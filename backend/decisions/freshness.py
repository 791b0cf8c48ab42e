"""How old and how complete the signals behind a decision are. A stale or missing one is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from decisions.context import DecisionContext
from decisions.runs import Floats
from decisions.signals import GridSignals
from vocabulary import Word

STALE_AFTER = timedelta(hours=2)


class SignalName(Word):
    WHOLESALE_PRICE = "wholesale_price"
    GRID_STRESS = "grid_stress"
    CARBON_INTENSITY = "carbon_intensity"


class Freshness(Word):
    """`UNDATED`: nothing says when it was fetched."""

    FRESH = "fresh"
    STALE = "stale"
    UNDATED = "undated"
    MISSING = "missing"


@dataclass(frozen=True)
class SignalState:
    """One signal of a decision: where it came from, how old it is, what is unknown of it."""

    signal: SignalName
    region_id: int | None
    sources: Mapping[str, int]
    """How many half-hours came from each source."""
    fetched_at: datetime | None
    """When the oldest of its figures was fetched."""
    age: timedelta | None
    freshness: Freshness
    known_half_hours: int
    unknown_half_hours: int
    """Unknown ones before the last known one."""

    @property
    def title(self) -> str:
        words = str(self.signal).replace("_", " ")
        return words if self.region_id is None else f"{words} of region {self.region_id}"

    @property
    def warning(self) -> str | None:
        """A sentence for whoever relies on the signal, or None when there is nothing to say."""
        if self.freshness is Freshness.MISSING:
            return f"The {self.title} is unknown."
        remarks = []
        if self.freshness is Freshness.STALE and self.age is not None:
            remarks.append(f"is stale: its oldest figure was fetched {_in_words(self.age)} ago")
        if self.freshness is Freshness.UNDATED:
            remarks.append("does not say when it was fetched")
        if self.unknown_half_hours:
            total = self.known_half_hours + self.unknown_half_hours
            remarks.append(f"is unknown in {self.unknown_half_hours} of {total} half-hours")
        return f"The {self.title} {' and '.join(remarks)}." if remarks else None


def signal_states(context: DecisionContext, signals: GridSignals, observed_at: datetime) -> tuple[SignalState, ...]:
    """Price, stress, and the intensity of each region with a data centre, with their age at `observed_at`."""
    national = context.national.forecast
    present = context.national.current_at(context.as_of)
    fetched_at = _older(national.oldest_fetched_at, present.fetched_at if present else None)
    states = [
        _state(
            SignalName.WHOLESALE_PRICE,
            None,
            national.price_sources,
            fetched_at,
            signals.price_gbp_per_mwh,
            observed_at,
        ),
        _state(
            SignalName.GRID_STRESS,
            None,
            national.demand_sources,
            fetched_at,
            signals.grid_stress_score,
            observed_at,
        ),
    ]
    for region_id in sorted({centre.region_id for centre in context.data_centres}):
        region = context.region(region_id)
        current = region.current_at(context.as_of) if region else None
        oldest = _older(
            region.forecast.oldest_fetched_at if region else None, current.fetched_at if current else None
        )
        sources = region.forecast.carbon_sources if region else {}
        series = signals.carbon_gco2_per_kwh[signals.row_of(region_id)]
        states.append(_state(SignalName.CARBON_INTENSITY, region_id, sources, oldest, series, observed_at))
    return tuple(states)


def _state(
    signal: SignalName,
    region_id: int | None,
    sources: Mapping[str, int],
    fetched_at: datetime | None,
    series: Floats,
    observed_at: datetime,
) -> SignalState:
    known = np.flatnonzero(~np.isnan(series))
    reach = int(known[-1]) + 1 if len(known) else 0
    age = observed_at - fetched_at if fetched_at else None
    if not reach:
        freshness = Freshness.MISSING
    elif age is None:
        freshness = Freshness.UNDATED
    else:
        freshness = Freshness.STALE if age > STALE_AFTER else Freshness.FRESH
    return SignalState(signal, region_id, sources, fetched_at, age, freshness, len(known), reach - len(known))


def _older(one: datetime | None, other: datetime | None) -> datetime | None:
    return min((moment for moment in (one, other) if moment), default=None)


def _in_words(age: timedelta) -> str:
    hours, minutes = divmod(int(age / timedelta(minutes=1)), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
