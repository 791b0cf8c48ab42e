"""Replays: what decisions over stored history would have been, and what they would have come to. Pure.

At every moment of a period the workload is submitted anew. It is decided on what could be known then, and reckoned by
what then happened:

    carbon, predicted   the region's stored forecast
    carbon, realised    the region's stored forecast x national actual / national forecast; the forecast itself where
                        these are not both known and above 0. No actual is published for regions, and most of a
                        forecast's error (wind, demand) is the whole country's.
    price, predicted    the price of the same half-hour on the last day before that has one, up to a week back: no
                        forecast of the price is stored
    price, realised     the stored price
    grid stress         the stored score for both

Beside the decision stand three rules: run now at home; yesterday's best hour (the best place and start by what was
realised on the days before); and perfect foresight, which nobody has. They are compared over the moments at which
each of them has a run whose every half-hour is known.

Power is held: whatever runs takes its power from its data centre, so that nothing is credited with power that is not
there. The decisions and each rule have a world of their own, in which they hold only what they chose themselves; the
workloads of one moment come one after the other. A rule that finds no room in its world runs nothing, and the moment
is left out. Perfect foresight knows all figures, and not what will be submitted after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import nan

import numpy as np

from decisions.backtest.held_power import HeldPower
from decisions.backtest.history import History, cut
from decisions.joint.baselines import home_of
from decisions.scoring.context import DataCentre, Task
from decisions.scoring.evaluation import NOW, Evaluation, evaluate
from decisions.scoring.objective import DEFAULT_CARBON_PRICE_GBP_PER_T, Sites, Terms
from decisions.scoring.run_totals import Outcome, Totals, run_outcome
from decisions.scoring.runs import Floats
from decisions.scoring.signals import GridSignals
from grid.half_hours import HALF_HOUR
from vocabulary import Policy, StrEnum

A_DAY = 48
"""In half-hours."""

# How far a decision looks ahead, as the forecasts do, and how far back a price is looked for.
LOOK_AHEAD = 2 * A_DAY
LOOK_BACK_DAYS = 7

HISTORY_BEFORE = LOOK_BACK_DAYS * A_DAY * HALF_HOUR
HISTORY_AFTER = LOOK_AHEAD * HALF_HOUR
"""What a replay reads before its first moment and after its last."""


@dataclass(frozen=True)
class ReplayedWorkload:
    """A workload to submit at every moment. Its deadline, if any, is so long after each."""

    task: Task
    deadline_after: timedelta | None = None

    def at(self, moment: datetime) -> Task:
        """The workload as submitted at a moment."""
        deadline = None if self.deadline_after is None else moment + self.deadline_after
        return self.task.model_copy(update={"deadline": deadline, "created_at": None})


@dataclass(frozen=True)
class PolicyReplay:
    """One workload's replay under one policy."""

    policy: Policy
    moments: int
    compared: int
    not_placed: int
    """Moments at which no data centre could take it, by what was known."""
    unknown: int
    """Moments at which a figure that the comparison needs is not known."""
    without_room: int
    """Moments at which one of the rules finds no power free where it would run."""
    predicted: Totals
    """The decisions, by what could be known."""
    predicted_run_now: Totals
    realised: Totals
    """The decisions, by what happened; so are the three rules below."""
    run_now: Totals
    yesterdays_best: Totals
    perfect_foresight: Totals
    worse_than_run_now: int
    """Decisions whose realised J is above that of running now."""
    constraints_broken: int
    """Decisions that in the event broke one of the workload's constraints, such as its carbon cap."""

    @property
    def captured(self) -> float | None:
        """The share of perfect foresight's saving in J, against running now, that the decisions realised."""
        possible_gbp = self.run_now.objective_gbp - self.perfect_foresight.objective_gbp
        if possible_gbp <= 0:
            return None
        return (self.run_now.objective_gbp - self.realised.objective_gbp) / possible_gbp


@dataclass(frozen=True)
class WorkloadReplay:
    """One workload's replay."""

    task: Task
    policies: tuple[PolicyReplay, ...]


_Run = tuple[int, int]
"""A site and a start."""


class _LeftOut(StrEnum):
    """Why a moment is not compared."""

    NOT_PLACED = "not placed"
    UNKNOWN = "unknown"
    WITHOUT_ROOM = "without room"


@dataclass(frozen=True)
class _Moment:
    """One decision with everything that it is compared with."""

    predicted: Outcome
    predicted_run_now: Outcome
    realised: Outcome
    run_now: Outcome
    yesterdays_best: Outcome
    perfect_foresight: Outcome
    breaks_constraints: bool


@dataclass(frozen=True, eq=False)
class _Stage:
    """The stored world, in which decisions are played again."""

    centres: Sequence[DataCentre]
    history: History
    realised_carbon: Floats

    def views(self, moment: datetime) -> tuple[GridSignals, GridSignals, GridSignals]:
        """The grid from a moment on: as it could be known, as it was on the day before, and as it came."""
        first, price = self.history.position(moment), self.history.price_gbp_per_mwh
        predicted_carbon = cut(self.history.carbon_intensity_gco2_per_kwh, first, LOOK_AHEAD)
        carbon = cut(self.realised_carbon, first, LOOK_AHEAD)
        return (
            self.history.signals(first, predicted_carbon, _last_known(price, first)),
            self.history.signals(first, _day_before(self.realised_carbon, first), _day_before(price, first)),
            self.history.signals(first, carbon, cut(price, first, LOOK_AHEAD)),
        )


def replay(
    workloads: Sequence[ReplayedWorkload],
    centres: Sequence[DataCentre],
    history: History,
    moments: Sequence[datetime],
    *,
    policies: Sequence[Policy] = tuple(Policy),
    carbon_price_gbp_per_t: float = DEFAULT_CARBON_PRICE_GBP_PER_T,
    hold_power: bool = True,
) -> list[WorkloadReplay]:
    """Submit the workloads at each moment, and compare what would have come of it.

    Args:
        workloads: in the order in which they are submitted.
        centres: the data centres as they are now; their past load is not stored.
        history: half-hours from HISTORY_BEFORE the first moment to HISTORY_AFTER the last, where there are any.
        moments: when the workloads are submitted.
        policies: the weights of the parts of J.
        carbon_price_gbp_per_t: what a tonne of CO2 counts for, £/tCO2, 0 or more.
        hold_power: whether what runs holds its power. Without, each workload is alone at each moment, and savings
            do not add up.

    Raises:
        ValueError: the carbon price is negative or not a number.
    """
    terms = {policy: Terms.of(policy, carbon_price_gbp_per_t) for policy in policies}
    stage = _Stage(sorted(centres, key=lambda centre: centre.dc_id), history, realised_carbon(history))
    by_policy = [_replay_policy(workloads, stage, moments, policy, terms[policy], hold_power) for policy in policies]
    return [
        WorkloadReplay(workload.task, tuple(replays[number] for replays in by_policy))
        for number, workload in enumerate(workloads)
    ]


def realised_carbon(history: History) -> Floats:
    """The estimate of what each region's intensity was, shape (regions + 1, half-hours)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = history.national_actual_carbon_intensity_gco2_per_kwh / history.national_carbon_intensity_gco2_per_kwh
    usable = np.isfinite(ratio) & (ratio > 0)
    estimate: Floats = history.carbon_intensity_gco2_per_kwh * np.where(usable, ratio, 1.0)
    return estimate


@dataclass(eq=False)
class _Worlds:
    """What each rule's own runs hold; None where nothing is held."""

    decided: HeldPower | None
    run_now: HeldPower | None
    yesterdays_best: HeldPower | None
    perfect_foresight: HeldPower | None

    @classmethod
    def of(cls, centres: Sequence[DataCentre], hold_power: bool) -> _Worlds:
        return cls(*(HeldPower(centres, LOOK_AHEAD) if hold_power else None for _ in range(4)))

    def move_to(self, first: int) -> None:
        for held in (self.decided, self.run_now, self.yesterdays_best, self.perfect_foresight):
            if held is not None:
                held.move_to(first)


@dataclass(eq=False)
class _Tally:
    """What one workload's moments have come to so far."""

    compared: list[_Moment] = field(default_factory=list)
    not_placed: int = 0
    unknown: int = 0
    without_room: int = 0

    def add(self, found: _Moment | _LeftOut) -> None:
        if isinstance(found, _Moment):
            self.compared.append(found)
        elif found is _LeftOut.NOT_PLACED:
            self.not_placed += 1
        elif found is _LeftOut.UNKNOWN:
            self.unknown += 1
        else:
            self.without_room += 1

    def replay(self, policy: Policy, moments: int) -> PolicyReplay:
        compared = self.compared
        return PolicyReplay(
            policy=policy,
            moments=moments,
            compared=len(compared),
            not_placed=self.not_placed,
            unknown=self.unknown,
            without_room=self.without_room,
            predicted=Totals.of(one.predicted for one in compared),
            predicted_run_now=Totals.of(one.predicted_run_now for one in compared),
            realised=Totals.of(one.realised for one in compared),
            run_now=Totals.of(one.run_now for one in compared),
            yesterdays_best=Totals.of(one.yesterdays_best for one in compared),
            perfect_foresight=Totals.of(one.perfect_foresight for one in compared),
            worse_than_run_now=sum(one.realised.parts.total_gbp > one.run_now.parts.total_gbp for one in compared),
            constraints_broken=sum(one.breaks_constraints for one in compared),
        )


def _replay_policy(
    workloads: Sequence[ReplayedWorkload],
    stage: _Stage,
    moments: Sequence[datetime],
    policy: Policy,
    terms: Terms,
    hold_power: bool,
) -> list[PolicyReplay]:
    worlds = _Worlds.of(stage.centres, hold_power)
    tallies = [_Tally() for _ in workloads]
    for moment in sorted(moments):
        views = stage.views(moment)
        worlds.move_to(stage.history.position(moment))
        for workload, tally in zip(workloads, tallies, strict=True):
            tally.add(_submitted(workload.at(moment), moment, stage, views, worlds, terms))
    return [tally.replay(policy, len(moments)) for tally in tallies]


def _submitted(
    task: Task,
    moment: datetime,
    stage: _Stage,
    views: tuple[GridSignals, GridSignals, GridSignals],
    worlds: _Worlds,
    terms: Terms,
) -> _Moment | _LeftOut:
    """What comes of one workload submitted at a moment, in each of the worlds."""

    def evaluated(signals: GridSignals, held: HeldPower | None) -> Evaluation:
        sites = Sites.of(stage.centres, signals)
        if held is not None:
            sites = replace(sites, free_kw=held.free_kw, as_booked=True)
        return evaluate(task, moment, signals, sites, terms)

    def taken(run: _Run | None, held: HeldPower | None) -> _Run | None:
        """The run with its power held; None where it has none."""
        if run is None or held is None:
            return run
        candidates, (site, start) = predicted.candidates, run
        return run if held.take(site, candidates.runs.covered(start), candidates.load.it_power_kw) else None

    predicted, yesterdays, realised = (
        evaluated(signals, held)
        for signals, held in zip(
            views, (worlds.decided, worlds.yesterdays_best, worlds.perfect_foresight), strict=True
        )
    )
    answer = predicted.answer()
    now = _run_now(task, predicted.candidates.sites, worlds.run_now)
    # Where yesterday allows no run nobody waits for one; where nothing was possible, foresight helps nobody.
    decided = taken(answer, worlds.decided)
    run_now = taken(now, worlds.run_now)
    yesterdays_best = taken(yesterdays.answer() or now, worlds.yesterdays_best)
    foreseen = taken(realised.answer() or answer, worlds.perfect_foresight)
    if decided is None:
        return _LeftOut.NOT_PLACED
    if now is None:
        return _LeftOut.UNKNOWN
    if run_now is None or yesterdays_best is None or foreseen is None:
        return _LeftOut.WITHOUT_ROOM
    if not (
        predicted.known[run_now] and all(realised.known[run] for run in (decided, run_now, yesterdays_best, foreseen))
    ):
        return _LeftOut.UNKNOWN
    return _Moment(
        predicted=run_outcome(predicted.candidates, *decided),
        predicted_run_now=run_outcome(predicted.candidates, *run_now),
        realised=run_outcome(realised.candidates, *decided),
        run_now=run_outcome(realised.candidates, *run_now),
        yesterdays_best=run_outcome(realised.candidates, *yesterdays_best),
        perfect_foresight=run_outcome(realised.candidates, *foreseen),
        breaks_constraints=_breaks(realised, decided),
    )


def _run_now(task: Task, sites: Sites, held: HeldPower | None) -> _Run | None:
    """The run from now on at home, which is where most is free where the workload has none."""
    if held is not None:
        sites = replace(sites, free_kw=held.free_kw)
    home = home_of(task, sites)
    return None if home is None else (home, NOW)


def _breaks(realised: Evaluation, run: _Run) -> bool:
    """Whether a run broke one of its constraints in the event; its power it had, in its own world."""
    broken = int(realised.feasibility.violation_counts()[run]) - bool(realised.feasibility.no_room[run])
    return broken > 0


def _day_before(series: Floats, first: int) -> Floats:
    """For each half-hour ahead, the figure of the same one on the last day before the first."""
    last_day = cut(series, first - A_DAY, A_DAY)
    return np.concatenate([last_day] * (LOOK_AHEAD // A_DAY), axis=-1)


def _last_known(price: Floats, first: int) -> Floats:
    """For each half-hour ahead, the price of the same one on the last day before the first that has one."""
    found = np.full(A_DAY, nan)
    for days in range(1, LOOK_BACK_DAYS + 1):
        found = np.where(np.isnan(found), cut(price, first - days * A_DAY, A_DAY), found)
    return np.concatenate([found] * (LOOK_AHEAD // A_DAY))
