"""Chance that repeats."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grid.half_hours import UTC
from synthetic.noise import seeded_random, smooth_noise, smooth_step

moments = st.datetimes(datetime(1990, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
SIX_HOURS = timedelta(hours=6)


def test_the_same_words_give_the_same_numbers_on_every_machine() -> None:
    assert [seeded_random(7, "load", "DC-001").randint(0, 999) for _ in range(2)] == [535, 535]


def test_other_words_give_other_numbers() -> None:
    assert seeded_random(1, "a").random() != seeded_random(2, "a").random()
    assert seeded_random(1, "a").random() != seeded_random(1, "b").random()


@given(moments)
def test_noise_lies_between_minus_one_and_one_and_depends_on_its_words(moment: datetime) -> None:
    assert -1 <= smooth_noise(moment, SIX_HOURS, 1, "wind") <= 1
    assert smooth_noise(moment, SIX_HOURS, 1, "wind") == smooth_noise(moment, SIX_HOURS, 1, "wind")
    assert smooth_noise(moment, SIX_HOURS, 1, "wind") != smooth_noise(moment, SIX_HOURS, 2, "wind")


@given(moments)
def test_noise_has_no_jumps(moment: datetime) -> None:
    # The steepest it can be is 2 (from -1 to 1) times 1.5 (the steepest of the step) over six hours.
    minute_later = smooth_noise(moment + timedelta(minutes=1), SIX_HOURS, 1, "wind")
    assert abs(minute_later - smooth_noise(moment, SIX_HOURS, 1, "wind")) <= 3 / 360 + 1e-9


@pytest.mark.parametrize(("fraction", "eased"), [(-2, 0), (0, 0), (0.5, 0.5), (1, 1), (3, 1)])
def test_a_smooth_step_rises_from_0_to_1_and_stays(fraction: float, eased: float) -> None:
    assert smooth_step(fraction) == eased
