"""How one job of a joint plan may be placed, when it may pause.

An interruptible job stays at one data centre, works there in any half-hours that its constraints allow, each as far
as the half-hour reaches, and ends by when a run without a pause could have ended at the latest: its deadline, or its
last start plus its duration. Its J is that of a run without a pause, with one difference: the delay is that of its
work on average, counted at the middle of each half-hour, so that pauses count as waiting does. Pausing itself is
free.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from decisions.joint.options import Placement
from decisions.scoring.context import Task
from decisions.scoring.evaluation import Evaluation
from decisions.scoring.feasibility import LATEST_MOMENT, MONEY_TOLERANCE_GBP, NO_RUN_STRESS, finish, latest_start
from decisions.scoring.objective import KWH_PER_MWH, Candidates, Parts
from decisions.scoring.run_totals import Outcome, Stretch
from decisions.scoring.runs import HALF_HOUR_US, HOUR_US, MICROSECOND, Booleans, Floats, Integers
from decisions.scoring.signals import GridSignals
from decisions.scoring.suitability import ReferenceScale
from vocabulary import Urgency

# Enough halvings to tell apart any two multipliers that a double can.
BISECTIONS = 60


@dataclass(frozen=True, eq=False)
class PieceOptions:
    """An interruptible job: what an hour of its work counts, by data centre and half-hour.

    Arrays have a row for each data centre that can take it and a column for each half-hour.
    """

    candidates: Candidates
    signals: GridSignals
    scale: ReferenceScale
    power_w: int
    need_us: int
    """How long it works."""
    limit_gbp: float | None
    """The most its electricity may cost."""
    sites: Integers
    available_us: Integers
    rate_gbp_per_h: Floats
    """J of an hour's work, 0 where there is none to be had."""
    constant_gbp: float
    """What J counts beside that: less than 0, for the delay counts from a run started now."""
    cost_gbp_per_h: Floats
    multiplier: Floats
    """What a pound of its cost counts beyond J so that it keeps its limit, had it the place to itself; per row."""

    @classmethod
    def of(cls, evaluation: Evaluation, power_w: int) -> PieceOptions | None:
        """None where it cannot be placed anywhere."""
        candidates, task = evaluation.candidates, evaluation.task
        signals = evaluation.feasibility.signals
        available_us = available_time_us(evaluation)
        need_us = evaluation.load.duration // MICROSECOND
        lateness_h, lateness_now_h = _lateness_h(evaluation, need_us)
        delay = candidates.priced.terms.weights.delay * candidates.priced.terms.delay_gbp_per_h[task.urgency]
        duration_h = need_us / HOUR_US
        open_to_it = available_us > 0
        rate = np.where(open_to_it, _rate_gbp_per_h(candidates, signals) + delay * lateness_h / duration_h, 0.0)
        cost = np.where(
            open_to_it, candidates.site_kw[:, None] * np.nan_to_num(signals.price_gbp_per_mwh) / KWH_PER_MWH, 0.0
        )
        limit = None if task.max_price_gbp is None else task.max_price_gbp + MONEY_TOLERANCE_GBP
        multipliers = [
            _multiplier(rate[site], cost[site], available_us[site], need_us, limit)
            for site in range(len(candidates.sites))
        ]
        able = [site for site, multiplier in enumerate(multipliers) if multiplier is not None]
        if not able:
            return None
        return cls(
            candidates=candidates,
            signals=signals,
            scale=evaluation.scale,
            power_w=power_w,
            need_us=need_us,
            limit_gbp=limit,
            sites=np.array(able, dtype=np.int64),
            available_us=available_us[able],
            rate_gbp_per_h=rate[able],
            constant_gbp=-delay * lateness_now_h,
            cost_gbp_per_h=cost[able],
            multiplier=np.array([multiplier for multiplier in multipliers if multiplier is not None]),
        )

    @property
    def work_kwh(self) -> float:
        return self.candidates.load.it_energy_kwh

    @property
    def count(self) -> int:
        return int(np.count_nonzero(self.available_us))

    @property
    def limited_rate_gbp_per_h(self) -> Floats:
        """J of an hour's work with its cost counted by the multiplier."""
        rate: Floats = self.rate_gbp_per_h + self.multiplier[:, None] * self.cost_gbp_per_h
        return rate

    @property
    def limited_constant_gbp(self) -> Floats:
        """The constant that goes with that rate: a placement within the limit pays no more than its J."""
        constant: Floats = self.constant_gbp - self.multiplier * (self.limit_gbp or 0.0)
        return constant

    def in_whole_half_hours(self) -> Booleans:
        """Data centres at which it need not work a part of a half-hour."""
        if self.limit_gbp is not None or self.need_us % HALF_HOUR_US:
            return np.zeros(len(self.sites), dtype=np.bool_)
        whole: Booleans = np.all((self.available_us == 0) | (self.available_us == HALF_HOUR_US), axis=1)
        return whole

    def half_hours_within(self, slack_gbp: Floats, prices_gbp_per_kw: Floats) -> Booleans:
        """Half-hours it may work in without paying more at these prices than a data centre's least by some slack.

        Working in a half-hour takes the place of the last of the cheapest ones at least. Where it does not work in
        whole half-hours, all are left.

        Args:
            slack_gbp: by data centre; below 0 there is no such half-hour.
            prices_gbp_per_kw: of capacity, shape (data centres of the problem, half-hours).
        """
        slot_gbp = self.rate_gbp_per_h / 2 + self.power_w / 1000 * prices_gbp_per_kw[self.sites]
        slot_gbp = np.where(self.available_us > 0, slot_gbp, np.inf)
        last = min(-(-self.need_us // HALF_HOUR_US), slot_gbp.shape[1]) - 1
        last_of_the_cheapest_gbp = np.partition(slot_gbp, last, axis=1)[:, last, None]
        within = slot_gbp - last_of_the_cheapest_gbp <= slack_gbp[:, None]
        within |= ~self.in_whole_half_hours()[:, None]
        return within & (self.available_us > 0) & (slack_gbp >= 0)[:, None]

    def cheapest(self, free_w: Integers, prices_gbp_per_w: Floats | None = None) -> Placement | None:
        open_us = np.where(free_w[self.sites] >= self.power_w, self.available_us, 0)
        slot_gbp, steering = np.zeros(open_us.shape), self.rate_gbp_per_h
        if prices_gbp_per_w is not None:
            slot_gbp = self.power_w * prices_gbp_per_w[self.sites]
            steering = steering + slot_gbp * HOUR_US / np.maximum(open_us, 1)
        used_us = fill(steering, open_us, self.need_us)
        possible = used_us.sum(axis=1) == self.need_us
        self._keep_limit(used_us, possible, steering, open_us)
        if not possible.any():
            return None
        objective_gbp = self.constant_gbp + (used_us / HOUR_US * self.rate_gbp_per_h).sum(axis=1)
        steered_gbp = objective_gbp + (slot_gbp * (used_us > 0)).sum(axis=1)
        position = np.where(possible, self.scale.position(steered_gbp), np.inf)
        tied = np.flatnonzero(position == position.min())
        row = (
            int(tied[0]) if len(tied) == 1 else min(tied.tolist(), key=lambda row: self._tie_break(row, used_us[row]))
        )
        half_hours = np.flatnonzero(used_us[row])
        return Placement(int(self.sites[row]), half_hours, float(objective_gbp[row]), used_us=used_us[row])

    def better_than(self, objective_gbp: float, draw: float) -> Placement | None:
        # A data centre at random; there its best half-hours from some hour on, while there are enough of them.
        row = int(draw * len(self.sites))
        half_hours = self.available_us.shape[1]
        first = int(draw * len(self.sites) % 1 * half_hours)
        for begin in (first, 0):
            placement = self.cheapest_within(int(self.sites[row]), np.arange(half_hours) >= begin)
            if placement is not None and placement.objective_gbp < objective_gbp:
                return placement
        return None

    def cheapest_within(self, site: int, half_hours: Booleans) -> Placement | None:
        """The best placement at one data centre in no other half-hours than these."""
        free_w = np.zeros((len(self.candidates.sites), len(half_hours)), dtype=np.int64) - 1
        free_w[site, half_hours] = self.power_w
        return self.cheapest(free_w)

    def outcome(self, placement: Placement) -> Outcome:
        if placement.used_us is None:
            raise ValueError("the placement is for another job")
        candidates, signals, site = self.candidates, self.signals, placement.site
        energy_kwh = float(candidates.site_kw[site]) * placement.used_us / HOUR_US
        terms = candidates.priced.terms
        cost_gbp = _sum_known(energy_kwh, signals.price_gbp_per_mwh) / KWH_PER_MWH
        stress_gbp = terms.stress_gbp_per_mwh * _sum_known(energy_kwh, signals.grid_stress_score**2) / KWH_PER_MWH
        carbon_g = _sum_known(energy_kwh, signals.carbon_intensity_gco2_per_kwh[candidates.sites.rows[site]])
        energy_part, carbon_part = terms.weights.energy * cost_gbp, terms.gbp_per_g * carbon_g
        stress_part = terms.weights.grid_stress * stress_gbp
        # What is left of J; no work is done sooner than from now on, so less than 0 is rounding.
        delay_part = max(0.0, placement.objective_gbp - energy_part - carbon_part - stress_part)
        return Outcome(
            stretches=tuple(_stretches(candidates, placement.used_us)),
            energy_kwh=candidates.load.it_energy_kwh * candidates.sites.centres[site].pue,
            cost_gbp=cost_gbp,
            carbon_gco2=carbon_g,
            parts=Parts(energy_part, carbon_part, stress_part, delay_part),
        )

    def _keep_limit(self, used_us: Integers, possible: Booleans, steering: Floats, open_us: Integers) -> None:
        """Change the rows that cost more than the limit so that they keep it, or mark them impossible."""
        if self.limit_gbp is None:
            return
        cost_gbp = (used_us / HOUR_US * self.cost_gbp_per_h).sum(axis=1)
        for row in np.flatnonzero(possible & (cost_gbp > self.limit_gbp)):
            cost = self.cost_gbp_per_h[row]
            affordable = affordable_fill(steering[row], cost, open_us[row], self.need_us, self.limit_gbp)
            if affordable is None:
                possible[row] = False
            else:
                used_us[row] = affordable

    def _tie_break(self, row: int, used_us: Integers) -> tuple[float, int, int]:
        """Carbon, start, data centre: what breaks a tie of J for a single workload."""
        site = int(self.sites[row])
        energy_kwh = float(self.candidates.site_kw[site]) * used_us / HOUR_US
        carbon_g = _sum_known(
            energy_kwh, self.signals.carbon_intensity_gco2_per_kwh[self.candidates.sites.rows[site]]
        )
        return float(self.scale.carbon_share(np.array(carbon_g))), int(np.flatnonzero(used_us)[0]), site


def available_time_us(evaluation: Evaluation) -> Integers:
    """How long an interruptible job may work in each half-hour of each data centre, shape (sites, half-hours)."""
    feasibility, runs, sites = evaluation.feasibility, evaluation.runs, evaluation.candidates.sites
    task, signals = evaluation.task, feasibility.signals
    until = _latest_end(task, runs.start(0), evaluation.load.duration)
    edges_us = np.arange(runs.half_hours + 1, dtype=np.int64) * HALF_HOUR_US
    now_us = int(runs.starts_us[0])
    until_us = max(now_us, (until - runs.origin) // MICROSECOND)
    time_us = np.diff(np.clip(edges_us, now_us, until_us))
    carbon = signals.carbon_intensity_gco2_per_kwh[sites.rows]
    allowed = signals.known[sites.rows] & ~feasibility.refusing[:, None] & ~feasibility.full
    if task.urgency is not Urgency.CRITICAL:
        allowed &= ~(signals.grid_stress_score > NO_RUN_STRESS)
    if task.carbon_cap_gco2 is not None:
        allowed &= ~(carbon > task.carbon_cap_gco2)
    return np.where(allowed, time_us, 0)


def fill(keys: Floats, available_us: Integers, need_us: int | Integers) -> Integers:
    """The need put into the half-hours of least key, by row if there are rows; less where it exceeds them all.

    Ties go to the earlier half-hour.
    """
    order = np.argsort(np.where(available_us > 0, keys, np.inf), axis=-1, kind="stable")
    rows = np.arange(available_us.shape[0])[:, None] if available_us.ndim == 2 else ...
    in_order_us = available_us[rows, order]
    taken_before_us = np.cumsum(in_order_us, axis=-1) - in_order_us
    used_us = np.empty_like(available_us)
    used_us[rows, order] = np.clip(need_us - taken_before_us, 0, in_order_us)
    return used_us


def affordable_fill(
    keys: Floats, cost_gbp_per_h: Floats, available_us: Integers, need_us: int, limit_gbp: float
) -> Integers | None:
    """The need put into half-hours so that it costs no more than the limit and its keys add up to the least.

    A linear programme with one side constraint: its optimum lies between the two fills on either side of the
    multiplier at which the cost crosses the limit. None where no fill is so cheap, or there is too little time.
    """
    cheapest_us = fill(cost_gbp_per_h, available_us, need_us)
    if int(cheapest_us.sum()) < need_us or _cost_gbp(cheapest_us, cost_gbp_per_h) > limit_gbp:
        return None
    multiplier = _limit_multiplier(keys, cost_gbp_per_h, available_us, need_us, limit_gbp)
    if multiplier is None:
        return cheapest_us
    low, high = multiplier
    dear_us = fill(keys + low * cost_gbp_per_h, available_us, need_us)
    cheap_us = fill(keys + high * cost_gbp_per_h, available_us, need_us)
    dear_gbp, cheap_gbp = _cost_gbp(dear_us, cost_gbp_per_h), _cost_gbp(cheap_us, cost_gbp_per_h)
    if dear_gbp <= limit_gbp:
        return dear_us
    share = (limit_gbp - cheap_gbp) / (dear_gbp - cheap_gbp)
    mixed_us: Integers = cheap_us + np.trunc(share * (dear_us - cheap_us)).astype(np.int64)
    # Truncation may lose a few microseconds: the half-hour with most room gives or takes them.
    missing_us = need_us - int(mixed_us.sum())
    mixed_us[np.argmax(available_us - mixed_us if missing_us > 0 else mixed_us)] += missing_us
    return mixed_us


def _multiplier(
    keys: Floats, cost_gbp_per_h: Floats, available_us: Integers, need_us: int, limit_gbp: float | None
) -> float | None:
    """What a pound of cost must count for the best fill to keep its limit; None where none keeps it."""
    used_us = fill(keys, available_us, need_us)
    if int(used_us.sum()) < need_us:
        return None
    if limit_gbp is None or _cost_gbp(used_us, cost_gbp_per_h) <= limit_gbp:
        return 0.0
    if _cost_gbp(fill(cost_gbp_per_h, available_us, need_us), cost_gbp_per_h) > limit_gbp:
        return None
    bracket = _limit_multiplier(keys, cost_gbp_per_h, available_us, need_us, limit_gbp)
    return 0.0 if bracket is None else bracket[1]


def _limit_multiplier(
    keys: Floats, cost_gbp_per_h: Floats, available_us: Integers, need_us: int, limit_gbp: float
) -> tuple[float, float] | None:
    """Multipliers on either side of where the cost crosses the limit; None where rounding hides the crossing."""

    def keeps(multiplier: float) -> bool:
        used_us = fill(keys + multiplier * cost_gbp_per_h, available_us, need_us)
        return _cost_gbp(used_us, cost_gbp_per_h) <= limit_gbp

    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        if keeps(high):
            break
        low, high = high, 4 * high
    else:
        return None
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if keeps(middle) else (middle, high)
    return low, high


def _latest_end(task: Task, as_of: datetime, duration: timedelta) -> datetime:
    last_start = latest_start(task, as_of)
    ends = [LATEST_MOMENT]
    if last_start:
        ends.append(finish(last_start, duration))
    if task.deadline:
        ends.append(task.deadline)
    return min(ends)


def _rate_gbp_per_h(candidates: Candidates, signals: GridSignals) -> Floats:
    """J of an hour's work without its delay, shape (sites, half-hours); NaN where a signal is unknown."""
    terms = candidates.priced.terms
    stress_gbp_per_mwh = terms.stress_gbp_per_mwh * signals.grid_stress_score**2
    national = terms.weights.energy * signals.price_gbp_per_mwh + terms.weights.grid_stress * stress_gbp_per_mwh
    gbp_per_kwh = (
        national / KWH_PER_MWH + terms.gbp_per_g * signals.carbon_intensity_gco2_per_kwh[candidates.sites.rows]
    )
    rate: Floats = candidates.site_kw[:, None] * gbp_per_kwh
    return rate


def _lateness_h(evaluation: Evaluation, need_us: int) -> tuple[Floats, float]:
    """Hours from now to the middle of each half-hour, and their mean over the work of a run started now."""
    half_hours = evaluation.runs.half_hours
    now_us = int(evaluation.runs.starts_us[0])
    middles_us = np.arange(half_hours) * HALF_HOUR_US + HALF_HOUR_US / 2 - now_us
    present_us = HALF_HOUR_US - now_us
    middles_us[0] = present_us / 2
    # A run started now fills the present half-hour, then whole ones, then a part of one.
    first_us = min(need_us, present_us)
    whole, part_us = divmod(need_us - first_us, HALF_HOUR_US)
    whole_us = whole * HALF_HOUR_US * (present_us + whole * HALF_HOUR_US / 2)
    part_middle_us = present_us + whole * HALF_HOUR_US + HALF_HOUR_US / 2
    mean_us = (first_us * present_us / 2 + whole_us + part_us * part_middle_us) / need_us
    return middles_us / HOUR_US, mean_us / HOUR_US


def _stretches(candidates: Candidates, used_us: Integers) -> Iterator[Stretch]:
    """The half-hours it works in as times; work that does not fill its half-hour joins the next where it can."""
    runs = candidates.runs
    now_us = int(runs.starts_us[0])
    begins: int | None = None
    ends = 0
    for half_hour in np.flatnonzero(used_us):
        edge_us, length_us = int(half_hour) * HALF_HOUR_US, int(used_us[half_hour])
        start_us = max(edge_us, now_us)
        joins_next = half_hour + 1 < len(used_us) and used_us[half_hour + 1] > 0
        if begins is not None and ends == start_us:
            ends = start_us + length_us
            continue
        if begins is not None:
            yield Stretch(runs.origin + begins * MICROSECOND, runs.origin + ends * MICROSECOND)
        if joins_next:
            start_us = edge_us + HALF_HOUR_US - length_us
        begins, ends = start_us, start_us + length_us
    if begins is not None:
        yield Stretch(runs.origin + begins * MICROSECOND, runs.origin + ends * MICROSECOND)


def _cost_gbp(used_us: Integers, cost_gbp_per_h: Floats) -> float:
    return float(used_us @ cost_gbp_per_h) / HOUR_US


def _sum_known(energy_kwh: Floats, rate: Floats) -> float:
    """Energy times rate, where there is energy: rates elsewhere may be unknown."""
    used = energy_kwh > 0
    return float(energy_kwh[used] @ rate[used])
