"""The margin as a second opinion on grid stress: it counts where it is the higher one, and is named."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from database.postgres import PostgresDatabase
from decision_contexts import NOON, a_context
from decisions.publishing.output import build_output
from decisions.scoring.context import DecisionContext, MarginForecast
from decisions.scoring.decide import decide
from decisions.scoring.signals import read_signals
from decisions.work.record import DECIDED_WITH, replay
from grid.half_hours import HALF_HOUR, half_hour_of, rfc3339
from grid_world import NOW, store_world
from vocabulary import Policy

STRESS = [0.2, 0.6, None, 0.6, 0.2, 0.2]


def margin(mw: list[float | None], probability: list[float | None], start: Any = NOON) -> dict[str, Any]:
    return {
        "start": rfc3339(start),
        "source": "elexon",
        "published_at": rfc3339(NOON - HALF_HOUR),
        "derated_margin_mw": mw,
        "loss_of_load_probability": probability,
    }


def with_margin(context: DecisionContext, given_margin: dict[str, Any]) -> DecisionContext:
    national = context.national.model_copy(update={"margin": MarginForecast.model_validate(given_margin)})
    return context.model_copy(update={"national": national})


def test_the_higher_opinion_counts_and_an_unknown_demand_stays_unknown() -> None:
    context = with_margin(a_context(stress=STRESS), margin([5000, 5000, 0, None], [0, 0, 0, 0.5]))
    signals = read_signals(context)
    assert [None if score != score else float(score) for score in signals.grid_stress_score] == [
        *(0.5, 0.6, None, 0.6),
        *(0.2, 0.2),
    ]
    opinion = signals.stress_opinion
    assert opinion is not None
    assert (opinion.source, opinion.known_half_hours, opinion.higher_half_hours) == ("elexon", 2, 1)


def test_it_is_lined_up_by_its_own_start() -> None:
    signals = read_signals(with_margin(a_context(), margin([0.0], [0.0], NOON + 2 * HALF_HOUR)))
    assert list(signals.grid_stress_score) == [0, 0, 1, 0, 0, 0]
    gone = read_signals(with_margin(a_context(), margin([0.0], [0.0], NOON - 2 * HALF_HOUR)))
    assert list(gone.grid_stress_score) == [0] * 6


known = st.floats(-5000, 60_000, allow_nan=False)


@given(st.lists(st.none() | known, max_size=9), st.lists(st.none() | st.floats(0, 1), max_size=9))
def test_it_never_lowers_stress(mw: list[float | None], probability: list[float | None]) -> None:
    alone = read_signals(a_context(stress=STRESS)).grid_stress_score
    both = read_signals(with_margin(a_context(stress=STRESS), margin(mw, probability))).grid_stress_score
    assert all(one <= other <= 1 or one != one for one, other in zip(alone, both, strict=True))


def output_of(context: DecisionContext) -> dict[str, Any]:
    decision = decide(context, carbon_price_gbp_per_t=100, policy=Policy.BALANCED)
    return build_output(decision, generated_at=NOON).model_dump(mode="json", by_alias=True)


def test_it_raises_j_and_stands_in_the_output_by_its_source() -> None:
    without = output_of(a_context())
    assert without["decision"]["grid_stress_opinion"] is None
    short = output_of(with_margin(a_context(), margin([5000] * 6, [0] * 6)))
    assert short["decision"]["grid_stress_opinion"] == {
        "source": "elexon",
        "published_at": rfc3339(NOON - HALF_HOUR),
        "known_half_hours": 6,
        "higher_half_hours": 6,
    }
    before, after = (one["data_centre_options"][0]["score_breakdown"] for one in (without, short))
    assert (before["grid_stress_gbp"], after["energy_gbp"]) == (0, before["energy_gbp"])
    assert after["grid_stress_gbp"] > 0


def test_the_database_gives_it_with_the_grid_and_a_newer_forecast_is_a_newer_grid(postgres: PostgresDatabase) -> None:
    store_world(postgres, data_centres=1)
    assert postgres.call("grid_context", {"p_now": NOW})["national"]["margin"] is None
    version = postgres.call("present_grid", {"p_now": NOW})["grid_version"]
    slot = half_hour_of(NOW)
    rows = [
        {
            "half_hour": rfc3339(slot + place * HALF_HOUR),
            "probability": "0.25",
            "derated_margin_mw": "2500.5",
            "horizon_hours": 1,
            "published_at": rfc3339(slot),
            "fetched_at": rfc3339(NOW),
        }
        for place in (-1, 1, 200)
    ]
    postgres.call("store_loss_of_load", {"p_rows": rows})
    present = postgres.call("present_grid", {"p_now": NOW})
    assert present["grid_version"] != version
    found = MarginForecast.model_validate(present["grid"]["national"]["margin"])
    assert (found.start, found.published_at, found.source) == (slot, slot, "elexon")
    assert found.stress_scores == (None, 0.75)


def test_a_stored_context_replays_to_the_same_output_with_and_without_it() -> None:
    plain = a_context()
    for context in (plain, with_margin(plain, margin([100] * 6, [0.9] * 6))):
        stored = {
            **context.model_dump(mode="json", by_alias=True),
            DECIDED_WITH: {
                "carbon_price_gbp_per_t": 100,
                "policy": "balanced",
                "generated_at": rfc3339(NOON),
                "scorer": "deterministic",
            },
        }
        again = replay(stored, sequence=None).model_dump(mode="json", by_alias=True)
        assert again["data_centre_options"] == output_of(context)["data_centre_options"]
        assert again["decision"] == output_of(context)["decision"]
