"""Just before a start: what a run would be now and later, and what speaks against it now."""

from __future__ import annotations

from datetime import timedelta

import pytest

from decision_contexts import NOON, centre, context_json, task
from decisions.scoring.context import DataCentre, Task
from decisions.scoring.grid_context import GridContext
from execution.prospects import CARBON_SPIKE, Look, SpikeReason
from grid.half_hours import HALF_HOUR

CALM, STRESSED = 0.2, 0.97
PRICES = [100.0] * 6
CARBON = [200.0, 200.0, 100.0, 100.0, 100.0, 100.0]


def a_look(*, carbon: list[float] = CARBON, stress: list[float] | None = None, **facts: object) -> Look:
    """An hour of one GPU, which may be put off by three hours, in a data centre that is full of other work."""
    wish = task(**{"deferral_window_mins": 180, "created_at": NOON.isoformat(), "required_gpu_mins": 60, **facts})
    document = context_json(task=wish, price=PRICES, carbon={13: carbon}, stress=stress, centres=[centre()])
    grid = GridContext.model_validate(document)
    full = DataCentre.model_validate(centre(current_load_percentage=100))
    return Look.at(NOON, Task.model_validate(wish), full, grid, carbon_price_gbp_per_t=100)


def test_a_run_on_a_calm_grid_has_nothing_against_it() -> None:
    look = a_look()
    run = look.run_now()
    assert run is not None
    assert run.end - run.start == timedelta(hours=1)
    assert look.spike(run.carbon_gco2) is None
    assert look.spike(None) is None


def test_more_carbon_than_promised_is_a_spike_from_a_quarter_more_on() -> None:
    look = a_look()
    run = look.run_now()
    assert run is not None
    assert look.spike(run.carbon_gco2 / CARBON_SPIKE * 1.001) is None
    spike = look.spike(run.carbon_gco2 / CARBON_SPIKE * 0.999)
    assert spike is not None
    assert spike.reason is SpikeReason.CARBON


def test_grid_stress_and_the_carbon_cap_are_spikes_whatever_was_promised() -> None:
    stressed = a_look(stress=[STRESSED, *[CALM] * 5]).spike(None)
    assert stressed is not None
    assert stressed.reason is SpikeReason.GRID_STRESS
    capped = a_look(carbon_cap_gco2=150).spike(None)
    assert capped is not None
    assert capped.reason is SpikeReason.CARBON


def test_critical_work_runs_whatever_the_grid_does() -> None:
    assert a_look(stress=[STRESSED] * 6, urgency="CRITICAL").spike(1) is None


def test_later_runs_break_nothing_and_the_best_comes_first() -> None:
    later = list(a_look().later_runs())
    assert later[0].start == NOON + 2 * HALF_HOUR
    assert min(run.start for run in later) == NOON + HALF_HOUR
    assert later[0].carbon_gco2 == min(run.carbon_gco2 for run in later)
    assert not list(a_look(deferral_window_mins=0).later_runs())
    assert not list(a_look(deadline=(NOON + timedelta(minutes=70)).isoformat(), deferral_window_mins=5).later_runs())


def test_what_is_unknown_of_the_present_is_no_spike() -> None:
    look = a_look(carbon=[])
    assert look.run_now() is None
    assert look.spike(1) is None


@pytest.mark.parametrize("minutes", [0, 29])
def test_a_later_run_starts_in_a_later_half_hour(minutes: int) -> None:
    assert all(run.start >= NOON + HALF_HOUR for run in a_look(deferral_window_mins=180 + minutes).later_runs())
