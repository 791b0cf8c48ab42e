"""How real, how old and how complete the signals behind a decision are. What is not as it should be is named.

The age of a signal is the age of what is real: a modelled figure is as old as the figures it is modelled on, and an
invented one has no age at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from decisions.scoring.context import DecisionContext
from decisions.scoring.grid_context import GridContext
from decisions.scoring.shared import Shared
from decisions.scoring.signals import Extent, GridSignals
from grid.half_hours import half_hour_of
from grid.provenance import SignalName, in_a_row, is_invented, origin_remarks, signal_title
from vocabulary import SignalSource, StrEnum

STALE_AFTER = timedelta(hours=2)


class Freshness(StrEnum):
    """`UNDATED`: nothing says when it was fetched. `INVENTED`: none of it ever was."""

    FRESH = "fresh"
    STALE = "stale"
    UNDATED = "undated"
    MISSING = "missing"
    INVENTED = "invented"


@dataclass(frozen=True)
class SignalOrigin:
    """Where one signal of a grid came from, and how much of it is known: what stays while only time goes by."""

    signal: SignalName
    region_id: int | None
    sources: Mapping[str, int]
    """How many half-hours came from each source."""
    oldest_fetched_at: datetime | None
    """When the oldest of its figures, or of those they are modelled on, was fetched; None where all are invented."""
    extent: Extent
    place: str | None = None
    """Name of the region."""

    @cached_property
    def invented(self) -> bool:
        """Whether none of it was ever fetched."""
        return is_invented(self.sources)

    @cached_property
    def title(self) -> str:
        """With the name of the region, where that is known."""
        return signal_title(self.signal, self.region_id, self.place)

    @cached_property
    def remarks(self) -> tuple[str, ...]:
        """What of it no source gave, in words."""
        return tuple(origin_remarks(self.signal, self.sources))


@dataclass(frozen=True)
class SignalState:
    """One signal of a decision: where it came from, how old it is, what is unknown of it."""

    origin: SignalOrigin
    age: timedelta | None
    freshness: Freshness

    @property
    def signal(self) -> SignalName:
        return self.origin.signal

    @property
    def region_id(self) -> int | None:
        return self.origin.region_id

    @property
    def sources(self) -> Mapping[str, int]:
        return self.origin.sources

    @property
    def oldest_fetched_at(self) -> datetime | None:
        return self.origin.oldest_fetched_at

    @property
    def known_half_hours(self) -> int:
        return self.origin.extent.known

    @property
    def unknown_half_hours(self) -> int:
        """Unknown ones before the last known one."""
        return self.origin.extent.reach - self.origin.extent.known

    @property
    def age_minutes(self) -> float | None:
        return None if self.age is None else self.age / timedelta(minutes=1)

    @property
    def title(self) -> str:
        return signal_title(self.signal, self.region_id)

    @property
    def warning(self) -> str | None:
        """A sentence for whoever relies on the signal, or None when there is nothing to say."""
        title = self.origin.title
        if self.freshness is Freshness.MISSING:
            return f"The {title} is unknown."
        remarks = list(self.origin.remarks)
        if self.freshness is Freshness.STALE and self.age is not None:
            remarks.append(f"is stale: its oldest figure was fetched {_in_words(self.age)} ago")
        if self.freshness is Freshness.UNDATED:
            remarks.append("is undated: nothing says when it was fetched")
        if self.unknown_half_hours:
            total = self.known_half_hours + self.unknown_half_hours
            remarks.append(f"is unknown in {self.unknown_half_hours} of {total} half-hours")
        return f"The {title} {in_a_row(remarks)}." if remarks else None


_STATES = Shared[tuple[SignalState, ...]]()
_ORIGINS = Shared[tuple[SignalOrigin, ...]]()


def signal_states(
    context: DecisionContext | GridContext, signals: GridSignals, observed_at: datetime
) -> tuple[SignalState, ...]:
    """Price, stress, and the intensity of each region with a data centre, with their age at `observed_at`."""
    facts = context.national, context.regional, context.data_centres, signals
    origins = _ORIGINS.of(facts, half_hour_of(context.as_of), lambda: tuple(_origins(context, signals)))
    return _STATES.of((origins,), observed_at, lambda: tuple(_state(origin, observed_at) for origin in origins))


def _origins(context: DecisionContext | GridContext, signals: GridSignals) -> Iterator[SignalOrigin]:
    forecast, present = context.national.forecast, context.national.current_at(context.as_of)
    price_at, demand_at = forecast.oldest_price_fetched_at, forecast.oldest_demand_fetched_at
    if present and present.price_source != SignalSource.SYNTHETIC:
        price_at = _older(price_at, present.price_fetched_at)
    if present and present.demand_source != SignalSource.SYNTHETIC:
        demand_at = _older(demand_at, present.demand_fetched_at)
    # Contexts of before scorer 1.1.0 have one time for all of a row's figures.
    either = _older(forecast.oldest_fetched_at, present.fetched_at if present else None)
    yield _origin(SignalName.WHOLESALE_PRICE, None, forecast.price_sources, price_at or either, signals.price_extent)
    yield _origin(SignalName.GRID_STRESS, None, forecast.demand_sources, demand_at or either, signals.stress_extent)
    for region_id in sorted({centre.region_id for centre in context.data_centres}):
        region = context.region(region_id)
        current = region.current_at(context.as_of) if region else None
        oldest = _older(
            region.forecast.oldest_fetched_at if region else None, current.fetched_at if current else None
        )
        sources = region.forecast.carbon_sources if region else {}
        extent = signals.carbon_extents[signals.row_of(region_id)]
        place = region.short_name if region else None
        yield _origin(SignalName.CARBON_INTENSITY, region_id, sources, oldest, extent, place)


def _origin(
    signal: SignalName,
    region_id: int | None,
    sources: Mapping[str, int],
    fetched_at: datetime | None,
    extent: Extent,
    place: str | None = None,
) -> SignalOrigin:
    return SignalOrigin(signal, region_id, sources, None if is_invented(sources) else fetched_at, extent, place)


def _state(origin: SignalOrigin, observed_at: datetime) -> SignalState:
    age = observed_at - origin.oldest_fetched_at if origin.oldest_fetched_at else None
    if not origin.extent.reach:
        freshness = Freshness.MISSING
    elif origin.invented:
        freshness = Freshness.INVENTED
    elif age is None:
        freshness = Freshness.UNDATED
    else:
        freshness = Freshness.STALE if age > STALE_AFTER else Freshness.FRESH
    return SignalState(origin, age, freshness)


def _older(one: datetime | None, other: datetime | None) -> datetime | None:
    return min((moment for moment in (one, other) if moment), default=None)


def _in_words(age: timedelta) -> str:
    hours, minutes = divmod(int(age / timedelta(minutes=1)), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
