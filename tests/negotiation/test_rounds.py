"""Negotiations beside the plan of one who knows everything, and what their awards must be at every stop."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import numpy as np
import pytest

from negotiation.agents import HOURS, ComputeAgent, InterruptibleJob, NoFallback, ReductionBuyer, StorageAgent
from negotiation.rounds import Settlement, negotiate
from negotiators import random_case, three_agents


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
    """What is true of every negotiation at every stop."""
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


@pytest.mark.parametrize("seed", range(6))
def test_whatever_the_agents_payments_balance_nobody_loses_and_the_bounds_hold(seed: int) -> None:
    case = random_case(seed, compute=4, storage=1, half_hours=12, with_buyer=seed % 2 == 0)
    found = negotiate(case.agents)
    holds(found, case.optimum_gbp)
    assert found.gap_gbp <= 0.01 * abs(found.cost_gbp)
    for most_rounds in (1, 3):
        holds(negotiate(case.agents, most_rounds=most_rounds), case.optimum_gbp)


def test_the_order_of_the_agents_changes_no_award() -> None:
    case = random_case(3, compute=5, storage=2, half_hours=10)
    first = negotiate(case.agents)
    for seed in range(3):
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
    with pytest.raises(NoFallback, match="below 0"):
        StorageAgent(
            "S", np.zeros(1), np.array([-1.0]), power_mw=1, capacity_mwh=1, charge_mwh=0, round_trip_efficiency=1
        )
