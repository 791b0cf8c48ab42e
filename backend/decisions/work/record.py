"""From a decision to the record that is stored, and from a stored record back to its output."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from database.interface import Row
from decisions.publishing.output import Judgement, PublishedForm, published_form
from decisions.publishing.schema import DecisionOutput, Scorer
from decisions.scoring.context import DecisionContext
from decisions.scoring.decide import SCORER_VERSION, Decision, decide
from decisions.work.booking import booking_of
from decisions.work.notifications import DecisionRecord, Lease
from vocabulary import Policy, WorkloadStatus
from workloads.model import UtcDatetime

DECIDED_WITH = "decided_with"


class DecidedWith(BaseModel):
    """All that an output depends on besides its decision context. It is stored beside it, in the same document."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    carbon_price_gbp_per_t: float
    policy: Policy
    generated_at: UtcDatetime
    scorer: Scorer = Scorer.DETERMINISTIC
    model: str | None = None
    fallback_reason: str | None = None
    judgements: Mapping[str, Judgement] = {}


def form_of(decision: Decision, decided_with: DecidedWith, *, sequence: int | None = None) -> PublishedForm:
    """A decision as it is published."""
    return published_form(
        decision,
        generated_at=decided_with.generated_at,
        judgements=decided_with.judgements,
        scorer=decided_with.scorer,
        model=decided_with.model,
        fallback_reason=decided_with.fallback_reason,
        sequence=sequence,
    )


def replay(context: Row, *, sequence: int | None = None) -> DecisionOutput:
    """The output of a stored context: the same as then, by the scorer version that decided it.

    Raises:
        pydantic.ValidationError: the document is not a stored decision context.
    """
    decided_with = DecidedWith.model_validate(context[DECIDED_WITH])
    decision = decide(
        DecisionContext.model_validate(context),
        carbon_price_gbp_per_t=decided_with.carbon_price_gbp_per_t,
        policy=decided_with.policy,
    )
    return DecisionOutput.model_validate(form_of(decision, decided_with, sequence=sequence).document)


def record_of(
    lease: Lease,
    task_row: Row,
    decision: Decision,
    decided_with: DecidedWith,
    *,
    token_usage: Row | None = None,
) -> DecisionRecord:
    """What is stored of a decision: QUEUED at the chosen data centre, or waiting as the output says.

    `task_row` is what the grid lacks to be the decision's context, the capacity it was made on included.
    """
    form = form_of(decision, decided_with)
    run = form.chosen.recommended if form.chosen else None
    dc_id = form.chosen.centre.dc_id if form.chosen else None
    return DecisionRecord(
        lease=lease,
        context={**task_row, DECIDED_WITH: decided_with.model_dump(mode="json")},
        output=form.document,
        chosen_dc_id=dc_id,
        recommended_start=run.start if run else None,
        workload_status=form.waiting.status if form.waiting else WorkloadStatus.QUEUED,
        status_reason=form.waiting.reason if form.waiting else None,
        scorer=str(decided_with.scorer),
        model=decided_with.model,
        scorer_version=SCORER_VERSION,
        fallback_reason=decided_with.fallback_reason,
        reasoning=form.document["decision"]["rationale"],
        constraints_evaluated=[option.constraints for option in form.options],
        alternatives_considered=[option.alternative for option in form.options if option.row["dc_id"] != dc_id],
        token_usage=token_usage,
        booking=booking_of(decision, form.chosen),
        summary=_in_short(next((option.row for option in form.options if option.row["dc_id"] == dc_id), None)),
        options=form.options,
    )


def _in_short(chosen: Row | None) -> Row:
    """What the event's summary says of the chosen data centre."""
    if chosen is None:
        return {}
    estimates = chosen["estimates"]
    recommended = estimates["recommended"] or {}
    return {
        "score": chosen["suitability_score"],
        "energy_kwh": estimates["energy_kwh"],
        "carbon_gco2": recommended.get("carbon_gco2"),
        "cost_gbp": recommended.get("cost_gbp"),
    }
