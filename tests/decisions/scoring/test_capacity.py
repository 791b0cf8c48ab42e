from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from decision_contexts import HALF_HOUR, NOON, capacity, centre
from decisions.scoring.capacity import free_kw_of, least_free_kw, less
from decisions.scoring.context import Capacity, DataCentre

MINUTE = timedelta(minutes=1)
SITES = [DataCentre.model_validate(centre(dc_id)) for dc_id in ("DC-001", "DC-002")]


def a_capacity(*steps: tuple[int, float], half_hours: int = 6) -> Capacity:
    return Capacity.model_validate(capacity({"DC-001": list(steps)}, half_hours=half_hours))


def free(power: Capacity | None, **where: object) -> list[list[float]]:
    found: list[list[float]] = free_kw_of(power, SITES, **{"origin": NOON, "half_hours": 8, **where}).tolist()  # type: ignore[arg-type]
    return found


def test_each_step_lasts_until_the_next_and_the_last_one_beyond_the_capacitys_end() -> None:
    assert free(a_capacity((0, 5), (2, 3), (5, 9)))[0] == [5, 5, 3, 3, 3, 9, 9, 9]


def test_a_data_centre_that_is_not_named_and_less_than_nothing_are_nothing() -> None:
    assert free(a_capacity((0, 5), (2, -3))) == [[5, 5, 0, 0, 0, 0, 0, 0], [0] * 8]


def test_steps_count_from_the_capacitys_start_wherever_the_grid_begins() -> None:
    power = a_capacity((0, 5), (2, 3), (5, 9))
    assert free(power, origin=NOON + 3 * HALF_HOUR)[0] == [3, 3, 9, 9, 9, 9, 9, 9]
    assert free(power, origin=NOON - 3 * HALF_HOUR)[0] == [5, 5, 5, 5, 5, 3, 3, 3]


def test_power_that_never_changes_is_one_column_and_without_a_capacity_it_is_what_the_load_leaves() -> None:
    assert free(a_capacity((0, 5))) == [[5], [0]]
    assert free(None) == [[8000], [8000]]
    assert free_kw_of(None, [], NOON, 8).shape == (0, 1)


@pytest.mark.parametrize("steps", [[], [(1, 5.0)], [(0, 5.0), (0, 4.0)], [(0, 5.0), (3, 4.0), (2, 5.0)], [(-1, 5.0)]])
def test_steps_out_of_order_are_refused(steps: list[tuple[int, float]]) -> None:
    with pytest.raises(ValidationError):
        a_capacity(*steps)


def test_a_run_takes_its_power_in_every_half_hour_it_touches() -> None:
    left = less(a_capacity((0, 5), (4, 7)), "DC-001", NOON + 40 * MINUTE, NOON + 91 * MINUTE, 2)
    assert left.free_it_kw["DC-001"] == ((0, 5), (1, 3), (4, 7))
    ends_on_the_edge = less(a_capacity((0, 5)), "DC-001", NOON + 40 * MINUTE, NOON + 90 * MINUTE, 2)
    assert ends_on_the_edge.free_it_kw["DC-001"] == ((0, 5), (1, 3), (3, 5))


def test_what_goes_on_after_the_last_half_hour_takes_the_last_step() -> None:
    left = less(a_capacity((0, 5)), "DC-001", NOON + 120 * MINUTE, NOON + 600 * MINUTE, 2)
    assert left.free_it_kw["DC-001"] == ((0, 5), (4, 3))
    beyond = less(a_capacity((0, 5)), "DC-001", NOON + 300 * MINUTE, NOON + 600 * MINUTE, 2)
    assert beyond.free_it_kw["DC-001"] == ((0, 5), (5, 3))


def test_what_is_over_or_elsewhere_takes_nothing() -> None:
    power = a_capacity((0, 5))
    assert less(power, "DC-001", NOON - HALF_HOUR, NOON, 2) == power
    assert less(power, "DC-009", NOON, NOON + HALF_HOUR, 2) == power
    begun_before = less(power, "DC-001", NOON - HALF_HOUR, NOON + MINUTE, 2)
    assert begun_before.free_it_kw["DC-001"] == ((0, 3), (1, 5))


runs = st.tuples(
    st.integers(min_value=-60, max_value=179),
    st.integers(min_value=1, max_value=300),
    st.sampled_from([0, 0.1, 3, 7.68]),
)


@given(taken=st.lists(runs, max_size=6), order=st.randoms())
@settings(deadline=None)
def test_in_whatever_order_runs_are_taken_what_is_left_is_the_same_and_their_sum_is_what_is_gone(
    taken: list[tuple[int, int, float]], order: object
) -> None:
    power = a_capacity((0, 100), (3, 90.5))
    left, shuffled = power, power
    others = order.sample(taken, len(taken))  # type: ignore[attr-defined]
    for (begin, minutes, kw), (begin_2, minutes_2, kw_2) in zip(taken, others, strict=True):
        left = less(left, "DC-001", NOON + begin * MINUTE, NOON + (begin + minutes) * MINUTE, kw)
        shuffled = less(shuffled, "DC-001", NOON + begin_2 * MINUTE, NOON + (begin_2 + minutes_2) * MINUTE, kw_2)
    assert left == shuffled
    now, before = (free_kw_of(each, SITES[:1], NOON, 6)[0] for each in (left, power))
    for half_hour in range(6):
        opens, closes = 30 * half_hour, 30 * (half_hour + 1)
        gone = sum(kw for begin, minutes, kw in taken if begin < closes and begin + minutes > opens)
        index = half_hour if len(now) > 1 else 0
        assert now[index] == pytest.approx(before[half_hour] - gone)
    given_back = left
    for begin, minutes, kw in taken:
        given_back = less(given_back, "DC-001", NOON + begin * MINUTE, NOON + (begin + minutes) * MINUTE, -kw)
    assert given_back == power


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(1, 200), st.integers(1, 5)), max_size=8),
    st.integers(0, 300),
    st.integers(1, 200),
)
def test_a_run_has_the_least_that_is_free_in_any_half_hour_it_touches(
    runs: list[tuple[int, int, int]], begin: int, minutes: int
) -> None:
    power = a_capacity((0, 100), half_hours=20)
    for started, lasted, kw in runs:
        power = less(power, "DC-001", NOON + started * MINUTE, NOON + (started + lasted) * MINUTE, kw)
    taken = [
        sum(kw for started, lasted, kw in runs if started // 30 <= half_hour < (started + lasted) / 30)
        for half_hour in range(begin // 30, -(-(begin + minutes) // 30))
    ]
    free_kw = least_free_kw(power, "DC-001", NOON + begin * MINUTE, NOON + (begin + minutes) * MINUTE)
    assert free_kw == 100 - max(taken)
