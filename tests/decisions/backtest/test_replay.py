"""Replays decide on what could be known and are reckoned by what happened."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_contexts import HALF_HOUR, NOON, centre, task
from decisions.backtest.history import History, SignalHistory, history_of
from decisions.backtest.replay import (
    HISTORY_BEFORE,
    LOOK_AHEAD,
    PolicyReplay,
    ReplayedWorkload,
    realised_carbon,
    replay,
)
from decisions.scoring.context import DataCentre, Task
from vocabulary import Policy

DAY = timedelta(days=1)
SITE = DataCentre.model_validate(centre("DC-1", pue=1))
SLOTS = 48 * 4
"""Two days before noon and two days after."""
ORIGIN = NOON - 2 * DAY

Series = Sequence[float | None]


def stored(
    *,
    price: Series = (100,) * SLOTS,
    stress: Series = (0,) * SLOTS,
    forecast: Series = (200,) * SLOTS,
    actual: Series = (200,) * SLOTS,
    regional: Mapping[int, Series] | None = None,
) -> History:
    document = {
        "start": ORIGIN.isoformat(),
        "national": {
            "carbon_intensity_forecast": list(forecast),
            "carbon_intensity_actual": list(actual),
            "grid_stress_score": list(stress),
            "wholesale_price_gbp_mwh": list(price),
            "carbon_sources": {},
            "demand_sources": {},
            "price_sources": {},
        },
        "regional": [
            {"region_id": region_id, "carbon_intensity_forecast": list(series)}
            for region_id, series in (regional or {13: (200,) * SLOTS}).items()
        ],
    }
    return history_of(SignalHistory.model_validate(document))


def at(hours: float, value: float, otherwise: float) -> list[float | None]:
    """A series with one other value, so many hours after noon."""
    series: list[float | None] = [otherwise] * SLOTS
    series[96 + int(2 * hours)] = value
    return series


def workload(deadline_after: timedelta | None = None, **facts: Any) -> ReplayedWorkload:
    """Half an hour at one kilowatt that may wait for twelve hours and whose waiting counts little."""
    stated = {"required_gpu_mins": 30, "estimated_energy_kwh": 0.5, "deferral_window_mins": 720, **facts}
    return ReplayedWorkload(Task.model_validate(task(**stated)), deadline_after)


def replayed(
    history: History,
    job: ReplayedWorkload | None = None,
    *,
    centres: Sequence[DataCentre] = (SITE,),
    policy: Policy = Policy.CARBON,
    days: int = 1,
) -> PolicyReplay:
    (found,) = replayed_together(history, [job or workload()], centres=centres, policy=policy, days=days)
    return found


def replayed_together(
    history: History,
    jobs: Sequence[ReplayedWorkload],
    *,
    centres: Sequence[DataCentre] = (SITE,),
    policy: Policy = Policy.CARBON,
    days: int = 1,
    hold_power: bool = True,
) -> list[PolicyReplay]:
    moments = [NOON + number * DAY for number in range(days)]
    found = replay(jobs, centres, history, moments, policies=[policy], hold_power=hold_power)
    return [by_policy for one in found for by_policy in one.policies]


def test_a_forecast_that_comes_true_is_predicted_realised_and_captured_whole() -> None:
    found = replayed(stored(regional={13: at(3, 50, otherwise=200)}))
    assert found.predicted == found.realised == found.perfect_foresight
    assert found.predicted.carbon_gco2 == pytest.approx(0.5 * 50)
    assert found.run_now.carbon_gco2 == pytest.approx(0.5 * 200)
    assert found.captured == pytest.approx(1)
    assert (found.moments, found.compared, found.worse_than_run_now, found.constraints_broken) == (1, 1, 0, 0)


def test_a_regional_forecast_is_off_by_as_much_as_the_national_one() -> None:
    forecast, actual = at(3, 100, otherwise=200), at(3, 150, otherwise=200)
    found = replayed(stored(regional={13: at(3, 50, otherwise=60)}, forecast=forecast, actual=actual))
    assert found.predicted.carbon_gco2 == pytest.approx(0.5 * 50)
    assert found.realised.carbon_gco2 == pytest.approx(0.5 * 75)
    assert found.run_now.carbon_gco2 == pytest.approx(0.5 * 60)
    assert found.perfect_foresight.carbon_gco2 == pytest.approx(0.5 * 60)
    assert found.worse_than_run_now == 1
    assert found.captured is None


@pytest.mark.parametrize(("forecast", "actual"), [(None, 100), (100, None), (0, 100), (100, 0)])
def test_without_usable_national_figures_the_regional_forecast_stands(
    forecast: float | None, actual: float | None
) -> None:
    history = stored(forecast=[forecast] * SLOTS, actual=[actual] * SLOTS)
    assert realised_carbon(history)[history.rows[13]].tolist() == [200.0] * SLOTS


def test_the_price_of_tomorrow_is_taken_to_be_that_of_yesterday() -> None:
    # Yesterday three o'clock was cheap, today four o'clock is.
    price = [100.0] * SLOTS
    price[48 + 6], price[96 + 8] = 10, 20
    found = replayed(stored(price=price), policy=Policy.COST)
    assert found.predicted.cost_gbp == pytest.approx(0.5 * 10 / 1000)
    assert found.realised.cost_gbp == pytest.approx(0.5 * 100 / 1000)
    assert found.perfect_foresight.cost_gbp == pytest.approx(0.5 * 20 / 1000)


def test_a_price_that_yesterday_does_not_know_is_that_of_the_day_before() -> None:
    price: list[float | None] = [100.0] * SLOTS
    price[48 + 6], price[6] = None, 10
    found = replayed(stored(price=price), policy=Policy.COST)
    assert found.predicted.cost_gbp == pytest.approx(0.5 * 10 / 1000)


def test_yesterdays_best_hour_is_chosen_by_what_happened_yesterday_and_reckoned_today() -> None:
    national = at(-24 + 5, 50, otherwise=200)
    regional = at(3, 100, otherwise=200)
    found = replayed(stored(actual=national, regional={13: regional}))
    assert found.yesterdays_best.carbon_gco2 == pytest.approx(0.5 * 200)
    regional[96 + 10] = 130
    found = replayed(stored(actual=national, regional={13: regional}))
    assert found.yesterdays_best.carbon_gco2 == pytest.approx(0.5 * 130)
    assert found.realised.carbon_gco2 == pytest.approx(0.5 * 100)


def test_running_now_is_at_home() -> None:
    centres = [
        DataCentre.model_validate(centre("DC-1", pue=1)),
        DataCentre.model_validate(centre("DC-2", pue=1, region_id=14, total_capacity_mw=99)),
    ]
    history = stored(regional={13: [200] * SLOTS, 14: [100] * SLOTS})
    at_home = replayed(history, workload(host_dc_id="DC-1"), centres=centres)
    assert at_home.run_now.carbon_gco2 == pytest.approx(0.5 * 200)
    homeless = replayed(history, centres=centres)
    assert homeless.run_now.carbon_gco2 == pytest.approx(0.5 * 100)
    assert at_home.realised.carbon_gco2 == homeless.realised.carbon_gco2 == pytest.approx(0.5 * 100)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_nothing_that_comes_later_is_known_when_deciding(seed: int) -> None:
    rng = random.Random(seed)
    price: list[float | None] = [rng.randint(0, 200) for _ in range(SLOTS)]
    actual: list[float | None] = [rng.randint(50, 300) for _ in range(SLOTS)]
    regional = {13: [rng.randint(0, 300) for _ in range(SLOTS)]}
    before = replayed(stored(price=price, actual=actual, regional=regional), policy=Policy.BALANCED)
    for position in range(96, SLOTS):
        price[position], actual[position] = rng.randint(0, 200), rng.randint(50, 300)
    after = replayed(stored(price=price, actual=actual, regional=regional), policy=Policy.BALANCED)
    assert after.predicted == before.predicted
    assert after.predicted_run_now == before.predicted_run_now


@given(seed=st.integers(0, 2**32), policy=st.sampled_from(list(Policy)))
@settings(max_examples=40, deadline=None)
def test_nothing_beats_perfect_foresight(seed: int, policy: Policy) -> None:
    rng = random.Random(seed)
    history = stored(
        price=[rng.randint(-50, 200) for _ in range(SLOTS)],
        actual=[rng.randint(50, 300) for _ in range(SLOTS)],
        forecast=[rng.randint(50, 300) for _ in range(SLOTS)],
        regional={13: [rng.randint(0, 300) for _ in range(SLOTS)]},
    )
    found = replayed(history, policy=policy, days=2)
    best_gbp = found.perfect_foresight.objective_gbp
    assert found.compared == 2
    for other in (found.realised, found.run_now, found.yesterdays_best):
        assert best_gbp <= other.objective_gbp + 1e-9


def test_moments_that_cannot_be_compared_are_counted_and_left_out_of_the_sums() -> None:
    regional = [None if position < 96 else 200 for position in range(SLOTS)]
    assert replayed(stored(regional={13: regional})).compared == 1
    nothing_known = replayed(stored(regional={13: [None] * SLOTS}))
    assert (nothing_known.not_placed, nothing_known.compared, nothing_known.realised.runs) == (1, 0, 0)
    no_price_today: list[float | None] = [100.0] * 96 + [None] * 96
    unknown = replayed(stored(price=no_price_today))
    assert (unknown.unknown, unknown.compared) == (1, 0)
    capped = replayed(stored(), workload(carbon_cap_gco2=199))
    assert capped.not_placed == 1


def test_the_last_days_of_a_history_are_compared_as_far_as_they_reach() -> None:
    found = replayed(stored(), workload(deferral_window_mins=0), days=3)
    assert (found.moments, found.compared, found.not_placed) == (3, 2, 1)


def test_a_deadline_keeps_its_distance_from_each_moment() -> None:
    history = stored(regional={13: at(3, 50, otherwise=200)})
    soon = replayed(history, workload(timedelta(hours=3)), days=2)
    late = replayed(history, workload(timedelta(hours=3.5)), days=2)
    assert soon.realised.carbon_gco2 == pytest.approx(0.5 * 400)
    assert late.realised.carbon_gco2 == pytest.approx(0.5 * 250)


def test_a_cap_that_held_in_the_forecast_only_is_counted_as_broken() -> None:
    actual = [240] * SLOTS
    found = replayed(stored(actual=actual), workload(carbon_cap_gco2=210))
    assert (found.compared, found.constraints_broken) == (1, 1)


def test_workloads_and_policies_are_replayed_each_for_itself() -> None:
    history = stored(regional={13: at(3, 50, otherwise=200)})
    jobs = [workload(job_id="one"), workload(job_id="other", deferral_window_mins=0)]
    one, other = replay(jobs, [SITE], history, [NOON], policies=[Policy.CARBON, Policy.COST])
    assert (one.task.job_id, other.task.job_id) == ("one", "other")
    assert [found.policy for found in one.policies] == [Policy.CARBON, Policy.COST]
    assert one.policies[0].realised.carbon_gco2 < other.policies[0].realised.carbon_gco2


def test_what_runs_holds_its_power_and_the_next_takes_the_next_best_half_hour() -> None:
    regional = at(3, 50, otherwise=200)
    regional[96 + 10] = 80
    one, other = replayed_together(stored(regional={13: regional}), [workload(), workload()], centres=[small_site(1)])
    assert one.realised.carbon_gco2 == one.perfect_foresight.carbon_gco2 == pytest.approx(0.5 * 50)
    # There is no power to run both now at home, and nothing to compare the other with.
    assert (one.compared, other.compared, other.without_room) == (1, 0, 1)
    alone = replayed_together(
        stored(regional={13: regional}), [workload(), workload()], centres=[small_site(1)], hold_power=False
    )
    assert [found.realised.carbon_gco2 for found in alone] == [pytest.approx(0.5 * 50)] * 2
    roomy = replayed_together(stored(regional={13: regional}), [workload(), workload()], centres=[small_site(2)])
    assert [found.realised.carbon_gco2 for found in roomy] == [pytest.approx(0.5 * 50)] * 2


def test_power_is_held_from_one_moment_to_the_next() -> None:
    # A run of half a day from every noon on, of which the first may wait: the second's noon is taken.
    long = workload(required_gpu_mins=60 * 24, estimated_energy_kwh=24, deferral_window_mins=1440)
    regional = [200.0] * 144 + [50.0] * 48
    found = replayed(stored(regional={13: regional}), long, centres=[small_site(1)], days=2)
    assert (found.compared, found.not_placed) == (1, 1)


def test_where_power_is_never_short_holding_it_changes_nothing() -> None:
    rng = random.Random(4)
    history = stored(
        price=[rng.randint(-50, 200) for _ in range(SLOTS)],
        regional={13: [rng.randint(0, 300) for _ in range(SLOTS)]},
    )
    jobs = [workload(), workload(deferral_window_mins=60)]
    assert replayed_together(history, jobs, days=2) == replayed_together(history, jobs, days=2, hold_power=False)


def small_site(kw: float) -> DataCentre:
    return DataCentre.model_validate(centre("DC-1", pue=1, total_capacity_mw=kw / 1000, current_load_percentage=0))


def test_what_a_replay_looks_at_is_within_what_it_reads() -> None:
    history = stored()
    assert history.position(NOON) == 96
    assert history.half_hours == SLOTS
    assert HISTORY_BEFORE == 7 * DAY
    assert LOOK_AHEAD * HALF_HOUR == 2 * DAY
    assert np.isnan(history.carbon_intensity_gco2_per_kwh[-1]).all()
