"""A battery's plan at given prices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexibility.choosing.storage import Battery, plan_storage

ONE_WAY = 0.9


def test_it_charges_when_power_is_cheap_and_discharges_when_it_is_dear() -> None:
    plan = plan_storage(Battery(2, 2, 0, ONE_WAY**2), [40, 40, 120, 120])
    assert plan.cost_gbp == pytest.approx(-114.40)
    assert plan.charge_mw == pytest.approx([2, 2, 0, 0])
    assert sorted(plan.discharge_mw) == pytest.approx([0, 0, 1.24, 2])


def test_below_zero_it_does_not_charge_and_discharge_at_once() -> None:
    battery = Battery(1, 1, 0.5, ONE_WAY**2)
    both = plan_storage(battery, [-100, -100], exclusive=False)
    assert both.cost_gbp == pytest.approx(-64.00)
    assert both.charge_mw == pytest.approx([1, 1])
    assert sorted(both.discharge_mw) == pytest.approx([0, 0.72])
    one = plan_storage(battery, [-100, -100])
    assert one.cost_gbp == pytest.approx(-55.56, abs=0.005)
    assert np.minimum(one.charge_mw, one.discharge_mw) == pytest.approx([0, 0])


def test_wear_that_costs_more_than_the_prices_differ_lets_it_rest() -> None:
    plan = plan_storage(Battery(2, 2, 1, 1.0, wear_gbp_per_mwh=50), [40, 120])
    assert plan.cost_gbp == pytest.approx(0)
    assert plan.draw_mw == pytest.approx([0, 0])
    assert plan_storage(Battery(1, 1, 0, 1.0), []).cost_gbp == 0


@pytest.mark.parametrize(("charge", "efficiency"), [(None, 0.81), (50.0, None), (50.0, 0.0)])
def test_a_battery_of_unknown_charge_or_efficiency_takes_no_part(
    charge: float | None, efficiency: float | None
) -> None:
    known = Battery.known(
        power_mw=1, capacity_mwh=1, state_of_charge_percentage=charge, round_trip_efficiency=efficiency
    )
    assert known is None


def test_its_charge_is_a_share_of_what_it_holds() -> None:
    known = Battery.known(
        power_mw=1, capacity_mwh=4, state_of_charge_percentage=25.0, round_trip_efficiency=0.81, wear_gbp_per_mwh=4
    )
    assert known == Battery(1, 4, 1.0, 0.81, 4)


@given(
    st.lists(st.floats(-200, 200), min_size=1, max_size=8),
    st.floats(0.1, 3),
    st.floats(0.1, 3),
    st.floats(0, 1),
    st.floats(0.5, 1),
    st.floats(0, 20),
)
@settings(max_examples=25)
def test_a_plan_keeps_to_the_battery_and_never_loses_by_doing_something(
    prices: list[float], power: float, capacity: float, filled: float, efficiency: float, wear: float
) -> None:
    battery = Battery(power, capacity, filled * capacity, efficiency, wear)
    plan = plan_storage(battery, prices)
    one_way = efficiency**0.5
    stored = battery.charge_mwh + np.cumsum(0.5 * (one_way * plan.charge_mw - plan.discharge_mw / one_way))
    assert stored.min() >= -1e-6
    assert stored.max() <= capacity + 1e-6
    assert stored[-1] >= battery.charge_mwh - 1e-6
    assert plan.cost_gbp <= 1e-9, "doing nothing costs nothing"
    spent = 0.5 * (np.array(prices) @ plan.draw_mw + wear * (plan.charge_mw + plan.discharge_mw).sum())
    assert plan.cost_gbp == pytest.approx(spent, abs=1e-6)
