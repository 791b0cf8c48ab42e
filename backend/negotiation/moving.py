"""The decisions by which an award moves work that is booked: each the scorer's own, on the power that was awarded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from database.interface import Database, Row
from decisions.publishing.schema import Scorer
from decisions.scoring.capacity import only_at
from decisions.scoring.context import DecisionContext
from decisions.scoring.decide import decide
from decisions.scoring.energy import compute_load
from decisions.work.notifications import ContextBatch, Lease, OwnedJob
from decisions.work.record import DecidedWith, record_of
from grid.half_hours import HALF_HOUR, from_rfc3339, half_hour_of
from negotiation.book import ClaimedNegotiation, Step
from vocabulary import Policy

NO_LEASE = Lease(0, 0)
"""The database gives each notification its lease when it makes the step."""


class AwardMover:
    """Makes the decisions of an award, from what is known at the moment of it."""

    def __init__(self, database: Database, carbon_price_gbp_per_t: float) -> None:
        self._database = database
        self._carbon_price = carbon_price_gbp_per_t

    def decided(self, negotiation: ClaimedNegotiation, step: Step, now: datetime) -> Step | None:
        """The step with a decision for everything that it moves; None where one of them is no longer possible.

        Raises:
            DatabaseError: the database does not answer.
            pydantic.ValidationError: it holds what the scorer does not understand.
        """
        award = step.award
        if award is None or not award["moves"]:
            return step
        moves: list[Row] = award["moves"]
        named = [{"operator": move["operator"], "job_id": move["job_id"]} for move in moves]
        found = self._database.call("decision_contexts", {"p_job_ids": named, "p_now": now})
        batch = ContextBatch.of(found)
        records = [self._record(negotiation, step, move, batch, now) for move in moves]
        if any(record is None for record in records):
            return None
        decided = [{**move, "record": record} for move, record in zip(moves, records, strict=True)]
        whole = {**award, "moves": decided, "grid": found["grid"], "grid_version": found["grid_version"]}
        return replace(step, award=whole)

    def _record(
        self, negotiation: ClaimedNegotiation, step: Step, move: Mapping[str, str], batch: ContextBatch, now: datetime
    ) -> Row | None:
        job = OwnedJob(move["operator"], move["job_id"])
        if job not in batch:
            return None
        starts_at, ends_at = from_rfc3339(move["starts_at"]), from_rfc3339(move["ends_at"])
        context = _on_what_was_awarded(batch.context(job), move["dc_id"], starts_at, ends_at)
        decision = decide(context, carbon_price_gbp_per_t=self._carbon_price, policy=Policy.BALANCED)
        chosen = decision.chosen
        run = chosen.recommended if chosen else None
        if chosen is None or run is None or (chosen.centre.dc_id, run.start) != (move["dc_id"], starts_at):
            return None
        task_row = {
            **batch.task_row(job),
            "capacity": None if context.capacity is None else context.capacity.model_dump(mode="json"),
            "negotiation": {
                "negotiation_id": str(negotiation.negotiation_id),
                "award_number": step.award_number,
                "agent": move["agent"],
                "limit_key": negotiation.limit_key,
                "booked_at": {"dc_id": move["dc_id"], "starts_at": move["from_starts_at"]},
            },
        }
        decided_with = DecidedWith(
            carbon_price_gbp_per_t=self._carbon_price,
            policy=Policy.BALANCED,
            generated_at=now,
            scorer=Scorer.DETERMINISTIC,
        )
        return record_of(NO_LEASE, task_row, decision, decided_with).to_row()


def _on_what_was_awarded(
    context: DecisionContext, dc_id: str, starts_at: datetime, ends_at: datetime
) -> DecisionContext:
    """The context in which the power of the awarded half-hours is free, and no other anywhere."""
    capacity = context.capacity
    if capacity is None:
        return context
    half_hours = -((half_hour_of(starts_at) - ends_at) // HALF_HOUR)
    awarded = only_at(capacity, dc_id, starts_at, [compute_load(context.task).it_power_kw] * half_hours)
    return context.model_copy(update={"capacity": awarded})
