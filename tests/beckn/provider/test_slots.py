"""Slots: which runs can be had, in which order, and how much power orders leave."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beckn.provider.requirements import Wanted
from beckn.provider.slots import as_sold, possible_runs, run_at
from decision_contexts import NOON, centre, context_json, random_context, task
from decisions.scoring.context import Capacity, DataCentre, Task
from decisions.scoring.decide import decide
from decisions.scoring.grid_context import GridContext
from grid.half_hours import HALF_HOUR
from vocabulary import WorkloadType

CENTRE = DataCentre.model_validate(centre(total_capacity_mw=0.01, current_load_percentage=0))


def a_grid(**parts: object) -> GridContext:
    defaults = {"task": task(), "price": [100.0] * 6, "carbon": {13: [200.0] * 6}, "centres": [centre()]}
    return GridContext.model_validate(context_json(**{**defaults, **parts}))  # type: ignore[arg-type]


def a_wish(earliest: datetime = NOON, **facts: object) -> Wanted:
    wish = task(**{"deferral_window_mins": 180, "created_at": NOON.isoformat(), **facts})
    return Wanted(Task.model_validate(wish), earliest, ())


@given(st.integers(0, 10**6))
def test_the_best_slot_is_the_one_the_scorer_decides_for(seed: int) -> None:
    context = random_context(seed)
    context = context.model_copy(update={"task": as_sold(context.task)})
    grid = GridContext.model_validate(context.model_dump())
    runs = possible_runs(
        Wanted(context.task, context.as_of, ()), grid, None, now=context.as_of, carbon_price_gbp_per_t=100
    )
    chosen = decide(context).chosen
    if chosen is None or chosen.recommended is None:
        assert len(runs) == 0
        return
    first = runs[0]
    assert (first.centre.dc_id, first.start) == (chosen.centre.dc_id, chosen.recommended.start)
    assert first.score == pytest.approx(chosen.score)
    if chosen.recommended.cost_gbp >= 0 or context.task.estimated_energy_kwh is None:
        assert first.cost_gbp == pytest.approx(chosen.recommended.cost_gbp)
    assert first.carbon_gco2 == pytest.approx(chosen.recommended.carbon_gco2)
    assert [run.score for run in runs] == sorted((run.score for run in runs), reverse=True)


@given(
    stated_kwh=st.none() | st.sampled_from([0.0, 5e-324, 1e-9, 0.001, 0.96, 1e12]) | st.floats(0, 100),
    gpu_minutes=st.floats(0.001, 10_000),
    price=st.floats(-500, 6000),
    kind=st.sampled_from(WorkloadType),
)
def test_what_a_buyer_says_of_its_energy_lowers_neither_power_nor_price(
    stated_kwh: float | None, gpu_minutes: float, price: float, kind: WorkloadType
) -> None:
    stored = centre(total_capacity_mw=10_000_000_000_000)
    facts: dict[str, Any] = {"required_gpu_mins": gpu_minutes, "workload_type": kind}
    document = context_json(task=task(), price=[price] * 96, carbon={13: [200] * 96}, centres=[stored])
    fair, said = (
        run_at(
            Task.model_validate(task(**facts, estimated_energy_kwh=energy_kwh)),
            GridContext.model_validate(document),
            DataCentre.model_validate(stored),
            NOON,
            carbon_price_gbp_per_t=100,
        )[0]
        for energy_kwh in (None, stated_kwh)
    )
    if fair is None or said is None:  # it goes on for longer than there is a forecast
        assert fair is said
        return
    assert said.load.it_power_kw >= fair.load.it_power_kw > 0
    assert said.carbon_gco2 >= fair.carbon_gco2
    assert said.cost_gbp >= fair.cost_gbp * (1 - 1e-9 if fair.cost_gbp > 0 else 1 + 1e-9)
    needed_kwh = fair.load.it_energy_kwh
    assert said.load.it_energy_kwh == (needed_kwh if stated_kwh is None else max(needed_kwh, stated_kwh))


def test_a_run_starts_no_earlier_than_asked() -> None:
    wish = a_wish(NOON + HALF_HOUR)
    runs = possible_runs(wish, a_grid(), None, now=NOON, carbon_price_gbp_per_t=100)
    assert min(run.start for run in runs) == NOON + HALF_HOUR


def test_a_slot_that_orders_fill_is_not_offered() -> None:
    grid = a_grid(centres=[centre(total_capacity_mw=0.001, current_load_percentage=0)])
    left = Capacity(start=NOON, half_hours=96, free_it_kw={"DC-001": ((0, 0.5), (1, 1.0))})
    runs = possible_runs(a_wish(), grid, left, now=NOON, carbon_price_gbp_per_t=100)
    assert min(run.start for run in runs) == NOON + HALF_HOUR
