"""The look at the grid just before a start, the same whoever starts the run: it is put off where something speaks
against now, it may wait, and something better is to come.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from datetime import datetime

from decisions.scoring.grid_context import GridContext
from execution.prospects import Look, Prospect, Spike, SpikeReason
from execution.work import Book, Defer, Run

_log = logging.getLogger(__name__)

POWER_TOLERANCE_KW = 1e-6
"""Rounding of floating point, far below the power of a GPU."""


def deferral(
    run: Run, now: datetime, grid: GridContext, book: Book[Run], *, carbon_price_gbp_per_t: float
) -> Defer | None:
    """A better time within the run's flexibility, when something speaks against now.

    Raises:
        DatabaseError: the power that is free cannot be read.
    """
    centre = grid.data_centre(run.dc_id)
    if centre is None:
        return None
    look = Look.at(now, run.task, centre, grid, carbon_price_gbp_per_t=carbon_price_gbp_per_t)
    spike = look.spike(run.promised_gco2)
    if spike is None:
        return None
    better = next(_better_runs(run, look, spike, book), None)
    if better is None:
        _log.info("%s: runs all the same: %s", run.name, spike.explanation)
        return None
    return Defer(spike, better)


def _better_runs(run: Run, look: Look, spike: Spike, book: Book[Run]) -> Iterator[Prospect]:
    """Later runs in the same place that break nothing, cost no more than agreed, and emit less; best first."""
    present = look.run_now()
    below_gco2 = present.carbon_gco2 if present and spike.reason is SpikeReason.CARBON else math.inf
    free_kw = book.free_power(run, look.now)
    return (
        later
        for later in look.later_runs()
        if run.may_cost(later.cost_gbp)
        and later.carbon_gco2 < below_gco2
        and run.it_power_kw <= free_kw(later.start, later.end) + POWER_TOLERANCE_KW
    )
