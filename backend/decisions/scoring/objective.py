"""The objective J in pounds, for every start of a workload at every data centre.

    J = energy cost + carbon cost + grid stress + delay
    energy cost [£]  = Σ e_t [kWh] x price_t [£/MWh] / 1000
    carbon cost [£]  = Σ e_t [kWh] x intensity_t [g/kWh] / 1e6 x carbon price [£/tCO2]
    grid stress [£]  = Σ e_t [kWh] x STRESS_GBP_PER_MWH x stress_t² / 1000
    delay [£]        = hours from as_of to the start x the delay price of the workload's urgency [£/h]

over the half-hours t that the run covers, where e_t is the site energy (IT power x overlap x PUE). A policy
weighs the four parts. Price and stress are national and intensity is regional, so everything is worked out
once per region for one kilowatt of site power and then multiplied by each data centre's site power.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import isfinite
from typing import NamedTuple

import numpy as np

from decisions.scoring.capacity import counted_kw, free_kw_of
from decisions.scoring.context import Capacity, DataCentre
from decisions.scoring.energy import ComputeLoad
from decisions.scoring.runs import HOUR_US, Booleans, Floats, HourlyRates, Integers, Runs
from decisions.scoring.shared import Shared
from decisions.scoring.signals import GridSignals
from vocabulary import DataCentreStatus, Policy, Urgency

DEFAULT_CARBON_PRICE_GBP_PER_T = 100.0

# Declared, not measured. £50/MWh at the highest stress is about what separates the evening peak from the
# night on the British market; the square leaves the lower half of the scale nearly free.
STRESS_GBP_PER_MWH = 50.0

# What an hour's wait counts for. By the job and not by the kWh, so that a small job does not wait for
# pennies.
DELAY_GBP_PER_H: dict[Urgency, float] = {
    Urgency.LOW: 0.01,
    Urgency.MEDIUM: 0.05,
    Urgency.HIGH: 0.50,
    Urgency.CRITICAL: 0.0,  # it starts now
}

G_PER_T = 1_000_000
KWH_PER_MWH = 1_000


@dataclass(frozen=True)
class Weights:
    """How much each part of J counts under a policy."""

    energy: float
    carbon: float
    grid_stress: float
    delay: float


POLICY_WEIGHTS: dict[Policy, Weights] = {
    Policy.BALANCED: Weights(energy=1, carbon=1, grid_stress=1, delay=1),
    Policy.CARBON: Weights(energy=0, carbon=1, grid_stress=0, delay=0),
    Policy.COST: Weights(energy=1, carbon=0, grid_stress=0, delay=0),
}


@dataclass(frozen=True)
class Terms:
    """Every money term of J that does not come from the grid."""

    carbon_price_gbp_per_t: float
    stress_gbp_per_mwh: float
    delay_gbp_per_h: Mapping[Urgency, float]
    weights: Weights

    @classmethod
    def of(cls, policy: Policy, carbon_price_gbp_per_t: float = DEFAULT_CARBON_PRICE_GBP_PER_T) -> Terms:
        """The documented terms under a policy.

        Raises:
            ValueError: the carbon price is negative or not a number.
        """
        return _terms(policy, carbon_price_gbp_per_t)

    @property
    def gbp_per_g(self) -> float:
        """What a gram of CO2 weighs in J."""
        return self.weights.carbon * self.carbon_price_gbp_per_t / G_PER_T


@lru_cache(16)  # so that what is made of them and a grid is found again
def _terms(policy: Policy, carbon_price_gbp_per_t: float) -> Terms:
    if not isfinite(carbon_price_gbp_per_t) or carbon_price_gbp_per_t < 0:
        raise ValueError(f"the carbon price must be 0 £/tCO2 or more, not {carbon_price_gbp_per_t}")
    return Terms(carbon_price_gbp_per_t, STRESS_GBP_PER_MWH, DELAY_GBP_PER_H, POLICY_WEIGHTS[policy])


class Parts(NamedTuple):
    """The weighted parts of J in pounds; J is their sum."""

    energy_gbp: float
    carbon_gbp: float
    grid_stress_gbp: float
    delay_gbp: float

    @property
    def total_gbp(self) -> float:
        return self.energy_gbp + self.carbon_gbp + self.grid_stress_gbp + self.delay_gbp


class PricedRun(NamedTuple):
    """What one run costs and emits."""

    cost_gbp: float
    """Of its electricity."""
    carbon_gco2: float
    parts: Parts


@dataclass(frozen=True, eq=False)
class _Places:
    """What of the sites no promise changes."""

    pue: Floats
    rows: Integers
    active: Booleans

    @classmethod
    def of(cls, centres: Sequence[DataCentre], signals: GridSignals) -> _Places:
        return cls(
            np.array([centre.pue for centre in centres], dtype=np.float64),
            np.array([signals.row_of(centre.region_id) for centre in centres], dtype=np.int64),
            np.array([centre.status is DataCentreStatus.ACTIVE for centre in centres], dtype=np.bool_),
        )


_PLACES = Shared[_Places]()


@dataclass(frozen=True, eq=False)
class Sites:
    """Data centres as arrays, in the order of `centres`."""

    centres: tuple[DataCentre, ...]
    pue: Floats
    rows: Integers
    """Row of each data centre's region in the regional signal array."""
    free_kw: Floats
    """IT power that is free: shape (data centres, half-hours), or one column where it is the same throughout."""
    active: Booleans
    as_booked: bool = False
    """Whether a run's power is counted as it is booked, to the milliwatt: before there were bookings it was not."""

    @classmethod
    def of(cls, centres: Sequence[DataCentre], signals: GridSignals, capacity: Capacity | None = None) -> Sites:
        """Without a capacity, what the present load leaves is free in every half-hour."""
        own = tuple(centres)
        places = _PLACES.of((own, signals), None, lambda: _Places.of(own, signals))
        free_kw = free_kw_of(capacity, own, signals.origin, signals.half_hours)
        return cls(own, places.pue, places.rows, free_kw, places.active, as_booked=capacity is not None)

    def __len__(self) -> int:
        return len(self.centres)

    def only(self, sites: Sequence[int], signals: GridSignals, capacity: Capacity | None) -> Sites:
        """Some of them, on the power that is free there by a capacity."""
        centres = tuple(self.centres[site] for site in sites)
        free_kw = free_kw_of(capacity, centres, signals.origin, signals.half_hours)
        return Sites(centres, self.pue[sites], self.rows[sites], free_kw, self.active[sites], self.as_booked)

    def among(self, dc_ids: Collection[str] | None) -> Booleans:
        """Which of them are among these, shape (data centres,); all where None."""
        if dc_ids is None:
            return np.ones(len(self), dtype=np.bool_)
        return np.array([centre.dc_id in dc_ids for centre in self.centres], dtype=np.bool_)

    def needed_kw(self, load: ComputeLoad) -> float:
        """The IT power of a workload as it is counted here."""
        return counted_kw(load.it_power_kw) if self.as_booked else load.it_power_kw

    def free_kw_during(self, site: int, half_hours: slice) -> float:
        """The least that is free of one data centre in any of some half-hours, kW."""
        free_kw = self.free_kw[site]
        return float(free_kw[half_hours].min() if len(free_kw) > 1 else free_kw[0])

    def all_free_kw_during(self, half_hours: slice) -> list[float]:
        """The same of each data centre."""
        least: list[float] = (
            self.free_kw[:, half_hours].min(axis=1) if self.free_kw.shape[1] > 1 else self.free_kw[:, 0]
        ).tolist()
        return least


@dataclass(frozen=True, eq=False)
class PricedRuns:
    """One workload's runs, priced for one kilowatt of site power.

    Regional arrays have shape (regions + 1, starts), national ones (starts,). Only figures of `known` runs,
    whose every half-hour has a price, a stress score and an intensity, mean anything.
    """

    runs: Runs
    terms: Terms
    known: Booleans
    cost_gbp_per_kw: Floats
    stress_gbp_per_kw: Floats
    carbon_g_per_kw: Floats
    delay_gbp: Floats
    """The weighted delay part of J, the same for every site."""

    @classmethod
    def of(cls, runs: Runs, signals: GridSignals, terms: Terms, urgency: Urgency) -> PricedRuns:
        return _PRICED.of((runs, signals, terms), urgency, lambda: cls._priced(runs, signals, terms, urgency))

    @classmethod
    def _priced(cls, runs: Runs, signals: GridSignals, terms: Terms, urgency: Urgency) -> PricedRuns:
        integrals = runs.integrals(_RATES.of((signals, terms), None, lambda: _rates(signals, terms)))
        delay_gbp_per_h = terms.weights.delay * terms.delay_gbp_per_h[urgency]
        return cls(
            runs=runs,
            terms=terms,
            known=~(runs.touch(signals.unknown) | runs.beyond),
            cost_gbp_per_kw=integrals[0] / KWH_PER_MWH,
            stress_gbp_per_kw=integrals[1] / KWH_PER_MWH,
            carbon_g_per_kw=integrals[2:],
            delay_gbp=delay_gbp_per_h * (runs.starts_us - runs.starts_us[0]) / HOUR_US,
        )

    @cached_property
    def objective_gbp_per_kw(self) -> Floats:
        """J without its delay part for one kilowatt of site power, shape (regions + 1, starts)."""
        weights = self.terms.weights
        national = weights.energy * self.cost_gbp_per_kw + weights.grid_stress * self.stress_gbp_per_kw
        return national + self.terms.gbp_per_g * self.carbon_g_per_kw


_PRICED = Shared[PricedRuns](kept=32)
_RATES = Shared[HourlyRates]()


def _rates(signals: GridSignals, terms: Terms) -> HourlyRates:
    """Price, stress adder and regional intensities by half-hour."""
    adder_gbp_per_mwh = terms.stress_gbp_per_mwh * signals.grid_stress_score**2
    return HourlyRates.of(
        np.vstack((signals.price_gbp_per_mwh, adder_gbp_per_mwh, signals.carbon_intensity_gco2_per_kwh))
    )


@dataclass(frozen=True, eq=False)
class Candidates:
    """Every start of a workload at every data centre; arrays have shape (data centres, starts)."""

    load: ComputeLoad
    sites: Sites
    priced: PricedRuns
    site_kw: Floats
    """Power drawn on site while the workload runs, shape (data centres,)."""

    @classmethod
    def of(cls, load: ComputeLoad, sites: Sites, priced: PricedRuns) -> Candidates:
        return cls(load, sites, priced, load.it_power_kw * sites.pue)

    @property
    def runs(self) -> Runs:
        return self.priced.runs

    @cached_property
    def known(self) -> Booleans:
        return self.priced.known[self.sites.rows]

    def objective_gbp(self) -> Floats:
        """J; where the run is not known, meaningless."""
        objective_gbp: Floats = self.priced.objective_gbp_per_kw[self.sites.rows]
        objective_gbp *= self.site_kw[:, None]
        objective_gbp += self.priced.delay_gbp
        return objective_gbp

    def carbon_gco2(self) -> Floats:
        return self.site_kw[:, None] * self.priced.carbon_g_per_kw[self.sites.rows]

    def carbon_gco2_of(self, sites: Integers, runs: Integers) -> Floats:
        """The same of some candidates, each a data centre and a start."""
        carbon_g: Floats = self.site_kw[sites] * self.priced.carbon_g_per_kw[self.sites.rows[sites], runs]
        return carbon_g

    def cost_gbp(self) -> Floats:
        """What the electricity costs: the money that `max_price_gbp` limits."""
        return self.site_kw[:, None] * self.priced.cost_gbp_per_kw

    def cost_gbp_of(self, site: int, run: int) -> float:
        return float(self.site_kw[site] * self.priced.cost_gbp_per_kw[run])

    def slot_energy_kwh(self, site: int, run: int) -> Floats:
        """Site energy e_t in each half-hour, shape (half_hours,)."""
        return float(self.site_kw[site]) * self.runs.overlap_h(run)

    def parts(self, site: int, run: int) -> Parts:
        """The parts of J for one data centre and start; they sum to its J."""
        return self.figures(np.array([site]), np.array([run]))[0].parts

    def figures(self, sites: Integers, runs: Integers) -> list[PricedRun]:
        """What some candidates cost and emit, each a data centre and a start."""
        priced, weights, site_kw = self.priced, self.priced.terms.weights, self.site_kw[sites]
        cost_gbp = site_kw * priced.cost_gbp_per_kw[runs]
        carbon_g = self.carbon_gco2_of(sites, runs)
        parts = zip(
            (weights.energy * cost_gbp).tolist(),
            (priced.terms.gbp_per_g * carbon_g).tolist(),
            (weights.grid_stress * (site_kw * priced.stress_gbp_per_kw[runs])).tolist(),
            priced.delay_gbp[runs].tolist(),
            strict=True,
        )
        figures = zip(cost_gbp.tolist(), carbon_g.tolist(), parts, strict=True)
        return [PricedRun(cost, carbon, Parts(*of_j)) for cost, carbon, of_j in figures]
