"""How one job of a joint plan may be placed, when it must run without a pause.

`RunOptions` here and `PieceOptions` in `interruptible` answer the same questions for the two kinds of job.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from decisions.scoring.evaluation import Evaluation
from decisions.scoring.objective import Candidates
from decisions.scoring.run_totals import Outcome, run_outcome
from decisions.scoring.runs import Booleans, Floats, Integers


@dataclass(frozen=True, eq=False)
class Placement:
    """A job at a place, in some half-hours. It takes its full power in each of them."""

    site: int
    half_hours: slice | Integers
    """The half-hours it runs in, as an index."""
    objective_gbp: float
    run: int | None = None
    """Its start, where it runs without a pause."""
    used_us: Integers | None = None
    """Microseconds it runs in each half-hour, where it may pause; shape (half_hours,)."""


class Options(Protocol):
    """Every way to place one job that its own constraints allow; there is at least one."""

    @property
    def power_w(self) -> int:
        """The IT power it takes, in whole watts."""

    @property
    def work_kwh(self) -> float:
        """Its IT energy: how big it is."""

    @property
    def count(self) -> int:
        """How many ways there are; of a job that may pause, how many half-hours to choose from."""

    def cheapest(self, free_w: Integers, prices_gbp_per_w: Floats | None = None) -> Placement | None:
        """The best placement where there is room.

        Args:
            free_w: the capacity left, shape (data centres, half-hours).
            prices_gbp_per_w: what a watt of capacity costs in each half-hour, of the same shape. Prices steer the
                choice and are no part of the placement's J.
        """

    def better_than(self, objective_gbp: float, draw: float) -> Placement | None:
        """One of its placements of a smaller J, or about so, whether there is room or not; None without any.

        Args:
            objective_gbp: the J to beat; infinite for any placement.
            draw: picks the placement, 0 or more and below 1.
        """

    def outcome(self, placement: Placement) -> Outcome: ...


@dataclass(frozen=True, eq=False)
class RunOptions:
    """A job that runs without a pause: its feasible places and starts, best first as for a single workload.

    Arrays have one element for each of them.
    """

    candidates: Candidates
    power_w: int
    site: Integers
    run: Integers
    first_edge: Integers
    """Where the run begins in `edge_totals`."""
    last_edge: Integers
    """Where the last half-hour it touches ends in `edge_totals`."""
    objective_gbp: Floats

    @classmethod
    def of(cls, evaluation: Evaluation, power_w: int) -> RunOptions | None:
        """None where no place and start is feasible."""
        site, run = np.nonzero(evaluation.feasible)
        if not len(site):
            return None
        best_first = np.lexsort((site, run, evaluation.carbon_share[site, run], evaluation.position[site, run]))
        site, run = site[best_first], run[best_first]
        runs = evaluation.runs
        edges = site * (runs.half_hours + 1)
        return cls(
            candidates=evaluation.candidates,
            power_w=power_w,
            site=site,
            run=run,
            first_edge=edges + runs.first[run],
            last_edge=edges + runs.last[run] + 1,
            objective_gbp=evaluation.objective_gbp[site, run],
        )

    @property
    def work_kwh(self) -> float:
        return self.candidates.load.it_energy_kwh

    @property
    def count(self) -> int:
        return len(self.site)

    def cheapest(self, free_w: Integers, prices_gbp_per_w: Floats | None = None) -> Placement | None:
        fits = self._fits(free_w)
        if prices_gbp_per_w is None:
            row = int(fits.argmax())
        else:
            totals = edge_totals(prices_gbp_per_w)
            priced_gbp = self.objective_gbp + self.power_w * (totals[self.last_edge] - totals[self.first_edge])
            row = int(np.where(fits, priced_gbp, np.inf).argmin())
        return self.placement(row) if fits[row] else None

    def better_than(self, objective_gbp: float, draw: float) -> Placement | None:
        # Rows stand in the order of J, but for the rounding that ties are made with.
        better = int(np.searchsorted(self.objective_gbp, objective_gbp))
        return self.placement(int(draw * better)) if better else None

    def placement(self, row: int) -> Placement:
        """The placement in one element of the arrays."""
        run = int(self.run[row])
        covered = self.candidates.runs.covered(run)
        return Placement(int(self.site[row]), covered, float(self.objective_gbp[row]), run=run)

    def outcome(self, placement: Placement) -> Outcome:
        if placement.run is None:
            raise ValueError("the placement is for another job")
        return run_outcome(self.candidates, placement.site, placement.run)

    def _fits(self, free_w: Integers) -> Booleans:
        full = edge_totals(free_w < self.power_w)
        fits: Booleans = full[self.last_edge] == full[self.first_edge]
        return fits


def edge_totals(values: Floats | Booleans) -> Floats | Integers:
    """Running totals over each data centre's half-hours, one after the other in a single array.

    From shape (data centres, half-hours) to (data centres x (half-hours + 1),): the sum over half-hours a to b of
    data centre s is the difference of the elements s x (half-hours + 1) + b + 1 and + a.
    """
    sites, half_hours = values.shape
    totals = np.zeros((sites, half_hours + 1), dtype=np.int64 if values.dtype == np.bool_ else np.float64)
    np.cumsum(values, axis=1, out=totals[:, 1:])
    return totals.ravel()
