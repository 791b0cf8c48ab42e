from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision_contexts import NOON, a_context, centre
from decisions.scoring.context import DecisionContext
from decisions.scoring.decide import decide
from decisions.scoring.freshness import Freshness, SignalState
from vocabulary import SignalSource

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
    assert states[0].warning == "The wholesale price is undated: nothing says when it was fetched."


def test_a_look_at_another_moment_judges_ages_by_the_clock() -> None:
    context = a_context(as_of=NOON + 600 * MINUTE, fetched_at=NOON)
    assert decide(context).signal_states[0].freshness is Freshness.STALE
    assert decide(context, observed_at=NOON).signal_states[0].freshness is Freshness.FRESH


def series_of(sources: dict[str, int], **parts: Any) -> dict[str, SignalState]:
    """The states where every series but the price came from these sources."""
    document = a_context(**parts).model_dump(mode="json")
    document["national"]["forecast"]["demand_sources"] = sources
    for region in document["regional"]:
        region["forecast"]["carbon_sources"] = sources
    return {state.title: state for state in decide(DecisionContext.model_validate(document)).signal_states}


def test_what_is_invented_has_no_age_and_says_so() -> None:
    carbon = series_of({"synthetic": 6})["carbon intensity of region 13"]
    assert (carbon.freshness, carbon.age, carbon.oldest_fetched_at) == (Freshness.INVENTED, None, None)
    assert carbon.warning == (
        "The carbon intensity of Region 13 (region 13) is invented (synthetic), with no real figure behind it."
    )


def test_what_is_modelled_or_invented_in_part_is_counted() -> None:
    states = series_of({"elexon": 3, "modelled": 2, "synthetic": 1})
    assert states["grid stress"].freshness is Freshness.FRESH
    assert states["grid stress"].warning == (
        "The grid stress is invented (synthetic) in 1 of 6 half-hours and is modelled in 2 of 6 half-hours."
    )


def test_what_is_modelled_on_old_figures_says_both() -> None:
    states = series_of({"modelled": 6}, fetched_at=NOON - 190 * MINUTE)
    assert states["grid stress"].warning == (
        "The grid stress is modelled and is stale: its oldest figure was fetched 3 h 10 min ago."
    )


def test_a_price_that_is_modelled_on_young_figures_is_as_real_as_it_ever_is() -> None:
    assert states_of()["wholesale price"].sources == {"modelled": 6}
    assert states_of()["wholesale price"].warning is None


def test_each_national_signal_has_the_age_of_its_own_source() -> None:
    document = a_context(fetched_at=NOON - 190 * MINUTE).model_dump(mode="json")
    document["national"]["forecast"]["oldest_demand_fetched_at"] = (NOON - 5 * MINUTE).isoformat()
    document["national"]["forecast"]["oldest_price_fetched_at"] = (NOON - 190 * MINUTE).isoformat()
    price, stress, _ = decide(DecisionContext.model_validate(document)).signal_states
    assert (price.freshness, stress.freshness) == (Freshness.STALE, Freshness.FRESH)


SOURCES = st.dictionaries(st.sampled_from(SignalSource).map(str), st.integers(1, 48), min_size=1)


@given(sources=SOURCES, age_min=st.integers(0, 10_000))
def test_a_signal_without_a_warning_is_published_whole_and_young(sources: dict[str, int], age_min: int) -> None:
    stress = series_of(sources, fetched_at=NOON - age_min * MINUTE)["grid stress"]
    published = not {"modelled", "synthetic"} & sources.keys()
    assert (stress.warning is None) == (published and age_min <= 120)
    assert (stress.freshness is Freshness.INVENTED) == (sources.keys() == {"synthetic"})
