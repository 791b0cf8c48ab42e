from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_contexts import NOON, a_context, centre, context_json, random_context_json, task
from decisions.publishing.grid_parts import grid_parts, signal_words
from decisions.publishing.output import Judgement, WrittenOptions, build_output, published_form
from decisions.publishing.schema import DecisionOutput, FigureSources, Scorer
from decisions.scoring.context import DecisionContext
from decisions.scoring.decide import SCORER_VERSION, decide
from vocabulary import Policy

GENERATED_AT = datetime(2026, 11, 22, 12, 0, 1, 500_000, tzinfo=timezone.utc)
SITES = [
    centre("DC-1", pue=1.1),
    centre("DC-2", pue=1.3),
    centre("DC-3", pue=1.5),
    centre("DC-4", status="MAINTENANCE"),
]
seeds = st.integers(min_value=0, max_value=2**32)


def published(judgements: dict[str, Judgement] | None = None, **parts: Any) -> DecisionOutput:
    context = a_context(**{"centres": SITES, **parts})
    return build_output(decide(context), generated_at=GENERATED_AT, judgements=judgements)


def order(output: DecisionOutput) -> list[str]:
    return [option.dc_id for option in output.data_centre_options]


def full_document() -> dict[str, Any]:
    """A context with everything the database may answer."""
    document = context_json(
        task=task(
            operator="OP-1",
            host_dc_id="DC-2",
            required_cpu_cores=16,
            required_memory_gb=64,
            carbon_cap_gco2=250.5,
            max_price_gbp=40,
            deadline="2026-11-23T12:00:00+00:00",
            deferral_window_mins=60,
        ),
        price=[83.25, 90.1, 70, 60, 60.5, 60],
        carbon={13: [201, 190, 180, 181, 182, 183], 16: [33, 34, 35, 36, 37, 38]},
        stress=[0.41] * 6,
        centres=[*SITES, centre("DC-5", region_id=16, location_region="Scotland", pue=1.17)],
    )
    moment = NOON.isoformat()
    document["national"]["current"] = {
        "timestamp": moment,
        "grid_stress_score": 0.41,
        "wholesale_price_gbp_mwh": 83.25,
        "fetched_at": moment,
    }
    for region, intensity, index in zip(document["regional"], (201, 33), ("high", "very low"), strict=True):
        region["current"] = {"timestamp": moment, "carbon_intensity_forecast": intensity, "carbon_index": index}
    document["generation_mix"] = [
        {"region_id": None, "timestamp": moment, "mix": {"wind": 99}},
        {
            "region_id": 13,
            "timestamp": moment,
            "mix": {
                "wind": 31.2,
                "solar": 4,
                "gas": 40.1,
                "nuclear": 12.5,
                "biomass": 5.1,
                "coal": 0,
                "hydro": 0.7,
                "imports": 6.3,
                "other": 0.1,
            },
        },
    ]
    return document


def test_every_fact_equals_the_contexts() -> None:
    document = full_document()
    output = build_output(decide(DecisionContext.model_validate(document)), generated_at=GENERATED_AT)
    stored = {site["dc_id"]: site for site in document["data_centres"]}
    present = {region["region_id"]: region["current"] for region in document["regional"]}
    assert sorted(order(output)) == sorted(stored)
    for option in json.loads(output.model_dump_json())["data_centre_options"]:
        site = stored[option["dc_id"]]
        energy, compute = option["energy_profile"], option["compute_profile"]
        for name in ("name", "location_region"):
            assert option[name] == site[name]
        for name in ("pue", "total_capacity_teraflops", "current_load_percentage", "flexibility_rating"):
            assert compute[name] == site[name]
        assert compute["available_for_task"] == (site["status"] == "ACTIVE")
        region = present[site["region_id"]]
        assert energy["current_carbon_intensity_gco2"] == region["carbon_intensity_forecast"]
        assert energy["regional_carbon_index"] == region["carbon_index"]
        assert energy["grid_stress_score"] == 0.41
        assert energy["wholesale_price_gbp_mwh"] == 83.25
    given_task = json.loads(output.model_dump_json())["task"]
    assert given_task.pop("deadline") == "2026-11-23T12:00:00Z"
    for name, value in given_task.items():
        assert value == document["task"].get(name), name


@given(seed=seeds, judged=st.booleans())
def test_the_document_that_is_stored_is_what_the_schema_says_key_by_key(seed: int, judged: bool) -> None:
    rng = random.Random(seed)
    document = full_document() if rng.random() < 0.1 else random_context_json(rng)
    decision = decide(DecisionContext.model_validate(document), carbon_price_gbp_per_t=rng.choice([0, 50, 100]))
    judgements = {
        option.centre.dc_id: Judgement(rng.choice([None, rng.uniform(0, 100)]), "It is near.")
        for option in decision.options
        if judged
    }
    written = published_form(decision, generated_at=GENERATED_AT, judgements=judgements).document
    assert orjson.dumps(written) == orjson.dumps(DecisionOutput.model_validate(written).model_dump(mode="json"))


def test_the_generation_mix_is_the_regions_with_everything_else_under_other() -> None:
    output = build_output(decide(DecisionContext.model_validate(full_document())), generated_at=GENERATED_AT)
    mixes = {option.dc_id: option.energy_profile.generation_mix for option in output.data_centre_options}
    assert mixes["DC-1"].model_dump() == {
        "wind_pct": 31.2,
        "solar_pct": 4,
        "gas_pct": 40.1,
        "nuclear_pct": 12.5,
        "other_pct": 12.2,
    }
    assert set(mixes["DC-5"].model_dump().values()) == {None}


def test_what_is_not_known_of_the_present_is_null() -> None:
    profile = published().data_centre_options[0].energy_profile
    assert profile.current_carbon_intensity_gco2 is None
    assert profile.regional_carbon_index is None
    assert profile.grid_stress_score is None
    assert profile.wholesale_price_gbp_mwh is None


def synthetic_document() -> dict[str, Any]:
    """`full_document` with an invented grid in region 13 and modelled demand."""
    document = full_document()
    document["national"]["current"] |= {"price_source": "modelled", "demand_source": "modelled"}
    document["national"]["forecast"]["demand_sources"] = {"elexon": 5, "modelled": 1}
    for region in document["regional"]:
        if region["region_id"] == 13:
            region["current"]["carbon_source"] = "synthetic"
            region["forecast"]["carbon_sources"] = {"synthetic": 6}
    document["generation_mix"][1]["source"] = "synthetic"
    return document


def test_each_option_says_where_its_present_figures_come_from() -> None:
    output = build_output(decide(DecisionContext.model_validate(synthetic_document())), generated_at=GENERATED_AT)
    sources = {option.dc_id: option.energy_profile.sources for option in output.data_centre_options}
    assert sources["DC-1"] == FigureSources(
        carbon_intensity="synthetic", grid_stress="modelled", wholesale_price="modelled", generation_mix="synthetic"
    )
    assert (sources["DC-5"].carbon_intensity, sources["DC-5"].generation_mix) == (None, None)


def test_a_rationale_says_what_it_rests_on_that_no_source_gave_even_a_models() -> None:
    decision = decide(DecisionContext.model_validate(synthetic_document()))
    judged = {"DC-1": Judgement(50, "I like it.")}
    output = build_output(decision, generated_at=GENERATED_AT, judgements=judged)
    rationales = {option.dc_id: option.rationale for option in output.data_centre_options}
    invented = "invented (synthetic) figures for the carbon intensity of Region 13 (region 13)"
    assert rationales["DC-1"] == f"I like it. This rests on {invented} and modelled figures for the grid stress."
    assert rationales["DC-5"].endswith(" This rests on modelled figures for the grid stress.")
    assert "This rests on" in output.decision.rationale


def test_the_metadata_say_who_decided_from_what() -> None:
    decision = decide(a_context(), policy=Policy.CARBON, carbon_price_gbp_per_t=250)
    output = build_output(
        decision,
        generated_at=GENERATED_AT,
        scorer=Scorer.GEMINI,
        model="gemini-x",
        fallback_reason=None,
        sequence=7,
    )
    assert json.loads(output.model_dump_json())["_metadata"] == {
        "task_id": "job-1",
        "generated_at": "2026-11-22T12:00:01.500000Z",
        "dc_count": 1,
        "model": "gemini-x",
        "context_id": "00000000-0000-4000-8000-000000000001",
        "scorer": "gemini",
        "fallback_reason": None,
        "sequence": 7,
        "scorer_version": SCORER_VERSION,
        "policy": "carbon",
        "carbon_price_gbp_per_t": 250,
        "warnings": [],
    }


def test_warnings_name_stale_signals_and_assumed_energy() -> None:
    output = published(fetched_at=NOON - timedelta(hours=3), task=task(required_gpu_mins=None))
    assert output.metadata.warnings[0].startswith("The workload states neither energy")
    assert "The wholesale price is stale: its oldest figure was fetched 3 h 00 min ago." in output.metadata.warnings


@given(seed=seeds, policy=st.sampled_from(Policy))
@settings(max_examples=100, deadline=None)
def test_a_replayed_context_gives_the_same_bytes(seed: int, policy: Policy) -> None:
    document = random_context_json(random.Random(seed))
    replays = {
        build_output(
            decide(DecisionContext.model_validate_json(text), policy=policy, carbon_price_gbp_per_t=80),
            generated_at=GENERATED_AT,
        ).model_dump_json()
        for text in (json.dumps(document), json.dumps(json.loads(json.dumps(document)), sort_keys=True))
    }
    assert len(replays) == 1


@given(seed=seeds)
@settings(max_examples=100, deadline=None)
def test_the_published_breakdown_adds_up_and_the_options_stand_best_first(seed: int) -> None:
    context = DecisionContext.model_validate(random_context_json(random.Random(seed)))
    output = build_output(decide(context), generated_at=GENERATED_AT)
    scores = [option.suitability_score for option in output.data_centre_options]
    assert scores == sorted(scores, reverse=True)
    for option in output.data_centre_options:
        assert option.suitability_score == option.deterministic_score
        assert (option.suitability_score == 0) == bool(option.constraint_violations)
        assert (option.estimates.recommended_start is None) == (option.suitability_score == 0)
        if option.score_breakdown:
            parts = option.score_breakdown.model_dump().values()
            assert sum(parts) == pytest.approx(option.objective_gbp, rel=1e-10, abs=1e-15)
    placed = output.data_centre_options and output.data_centre_options[0].suitability_score > 0
    assert (output.decision.dc_id is not None) == bool(placed)
    assert (output.decision.waiting is None) == bool(placed)
    assert output.metadata.dc_count == len(context.data_centres)


def test_an_output_reads_back_from_its_own_json() -> None:
    output = published()
    assert DecisionOutput.model_validate_json(output.model_dump_json()) == output


def test_the_schema_describes_every_figure() -> None:
    schema = DecisionOutput.model_json_schema(mode="serialization")
    assert "_metadata" in schema["properties"]
    for model in schema["$defs"].values():
        for name, described in model.get("properties", {}).items():
            if described.get("type") == "number" or {"type": "number"} in described.get("anyOf", []):
                assert described.get("description"), (model["title"], name)


# A model's judgements


def test_a_models_scores_and_sentences_are_published_beside_the_deterministic_ones() -> None:
    judged = {"DC-1": Judgement(40, "Busy."), "DC-2": Judgement(85, "Calm."), "DC-3": Judgement(50, "Fair.")}
    output = published(judged)
    assert order(output) == ["DC-2", "DC-3", "DC-1", "DC-4"]
    first, _, last, _ = output.data_centre_options
    assert (first.suitability_score, first.rationale) == (85, "Calm.")
    assert first.deterministic_score == published().data_centre_options[1].suitability_score
    assert not first.scores_disagree
    assert last.scores_disagree


def test_the_answer_is_the_models_first_and_says_what_the_objective_preferred() -> None:
    decision = published({"DC-2": Judgement(99, "Calm.")}).decision
    assert (decision.dc_id, decision.least_objective_dc_id) == ("DC-2", "DC-1")
    assert decision.runner_up is not None
    assert decision.runner_up.dc_id == "DC-1"
    assert decision.runner_up.margin_gbp < 0
    assert decision.carbon_price_switches is None
    assert published().decision.carbon_price_switches is not None


def test_an_infeasible_option_scores_zero_whatever_the_model_says() -> None:
    output = published({"DC-4": Judgement(100, "Splendid.")})
    last = output.data_centre_options[-1]
    assert (last.dc_id, last.suitability_score) == ("DC-4", 0)
    assert last.scores_disagree


def test_an_infeasible_option_stands_below_a_feasible_one_that_the_model_gives_zero() -> None:
    output = published({dc_id: Judgement(0, "No.") for dc_id in ("DC-1", "DC-2", "DC-3", "DC-4")})
    assert order(output) == ["DC-1", "DC-2", "DC-3", "DC-4"]


def test_options_the_model_scores_alike_keep_the_objectives_order() -> None:
    output = published({dc_id: Judgement(80, "Good.") for dc_id in ("DC-3", "DC-2", "DC-1")})
    assert order(output) == ["DC-1", "DC-2", "DC-3", "DC-4"]


def test_a_sentence_without_a_score_keeps_the_deterministic_score() -> None:
    output = published({"DC-1": Judgement(None, "Greenest of the three.")})
    first = output.data_centre_options[0]
    assert first.suitability_score == first.deterministic_score
    assert first.rationale == "Greenest of the three."


@pytest.mark.parametrize(
    ("judged", "named"),
    [
        ({"DC-9": Judgement(50, "")}, "DC-9"),
        ({"DC-1": Judgement(101, "")}, "101"),
        ({"DC-1": Judgement(-1, "")}, "-1"),
        ({"DC-1": Judgement(float("nan"), "")}, "nan"),
    ],
)
def test_judgements_of_strangers_and_impossible_scores_are_refused(judged: dict[str, Judgement], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        published(judged)


def test_without_data_centres_the_output_is_empty_and_says_so() -> None:
    output = published(centres=[])
    assert output.data_centre_options == []
    assert output.metadata.dc_count == 0
    assert output.decision.rationale == "There is no data centre."
    assert output.decision.waiting is not None
    assert output.decision.waiting.status == "PENDING"


def test_an_option_is_written_once_and_forgotten_with_the_option() -> None:
    decision = decide(a_context())
    option, parts, words = replace(decision.options[0]), grid_parts(decision.context), signal_words(())
    written = WrittenOptions()
    first = written.of(option, option.score, None, parts, words)
    assert written.of(option, option.score, None, parts, words) is first
    judged = written.of(option, option.score, Judgement(50, "Fine."), parts, words)
    assert judged.row["rationale"].startswith("Fine.")
    assert len(written) == 1
    del option
    assert len(written) == 0


def test_options_as_they_were_written_make_the_very_text_of_the_output() -> None:
    form = published_form(decide(a_context()), generated_at=NOON)
    text = orjson.dumps({**form.document, "data_centre_options": [option.json for option in form.options]})
    assert text == orjson.dumps(form.document)
