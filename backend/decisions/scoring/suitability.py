"""The suitability score: how a J compares with this workload's own two reference sites.

The references are fixed conditions, so the score of an option depends on the option and the workload alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

from decisions.scoring.energy import ComputeLoad
from decisions.scoring.objective import G_PER_T, KWH_PER_MWH, Terms
from decisions.scoring.runs import Floats


@dataclass(frozen=True)
class ReferenceSite:
    """Conditions that a workload is imagined to run under, at once."""

    pue: float
    price_gbp_per_mwh: float
    carbon_intensity_gco2_per_kwh: float
    grid_stress_score: float


# PUE: large new sites reach 1.1 and the industry's mean has been 1.55 to 1.59 since 2020 (Uptime
# Institute). Carbon: a combined-cycle gas plant emits 394 g/kWh (Carbon Intensity API methodology). Prices
# are our choice: a windy night, a scarce evening.
GOOD_SITE = ReferenceSite(pue=1.1, price_gbp_per_mwh=20, carbon_intensity_gco2_per_kwh=0, grid_stress_score=0)
BAD_SITE = ReferenceSite(pue=1.6, price_gbp_per_mwh=150, carbon_intensity_gco2_per_kwh=400, grid_stress_score=1)

# u at the good reference is -4/3 and at the bad one 4/3, where the score is 90 and 10.
REFERENCE_U = 4 / 3

# Two J that agree to this many decimals of the distance between the references are a tie: far above the
# rounding of floating point, far below a difference that anybody would act on.
TIE_DECIMALS = 9

# Below these a workload costs or emits nothing worth telling apart. They keep the scales of a zero job
# finite.
SMALLEST_SPAN_GBP = 1e-6
SMALLEST_CARBON_G = 1e-6


@dataclass(frozen=True)
class ReferenceScale:
    """A workload's two reference J, and what it would emit at the bad site."""

    good_gbp: float
    bad_gbp: float
    bad_carbon_g: float

    @classmethod
    def of(cls, load: ComputeLoad, terms: Terms) -> ReferenceScale:
        good_gbp, bad_gbp = _reference_gbp(load, terms, GOOD_SITE), _reference_gbp(load, terms, BAD_SITE)
        return cls(good_gbp, bad_gbp, load.it_energy_kwh * BAD_SITE.pue * BAD_SITE.carbon_intensity_gco2_per_kwh)

    def position(self, objective_gbp: Floats) -> Floats:
        """Where J lies between the good reference (0) and the bad one (1), or beyond, to TIE_DECIMALS."""
        span_gbp = max(self.bad_gbp - self.good_gbp, SMALLEST_SPAN_GBP)
        position: Floats = objective_gbp - self.good_gbp
        position /= span_gbp
        return np.round(position, TIE_DECIMALS, out=position)

    def carbon_share(self, carbon_g: Floats) -> Floats:
        """Emissions as a share of the bad reference's, to TIE_DECIMALS: what a tie of J is broken by."""
        return np.round(carbon_g / max(self.bad_carbon_g, SMALLEST_CARBON_G), TIE_DECIMALS)


def suitability_score(position: float) -> float:
    """The score of a feasible option from its J's position: strictly falling, 90 at 0, 50 at 1/2, 10 at 1.

    u = 4/3 x (2 x position - 1)
    score = 50 x (1 - u / √(1 + u²))
    """
    u = REFERENCE_U * (2 * position - 1)
    root = sqrt(1 + u * u)
    if u > 0:
        # The same value, without the loss of digits in 1 - u / root.
        return 50 / (root * (root + u))
    return 50 * (1 - u / root)


def _reference_gbp(load: ComputeLoad, terms: Terms, site: ReferenceSite) -> float:
    weights = terms.weights
    gbp_per_kwh = (
        weights.energy * site.price_gbp_per_mwh / KWH_PER_MWH
        + weights.carbon * terms.carbon_price_gbp_per_t * site.carbon_intensity_gco2_per_kwh / G_PER_T
        + weights.grid_stress * terms.stress_gbp_per_mwh * site.grid_stress_score**2 / KWH_PER_MWH
    )
    return load.it_energy_kwh * site.pue * gbp_per_kwh
