"""From a decision, and a model's judgements if there are any, to the published output.

The document is written as it is published and stored; `schema.DecisionOutput` declares it, and a law in the tests
holds the one against the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import islice
from weakref import ReferenceType

import orjson

from database.interface import Row
from decisions.publishing.grid_parts import GridParts, SignalWords, grid_parts, signal_words
from decisions.publishing.rationale import decision_rationale, option_rationale
from decisions.publishing.schema import DecisionOutput, PublishedTask, Scorer, tidy
from decisions.publishing.waiting import WaitingStatus, waiting_status
from decisions.scoring.assessment import Assessment, RunEstimate
from decisions.scoring.context import Capacity
from decisions.scoring.decide import SCORER_VERSION, Decision
from decisions.scoring.energy import EnergyBasis
from decisions.scoring.explanation import BindingConstraint, CarbonPriceSwitch, CarbonPriceSwitches
from decisions.scoring.feasibility import Violation
from decisions.scoring.signals import StressOpinion, read_signals
from grid.half_hours import rfc3339

# A model's score further than this from the deterministic one is flagged.
DISAGREEMENT_POINTS = 25

_TASK_FIELDS = tuple(PublishedTask.model_fields)


@dataclass(frozen=True)
class Judgement:
    """A model's view of one option. Without a score the deterministic one stands beside the sentence."""

    score: float | None
    sentence: str


class WrittenOption:
    """An option as it is published, and as the record of its decision names it. Made once, changed by nobody."""

    def __init__(self, row: Row) -> None:
        self.row = row

    @cached_property
    def json(self) -> orjson.Fragment:
        """The row as it is written into an output's text."""
        return orjson.Fragment(orjson.dumps(self.row))

    @cached_property
    def constraints(self) -> Row:
        return {
            "dc_id": self.row["dc_id"],
            "violated": [violation["constraint"] for violation in self.row["constraint_violations"]],
        }

    @cached_property
    def alternative(self) -> Row:
        return {
            "dc_id": self.row["dc_id"],
            "suitability_score": self.row["suitability_score"],
            "objective_gbp": self.row["objective_gbp"],
            "start": self.row["estimates"]["recommended_start"],
            "displaced_gbp": self.row["displaced_gbp"],
        }


@dataclass(frozen=True)
class PublishedForm:
    """A decision as it is published.

    Attributes:
        document: the output, in JSON's own values and the order of the schema.
        options: its options, in the same order.
        chosen: the answer, which a model may have chosen; None where the workload is not placed.
        waiting: what becomes of it then.
    """

    document: Row
    options: Sequence[WrittenOption]
    chosen: Assessment | None
    waiting: WaitingStatus | None


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
    """The published output as a model; takes and raises what `published_form` does."""
    form = published_form(
        decision,
        generated_at=generated_at,
        judgements=judgements,
        scorer=scorer,
        model=model,
        fallback_reason=fallback_reason,
        sequence=sequence,
    )
    return DecisionOutput.model_validate(form.document)


def published_form(
    decision: Decision,
    *,
    generated_at: datetime,
    judgements: Mapping[str, Judgement] | None = None,
    scorer: Scorer = Scorer.DETERMINISTIC,
    model: str | None = None,
    fallback_reason: str | None = None,
    sequence: int | None = None,
) -> PublishedForm:
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
    parts, words = grid_parts(context), signal_words(decision.signal_states)
    ranked = sorted(
        ((option, _score(option, judgements.get(option.centre.dc_id))) for option in decision.options),
        key=lambda scored: (not scored[0].feasible, -scored[1], scored[0].rank),
    )
    waiting = None if any(option.recommended for option, _ in ranked) else waiting_status(decision)
    written = [
        _WRITTEN.of(option, score, judgements.get(option.centre.dc_id), parts, words) for option, score in ranked
    ]
    document = {
        "data_centre_options": [option.row for option in written],
        "task": _task(decision),
        "decision": _summary(decision, [option for option, _ in ranked], words, waiting),
        "_metadata": {
            "task_id": context.task.job_id,
            "generated_at": rfc3339(generated_at),
            "dc_count": len(ranked),
            "model": model,
            "context_id": context.context_id,
            "scorer": str(scorer),
            "fallback_reason": fallback_reason,
            "sequence": sequence,
            "scorer_version": SCORER_VERSION,
            "policy": str(decision.policy),
            "carbon_price_gbp_per_t": float(decision.carbon_price_gbp_per_t),
            "warnings": _warnings(decision, words),
        },
    }
    chosen = ranked[0][0] if ranked and ranked[0][0].recommended else None
    return PublishedForm(document, written, chosen, waiting)


def _check(judgements: Mapping[str, Judgement], decision: Decision) -> None:
    if not judgements:
        return
    strangers = judgements.keys() - {option.centre.dc_id for option in decision.options}
    if strangers:
        raise ValueError(f"judged, but not an option of this decision: {', '.join(sorted(strangers))}")
    for dc_id, judgement in judgements.items():
        if judgement.score is not None and not 0 <= judgement.score <= 100:
            raise ValueError(f"the score of {dc_id} must be within 0 to 100, not {judgement.score}")


def _score(option: Assessment, judgement: Judgement | None) -> float:
    if not option.feasible:
        return 0.0
    return option.score if judgement is None or judgement.score is None else float(judgement.score)


class WrittenOptions:
    """Options as they were written, by the very option and grid: decisions of like workloads share most of them."""

    def __init__(self) -> None:
        self._rows: dict[int, tuple[ReferenceType[Assessment], GridParts, SignalWords, WrittenOption]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def of(
        self, option: Assessment, score: float, judgement: Judgement | None, parts: GridParts, words: SignalWords
    ) -> WrittenOption:
        """The option as published, not to be changed by anybody; what a model has judged is written anew."""
        if judgement is not None:
            return WrittenOption(_option(option, score, judgement, parts, words))
        key, rows = id(option), self._rows
        known = rows.get(key)
        if known is not None and known[0]() is option and known[1] is parts and known[2] is words:
            return known[3]
        written = WrittenOption(_option(option, score, None, parts, words))
        # For as long as the option itself is kept by whoever shares it.
        rows[key] = ReferenceType(option, lambda _: rows.pop(key, None)), parts, words, written
        return written


_WRITTEN = WrittenOptions()


def _option(
    option: Assessment, score: float, judgement: Judgement | None, parts: GridParts, words: SignalWords
) -> Row:
    site, run = parts.sites[option.centre.dc_id], option.evaluated
    judged = judgement.score if judgement else None
    return {
        **site.place,
        "energy_profile": site.energy_profile,
        "compute_profile": {
            **site.compute_profile,
            "available_for_task": option.has_room,
            "free_it_power_kw": tidy(option.free_it_power_kw),
        },
        "suitability_score": score,
        "deterministic_score": option.score,
        "scores_disagree": judged is not None and abs(judged - option.score) > DISAGREEMENT_POINTS,
        "rationale": (judgement.sentence if judgement else option_rationale(option))
        + words.origin_sentence(option.centre.region_id),
        "constraint_violations": [_violation(violation) for violation in option.violations],
        "objective_gbp": tidy(run.objective_gbp) if run else None,
        "score_breakdown": _breakdown(run) if run else None,
        "evaluated_start": rfc3339(run.start) if run else None,
        "displaced_gbp": None if option.displaced_gbp is None else tidy(option.displaced_gbp),
        "estimates": _estimates(option),
        "binding_constraint": _binding(option.binding),
    }


def _breakdown(run: RunEstimate) -> Row:
    parts = run.parts
    return {
        "energy_gbp": tidy(parts.energy_gbp),
        "carbon_gbp": tidy(parts.carbon_gbp),
        "grid_stress_gbp": tidy(parts.grid_stress_gbp),
        "delay_gbp": tidy(parts.delay_gbp),
    }


def _estimates(option: Assessment) -> Row:
    recommended = option.recommended
    return {
        "energy_kwh": tidy(option.site_energy_kwh),
        "run_now": _figures(option.run_now),
        "recommended_start": rfc3339(recommended.start) if recommended else None,
        "recommended": _figures(recommended),
    }


def _figures(run: RunEstimate | None) -> Row | None:
    return {"carbon_gco2": tidy(run.carbon_gco2), "cost_gbp": tidy(run.cost_gbp)} if run else None


def _violation(violation: Violation) -> Row:
    return {
        "constraint": str(violation.constraint),
        "value": violation.value,
        "limit": violation.limit,
        "unit": violation.unit,
        "message": violation.message,
        "start": _moment(violation.start),
        "room_from": _moment(violation.room_from),
    }


def _binding(binding: BindingConstraint | None) -> Row | None:
    if binding is None:
        return None
    return {
        "dc_id": binding.dc_id,
        "start": rfc3339(binding.start),
        "objective_gbp": tidy(binding.objective_gbp),
        "saving_gbp": tidy(binding.saving_gbp),
        "violations": [_violation(violation) for violation in binding.violations],
    }


def _task(decision: Decision) -> Row:
    task = decision.context.task
    told = {name: getattr(task, name) for name in _TASK_FIELDS}
    return told | {
        "workload_type": str(task.workload_type),
        "urgency": str(task.urgency),
        "deadline": _moment(task.deadline),
    }


def _summary(
    decision: Decision, ranked: Sequence[Assessment], words: SignalWords, waiting: WaitingStatus | None
) -> Row:
    """The answer is the first feasible option as published, which a model may have reordered."""
    placed = list(islice(((option, option.recommended) for option in ranked if option.recommended), 2))
    compared = {option.centre.region_id for option, _ in placed} or {each.centre.region_id for each in ranked}
    origin = words.origin_sentence(*sorted(compared))
    chosen, run = placed[0] if placed else (None, None)
    best = decision.chosen
    ours = chosen is not None and chosen is best
    reason = waiting.reason if waiting else ""
    return {
        "dc_id": chosen.centre.dc_id if chosen else None,
        "start": rfc3339(run.start) if run else None,
        "end": rfc3339(run.end) if run else None,
        "objective_gbp": tidy(run.objective_gbp) if run else None,
        "rationale": (decision_rationale(placed) if placed else reason) + origin,
        "workload": _workload(decision),
        "latest_start": _moment(decision.latest_start),
        "least_objective_dc_id": best.centre.dc_id if chosen and best else None,
        "runner_up": _runner_up(run, *placed[1]) if run and len(placed) > 1 else None,
        "binding_constraint": _binding(decision.binding) if ours else None,
        "carbon_price_switches": _switches(decision.carbon_price_switches) if ours else None,
        "waiting": {"status": str(waiting.status), "reason": waiting.reason} if waiting else None,
        "capacity_prices": _capacity_prices(decision.context.capacity),
        "grid_stress_opinion": _stress_opinion(read_signals(decision.context).stress_opinion),
        "signals": words.rows,
    }


def _capacity_prices(capacity: Capacity | None) -> Row | None:
    """What the prices of capacity rest on, which `displaced_gbp` is reckoned with."""
    prices = capacity.prices if capacity else None
    if prices is None:
        return None
    return {
        "source": "joint_plan",
        "planned_at": rfc3339(prices.planned_at),
        "workloads": prices.workloads,
        "left_out": prices.left_out,
        "method": prices.method,
    }


def _stress_opinion(opinion: StressOpinion | None) -> Row | None:
    """The second opinion on grid stress, and how often it is the one that counts."""
    if opinion is None:
        return None
    return {
        "source": opinion.source,
        "published_at": _moment(opinion.published_at),
        "known_half_hours": opinion.known_half_hours,
        "higher_half_hours": opinion.higher_half_hours,
    }


def _workload(decision: Decision) -> Row:
    load = decision.load
    return {
        "it_power_kw": tidy(load.it_power_kw),
        "duration_minutes": tidy(load.duration_minutes),
        "it_energy_kwh": tidy(load.it_energy_kwh),
        "basis": str(load.basis),
    }


def _runner_up(answer: RunEstimate, option: Assessment, run: RunEstimate) -> Row:
    return {
        "dc_id": option.centre.dc_id,
        "start": rfc3339(run.start),
        "objective_gbp": tidy(run.objective_gbp),
        "margin_gbp": tidy(run.objective_gbp - answer.objective_gbp),
    }


def _switches(switches: CarbonPriceSwitches) -> Row:
    return {"above": _switch(switches.above), "below": _switch(switches.below)}


def _switch(switch: CarbonPriceSwitch | None) -> Row | None:
    if switch is None:
        return None
    return {
        "carbon_price_gbp_per_t": tidy(switch.carbon_price_gbp_per_t),
        "dc_id": switch.dc_id,
        "start": rfc3339(switch.start),
    }


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)


def _warnings(decision: Decision, words: SignalWords) -> list[str]:
    assumed = "The workload states neither energy nor requirements: those usual for its type are assumed."
    return [assumed, *words.warnings] if decision.load.basis is EnergyBasis.ASSUMED else words.warnings
