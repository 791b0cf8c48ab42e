"""What every output on one grid says of it in the same words: made once, for all options and all decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from database.interface import Row
from decisions.publishing.rationale import origin_sentence
from decisions.publishing.schema import tidy
from decisions.scoring.context import DataCentre, DecisionContext, GenerationMix
from decisions.scoring.freshness import SignalState
from decisions.scoring.shared import Shared
from grid.half_hours import half_hour_of, rfc3339
from vocabulary import Fuel

NAMED_FUELS = (Fuel.WIND, Fuel.SOLAR, Fuel.GAS, Fuel.NUCLEAR)


@dataclass(frozen=True)
class SiteParts:
    """What an option says of its data centre, as stored."""

    place: Row
    energy_profile: Row
    compute_profile: Row


class GridParts:
    """The parts of each data centre, by dc_id."""

    def __init__(self, context: DecisionContext) -> None:
        profiles = _EnergyProfiles(context)
        self.sites = {centre.dc_id: _site(centre, profiles) for centre in context.data_centres}


_PARTS = Shared[GridParts]()


def grid_parts(context: DecisionContext) -> GridParts:
    """The parts of a context's grid; contexts that share one share them throughout a half-hour."""
    facts = context.national, context.regional, context.data_centres, context.generation_mix
    return _PARTS.of(facts, half_hour_of(context.as_of), lambda: GridParts(context))


def _site(centre: DataCentre, profiles: _EnergyProfiles) -> SiteParts:
    return SiteParts(
        place={"dc_id": centre.dc_id, "name": centre.name, "location_region": centre.location_region},
        energy_profile=profiles.of_region(centre.region_id),
        compute_profile={
            "pue": centre.pue,
            "total_capacity_teraflops": centre.total_capacity_teraflops,
            "current_load_percentage": centre.current_load_percentage,
            "flexibility_rating": centre.flexibility_rating,
        },
    )


class _EnergyProfiles:
    """The grid in the present half-hour, by region."""

    def __init__(self, context: DecisionContext) -> None:
        self._context = context
        self._national = context.national.current_at(context.as_of)
        self._mixes = {mix.region_id: mix for mix in context.generation_mix}
        self._made: dict[int, Row] = {}

    def of_region(self, region_id: int) -> Row:
        if region_id not in self._made:
            self._made[region_id] = self._profile(region_id)
        return self._made[region_id]

    def _profile(self, region_id: int) -> Row:
        national, region, mix = self._national, self._context.region(region_id), self._mixes.get(region_id)
        present = region.current_at(self._context.as_of) if region else None
        return {
            "current_carbon_intensity_gco2": present.carbon_intensity_gco2_per_kwh if present else None,
            "regional_carbon_index": str(present.carbon_index) if present and present.carbon_index else None,
            "grid_stress_score": national.grid_stress_score if national else None,
            "wholesale_price_gbp_mwh": national.wholesale_price_gbp_mwh if national else None,
            "generation_mix": _mix_shares(mix),
            "sources": {
                "carbon_intensity": present.carbon_source if present else None,
                "grid_stress": national.demand_source if national else None,
                "wholesale_price": national.price_source if national else None,
                "generation_mix": mix.source if mix else None,
            },
        }


def _mix_shares(mix: GenerationMix | None) -> Row:
    shares = {fuel: share for fuel, share in mix.mix.items() if share is not None} if mix else {}
    others = [share for fuel, share in shares.items() if fuel not in NAMED_FUELS]
    named: Row = {f"{fuel}_pct": shares.get(fuel) for fuel in NAMED_FUELS}
    return named | {"other_pct": tidy(sum(others)) if shares else None}


class SignalWords:
    """What the states of the signals are published as."""

    def __init__(self, states: Sequence[SignalState]) -> None:
        self._states = states
        self._sentences: dict[tuple[int, ...], str] = {}
        self.rows = [_signal(state) for state in states]
        self.warnings = [warning for state in states if (warning := state.warning)]

    def origin_sentence(self, *region_ids: int) -> str:
        """What no source gave of the figures of some regions."""
        if region_ids not in self._sentences:
            self._sentences[region_ids] = origin_sentence(self._states, region_ids)
        return self._sentences[region_ids]


_WORDS = Shared[SignalWords]()


def signal_words(states: tuple[SignalState, ...]) -> SignalWords:
    """The words for some states; decisions that share them share the words."""
    return _WORDS.of((states,), None, lambda: SignalWords(states))


def _signal(state: SignalState) -> Row:
    return {
        "signal": str(state.signal),
        "region_id": state.region_id,
        "sources": dict(state.sources),
        "oldest_fetched_at": rfc3339(state.oldest_fetched_at) if state.oldest_fetched_at else None,
        "age_minutes": None if state.age_minutes is None else tidy(state.age_minutes),
        "freshness": str(state.freshness),
        "known_half_hours": state.known_half_hours,
        "unknown_half_hours": state.unknown_half_hours,
    }
