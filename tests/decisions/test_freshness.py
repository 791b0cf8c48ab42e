from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from decision_contexts import NOON, a_context, centre
from decisions.freshness import Freshness, SignalState
from decisions.scoring import decide

MINUTE = timedelta(minutes=1)


def states_of(**parts: Any) -> dict[str, SignalState]:
    return {state.title: state for state in decide(a_context(**parts)).signal_states}


def test_each_signal_is_named_with_its_sources_and_age() -> None:
    states = states_of(fetched_at=NOON - 5 * MINUTE)
    assert set(states) == {"wholesale price", "grid stress", "carbon intensity of region 13"}
    carbon = states["carbon intensity of region 13"]
    assert carbon.sources == {"carbon_intensity_api": 6}
    assert carbon.age == 5 * MINUTE
    assert carbon.freshness is Freshness.FRESH
    assert all(state.warning is None for state in states.values())


@pytest.mark.parametrize(("minutes", "freshness"), [(120, Freshness.FRESH), (121, Freshness.STALE)])
def test_a_signal_is_stale_after_two_hours(minutes: int, freshness: Freshness) -> None:
    states = states_of(fetched_at=NOON - minutes * MINUTE)
    assert {state.freshness for state in states.values()} == {freshness}


def test_a_stale_signal_says_how_old_it_is() -> None:
    price = states_of(fetched_at=NOON - 190 * MINUTE)["wholesale price"]
    assert price.warning == "The wholesale price is stale: its oldest figure was fetched 3 h 10 min ago."


def test_a_stale_signal_is_used_all_the_same() -> None:
    assert decide(a_context(fetched_at=NOON - 600 * MINUTE)).chosen


def test_a_missing_signal_is_named() -> None:
    states = states_of(price=[], centres=[centre(), centre("DC-2", region_id=4)])
    assert states["wholesale price"].warning == "The wholesale price is unknown."
    assert states["carbon intensity of region 4"].freshness is Freshness.MISSING


def test_holes_are_counted_up_to_the_last_known_half_hour() -> None:
    price = states_of(price=[1, None, None, 2, None, None])["wholesale price"]
    assert (price.known_half_hours, price.unknown_half_hours) == (2, 2)
    assert price.warning == "The wholesale price is unknown in 2 of 4 half-hours."


def test_an_undated_signal_says_so() -> None:
    context = a_context()
    forecast = context.national.forecast.model_copy(update={"oldest_fetched_at": None})
    national = context.national.model_copy(update={"forecast": forecast})
    states = decide(context.model_copy(update={"national": national})).signal_states
    assert states[0].freshness is Freshness.UNDATED
    assert states[0].warning == "The wholesale price does not say when it was fetched."


def test_a_look_at_another_moment_judges_ages_by_the_clock() -> None:
    context = a_context(as_of=NOON + 600 * MINUTE, fetched_at=NOON)
    assert decide(context).signal_states[0].freshness is Freshness.STALE
    assert decide(context, observed_at=NOON).signal_states[0].freshness is Freshness.FRESH
