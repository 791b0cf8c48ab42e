"""Pauses double up to a bound and differ by chance, here as in the database."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from database.postgres import PostgresDatabase
from queueing.backoff import Backoff, pause_s


def test_pauses_double_up_to_the_longest() -> None:
    pauses = [pause_s(failures, first_s=0.5, longest_s=4, chance=lambda: 0.5) for failures in range(1, 7)]
    assert pauses == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]


@pytest.mark.parametrize(("chance", "pause"), [(0.0, 1.5), (0.5, 2.0), (1.0, 2.5)])
def test_chance_makes_a_pause_a_quarter_shorter_or_longer(chance: float, pause: float) -> None:
    assert pause_s(2, first_s=1, longest_s=60, chance=lambda: chance) == pause


@given(st.integers(0, 10**9), st.floats(0, 100), st.floats(0, 1000))
def test_no_number_of_failures_makes_a_pause_longer_than_the_longest_and_a_quarter(
    failures: int, first_s: float, longest_s: float
) -> None:
    assert 0 <= pause_s(failures, first_s=first_s, longest_s=longest_s) <= 1.25 * longest_s


def test_a_success_makes_the_next_failure_a_first_one() -> None:
    backoff = Backoff(1.0, 1000.0)
    pauses = [backoff.next_s() for _ in range(6)]
    assert backoff.failures == 6
    assert all(1.2 * earlier < later for earlier, later in pairwise(pauses))
    backoff.reset()
    assert backoff.failures == 0
    assert backoff.next_s() <= 1.25


def test_the_database_reckons_in_the_same_way(postgres: PostgresDatabase) -> None:
    for failures in (1, 2, 5, 9, 40):
        middle_s = pause_s(failures, first_s=0.5, longest_s=60, chance=lambda: 0.5)
        for _ in range(5):
            told_s = float(postgres.scalar(f"select extract(epoch from retry_pause({failures}, 0.5, 60))"))
            assert 0.75 * middle_s <= told_s <= 1.25 * middle_s
