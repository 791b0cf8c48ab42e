"""Negotiations beside the plan of one who knows everything, and what their awards must be at every stop."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from negotiation.agents import (
    HOURS,
    SHORTEST_SEARCH_S,
    BookedJob,
    ComputeAgent,
    Figures,
    InterruptibleJob,
    NoFallback,
    Plan,
    ReductionBuyer,
    RigidJob,
    SearchTime,
    StorageAgent,
)
from negotiation.coordination import Coordinator
from negotiation.rounds import Settlement, negotiate
from negotiators import random_case, three_agents, tight_agents


def test_three_agents_come_to_what_was_worked_out_by_hand() -> None:
    found = negotiate(three_agents())
    assert found.stop == "gap"
    assert found.price_gbp_per_mwh == pytest.approx([40, 0])
    assert [found.cost_gbp, found.bound_gbp] == pytest.approx([175.2, 175.2])
    by_name = {award.agent: award for award in found.awards}
    assert by_name["A"].draw_mw == pytest.approx([1.8, 0.2])
    assert by_name["B"].draw_mw == pytest.approx([2.0, 0.0])
    assert by_name["S"].draw_mw == pytest.approx([-0.8, 0.8])
    told = {
        name: (award.cost_gbp, award.pays_gbp, award.net_gbp, award.fallback_gbp) for name, award in by_name.items()
    }
    assert told["A"] == pytest.approx((84.0, 6, 90.0, 90.0))
    assert told["B"] == pytest.approx((80.0, 10, 90.0, 92.5))
    assert told["S"] == pytest.approx((11.2, -16, -4.8, 0), abs=1e-9)


def holds(found: Settlement, optimum_gbp: float) -> None:
    """What is true of every negotiation at every stop, whether or not all can split."""
    assert abs(sum(award.pays_gbp for award in found.awards)) <= 1e-9
    assert all(award.net_gbp <= award.fallback_gbp + 1e-6 for award in found.awards)
    drawn = np.sum([award.draw_mw for award in found.awards], axis=0)
    assert (drawn <= np.sum([award.endowment_mw for award in found.awards], axis=0) + 1e-6).all()
    bounds = [(each.lower_bound_gbp, each.upper_bound_gbp) for each in found.rounds]
    for (low, high), (later_low, later_high) in pairwise(bounds):
        assert later_high <= high + 1e-6
        assert later_low >= low - 1e-6
    assert found.bound_gbp <= optimum_gbp + 1e-6
    assert optimum_gbp <= found.cost_gbp + 1e-6
    assert sum(award.cost_gbp for award in found.awards) == pytest.approx(found.cost_gbp, abs=1e-5)
    assert found.cost_gbp <= found.rounds[-1].upper_bound_gbp + 1e-5


SEEDS = st.integers(0, 10**6)


@settings(max_examples=12, deadline=None)
@given(SEEDS, st.integers(1, 5), st.integers(0, 2), st.integers(4, 14), st.booleans(), st.sampled_from([1, 3, 40]))
def test_whatever_the_agents_payments_balance_nobody_loses_and_the_bounds_hold(
    seed: int, compute: int, storage: int, half_hours: int, with_buyer: bool, most_rounds: int
) -> None:
    case = random_case(seed, compute=compute, storage=storage, half_hours=half_hours, with_buyer=with_buyer)
    found = negotiate(case.agents, most_rounds=most_rounds)
    holds(found, case.optimum_gbp)
    if most_rounds == 40:
        assert found.gap_gbp <= 0.001 * abs(found.cost_gbp) + 1e-6


@settings(max_examples=12, deadline=None)
@given(SEEDS, st.integers(0, 2), st.integers(1, 4), st.integers(0, 1), st.integers(6, 14), st.sampled_from([1, 40]))
def test_with_work_that_may_not_pause_the_same_holds_and_the_gap_is_certified(
    seed: int, compute: int, rigid: int, storage: int, half_hours: int, most_rounds: int
) -> None:
    case = random_case(seed, compute=compute, storage=storage, half_hours=half_hours, rigid=rigid)
    found = negotiate(case.agents, most_rounds=most_rounds)
    assert found.shares_gain
    holds(found, case.optimum_gbp)


@settings(max_examples=5, deadline=None)
@given(SEEDS, st.integers(5, 8))
def test_rigid_jobs_are_certified_within_5_per_cent_at_48_half_hours(seed: int, rigid: int) -> None:
    """The gap that the coordinator works out from proposals alone; the best plan that there is lies within it."""
    case = random_case(seed, compute=0, storage=1, half_hours=48, rigid=rigid)
    found = negotiate(case.agents)
    holds(found, case.optimum_gbp)
    assert found.gap_gbp <= 0.05 * abs(found.cost_gbp)
    assert found.cost_gbp - case.optimum_gbp <= found.gap_gbp + 1e-6


@settings(max_examples=5, deadline=None)
@given(SEEDS, st.integers(0, 2), st.integers(1, 2), st.integers(4, 8))
def test_batteries_that_are_paid_for_charging_never_charge_and_discharge_at_once(
    seed: int, compute: int, storage: int, half_hours: int
) -> None:
    case = random_case(seed, compute=compute, storage=storage, half_hours=half_hours, lowest_gbp_per_mwh=-80)
    holds(negotiate(case.agents), case.optimum_gbp)


@settings(max_examples=6, deadline=None)
@given(SEEDS, st.integers(2, 4), st.integers(0, 1), st.integers(4, 10))
def test_neither_another_agent_nor_a_larger_share_makes_it_dearer(
    seed: int, compute: int, storage: int, half_hours: int
) -> None:
    """Beyond what another would cost alone, and what separates the plan from the best."""
    case = random_case(seed, compute=compute, storage=storage, half_hours=half_hours)
    first, *others = case.agents
    whole, without = negotiate(case.agents), negotiate(others)
    assert whole.cost_gbp - whole.gap_gbp <= without.cost_gbp + first.fallback().cost_gbp + 1e-6
    for agent in case.agents:
        agent.endowment_mw = agent.endowment_mw * 1.3
    larger = negotiate(case.agents)
    assert larger.cost_gbp - larger.gap_gbp <= whole.cost_gbp + 1e-6


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.thorough) for seed in range(1, 12))])
def test_10_agents_are_within_1_per_cent_after_20_rounds_of_48_half_hours(seed: int) -> None:
    agents = tight_agents(seed, compute=8, storage=2, half_hours=48)
    found = negotiate(agents, tolerance=0.01)
    assert (found.stop, len(found.rounds) <= 20) == ("gap", True)


@pytest.mark.parametrize("rigid", [0, 2])
def test_the_order_of_the_agents_changes_no_award(rigid: int) -> None:
    case = random_case(3, compute=3, storage=2, half_hours=10, rigid=rigid)
    first = negotiate(case.agents)
    for seed in range(2):
        shuffled = list(case.agents)
        Random(seed).shuffle(shuffled)
        again = negotiate(shuffled)
        assert [award.agent for award in again.awards] == [award.agent for award in first.awards]
        for one, other in zip(first.awards, again.awards, strict=True):
            assert np.array_equal(one.draw_mw, other.draw_mw)
            assert one.pays_gbp == other.pays_gbp


def test_where_there_is_room_for_all_the_prices_are_0_and_nobody_pays() -> None:
    jobs = [InterruptibleJob("a", 1, 2, 0, 4)]
    agents = [ComputeAgent(name, np.full(4, 5.0), np.array([4.0, 1, 2, 3]), jobs) for name in ("a", "b")]
    found = negotiate(agents)
    assert not found.price_gbp_per_mwh.any()
    assert [award.pays_gbp for award in found.awards] == [0, 0]
    assert len(found.rounds) == 1


def test_a_buyer_pays_those_who_leave_it_room_and_no_more_than_it_said() -> None:
    hall = ComputeAgent("hall", np.full(2, 1.0), np.array([50.0, 60]), [InterruptibleJob("a", 0.5, 1, 0, 2)])
    found = negotiate([hall, ReductionBuyer("buyer", np.array([100.0, 0]), np.array([1.0, 0]))])
    awards = {award.agent: award for award in found.awards}
    assert awards["hall"].draw_mw == pytest.approx([0, 1])
    assert awards["buyer"].draw_mw == pytest.approx([1, 0])
    assert 5 <= awards["buyer"].pays_gbp <= HOURS * 100
    assert awards["hall"].pays_gbp == -awards["buyer"].pays_gbp


def test_time_that_is_over_ends_it_with_a_valid_award() -> None:
    case = random_case(1, compute=4, storage=1, half_hours=12)
    found = negotiate(case.agents, tolerance=0, is_over=lambda: True)
    assert (found.stop, len(found.rounds)) == ("time", 1)
    holds(found, case.optimum_gbp)


def test_who_cannot_do_its_work_alone_is_named() -> None:
    jobs = [InterruptibleJob("a", 1, 2, 0, 2)]
    little = ComputeAgent("little", np.full(2, 0.5), np.full(2, 1.0), jobs)
    with pytest.raises(NoFallback, match="little: its work does not fit"):
        negotiate([little])


def test_a_battery_charges_where_it_is_cheap_and_gives_where_it_is_dear() -> None:
    battery = StorageAgent(
        "S",
        np.full(4, 10.0),
        np.array([40.0, 40, 120, 120]),
        power_mw=2,
        capacity_mwh=2,
        charge_mwh=0,
        round_trip_efficiency=0.81,
    )
    plan = battery.answer(np.zeros(4))
    assert sorted(plan.draw_mw) == pytest.approx([-2, -1.24, 2, 2])
    assert plan.draw_mw[:2] == pytest.approx([2, 2])
    assert plan.cost_gbp == pytest.approx(-114.40)


def test_a_battery_that_is_paid_for_charging_cannot_burn_what_it_takes() -> None:
    battery = StorageAgent(
        "S",
        np.zeros(2),
        np.array([-100.0, -100]),
        power_mw=1,
        capacity_mwh=1,
        charge_mwh=0.5,
        round_trip_efficiency=0.81,
    )
    assert battery.answer(np.zeros(2)).cost_gbp == pytest.approx(-55.56, abs=0.005)
    assert not battery.can_split


def test_work_that_may_not_pause_takes_its_cheapest_run_and_only_where_there_is_room() -> None:
    hall = ComputeAgent("hall", np.array([2.0, 2, 0, 2]), np.array([9.0, 5, 1, 2]), [RigidJob("a", 2, 2, 0, 4)])
    assert hall.answer(np.zeros(4)).draw_mw == pytest.approx([0, 0, 2, 2])
    assert hall.fallback().draw_mw == pytest.approx([2, 2, 0, 0])
    assert hall.within(np.array([2.0, 1, 2, 1]), np.zeros(4)) is None


def test_work_that_takes_too_long_to_place_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("negotiation.agents.LONGEST_SEARCH_S", 1e-3)
    chance = Random(1)
    jobs = [RigidJob(str(number), chance.uniform(1, 9), chance.randint(3, 17), 0, 96) for number in range(50)]
    room_mw = sum(job.power_mw * job.half_hours for job in jobs) / 96 * 1.06
    hall = ComputeAgent("hall", np.full(96, room_mw), np.linspace(50, 150, 96), jobs)
    with pytest.raises(NoFallback, match="found in time"):
        hall.fallback()


def test_the_searches_of_one_call_have_their_time_together() -> None:
    now = [0.0]
    searches = SearchTime(8.0, lambda: now[0])

    def search(seconds: float) -> float:
        now[0] += seconds
        return seconds

    assert [searches.search(search) for _ in range(4)] == [5.0, 3.0, SHORTEST_SEARCH_S, SHORTEST_SEARCH_S]


def test_booked_work_takes_its_cheapest_start_and_says_where_that_is() -> None:
    jobs = [BookedJob("a", 2, 2, (0, 2), (5.0, 9.0)), BookedJob("b", 1, 1, (0, 1, 3), (7.0, 6.5, 6.0))]
    hall = ComputeAgent("hall", np.array([3.0, 3, 3, 3]), np.zeros(4), jobs)
    assert hall.answer(np.zeros(4)).cost_gbp == 11.0
    assert hall.answer(np.array([10.0, 0, 0, 0])).draw_mw == pytest.approx([0, 0, 2, 3])
    fallback = hall.fallback()
    assert (fallback.cost_gbp, list(fallback.draw_mw)) == (11.0, [2, 2, 0, 1])
    assert hall.starts_in(fallback.draw_mw) == {"a": 0, "b": 3}
    with pytest.raises(NoFallback, match="does not fit in what it was awarded"):
        hall.starts_in(np.array([2.0, 2, 0, 0]))


def test_what_booked_work_proposes_has_its_room_at_the_data_centre() -> None:
    """Both would begin at once, where there is room for one of them; at other prices each where it is cheapest."""
    jobs = [BookedJob(name, 2, 1, (0, 1, 2), (1.0, 5.0, 6.0)) for name in ("a", "b")]
    hall = ComputeAgent("hall", np.full(3, 4.0), np.zeros(3), jobs, np.array([2.0, 4.0, 4.0]))
    answer = hall.answer(np.zeros(3))
    assert (answer.cost_gbp, list(answer.draw_mw)) == (6.0, [2, 2, 0])
    assert list(hall.answer(np.array([20.0, 0, 0])).draw_mw) == [0, 4, 0]
    assert (hall.fallback().draw_mw <= [2, 4, 4]).all()


def test_once_the_time_is_over_nobody_plans_again() -> None:
    class PlansAgain(ComputeAgent):
        def within(self, room_mw: Figures, price_gbp_per_mwh: Figures) -> None:  # noqa: ARG002
            raise PlannedAgain

    class PlannedAgain(Exception):
        pass

    facts = (np.array([2.0, 2]), np.array([1.0, 3]), [RigidJob("a", 2, 1, 0, 2)])
    coordinator = Coordinator({"hall": facts[0]}, {"hall": Plan(3.0, np.array([0.0, 2]))}, cannot_split=["hall"])
    agents = {"hall": PlansAgain("hall", *facts)}
    assert coordinator.settle(agents, is_over=lambda: True).cost_gbp == 3.0
    with pytest.raises(PlannedAgain):
        coordinator.settle(agents)


@pytest.mark.parametrize("seed", [4, 9, 32, 56, 220, 264])
def test_figures_that_are_too_far_apart_to_be_worked_out_cost_nobody_anything(seed: int) -> None:
    chance = Random(seed)
    half_hours, names = chance.choice([2, 4, 8]), ["a", "b", "c"][: chance.choice([2, 3])]
    small = [0.0, 1e-9, 1e-8, 1e-7, 1e-6, 1e-3, 1.0, 1e4]

    def mw() -> float:
        return chance.choice([*small, chance.random(), chance.random() * 1e4])

    def gbp() -> float:
        return chance.choice([1e9, -1e9, 0.0, 1e-9, chance.uniform(-1e9, 1e9), chance.uniform(-100, 100)])

    own = {name: np.array([mw() for _ in range(half_hours)]) for name in names}
    coordinator = Coordinator(own, {name: Plan(gbp(), np.minimum(mw(), own[name])) for name in names})
    for _ in range(3):
        vectors = coordinator.call()
        plans = {name: [Plan(gbp(), np.array([mw() for _ in range(half_hours)])) for _ in vectors] for name in names}
        coordinator.hear(vectors, plans)
    found = coordinator.settle()
    assert abs(sum(award.pays_gbp for award in found.awards)) <= 1e-6
    assert all(award.net_gbp <= award.fallback_gbp + 0.01 for award in found.awards)


def test_a_silent_agent_keeps_its_proposals_and_one_that_is_gone_only_its_fallback() -> None:
    agents = {agent.name: agent for agent in three_agents()}
    coordinator = Coordinator(
        {name: agent.endowment_mw for name, agent in agents.items()},
        {name: agent.fallback() for name, agent in agents.items()},
    )
    vectors = coordinator.call()
    answers = {name: [agent.answer(price) for price in vectors] for name, agent in agents.items()}
    first = coordinator.hear(vectors, answers | {"S": None})
    assert first.lower_bound_gbp == -np.inf
    assert coordinator.stop() is None
    assert coordinator.hear(vectors, answers).lower_bound_gbp > 150
    coordinator.dismiss("S")
    found = coordinator.settle()
    assert found.awards[2].draw_mw == pytest.approx([0, 0])
    assert sum(award.pays_gbp for award in found.awards) == 0
    assert all(award.net_gbp <= award.fallback_gbp + 1e-9 for award in found.awards)
