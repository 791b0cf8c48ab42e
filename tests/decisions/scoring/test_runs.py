from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_contexts import HALF_HOUR, NOON
from decisions.scoring.runs import Runs

SECOND = timedelta(seconds=1)


def seconds_in(start: datetime, duration: timedelta, half_hour: int) -> int:
    """How many of a run's seconds lie in a half-hour, counted one by one."""
    opens, closes = NOON + half_hour * HALF_HOUR, NOON + (half_hour + 1) * HALF_HOUR
    return sum(opens <= start + second * SECOND < closes for second in range(int(duration / SECOND)))


def test_starts_are_now_and_every_later_half_hour() -> None:
    runs = Runs.possible(NOON + 17 * SECOND, 4, HALF_HOUR)
    assert [runs.start(run) for run in range(len(runs))] == [
        NOON + 17 * SECOND,
        NOON + 1 * HALF_HOUR,
        NOON + 2 * HALF_HOUR,
        NOON + 3 * HALF_HOUR,
    ]


def test_on_the_half_hour_itself_now_is_its_start() -> None:
    runs = Runs.possible(NOON, 2, HALF_HOUR)
    assert [runs.start(run) for run in range(len(runs))] == [NOON, NOON + HALF_HOUR]


@given(
    offset=st.integers(min_value=0, max_value=1799),
    seconds=st.integers(min_value=1, max_value=9000),
)
@settings(deadline=None)
def test_each_half_hour_counts_for_exactly_the_time_the_run_spends_in_it(offset: int, seconds: int) -> None:
    duration = seconds * SECOND
    runs = Runs.possible(NOON + offset * SECOND, 8, duration)
    rates = np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0])
    integrals = runs.integrals(rates)
    for run in (0, 1, 2):
        counted = [seconds_in(runs.start(run), duration, half_hour) / 3600 for half_hour in range(8)]
        assert runs.overlap_h(run) == pytest.approx(counted)
        assert integrals[run] == pytest.approx(float(rates @ np.array(counted)))
        covered = list(range(8))[runs.covered(run)]
        assert covered == [half_hour for half_hour in range(8) if counted[half_hour]]
        for half_hour in range(8):
            flags = np.arange(8) == half_hour
            assert runs.touch(flags)[run] == (half_hour in covered)


def test_a_run_up_to_the_last_half_hours_end_is_not_beyond_and_a_microsecond_more_is() -> None:
    assert not Runs.possible(NOON, 2, 2 * HALF_HOUR).beyond[0]
    assert Runs.possible(NOON, 2, 2 * HALF_HOUR + timedelta(microseconds=1)).beyond[0]


def test_rows_are_integrated_alike_and_apart() -> None:
    runs = Runs.possible(NOON + 600 * SECOND, 6, timedelta(minutes=70))
    rows = np.random.default_rng(1).uniform(0, 300, (3, 6))
    together = runs.integrals(rows)
    for row in range(3):
        assert (runs.integrals(rows[row]) == together[row]).all()


def test_the_unknown_counts_as_nothing_so_that_what_is_known_stays_exact() -> None:
    runs = Runs.possible(NOON, 3, HALF_HOUR)
    assert list(runs.integrals(np.array([10.0, np.nan, 30.0]))) == [5, 0, 15]
