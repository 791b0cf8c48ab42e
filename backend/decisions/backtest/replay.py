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
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import nan

import numpy as np

from decisions.backtest.history import History, cut
from decisions.joint.baselines import home_of
from decisions.scoring.context import DataCentre, Task
from decisions.scoring.evaluation import NOW, Evaluation, evaluate
from decisions.scoring.objective import DEFAULT_CARBON_PRICE_GBP_PER_T, Sites, Terms
from decisions.scoring.run_totals import Outcome, Totals, run_outcome
from decisions.scoring.runs import Floats
from decisions.scoring.signals import GridSignals
from grid.half_hours import HALF_HOUR
from vocabulary import Policy

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
    """One workload's replay. Replays of several do not compete for capacity, so their savings do not add up."""

    task: Task
    policies: tuple[PolicyReplay, ...]


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
) -> list[WorkloadReplay]:
    """Submit each workload at each moment, alone, and compare what would have come of it.

    Args:
        workloads: each is replayed for itself.
        centres: the data centres as they are now; their past load is not stored.
        history: half-hours from HISTORY_BEFORE the first moment to HISTORY_AFTER the last, where there are any.
        moments: when the workloads are submitted.
        policies: the weights of the parts of J.
        carbon_price_gbp_per_t: what a tonne of CO2 counts for, £/tCO2, 0 or more.

    Raises:
        ValueError: the carbon price is negative or not a number.
    """
    terms = {policy: Terms.of(policy, carbon_price_gbp_per_t) for policy in policies}
    stage = _Stage(sorted(centres, key=lambda centre: centre.dc_id), history, realised_carbon(history))
    return [
        WorkloadReplay(
            workload.task,
            tuple(_replay_policy(workload, stage, moments, policy, terms[policy]) for policy in policies),
        )
        for workload in workloads
    ]


def realised_carbon(history: History) -> Floats:
    """The estimate of what each region's intensity was, shape (regions + 1, half-hours)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = history.national_actual_carbon_intensity_gco2_per_kwh / history.national_carbon_intensity_gco2_per_kwh
    usable = np.isfinite(ratio) & (ratio > 0)
    estimate: Floats = history.carbon_intensity_gco2_per_kwh * np.where(usable, ratio, 1.0)
    return estimate


def _replay_policy(
    workload: ReplayedWorkload, stage: _Stage, moments: Sequence[datetime], policy: Policy, terms: Terms
) -> PolicyReplay:
    compared: list[_Moment] = []
    not_placed = unknown = 0
    for moment in moments:
        task = workload.at(moment)
        predicted, yesterdays, realised = (
            evaluate(task, moment, signals, Sites.of(stage.centres, signals), terms)
            for signals in stage.views(moment)
        )
        decided = predicted.answer()
        if decided is None:
            not_placed += 1
            continue
        found = _compare(decided, predicted, yesterdays, realised)
        if found is None:
            unknown += 1
        else:
            compared.append(found)
    return PolicyReplay(
        policy=policy,
        moments=len(moments),
        compared=len(compared),
        not_placed=not_placed,
        unknown=unknown,
        predicted=Totals.of(one.predicted for one in compared),
        predicted_run_now=Totals.of(one.predicted_run_now for one in compared),
        realised=Totals.of(one.realised for one in compared),
        run_now=Totals.of(one.run_now for one in compared),
        yesterdays_best=Totals.of(one.yesterdays_best for one in compared),
        perfect_foresight=Totals.of(one.perfect_foresight for one in compared),
        worse_than_run_now=sum(one.realised.parts.total_gbp > one.run_now.parts.total_gbp for one in compared),
        constraints_broken=sum(one.breaks_constraints for one in compared),
    )


def _compare(
    decided: tuple[int, int], predicted: Evaluation, yesterdays: Evaluation, realised: Evaluation
) -> _Moment | None:
    home = home_of(predicted.task, predicted.candidates.sites)
    if home is None:
        return None
    now = (home, NOW)
    # Where yesterday allows no run nobody waits for one; where nothing was possible, foresight helps nobody.
    yesterdays_best, foreseen = yesterdays.answer() or now, realised.answer() or decided
    if not (predicted.known[now] and all(realised.known[run] for run in (decided, now, yesterdays_best, foreseen))):
        return None
    return _Moment(
        predicted=run_outcome(predicted.candidates, *decided),
        predicted_run_now=run_outcome(predicted.candidates, *now),
        realised=run_outcome(realised.candidates, *decided),
        run_now=run_outcome(realised.candidates, *now),
        yesterdays_best=run_outcome(realised.candidates, *yesterdays_best),
        perfect_foresight=run_outcome(realised.candidates, *foreseen),
        breaks_constraints=not realised.feasible[decided],
    )


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
