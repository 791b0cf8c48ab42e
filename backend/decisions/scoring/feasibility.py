"""The hard constraints: which starts a data centre may be given, and what stands in the way of the others.

A constraint is never traded against money. Each violation carries the value, the limit and their unit.

    status           the data centre is ACTIVE; MAINTENANCE, OFFLINE and CONSTRAINED take no new work
    execution        it can carry the work out: a runner there offers what is to be run, or it is simulated
    free_capacity    its IT power is free in every half-hour that the run touches
    forecast_horizon the run ends within the known forecast
    signal_missing   price, grid stress and the region's intensity are known in every half-hour of the run
    deadline         the run ends by the deadline
    deferral_window  the start is now, or within the deferral window; CRITICAL starts now
    grid_stress      no half-hour of the run is above NO_RUN_STRESS; CRITICAL is exempt
    carbon_cap       no half-hour of the run is above the carbon cap
    max_price        the run's electricity costs no more than the workload may pay
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cached_property

import numpy as np

from decisions.scoring.context import Task
from decisions.scoring.objective import Candidates
from decisions.scoring.runs import HALF_HOUR_US, HOUR_US, MICROSECOND, Booleans, Flags, Integers
from decisions.scoring.shared import Shared
from decisions.scoring.signals import GridSignals
from grid.half_hours import HALF_HOUR, rfc3339
from vocabulary import DataCentreStatus, StrEnum, Urgency

# At 0.95 national demand is above 43.5 GW, which only the coldest evenings reach: what can wait, waits.
NO_RUN_STRESS = 0.95

# A cost this little above the price limit is the rounding of floating point.
MONEY_TOLERANCE_GBP = 1e-9

LATEST_MOMENT = datetime.max.replace(microsecond=0, tzinfo=timezone.utc)


class Constraint(StrEnum):
    STATUS = "status"
    EXECUTION = "execution"
    FREE_CAPACITY = "free_capacity"
    FORECAST_HORIZON = "forecast_horizon"
    SIGNAL_MISSING = "signal_missing"
    DEADLINE = "deadline"
    DEFERRAL_WINDOW = "deferral_window"
    GRID_STRESS = "grid_stress"
    CARBON_CAP = "carbon_cap"
    MAX_PRICE = "max_price"


@dataclass(frozen=True)
class Violation:
    """A constraint that a run at a data centre breaks."""

    constraint: Constraint
    value: float | str | None
    limit: float | str | None
    unit: str | None
    message: str
    """What is wrong, in words."""
    start: datetime | None = None
    """The start it was found at; None where no start would help."""
    room_from: datetime | None = None
    """Of a lack of free capacity: the next start at which there is room; None where there is none."""


def latest_start(task: Task, as_of: datetime) -> datetime | None:
    """The last moment the workload may be started at by its deferral window; None without one.

    The window counts from when the workload was created, so that looking at a workload again does not defer
    it again. A window of 0, neither a window nor a deadline, and CRITICAL urgency all mean now. Without a
    window but with a deadline the deadline alone decides.
    """
    if task.urgency is Urgency.CRITICAL:
        return as_of
    if task.deferral_window_mins is None:
        return None if task.deadline else as_of
    opened = min(task.created_at, as_of) if task.created_at else as_of
    left = LATEST_MOMENT - opened
    if task.deferral_window_mins > left / timedelta(minutes=1):
        return LATEST_MOMENT
    return max(as_of, opened + timedelta(minutes=task.deferral_window_mins))


def finish(start: datetime, duration: timedelta) -> datetime:
    """When a run ends; a moment beyond the calendar is the calendar's last."""
    return LATEST_MOMENT if duration > LATEST_MOMENT - start else start + duration


_STRESSED = Shared[Flags]()


def _stressed(signals: GridSignals) -> Flags:
    return _STRESSED.of((signals,), None, lambda: Flags.of(signals.grid_stress_score > NO_RUN_STRESS))


@dataclass(frozen=True, eq=False)
class Feasibility:
    """Which candidates break which constraint: by start, by data centre, or by both."""

    task: Task
    candidates: Candidates
    signals: GridSignals
    latest_start: datetime | None
    too_late: Booleans
    """Starts after the deferral window, shape (starts,)."""
    overdue: Booleans
    """Runs that end after the deadline, shape (starts,)."""
    stressed: Booleans
    """Runs in a half-hour above NO_RUN_STRESS, shape (starts,)."""
    over_cap: Booleans
    """Runs in a half-hour above the carbon cap, shape (data centres, starts)."""
    over_price: Booleans
    """Runs above the price limit, shape (data centres, starts)."""
    full: Booleans
    """Half-hours without the power, of the shape of `Sites.free_kw`."""
    no_room: Booleans
    """Runs in such a half-hour, shape (data centres, starts)."""
    refusing: Booleans
    """Data centres that take no new work, or cannot carry out this, shape (data centres,)."""

    @classmethod
    def of(cls, task: Task, candidates: Candidates, signals: GridSignals) -> Feasibility:
        runs, sites = candidates.runs, candidates.sites
        nowhere = np.zeros((len(sites), len(runs)), dtype=np.bool_)
        never = np.zeros(len(runs), dtype=np.bool_)
        last_start = latest_start(task, runs.start(0))
        calm_only = task.urgency is not Urgency.CRITICAL
        cap, limit, deadline = task.carbon_cap_gco2, task.max_price_gbp, task.deadline
        full = sites.needed_kw(candidates.load) > sites.free_kw
        return cls(
            task=task,
            candidates=candidates,
            signals=signals,
            latest_start=last_start,
            too_late=runs.starts_us > _since(runs.origin, last_start) if last_start else never,
            overdue=runs.ends_us > _since(runs.origin, deadline) if deadline else never,
            stressed=runs.touch(_stressed(signals)) if calm_only else never,
            over_cap=nowhere if cap is None else runs.touch(signals.carbon_intensity_gco2_per_kwh > cap)[sites.rows],
            over_price=nowhere if limit is None else candidates.cost_gbp() > limit + MONEY_TOLERANCE_GBP,
            full=full,
            no_room=runs.touch(full) if full.shape[1] > 1 else np.broadcast_to(full, nowhere.shape),
            refusing=~(sites.active & sites.among(task.runs_at)),
        )

    def permitted(self) -> Booleans:
        """Starts within the deferral window that meet the deadline, and now in any case; shape (starts,)."""
        permitted = ~(self.too_late | self.overdue)
        permitted[0] = True
        return permitted

    def feasible(self) -> Booleans:
        """Candidates that break nothing, shape (data centres, starts)."""
        by_start = ~(self.too_late | self.overdue | self.stressed)
        feasible = self.candidates.known & by_start & ~self.refusing[:, None]
        return feasible & ~self.no_room & ~self.over_cap & ~self.over_price

    def has_room(self) -> Booleans:
        """Data centres that are ACTIVE and have room at a start that is permitted, shape (data centres,)."""
        has_room: Booleans = (self.permitted() & ~self.no_room).any(axis=1) & ~self.refusing
        return has_room

    def has_room_now(self) -> Booleans:
        """Data centres that are ACTIVE and have room for a run from now on, shape (data centres,)."""
        return ~(self.no_room[:, 0] | self.refusing)

    def violation_counts(self) -> Integers:
        """How many constraints each known candidate breaks, shape (data centres, starts)."""
        by_start = self.too_late.astype(np.int64) + self.overdue + self.stressed
        return by_start + self.refusing[:, None] + self.no_room + self.over_cap + self.over_price

    def violations(self, site: int, run: int) -> tuple[Violation, ...]:
        """What one candidate breaks, in the order of the module's list."""
        found = [*self._of_the_place(site, run)]
        known = self.candidates.priced.known[self.candidates.sites.rows[site], run]
        if not known:
            found += self._of_the_forecast(site, run)
        if run not in self._by_the_clock:
            self._by_the_clock[run] = tuple(self._of_the_clock(run))
        found += self._by_the_clock[run]
        if known:
            found += self._of_the_run(site, run)
        return tuple(found)

    @cached_property
    def _by_the_clock(self) -> dict[int, tuple[Violation, ...]]:
        """By run: they are the same everywhere."""
        return {}

    @cached_property
    def _peaks_gco2_per_kwh(self) -> dict[tuple[int, int], float]:
        """By region's row and run: many data centres share a region."""
        return {}

    def _peak_gco2_per_kwh(self, row: int, run: int) -> float:
        found = self._peaks_gco2_per_kwh.get((row, run))
        if found is None:
            covered = self.candidates.runs.covered(run)
            found = float(self.signals.carbon_intensity_gco2_per_kwh[row, covered].max())
            self._peaks_gco2_per_kwh[row, run] = found
        return found

    def _of_the_place(self, site: int, run: int) -> Iterator[Violation]:
        sites = self.candidates.sites
        if not sites.active[site]:
            status, limit = str(sites.centres[site].status), str(DataCentreStatus.ACTIVE)
            message = f"the data centre is {status} and takes no new work"
            yield Violation(Constraint.STATUS, status, limit, None, message)
        elif self.refusing[site]:
            message = "nothing there carries it out: what it is to run is offered by runners elsewhere"
            yield Violation(Constraint.EXECUTION, None, None, None, message)
        if self.no_room[site, run]:
            yield self._lack_of_room(site, run)

    def _lack_of_room(self, site: int, run: int) -> Violation:
        runs, with_room = self.candidates.runs, np.flatnonzero(~self.no_room[site])
        needed = self.candidates.load.it_power_kw / 1000
        free = self.candidates.sites.free_kw_during(site, runs.covered(run)) / 1000
        later = with_room[with_room > run]
        room_from = runs.start(int(later[0])) if len(later) else None
        message = f"it needs {needed:.3g} MW of IT power but only {free:.3g} MW are free"
        if room_from:
            message += f", and there is room from {rfc3339(room_from)}"
        start = runs.start(run) if len(with_room) else None
        return Violation(Constraint.FREE_CAPACITY, needed, free, "MW", message, start, room_from)

    def _of_the_forecast(self, site: int, run: int) -> Iterator[Violation]:
        """An unknown run reaches past the forecast, or runs into a hole in it, or both."""
        runs = self.candidates.runs
        known = self.signals.known[self.candidates.sites.rows[site]]
        horizon = int(np.flatnonzero(known)[-1]) + 1 if known.any() else 0
        past_us = int(runs.ends_us[run]) - horizon * HALF_HOUR_US
        if horizon and past_us > 0:
            needed_h = int(runs.ends_us[run] - runs.starts_us[0]) / HOUR_US
            known_h = max(0.0, needed_h - past_us / HOUR_US)
            message = f"it would end {needed_h:.4g} h from now, but the forecast reaches only {known_h:.4g} h ahead"
            yield Violation(Constraint.FORECAST_HORIZON, needed_h, known_h, "h", message, runs.start(run))
        covered = runs.covered(run)
        holes = np.flatnonzero(~known[covered.start : min(covered.stop, horizon or covered.stop)])
        if len(holes):
            yield self._unknown(site, run, covered.start + int(holes[0]))

    def _unknown(self, site: int, run: int, half_hour: int) -> Violation:
        region_id = self.candidates.sites.centres[site].region_id
        series = {
            "wholesale price": self.signals.price_gbp_per_mwh,
            "grid stress": self.signals.grid_stress_score,
            f"carbon intensity of region {region_id}": self.signals.carbon_intensity_gco2_per_kwh[
                self.signals.row_of(region_id)
            ],
        }
        names = " and ".join(name for name, values in series.items() if np.isnan(values[half_hour]))
        at = rfc3339(self.signals.origin + half_hour * HALF_HOUR)
        message = f"the {names} in the half-hour from {at} is unknown"
        return Violation(Constraint.SIGNAL_MISSING, None, None, None, message, self.candidates.runs.start(run))

    def _of_the_clock(self, run: int) -> Iterator[Violation]:
        start = self.candidates.runs.start(run)
        if self.overdue[run] and self.task.deadline:
            end, limit = rfc3339(finish(start, self.candidates.runs.duration)), rfc3339(self.task.deadline)
            message = f"it would end at {end} but its deadline is {limit}"
            yield Violation(Constraint.DEADLINE, end, limit, "UTC", message, start)
        if self.too_late[run] and self.latest_start:
            limit = rfc3339(self.latest_start)
            critical = self.task.urgency is Urgency.CRITICAL
            message = "CRITICAL work starts now" if critical else f"it may not start after {limit}"
            yield Violation(Constraint.DEFERRAL_WINDOW, rfc3339(start), limit, "UTC", message, start)

    def _of_the_run(self, site: int, run: int) -> Iterator[Violation]:
        candidates, task = self.candidates, self.task
        start, covered = candidates.runs.start(run), candidates.runs.covered(run)
        if self.stressed[run]:
            stress = float(self.signals.grid_stress_score[covered].max())
            message = f"grid stress reaches {stress:.3g}, and only CRITICAL work runs above {NO_RUN_STRESS}"
            yield Violation(Constraint.GRID_STRESS, stress, NO_RUN_STRESS, "0-1", message, start)
        if self.over_cap[site, run]:
            cap = task.carbon_cap_gco2
            peak = self._peak_gco2_per_kwh(int(candidates.sites.rows[site]), run)
            message = f"carbon intensity reaches {peak:.4g} gCO2/kWh, above its cap of {cap:.4g}"
            yield Violation(Constraint.CARBON_CAP, peak, cap, "gCO2/kWh", message, start)
        if self.over_price[site, run]:
            limit, cost = task.max_price_gbp, candidates.cost_gbp_of(site, run)
            message = f"its electricity would cost £{cost:.2f} but it may cost no more than £{limit:.2f}"
            yield Violation(Constraint.MAX_PRICE, cost, limit, "GBP", message, start)


def _since(origin: datetime, moment: datetime) -> int:
    return (moment - origin) // MICROSECOND
