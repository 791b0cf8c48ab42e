"""Good joint plans, quickly: the biggest jobs first, then a few at a time taken out and put back better."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from decisions.joint.options import Options, Placement
from decisions.joint.problem import Assignment, JointProblem
from decisions.joint.time_budget import TimeBudget
from decisions.scoring.runs import Floats

MOST_ROUNDS = 6000
ROUNDS_PER_JOB = 100
# How many jobs a round takes out at most.
MOST_MOVED = 16
# A round may end this much worse than it began, as a share of the mean J, at first; then less and less.
FIRST_TEMPERATURE = 0.002
SEED = 20_261_122
NOWHERE = -1


class WorkingPlan:
    """A plan that jobs are put into and taken out of."""

    def __init__(self, problem: JointProblem, placements: Sequence[Placement | None] | None = None) -> None:
        self.options: list[Options] = problem.options
        self.weights = problem.weights
        self.free_w = problem.free_w.copy()
        self.placements: list[Placement | None] = [None] * len(self.options)
        for number, placement in enumerate(placements or ()):
            if placement is not None:
                self.put(number, placement)

    def put(self, number: int, placement: Placement) -> None:
        self.free_w[placement.site, placement.half_hours] -= self.options[number].power_w
        self.placements[number] = placement

    def take_out(self, number: int) -> Placement | None:
        placement = self.placements[number]
        if placement is not None:
            self.free_w[placement.site, placement.half_hours] += self.options[number].power_w
            self.placements[number] = None
        return placement

    def put_cheapest(self, number: int, prices_gbp_per_w: Floats | None = None) -> Placement | None:
        """Put a job where it is best among the places with room; None leaves it out."""
        placement = self.options[number].cheapest(self.free_w, prices_gbp_per_w)
        if placement is not None:
            self.put(number, placement)
        return placement

    def assignment(self) -> Assignment:
        return Assignment.of(self.placements, self.weights)


def each_alone(problem: JointProblem) -> Assignment | None:
    """Every job where it is best alone, if there is room for all of them there: then no plan is better."""
    plan, free_w = WorkingPlan(problem), problem.free_w
    for number, options in enumerate(plan.options):
        placement = options.cheapest(free_w)
        if placement is None or not _has_room(plan, number, placement):
            return None
        plan.put(number, placement)
    return plan.assignment()


def greedy(problem: JointProblem, prices_gbp_per_kw: Floats | None = None) -> Assignment:
    """Each job in turn to its best place with room, the biggest first.

    Where that leaves jobs out, the most urgent and then those with fewest options go first, if that leaves out less.
    With prices each job minds what its place is worth to the others.
    """
    options, weights = problem.options, problem.weights
    numbers = range(len(options))
    prices = None if prices_gbp_per_kw is None else prices_gbp_per_kw / 1000
    best = _in_turn(problem, sorted(numbers, key=lambda n: -options[n].work_kwh), prices)
    if best.left_out_weight:
        for order in (
            sorted(numbers, key=lambda n: (-weights[n], options[n].count, -options[n].work_kwh)),
            sorted(numbers, key=lambda n: (options[n].power_w / weights[n], options[n].count)),
        ):
            other = _in_turn(problem, order, prices)
            best = other if other.better_than(best) else best
    return best


class LocalSearch:
    """Takes a few jobs out and puts them back in another order, as often as there are rounds and time.

    The jobs are one that pays much for not having its best place, and others that stand in its way. A round that
    ends a little worse is kept now and then, so that the search leaves where it can only get worse at first.
    """

    def __init__(self, problem: JointProblem, plan: Assignment) -> None:
        self._random = np.random.default_rng(SEED)
        self._plan = WorkingPlan(problem, plan.placements)
        self._best = plan
        free_w = problem.free_w
        alone = [options.cheapest(free_w) for options in self._plan.options]
        self._alone = [placement for placement in alone if placement is not None]
        self._alone_gbp = np.array([placement.objective_gbp for placement in self._alone])
        self._work = np.array([options.work_kwh for options in self._plan.options])
        # More than any two plans differ by, so that leaving out less always counts as better.
        spread = float(np.abs(self._alone_gbp).sum()) + abs(plan.objective_gbp) + 1.0
        self._leaving_gbp = spread * 10 * np.array(self._plan.weights)
        n = len(self._alone)
        self._value_gbp = np.zeros(n)
        self._site, self._begin, self._end = (np.zeros(n, dtype=np.int64) for _ in range(3))
        for number in range(n):
            self._note(number)
        self._rounds = min(MOST_ROUNDS, ROUNDS_PER_JOB * n)
        self._rounds_done = 0

    def run(self, stopwatch: TimeBudget, good_enough: Callable[[Assignment], bool]) -> Assignment:
        """The best plan found by now. Called again, the search goes on where it stopped."""
        first_gbp = FIRST_TEMPERATURE * float(np.abs(self._alone_gbp).mean())
        while self._rounds_done < self._rounds and not good_enough(self._best) and not stopwatch.is_over():
            self._round(first_gbp * (1 - self._rounds_done / self._rounds))
            self._rounds_done += 1
        return self._best

    def _round(self, temperature_gbp: float) -> None:
        moved = self._pick()
        before = {number: self._plan.take_out(number) for number in moved}
        value_before = float(self._value_gbp[moved].sum())
        for number in self._order(moved):
            self._plan.put_cheapest(number)
            self._note(number)
        allowance = temperature_gbp * self._random.standard_exponential()
        if float(self._value_gbp[moved].sum()) < value_before + allowance:
            for number in np.flatnonzero(self._site == NOWHERE).tolist():
                self._plan.put_cheapest(number)
                self._note(number)
            assignment = self._plan.assignment()
            self._best = assignment if assignment.better_than(self._best) else self._best
            return
        for number in moved:
            self._plan.take_out(number)
        for number, placement in before.items():
            if placement is not None:
                self._plan.put(number, placement)
            self._note(number)

    def _pick(self) -> list[int]:
        """A job that regrets its place, some that run where it would rather be (or where it is), and some others."""
        n = len(self._alone)
        regret_gbp = np.maximum(self._value_gbp - self._alone_gbp, 0.0) + 1e-12
        target = int(self._random.choice(n, p=regret_gbp / regret_gbp.sum()))
        place = self._plan.placements[target]
        wished = self._alone[target] if place is None else place
        if self._random.random() < 0.7:
            now_gbp = np.inf if place is None else place.objective_gbp
            wished = self._plan.options[target].better_than(now_gbp, self._random.random()) or wished
        begin, end = _reach(wished)
        in_the_way = np.flatnonzero((self._site == wished.site) & (self._begin < end) & (self._end > begin))
        several = int(self._random.integers(2, MOST_MOVED + 1))
        chosen = [target, *self._random.permutation(in_the_way)[: several - 1].tolist()]
        chosen += self._random.integers(n, size=max(0, several - len(chosen))).tolist()
        return list(dict.fromkeys(chosen))

    def _order(self, moved: list[int]) -> Iterable[int]:
        """The target first and then the biggest, or roughly the biggest first."""
        if self._random.random() < 0.5:
            return [moved[0], *sorted(moved[1:], key=lambda number: -self._work[number])]
        noise = self._random.lognormal(sigma=0.7, size=len(moved))
        return [moved[i] for i in np.argsort(-self._work[moved] * noise)]

    def _note(self, number: int) -> None:
        placement = self._plan.placements[number]
        if placement is None:
            self._value_gbp[number] = self._leaving_gbp[number]
            self._site[number] = NOWHERE
        else:
            self._value_gbp[number] = placement.objective_gbp
            self._site[number] = placement.site
            self._begin[number], self._end[number] = _reach(placement)


def _in_turn(problem: JointProblem, order: Iterable[int], prices_gbp_per_w: Floats | None) -> Assignment:
    plan = WorkingPlan(problem)
    for number in order:
        plan.put_cheapest(number, prices_gbp_per_w)
    return plan.assignment()


def _has_room(plan: WorkingPlan, number: int, placement: Placement) -> bool:
    return bool((plan.free_w[placement.site, placement.half_hours] >= plan.options[number].power_w).all())


def _reach(placement: Placement) -> tuple[int, int]:
    """The first half-hour and the one after the last."""
    half_hours = placement.half_hours
    if isinstance(half_hours, slice):
        return half_hours.start, half_hours.stop
    return int(half_hours[0]), int(half_hours[-1]) + 1
