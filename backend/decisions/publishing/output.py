"""From a decision, and a model's judgements if there are any, to the published output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from pydantic import BaseModel

from decisions.publishing import schema as output
from decisions.publishing.rationale import decision_rationale, option_rationale, origin_sentence
from decisions.publishing.schema import DecisionOutput, Scorer
from decisions.publishing.waiting import waiting_status
from decisions.scoring.context import DataCentre, DecisionContext, GenerationMix, RegionalSignals
from decisions.scoring.decide import SCORER_VERSION, Assessment, Decision, RunEstimate
from decisions.scoring.energy import EnergyBasis
from decisions.scoring.freshness import SignalState
from vocabulary import Fuel

# A model's score further than this from the deterministic one is flagged.
DISAGREEMENT_POINTS = 25

NAMED_FUELS = (Fuel.WIND, Fuel.SOLAR, Fuel.GAS, Fuel.NUCLEAR)


@dataclass(frozen=True)
class Judgement:
    """A model's view of one option. Without a score the deterministic one stands beside the sentence."""

    score: float | None
    sentence: str


def build_output(
    decision: Decision,
    *,
    generated_at: datetime,
    judgements: Mapping[str, Judgement] | None = None,
    scorer: Scorer = Scorer.DETERMINISTIC,
    model: str | None = None,
    fallback_reason: str | None = None,
    sequence: int | None = None,
) -> DecisionOutput:
    """The published output, options sorted best first.

    Args:
        decision: what the scorer found.
        generated_at: when the output is made.
        judgements: a model's view by dc_id, of all options or some; an infeasible option scores 0 anyhow.
        scorer: who set the scores.
        model: name of the model that judged.
        fallback_reason: why there are no judgements although a model was asked.
        sequence: the number of its event in the log, once it has one.

    Raises:
        ValueError: a judgement is of a data centre that is no option, or its score is not within 0 to 100.
    """
    judgements = judgements or {}
    _check(judgements, decision)
    context = decision.context
    present_signals = _PresentSignals(context)
    ranked = sorted(
        ((option, _score(option, judgements.get(option.centre.dc_id))) for option in decision.options),
        key=lambda scored: (not scored[0].feasible, -scored[1], scored[0].rank),
    )
    options = [
        _option(option, score, judgements.get(option.centre.dc_id), present_signals, decision.signal_states)
        for option, score in ranked
    ]
    return DecisionOutput(
        data_centre_options=options,
        task=output.PublishedTask.model_validate(context.task),
        decision=_summary(decision, [option for option, _ in ranked]),
        metadata=output.OutputMetadata(
            task_id=context.task.job_id,
            generated_at=generated_at,
            dc_count=len(options),
            model=model,
            context_id=context.context_id,
            scorer=scorer,
            fallback_reason=fallback_reason,
            sequence=sequence,
            scorer_version=SCORER_VERSION,
            policy=decision.policy,
            carbon_price_gbp_per_t=decision.carbon_price_gbp_per_t,
            warnings=_warnings(decision),
        ),
    )


class _PresentSignals:
    """The present signals of a context, by region."""

    def __init__(self, context: DecisionContext) -> None:
        self.national = context.national.current_at(context.as_of)
        self._as_of = context.as_of
        self._regions: dict[int, RegionalSignals] = {region.region_id: region for region in context.regional}
        self._mixes: dict[int | None, GenerationMix] = {mix.region_id: mix for mix in context.generation_mix}

    def energy_profile(self, centre: DataCentre) -> output.EnergyProfile:
        region = self._regions.get(centre.region_id)
        present = region.current_at(self._as_of) if region else None
        mix = self._mixes.get(centre.region_id)
        return output.EnergyProfile(
            current_carbon_intensity_gco2=present.carbon_intensity_gco2_per_kwh if present else None,
            regional_carbon_index=present.carbon_index if present else None,
            grid_stress_score=self.national.grid_stress_score if self.national else None,
            wholesale_price_gbp_mwh=self.national.wholesale_price_gbp_mwh if self.national else None,
            generation_mix=_mix_shares(mix),
            sources=output.FigureSources(
                carbon_intensity=present.carbon_source if present else None,
                grid_stress=self.national.demand_source if self.national else None,
                wholesale_price=self.national.price_source if self.national else None,
                generation_mix=mix.source if mix else None,
            ),
        )


def _check(judgements: Mapping[str, Judgement], decision: Decision) -> None:
    strangers = judgements.keys() - {option.centre.dc_id for option in decision.options}
    if strangers:
        raise ValueError(f"judged, but not an option of this decision: {', '.join(sorted(strangers))}")
    for dc_id, judgement in judgements.items():
        if judgement.score is not None and not 0 <= judgement.score <= 100:
            raise ValueError(f"the score of {dc_id} must be within 0 to 100, not {judgement.score}")


def _score(option: Assessment, judgement: Judgement | None) -> float:
    if not option.feasible:
        return 0.0
    return option.score if judgement is None or judgement.score is None else judgement.score


def _option(
    option: Assessment,
    score: float,
    judgement: Judgement | None,
    present_signals: _PresentSignals,
    signal_states: Sequence[SignalState],
) -> output.DataCentreOption:
    centre = option.centre
    judged = judgement.score if judgement else None
    run = option.evaluated
    return output.DataCentreOption(
        **_shared(centre, output.DataCentreOption),
        energy_profile=present_signals.energy_profile(centre),
        compute_profile=output.ComputeProfile(
            **_shared(centre, output.ComputeProfile),
            available_for_task=option.has_room,
            free_it_power_kw=option.free_it_power_kw,
        ),
        suitability_score=score,
        deterministic_score=option.score,
        scores_disagree=judged is not None and abs(judged - option.score) > DISAGREEMENT_POINTS,
        rationale=(judgement.sentence if judgement else option_rationale(option))
        + origin_sentence(signal_states, {centre.region_id}),
        constraint_violations=option.violations,
        objective_gbp=run.objective_gbp if run else None,
        score_breakdown=run.parts if run else None,
        evaluated_start=run.start if run else None,
        estimates=_estimates(option),
        binding_constraint=option.binding,
    )


def _shared(centre: DataCentre, model: type[BaseModel]) -> dict[str, Any]:
    """What a part of the output says of a data centre in the data centre's own words."""
    return {name: getattr(centre, name) for name in _shared_names(model)}


@cache
def _shared_names(model: type[BaseModel]) -> tuple[str, ...]:
    return tuple(name for name in model.model_fields if name in DataCentre.model_fields)


def _estimates(option: Assessment) -> output.Estimates:
    recommended = option.recommended
    return output.Estimates(
        energy_kwh=option.site_energy_kwh,
        run_now=option.run_now,
        recommended_start=recommended.start if recommended else None,
        recommended=recommended,
    )


def _mix_shares(mix: GenerationMix | None) -> output.MixShares:
    shares = {fuel: share for fuel, share in mix.mix.items() if share is not None} if mix else {}
    others = [share for fuel, share in shares.items() if fuel not in NAMED_FUELS]
    return output.MixShares(
        wind_pct=shares.get(Fuel.WIND),
        solar_pct=shares.get(Fuel.SOLAR),
        gas_pct=shares.get(Fuel.GAS),
        nuclear_pct=shares.get(Fuel.NUCLEAR),
        other_pct=sum(others) if shares else None,
    )


def _summary(decision: Decision, ranked: list[Assessment]) -> output.DecisionSummary:
    """The answer is the first feasible option as published, which a model may have reordered."""
    placed = [(option, option.recommended) for option in ranked if option.recommended]
    compared = {option.centre.region_id for option, _ in placed[:2]} or {each.centre.region_id for each in ranked}
    origin = origin_sentence(decision.signal_states, compared)
    known = {
        "workload": decision.load,
        "latest_start": decision.latest_start,
        "signals": decision.signal_states,
    }
    if not placed:
        waiting = waiting_status(decision)
        reason = waiting.reason if waiting else ""
        return output.DecisionSummary(**known, rationale=reason + origin, waiting=waiting)
    chosen, run = placed[0]
    ours = chosen is decision.chosen
    return output.DecisionSummary(
        **known,
        dc_id=chosen.centre.dc_id,
        start=run.start,
        end=run.end,
        objective_gbp=run.objective_gbp,
        rationale=decision_rationale(placed) + origin,
        least_objective_dc_id=decision.chosen.centre.dc_id if decision.chosen else None,
        runner_up=_runner_up(run, *placed[1]) if len(placed) > 1 else None,
        binding_constraint=decision.binding if ours else None,
        carbon_price_switches=decision.carbon_price_switches if ours else None,
    )


def _runner_up(answer: RunEstimate, option: Assessment, run: RunEstimate) -> output.RunnerUp:
    return output.RunnerUp(
        dc_id=option.centre.dc_id,
        start=run.start,
        objective_gbp=run.objective_gbp,
        margin_gbp=run.objective_gbp - answer.objective_gbp,
    )


def _warnings(decision: Decision) -> list[str]:
    warnings = [state.warning for state in decision.signal_states if state.warning]
    if decision.load.basis is EnergyBasis.ASSUMED:
        warnings.insert(
            0, "The workload states neither energy nor requirements: those usual for its type are assumed."
        )
    return warnings
