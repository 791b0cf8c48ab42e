"""What a run used: the energy of its time at its power, and the carbon and cost of each half-hour's share."""

from __future__ import annotations

from datetime import datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.usage import UsedHalfHour, basis, shares, used
from grid.half_hours import HALF_HOUR, UTC

EIGHT = datetime(2026, 11, 22, 8, tzinfo=UTC)
MOMENTS = st.integers(0, 48 * 3600).map(lambda seconds: EIGHT + timedelta(seconds=seconds))


def a_half_hour(number: int, gco2: float | None = 100, gbp: float | None = 50, **sources: str) -> UsedHalfHour:
    return UsedHalfHour(EIGHT + number * HALF_HOUR, gco2, gbp, **sources)


def test_each_half_hour_counts_with_what_the_run_used_in_it() -> None:
    start, end = EIGHT + timedelta(minutes=15), EIGHT + timedelta(minutes=45)
    energy_wh = {EIGHT: Fraction(1000), EIGHT + HALF_HOUR: Fraction(1000)}
    actuals = used(start, end, energy_wh, [a_half_hour(0, 100, 50), a_half_hour(1, 300, -10)])
    assert (actuals.start, actuals.end) == (start, end)
    assert actuals.energy_kwh == 2
    assert actuals.carbon_gco2 == pytest.approx(1 * 100 + 1 * 300)
    assert actuals.cost_gbp == pytest.approx(0.05 - 0.01)


def test_what_is_unknown_for_one_half_hour_is_unknown_for_the_run() -> None:
    energy_wh = {EIGHT: Fraction(2000), EIGHT + HALF_HOUR: Fraction(2000)}
    actuals = used(EIGHT, EIGHT + 2 * HALF_HOUR, energy_wh, [a_half_hour(0), a_half_hour(1, gco2=None)])
    assert actuals.carbon_gco2 is None
    assert actuals.cost_gbp is not None
    assert used(EIGHT, EIGHT + 2 * HALF_HOUR, energy_wh, [a_half_hour(0)]).cost_gbp is None
    nothing = {EIGHT: Fraction(2000), EIGHT + HALF_HOUR: Fraction(0)}
    assert used(EIGHT, EIGHT + 2 * HALF_HOUR, nothing, [a_half_hour(0)]).cost_gbp == 0.1


@given(start=MOMENTS, seconds=st.integers(1, 48 * 3600))
def test_the_shares_of_the_half_hours_are_the_run(start: datetime, seconds: int) -> None:
    end = start + timedelta(seconds=seconds)
    parts = list(shares(start, end))
    assert sum((time for _, time in parts), timedelta(0)) == end - start
    assert all(timedelta(0) < time <= HALF_HOUR for _, time in parts)
    assert [slot for slot, _ in parts] == sorted({slot for slot, _ in parts})


def test_figures_that_no_source_gave_are_named() -> None:
    assert basis([a_half_hour(0)]) == ""
    told = basis([a_half_hour(0, carbon_source="synthetic"), a_half_hour(1, price_source="modelled")])
    assert told == (
        " Note that its carbon rests on invented figures in 1 of 2 half-hours and its cost rests on modelled figures "
        "in 1 of 2 half-hours."
    )
