"""What runs come to, alone and together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from decisions.scoring.feasibility import finish
from decisions.scoring.objective import Candidates, Parts


@dataclass(frozen=True)
class Stretch:
    """A time in which a job runs without a pause."""

    start: datetime
    end: datetime


@dataclass(frozen=True)
class Outcome:
    """What a run uses, costs and emits."""

    stretches: tuple[Stretch, ...]
    energy_kwh: float
    """Site energy: IT energy x PUE."""
    cost_gbp: float
    carbon_gco2: float
    parts: Parts
    """The weighted parts of its J."""


@dataclass(frozen=True)
class Totals:
    """Sums over runs."""

    runs: int
    energy_kwh: float
    cost_gbp: float
    carbon_gco2: float
    objective_gbp: float

    @classmethod
    def of(cls, outcomes: Iterable[Outcome]) -> Totals:
        found = list(outcomes)
        return cls(
            runs=len(found),
            energy_kwh=sum(outcome.energy_kwh for outcome in found),
            cost_gbp=sum(outcome.cost_gbp for outcome in found),
            carbon_gco2=sum(outcome.carbon_gco2 for outcome in found),
            objective_gbp=sum(outcome.parts.total_gbp for outcome in found),
        )


def run_outcome(candidates: Candidates, site: int, run: int) -> Outcome:
    """What a run without a pause uses, costs and emits by the signals that it was priced with."""
    start = candidates.runs.start(run)
    (figures,) = candidates.figures(np.array([site]), np.array([run]))
    return Outcome(
        stretches=(Stretch(start, finish(start, candidates.runs.duration)),),
        energy_kwh=candidates.load.it_energy_kwh * candidates.sites.centres[site].pue,
        cost_gbp=figures.cost_gbp,
        carbon_gco2=figures.carbon_gco2,
        parts=figures.parts,
    )
